import { DEBUG, ERROR, FATAL, INFO, UNKNOWN, WARN } from "./layout";
import { AFTER_WORD, BEFORE_WORD, DIGIT, LETTER, LOWER, NAME, flagsAt, letters } from "./characters";
import { CAREFUL, COLON, KEY, LEVEL, VALUE, WORD_BYTES_MAX, kindOf } from "./words";

// Levels of texts that are no JSON and no logfmt: by how they begin, and by a word near the head.

const WORD_HEAD: usize = 128; // a bare or bracketed word begins within these first bytes

/** Level from how the text begins: klog and glog `E1124 `, syslog `<11>`, `error: `. */
export function headLevel(start: usize, end: usize): u32 {
  const first = <u32>load<u8>(start);
  if (first == 0x3c) return priorityLevel(start + 1, end);
  const digits = digitsAt(start + 1, end, 9);
  if ((digits == 4 || digits == 8) && start + 1 + digits < end && load<u8>(start + 1 + digits) == 0x20) {
    if (first == 0x49) return INFO;
    if (first == 0x57) return WARN;
    if (first == 0x45) return ERROR;
    if (first == 0x46) return FATAL;
  }
  const p = afterColours(start, end);
  const n = letters(p, end, WORD_BYTES_MAX + 1);
  if (p + n >= end) return UNKNOWN;
  const next = <u32>load<u8>(p + n);
  if (next != 0x3a && (next != 0x1b || p == start)) return UNKNOWN;
  const kind = kindOf(p, n);
  return kind & (KEY | VALUE | COLON) ? UNKNOWN : kind & LEVEL;
}

function digitsAt(p: usize, end: usize, max: usize): usize {
  let n: usize = 0;
  while (n < max && p + n < end && flagsAt(p + n) & DIGIT) ++n;
  return n;
}

/** `<0>` to `<191>`: the low three bits are the severity of RFC 5424. */
function priorityLevel(p: usize, end: usize): u32 {
  const n = digitsAt(p, end, 4);
  if (n - 1 > 2 || p + n >= end || load<u8>(p + n) != 0x3e) return UNKNOWN;
  let priority: u32 = 0;
  for (let i: usize = 0; i < n; ++i) priority = priority * 10 + load<u8>(p + i) - 0x30;
  if (priority > 191) return UNKNOWN;
  const severity = priority & 7;
  return severity < 3 ? FATAL : severity == 3 ? ERROR : severity == 4 ? WARN : severity < 7 ? INFO : DEBUG;
}

/** Skips up to three escape sequences that set colours. */
function afterColours(p: usize, end: usize): usize {
  for (let i = 0; i < 3; ++i) {
    if (p + 2 >= end || load<u16>(p) != 0x5b1b) return p;
    let q = p + 2;
    while (q < end && q < p + 12 && (flagsAt(q) & DIGIT || load<u8>(q) == 0x3b)) ++q;
    if (q >= end || load<u8>(q) != 0x6d) return p;
    p = q + 1;
  }
  return p;
}

/** Where wordLevel found its word. */
export let wordAt: usize = 0;

/** Level of the first word near the head that is upper case or stands in brackets or between tabs. */
export function wordLevel(start: usize, end: usize): u32 {
  const stop = end - start > WORD_HEAD ? start + WORD_HEAD : end;
  const a = i8x16.splat(0x41);
  const letters = i8x16.splat(26);
  const bracket = i8x16.splat(0x5b);
  const tab = i8x16.splat(0x09);
  let before: u32 = 0; // whether the last byte of the block before was upper case
  for (let p = start; p < stop; p += 16) {
    const bytes = v128.load(p);
    const upper = <u32>i8x16.bitmask(i8x16.lt_u(i8x16.sub(bytes, a), letters));
    const marks = <u32>i8x16.bitmask(v128.or(i8x16.eq(bytes, bracket), i8x16.eq(bytes, tab)));
    let mask = (upper & ~((upper << 1) | before)) | marks;
    before = upper >> 15;
    while (mask) {
      const q = p + <usize>ctz(mask);
      if (q >= stop) return UNKNOWN;
      mask &= mask - 1;
      const byte = <u32>load<u8>(q);
      const level =
        byte == 0x5b ? bracketLevel(q + 1, end) : byte == 0x09 ? tabLevel(q + 1, end) : bareLevel(q, start, end);
      if (level) {
        wordAt = q;
        return level;
      }
    }
  }
  return UNKNOWN;
}

/** `[error]`, `[ warn ]`, `[core:error]`. */
function bracketLevel(p: usize, end: usize): u32 {
  let from = p;
  while (from < end && from < p + 4 && load<u8>(from) == 0x20) ++from;
  let n = letters(from, end, WORD_BYTES_MAX + 1);
  let to = from + n;
  while (to < end && to < from + 24 && flagsAt(to) & NAME) ++to;
  if (to < end && load<u8>(to) == 0x3a) {
    from = to + 1;
    n = letters(from, end, WORD_BYTES_MAX + 1);
  }
  to = from + n;
  while (to < end && to < from + 24 && load<u8>(to) == 0x20) ++to;
  if (to >= end || load<u8>(to) != 0x5d) return UNKNOWN;
  const kind = kindOf(from, n);
  return kind & (KEY | VALUE | COLON) ? UNKNOWN : kind & LEVEL;
}

/** A word between two tabs. */
function tabLevel(p: usize, end: usize): u32 {
  const n = letters(p, end, WORD_BYTES_MAX + 1);
  if (p + n >= end || load<u8>(p + n) != 0x09) return UNKNOWN;
  const kind = kindOf(p, n);
  return kind & (KEY | VALUE | COLON | CAREFUL) ? UNKNOWN : kind & LEVEL;
}

/** `ERROR`, standing alone. */
function bareLevel(p: usize, start: usize, end: usize): u32 {
  let q = p;
  while (q < end && q <= p + WORD_BYTES_MAX && (flagsAt(q) & (LETTER | LOWER)) == LETTER) ++q;
  const kind = kindOf(p, q - p);
  if (!(kind & LEVEL) || kind & VALUE) return UNKNOWN;
  // PostgreSQL has DEBUG1 to DEBUG5.
  if ((kind & LEVEL) == DEBUG && q < end && <u32>load<u8>(q) - 0x31 < 5) ++q;
  const colon = q < end && load<u8>(q) == 0x3a;
  if (kind & (COLON | CAREFUL) && !colon) return UNKNOWN;
  if (q < end && !(flagsAt(q) & AFTER_WORD)) return UNKNOWN;
  if (p == start || flagsAt(p - 1) & BEFORE_WORD) return kind & LEVEL;
  // Monolog writes `channel.ERROR: `.
  if (load<u8>(p - 1) == 0x2e && colon) return kind & LEVEL;
  return endsColour(p, start) ? kind & LEVEL : UNKNOWN;
}

/** Whether an escape sequence that sets colours ends before p. */
function endsColour(p: usize, start: usize): bool {
  if (p - start < 3 || load<u8>(p - 1) != 0x6d) return false;
  let q = p - 2;
  while (q > start && p - q < 12 && (flagsAt(q) & DIGIT || load<u8>(q) == 0x3b)) --q;
  return q > start && load<u8>(q) == 0x5b && load<u8>(q - 1) == 0x1b;
}
