import { END, START } from "./layout";
import { equal } from "./bytes";

export function contains(
  block: usize,
  cap: u32,
  verdicts: usize,
  from: u32,
  to: u32,
  needle: usize,
  length: usize,
  head: usize,
  hits: usize,
): void {
  const starts = block + ((<usize>cap * START) << 2);
  const ends = block + ((<usize>cap * END) << 2);
  for (let row = from; row < to; ++row) {
    let hit: bool = false;
    if (!verdicts || !load<u8>(verdicts + row)) {
      const start = <usize>load<u32>(starts + ((<usize>row) << 2));
      const bytes = <usize>load<u32>(ends + ((<usize>row) << 2)) - start;
      hit = holds(start, bytes < head ? bytes : head, needle, length);
    }
    store<u8>(hits + row, hit);
  }
}

/** Whether the needle lies in the `bytes` bytes at p: looks for its first and its last byte at once, then compares. */
function holds(p: usize, bytes: usize, needle: usize, length: usize): bool {
  if (bytes < length) return false;
  const first = i8x16.splat(load<u8>(needle));
  const last = i8x16.splat(load<u8>(needle + length - 1));
  const reach = length - 1;
  const end = p + bytes - reach; // after the last place where it can begin
  while (p < end) {
    const both = v128.and(i8x16.eq(v128.load(p), first), i8x16.eq(v128.load(p + reach), last));
    if (v128.any_true(both)) {
      let mask = <u32>i8x16.bitmask(both);
      do {
        const at = p + <usize>ctz(mask);
        if (at >= end) return false;
        if (equal(at, needle, reach)) return true;
        mask &= mask - 1;
      } while (mask);
    }
    p += 16;
  }
  return false;
}
