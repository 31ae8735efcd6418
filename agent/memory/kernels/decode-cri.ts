import {
  AT,
  BITS,
  END,
  FIELDS_END,
  FIELDS_START,
  INVALID,
  LINES,
  NANOS,
  NON_ASCII,
  PARTIAL,
  RAW,
  RESULT,
  ROW_BYTES,
  R_BITS,
  R_CONSUMED,
  R_INVALID,
  R_NANOS,
  R_SECONDS,
  SECONDS,
  START,
  STREAM_STDERR,
  STREAM_STDOUT,
  result,
} from "./layout";
import { findNewline, nonAscii } from "./bytes";
import { nanos, parseTime, seconds } from "./time";

const STDOUT: u64 = 0x2074756f64747320; // " stdout "
const STDERR: u64 = 0x2072726564747320; // " stderr "

/** Bits of the header that parseHeader took. */
let headerBits: u32 = 0;

export function decodeCri(from: usize, to: usize, block: usize, cap: u32, limit: usize): u32 {
  const stride = (<usize>cap) << 2;
  let lastSeconds = load<u32>(RESULT + (R_SECONDS << 2));
  let lastNanos = load<u32>(RESULT + (R_NANOS << 2));
  let allBits: u32 = 0;
  let invalid: u32 = 0;
  let row: u32 = 0;
  let line = from;
  while (row < cap) {
    let bits: u32 = 0;
    let text = parseHeader(line, to);
    let end: usize = 0;
    if (text) {
      end = findNewline(text, to);
      if (!end) break;
      bits = headerBits;
    } else {
      end = findNewline(line, to);
      if (!end) break;
      bits = INVALID;
      text = line;
    }
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
    let column = block + ((<usize>row) << 2);
    store<u32>(column, <u32>text);
    store<u32>((column += stride), <u32>end);
    store<u32>((column += stride), lastSeconds);
    store<u32>((column += stride), lastNanos);
    store<u32>((column += stride), bits);
    store<u32>((column += stride), 1);
    store<u32>((column += stride), <u32>(line - from));
    store<u32>((column += stride), <u32>(next - line));
    store<u32>((column += stride), 0);
    store<u32>((column += stride), 0);
    ++row;
    line = next;
  }
  result(R_CONSUMED, <u32>(line - from));
  result(R_BITS, allBits);
  result(R_SECONDS, lastSeconds);
  result(R_NANOS, lastNanos);
  result(R_INVALID, invalid);
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
