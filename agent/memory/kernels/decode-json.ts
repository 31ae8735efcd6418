import { ROW_BYTES, STREAM_STDOUT, STREAM_STDERR, PARTIAL, INVALID, NON_ASCII, R_SECONDS, R_NANOS } from "./layout";
import { report, resultOf, storeRow } from "./decode";
import { findNewline, nonAscii } from "./bytes";
import { nanos, parseTime, seconds } from "./time";
import { closingQuote, escaped, scanText, textNonAscii, unescape } from "./json-string";

const LOG: u32 = 0x22676f6c; // log"
const TIME: u32 = 0x656d6974; // time, then a quote
const STREAM: u64 = 0x226d6165727473; // stream", seven bytes
const STDOUT: u64 = 0x2274756f647473; // stdout", seven bytes
const STDERR: u64 = 0x22727265647473; // stderr", seven bytes
const SEVEN_BYTES: u64 = 0x00ffffffffffffff;

// What parseLine found: the text between its quotes, the first escape in it, and the row's bits.
let textFrom: usize = 0;
let textTo: usize = 0;
let textEscaped: usize = 0;
let lineBits: u32 = 0;

export function decodeJsonFile(from: usize, to: usize, block: usize, cap: u32, limit: usize): u32 {
  const stride = (<usize>cap) << 2;
  let lastSeconds = resultOf(R_SECONDS);
  let lastNanos = resultOf(R_NANOS);
  let allBits: u32 = 0;
  let invalid: u32 = 0;
  let row: u32 = 0;
  let line = from;
  while (row < cap) {
    const lineEnd = findNewline(line, to);
    if (!lineEnd) break;
    const next = lineEnd + 1;
    if (((next + 3) & ~3) + <usize>(row + 1) * ROW_BYTES > limit) break;
    let bits: u32 = INVALID | (nonAscii ? NON_ASCII : 0);
    let text = line;
    let end = lineEnd;
    if (parseLine(line, lineEnd)) {
      bits = lineBits;
      lastSeconds = seconds;
      lastNanos = nanos;
      text = textFrom;
      end = textEscaped ? unescape(textEscaped, textTo) : textTo;
      if (end > text && load<u8>(end - 1) == 0x0a) --end;
      else bits |= PARTIAL;
    } else {
      ++invalid;
    }
    allBits |= bits;
    const column = block + ((<usize>row) << 2);
    storeRow(column, stride, text, end, lastSeconds, lastNanos, bits, line - from, next - line);
    ++row;
    line = next;
  }
  report(line - from, allBits, lastSeconds, lastNanos, invalid);
  return row;
}

/**
 * Whether the line [p, end), behind which lies a newline, is an object with the strings log, stream and time. The last
 * of several members of one name counts, and members of other names are only skipped, so their values may be malformed.
 */
function parseLine(p: usize, end: usize): bool {
  let stream: u32 = 0;
  let timed: bool = false;
  textFrom = 0;
  p = afterBlanks(p);
  if (load<u8>(p) != 0x7b) return false;
  do {
    p = afterBlanks(p + 1);
    if (load<u8>(p) != 0x22) return false;
    const name = p + 1;
    p = closingQuote(name, end);
    if (!p) return false;
    const length = p - name;
    p = afterBlanks(p + 1);
    if (load<u8>(p) != 0x3a) return false;
    p = afterBlanks(p + 1);
    const value = p + 1;
    const isString = load<u8>(p) == 0x22;
    if (length == 3 && load<u32>(name) == LOG) {
      if (!isString) return false;
      p = scanText(value, end);
      if (!p) return false;
      textFrom = value;
      textTo = p;
      textEscaped = escaped;
      ++p;
    } else if (length == 6 && (load<u64>(name) & SEVEN_BYTES) == STREAM) {
      const seven = load<u64>(value) & SEVEN_BYTES;
      stream = seven == STDOUT ? STREAM_STDOUT : seven == STDERR ? STREAM_STDERR : 0;
      if (!isString || !stream) return false;
      p += 8;
    } else if (length == 4 && load<u32>(name) == TIME) {
      if (!isString) return false;
      p = parseTime(value);
      if (!p || load<u8>(p) != 0x22) return false;
      timed = true;
      ++p;
    } else {
      p = afterValue(p, end);
      if (!p) return false;
    }
    p = afterBlanks(p);
  } while (load<u8>(p) == 0x2c);
  if (load<u8>(p) != 0x7d || afterBlanks(p + 1) != end) return false;
  if (!textFrom || !stream || !timed) return false;
  lineBits = stream | (textNonAscii ? NON_ASCII : 0);
  return true;
}

/** Skips spaces, tabs and carriage returns; stops at the newline at the latest. */
function afterBlanks(p: usize): usize {
  for (;;) {
    const byte = <u32>load<u8>(p);
    if (byte != 0x20 && byte != 0x09 && byte != 0x0d) break;
    ++p;
  }
  return p;
}

/** Address after the value at p, or 0 when it does not end before `end`. */
function afterValue(p: usize, end: usize): usize {
  const start = p;
  let depth: u32 = 0;
  while (p < end) {
    const byte = <u32>load<u8>(p);
    if (byte == 0x22) {
      p = closingQuote(p + 1, end);
      if (!p) return 0;
      if (!depth) return p + 1;
    } else if ((byte | 0x20) == 0x7b) {
      ++depth;
    } else if ((byte | 0x20) == 0x7d) {
      if (!depth) return p > start ? p : 0;
      if (!--depth) return p + 1;
    } else if (!depth && (byte == 0x2c || byte == 0x20 || byte == 0x09 || byte == 0x0d)) {
      return p > start ? p : 0;
    }
    ++p;
  }
  return 0;
}
