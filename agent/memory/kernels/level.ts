import { BITS, END, LEVEL_SHIFT, START, UNKNOWN } from "./layout";
import { BEFORE_NAME, DIGIT, LETTER, NAME, flagsAt, letters } from "./characters";
import { headLevel, wordAt, wordLevel } from "./level-words";
import { KEY, LEVEL, WORD_BYTES_MAX, kindOf } from "./words";

// Levels of texts, and those that a JSON member or a logfmt pair names.

const FIELD_HEAD: usize = 4096; // a field's name begins within these first bytes
const LOGFMT_NAME_MAX: usize = 64; // bytes of the first name of a logfmt line

export function levels(block: usize, cap: u32, from: u32, to: u32): void {
  const stride = (<usize>cap) << 2;
  for (let row = from; row < to; ++row) {
    const column = block + ((<usize>row) << 2);
    const level = levelOf(load<u32>(column + START * stride), load<u32>(column + END * stride));
    const bits = load<u32>(column + BITS * stride);
    store<u32>(column + BITS * stride, (bits & ~(LEVEL << LEVEL_SHIFT)) | (level << LEVEL_SHIFT));
  }
}

function levelOf(start: usize, end: usize): u32 {
  if (start >= end) return UNKNOWN;
  const fieldsEnd = end - start > FIELD_HEAD ? start + FIELD_HEAD : end;
  if (load<u8>(start) == 0x7b) return jsonLevel(start, fieldsEnd, end);
  if (isLogfmt(start, end)) return logfmtLevel(start, fieldsEnd, end);
  const head = headLevel(start, end);
  if (head) return head;
  const word = wordLevel(start, end);
  const field = logfmtLevel(start, word ? wordAt : fieldsEnd, end);
  return field ? field : word;
}

/** Level that the value of a field, at p behind the opening quote if there is one, stands for. */
function valueLevel(p: usize, end: usize): u32 {
  const n = letters(p, end, WORD_BYTES_MAX + 1);
  if (p + n < end && (flagsAt(p + n) & (LETTER | DIGIT) || load<u8>(p + n) == 0x5f)) return UNKNOWN;
  const kind = kindOf(p, n);
  return kind & KEY ? UNKNOWN : kind & LEVEL;
}

// A walk through the text that knows how deep it is and whether it is inside a string. Candidates come in rising order,
// so each byte is walked once whatever the text holds.
let walked: usize = 0;
let depth: i32 = 0;
let inString: bool = false;

function walkTo(p: usize): void {
  while (walked < p) {
    const byte = <u32>load<u8>(walked++);
    if (byte == 0x22) {
      inString = !inString;
    } else if (inString) {
      if (byte == 0x5c) ++walked;
    } else if ((byte | 0x20) == 0x7b) {
      ++depth;
    } else if ((byte | 0x20) == 0x7d) {
      --depth;
    }
  }
}

function walkFrom(start: usize): void {
  walked = start;
  depth = 0;
  inString = false;
}

/** Level of a JSON object, from the first of its own (not nested) members that names one. */
function jsonLevel(start: usize, stop: usize, end: usize): u32 {
  const quote = i8x16.splat(0x22);
  const l = i8x16.splat(0x6c);
  const s = i8x16.splat(0x73);
  const at = i8x16.splat(0x60);
  const bit = i8x16.splat(0x20);
  const open = i8x16.splat(0x7b);
  let nested: bool = false; // a bracket was opened before this block
  walkFrom(start);
  for (let p = start + 1; p < stop; p += 16) {
    const bytes = v128.load(p);
    // Names begin with l, s or @ (which has no such bit: ` stands in for both).
    const initial = v128.or(v128.load(p, 1), bit);
    const named = v128.or(v128.or(i8x16.eq(initial, l), i8x16.eq(initial, s)), i8x16.eq(initial, at));
    const found = v128.and(i8x16.eq(bytes, quote), named);
    const opened = i8x16.eq(v128.or(bytes, bit), open);
    if (v128.any_true(found)) {
      const opens = <u32>i8x16.bitmask(opened);
      let mask = <u32>i8x16.bitmask(found);
      do {
        const index = ctz(mask);
        const q = p + <usize>index;
        if (q >= stop) return UNKNOWN;
        const level = memberLevel(q + 1, end);
        if (level) {
          if (!nested && (opens & ((1 << index) - 1)) == 0) return level;
          walkTo(q);
          if (walked == q && depth == 1 && !inString) return level;
        }
        mask &= mask - 1;
      } while (mask);
    }
    nested = nested || v128.any_true(opened);
  }
  return UNKNOWN;
}

