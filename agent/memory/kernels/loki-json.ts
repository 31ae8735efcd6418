import { BITS, BROKEN_UTF8, END, NANOS, R_OUT, R_REPLACED, SECONDS, START, result } from "./layout";
import { copy } from "./bytes";
import { writeNine, writeNumber } from "./digits";
import { ESCAPE_RATIO, ESCAPE_SLACK, escape, escapeEach, escapedLength } from "./json";
import { counts } from "./rows";

// ["<unix nanoseconds>","<text>"<tail>],
const REST_LENGTH: usize = 8; // brackets, quotes and commas
const TIME_LENGTH_MAX: usize = 19;

export function lokiJson(
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
  tail: usize,
  tailLength: usize,
): u32 {
  const stride = (<usize>cap) << 2;
  let replaced: u32 = 0;
  let row = from;
  for (; row < to; ++row) {
    const column = block + ((<usize>row) << 2);
    const bits = load<u32>(column + BITS * stride);
    if (!counts(row, bits, verdicts, keys, key, mask)) continue;
    const start = <usize>load<u32>(column + START * stride);
    const end = <usize>load<u32>(column + END * stride);
    const seconds = load<u32>(column + SECONDS * stride);
    const nanos = load<u32>(column + NANOS * stride);
    const broken = (bits & BROKEN_UTF8) != 0;
    const room = REST_LENGTH + tailLength;
    const ample = out + room + TIME_LENGTH_MAX + (end - start) * ESCAPE_RATIO + ESCAPE_SLACK <= outEnd;
    if (!ample && out + room + timeLength(seconds, nanos) + escapedLength(start, end) > outEnd) break;

    store<u16>(out, 0x225b);
    out = seconds ? writeNine(writeNumber(out + 2, seconds), nanos) : writeNumber(out + 2, nanos);
    store<u16>(out, 0x2c22);
    store<u8>(out, 0x22, 2);
    out = ample && !broken ? escape(out + 3, start, end) : escapeEach(out + 3, start, end);
    if (broken) ++replaced;
    store<u8>(out++, 0x22);
    out = copy(out, tail, tailLength);
    store<u16>(out, 0x2c5d);
    out += 2;
  }
  result(R_OUT, <u32>out);
  result(R_REPLACED, replaced);
  return row;
}

function timeLength(seconds: u32, nanos: u32): usize {
  let digits: usize = 1;
  for (let rest = seconds ? seconds : nanos; rest > 9; rest /= 10) ++digits;
  return seconds ? digits + 9 : digits;
}
