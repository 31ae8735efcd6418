// Fixed pieces of output: bytes in the static area, written there once when the module starts.

/** Writes the ASCII string to the static bytes at `to` and returns them. */
export function ascii(to: usize, characters: string): usize {
  const from = changetype<usize>(characters);
  const units = <usize>characters.length;
  for (let i: usize = 0; i < units; ++i) store<u8>(to + i, load<u16>(from + (i << 1)));
  return to;
}