/** Level of the member whose name begins at p. */
function memberLevel(p: usize, end: usize): u32 {
  const quotes = <u32>i8x16.bitmask(i8x16.eq(v128.load(p), i8x16.splat(0x22)));
  if (!quotes) return UNKNOWN;
  const n = <usize>ctz(quotes);
  if (p + n >= end || !(kindOf(p, n) & KEY)) return UNKNOWN;
  let q = afterSpaces(p + n + 1, end);
  if (q >= end || load<u8>(q) != 0x3a) return UNKNOWN;
  q = afterSpaces(q + 1, end);
  if (q >= end) return UNKNOWN;
  const first = <u32>load<u8>(q);
  if (first == 0x22) return valueLevel(q + 1, end);
  // pino and bunyan: 10 trace, 20 debug, … 60 fatal.
  if (first - 0x31 > 5 || q + 2 >= end || load<u8>(q, 1) != 0x30) return UNKNOWN;
  return flagsAt(q + 2) & NAME ? UNKNOWN : first - 0x30;
}

function afterSpaces(p: usize, end: usize): usize {
  while (p < end && (load<u8>(p) == 0x20 || load<u8>(p) == 0x09)) ++p;
  return p;
}

/** Whether the text begins with `name=`. */
function isLogfmt(start: usize, end: usize): bool {
  let p = start;
  while (p < end && p - start < LOGFMT_NAME_MAX && flagsAt(p) & NAME) ++p;
  return p > start && p < end && load<u8>(p) == 0x3d;
}

/** Level of the first `level=…` outside of quotes whose = lies before `stop`. */
function logfmtLevel(start: usize, stop: usize, end: usize): u32 {
  const equals = i8x16.splat(0x3d);
  const l = i8x16.splat(0x6c);
  const y = i8x16.splat(0x79);
  const t = i8x16.splat(0x74);
  const e = i8x16.splat(0x65);
  const bit = i8x16.splat(0x20);
  walkFrom(start);
  for (let p = start; p < stop; p += 16) {
    const found = i8x16.eq(v128.load(p), equals);
    if (!v128.any_true(found)) continue;
    // Names end in l, y, t or e.
    const final = v128.or(v128.load(p - 1), bit);
    const named = v128.or(
      v128.or(i8x16.eq(final, l), i8x16.eq(final, y)),
      v128.or(i8x16.eq(final, t), i8x16.eq(final, e)),
    );
    let mask = <u32>i8x16.bitmask(v128.and(found, named));
    while (mask) {
      const q = p + <usize>ctz(mask);
      if (q >= stop) return UNKNOWN;
      mask &= mask - 1;
      const name = nameBefore(q, start);
      if (!(kindOf(name, q - name) & KEY)) continue;
      if (name > start && !(flagsAt(name - 1) & BEFORE_NAME)) continue;
      const value = q + 1 < end && load<u8>(q, 1) == 0x22 ? q + 2 : q + 1;
      const level = valueLevel(value, end);
      if (!level) continue;
      walkTo(name);
      if (!inString) return level;
    }
  }
  return UNKNOWN;
}

/** Where the name that ends before p begins. Looks back one byte further than any name that we know is long. */
function nameBefore(p: usize, start: usize): usize {
  const least = p - start > WORD_BYTES_MAX + 1 ? p - WORD_BYTES_MAX - 1 : start;
  while (p > least && flagsAt(p - 1) & NAME) --p;
  return p;
}
