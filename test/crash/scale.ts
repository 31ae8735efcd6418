/** How much the crash tests do: `SCALE=full npm run test:crash` is what the product promises, without it is what fits into CI. */
export const isFull = process.env["SCALE"] === "full";

export function scaled<T>(small: T, full: T): T {
  return isFull ? full : small;
}
