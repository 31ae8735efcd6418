import { BITS, CLASS_MASK, END, R_OUT, START, result } from "./layout";
import { copy } from "./bytes";
import { counts } from "./rows";

export function text(
  out: usize,
  outEnd: usize,
  block: usize,
  cap: u32,
  verdicts: usize,
  keys: usize,
  key: u32,
  mask: u32,
  from: u32,
  to: u32,
  heads: usize,
): u32 {
  const stride = (<usize>cap) << 2;
  let row = from;
  for (; row < to; ++row) {
    const column = block + ((<usize>row) << 2);
    const bits = load<u32>(column + BITS * stride);
    if (!counts(row, bits, verdicts, keys, key, mask)) continue;
    const start = load<u32>(column + START * stride);
    const bytes = load<u32>(column + END * stride) - start;
    const pair = heads + ((<usize>(bits & CLASS_MASK)) << 3);
    const headLength = heads ? load<u32>(pair, 4) : 0;
    if (out + headLength + bytes + 1 > outEnd) break;
    if (headLength) out = copy(out, load<u32>(pair), headLength);
    out = copy(out, start, bytes);
    store<u8>(out++, 10);
  }
  result(R_OUT, <u32>out);
  return row;
}
