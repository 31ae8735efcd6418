import { ROW_BYTES, STREAM_STDOUT, STREAM_STDERR, PARTIAL, INVALID, NON_ASCII, R_SECONDS, R_NANOS } from "./layout";
import { report, resultOf, storeRow } from "./decode";
import { findNewline, nonAscii } from "./bytes";
import { nanos, parseTime, seconds } from "./time";

const STDOUT: u64 = 0x2074756f64747320; // " stdout "
const STDERR: u64 = 0x2072726564747320; // " stderr "

/** Bits of the header that parseHeader took. */
let headerBits: u32 = 0;

export function decodeCri(from: usize, to: usize, block: usize, cap: u32, limit: usize): u32 {
  const stride = (<usize>cap) << 2;
  let lastSeconds = resultOf(R_SECONDS);
  let lastNanos = resultOf(R_NANOS);
  let allBits: u32 = 0;
  let invalid: u32 = 0;
  let row: u32 = 0;
  let line = from;
  while (row < cap) {
    const header = parseHeader(line, to);
    const text = header ? header : line;
    const end = findNewline(text, to);
    if (!end) break;
    let bits = header ? headerBits : INVALID;
    const next = end + 1;
    if (((next + 3) & ~3) + <usize>(row + 1) * ROW_BYTES > limit) break;
    if (bits & INVALID) {
      ++invalid;
    } else {
      lastSeconds = seconds;
      lastNanos = nanos;
    }
    if (nonAscii) bits |= NON_ASCII;
    allBits |= bits;
    const column = block + ((<usize>row) << 2);
    storeRow(column, stride, text, end, lastSeconds, lastNanos, bits, line - from, next - line);
    ++row;
    line = next;
  }
  report(line - from, allBits, lastSeconds, lastNanos, invalid);
  return row;
}

/** Address of the text of the line at p when its header parses before `to`, else 0. Sets headerBits and the time. */
function parseHeader(p: usize, to: usize): usize {
  const q = parseTime(p);
  if (!q) return 0;
  const stream = load<u64>(q);
  let bits: u32 = stream == STDOUT ? STREAM_STDOUT : stream == STDERR ? STREAM_STDERR : 0;
  if (!bits) return 0;
  const tag = <u32>load<u16>(q, 8);
  let text = q + 10;
  if ((tag & 0xff) == 0x50) bits |= PARTIAL;
  else if ((tag & 0xff) != 0x46) return 0;
  if (tag >> 8 != 0x20) {
    if (tag >> 8 != 0x3a) return 0;
    text = afterTags(text, to);
  }
  headerBits = bits;
  return text;
}

/** Address after the space that ends the tags at p, or 0 when the line ends first. */
function afterTags(p: usize, to: usize): usize {
  while (p < to) {
    const byte = <u32>load<u8>(p);
    ++p;
    if (byte == 0x20) return p;
    if (byte == 0x0a) return 0;
  }
  return 0;
}
