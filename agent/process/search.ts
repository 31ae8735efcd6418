/** Byte searches over the texts of all rows that are marked 0. */
import type { Rows } from "./rows.ts";

/** Marks with 1 the rows whose first `head` bytes hold none of the needles. */
export function markHits(rows: Rows, needles: readonly Uint8Array[], head: number): void {
  const { count, marks, hits } = rows;
  const { bytes } = rows.memory;
  if (needles.length === 1) {
    searchHits(rows, needles[0]!, head);
    for (let row = 0; row < count; row++) bytes[marks + row] = bytes[hits + row]! ^ 1;
    return;
  }
  // Rows that hold one needle are not searched for the others: 2 stands for a hit meanwhile.
  for (const needle of needles) {
    searchHits(rows, needle, head);
    for (let row = 0; row < count; row++) if (bytes[hits + row]) bytes[marks + row] = 2;
  }
  for (let row = 0; row < count; row++) bytes[marks + row] = bytes[marks + row] === 2 ? 0 : 1;
}

/** Writes 1 to the hits of rows marked 0 that hold the needle, 0 to those of all others. */
export function searchHits(rows: Rows, needle: Uint8Array, head: number): void {
  const { memory, block, cap, marks, count, hits } = rows;
  memory.bytes.set(needle, memory.constants);
  memory.kernels.contains(block, cap, marks, 0, count, memory.constants, needle.length, head, hits);
}
