/** How much the crash tests do: with SCALE=full what the product promises, else what fits into CI. */
export const isFull = process.env["SCALE"] === "full";

export function scaled<T>(small: T, full: T): T {
  return isFull ? full : small;
}
