import { replacement } from "./utf8";

// JSON strings as they lie in a line: finding their end, and undoing their escapes in place.

/**
 * Set by scanText: the first backslash in the text (0: none), and whether the unescaped text holds bytes above 0x7f.
 */
export let escaped: usize = 0;
export let textNonAscii: bool = false;

/** Address of the quote that closes the string whose first byte is at p, or 0. */
export function closingQuote(p: usize, end: usize): usize {
  while (p < end) {
    const byte = <u32>load<u8>(p);
    if (byte == 0x22) return p;
    p += byte == 0x5c ? 2 : 1;
  }
  return 0;
}

/** The same for a text that unescape() will get: 0 as well when it holds an escape that JSON does not have. */
export function scanText(p: usize, end: usize): usize {
  const quote = i8x16.splat(0x22);
  const backslash = i8x16.splat(0x5c);
  let high: u32 = 0;
  escaped = 0;
  while (p < end) {
    const bytes = v128.load(p);
    const set = <u32>i8x16.bitmask(v128.or(i8x16.eq(bytes, quote), i8x16.eq(bytes, backslash)));
    const tops = <u32>i8x16.bitmask(bytes);
    if (!set) {
      high |= tops;
      p += 16;
      continue;
    }
    const n = ctz(set);
    high |= tops & ((1 << n) - 1);
    p += <usize>n;
    if (p >= end) return 0;
    if (load<u8>(p) == 0x22) {
      textNonAscii = high != 0;
      return p;
    }
    if (!escaped) escaped = p;
    const letter = <u32>load<u8>(p, 1);
    if (letter == 0x75) {
      const unit = hexUnit(p + 2);
      if (unit < 0) return 0;
      high |= unit > 0x7f ? 1 : 0;
      p += 6;
    } else {
      if (!unescaped(letter)) return 0;
      p += 2;
    }
  }
  return 0;
}

/** The byte that a backslash and this letter stand for; 0: JSON has no such escape. */
function unescaped(letter: u32): u32 {
  if (letter == 0x22 || letter == 0x5c || letter == 0x2f) return letter;
  if (letter == 0x6e) return 0x0a;
  if (letter == 0x74) return 0x09;
  if (letter == 0x72) return 0x0d;
  if (letter == 0x62) return 0x08;
  return letter == 0x66 ? 0x0c : 0;
}

/** The UTF-16 unit of four hexadecimal digits, or -1. */
function hexUnit(p: usize): i32 {
  let unit: i32 = 0;
  for (let i: usize = 0; i < 4; ++i) {
    const byte = <i32>load<u8>(p + i);
    const letter = (byte | 0x20) - 0x61;
    if (<u32>(byte - 0x30) < 10) unit = (unit << 4) | (byte - 0x30);
    else if (<u32>letter < 6) unit = (unit << 4) | (letter + 10);
    else return -1;
  }
  return unit;
}

/** For each set of bits 0..7 the shuffle that leaves the bytes of the set out. */
const squeeze: usize = memory.data(2048, 16);

for (let set: usize = 0; set < 256; ++set) {
  let at = squeeze + (set << 3);
  for (let i: usize = 0; i < 8; ++i) {
    if (!((set >> i) & 1)) store<u8>(at++, <u8>i);
  }
}

/**
 * Undoes the escapes of [p, end), which scanText accepted, where they lie; returns the new end. There is an escape at
 * p, so from then on `out` is behind p, and a store at `out` of bytes up to p + n never reaches bytes that are still
 * to be read.
 */
export function unescape(p: usize, end: usize): usize {
  const backslash = i8x16.splat(0x5c);
  let out = p;
  while (p < end) {
    const bytes = v128.load(p);
    let set = <u32>i8x16.bitmask(i8x16.eq(bytes, backslash));
    const left = end - p;
    if (left >= 16) {
      if (!set) {
        v128.store(out, bytes);
        out += 16;
        p += 16;
        continue;
      }
      // Escapes of single characters that stand for themselves: their backslashes go, eight bytes at a time.
      const letters = <u32>i8x16.bitmask(i8x16.gt_u(bytes, i8x16.splat(0x5f)));
      if ((set & (set << 1) & 0xffff) == 0 && (letters & (set << 1)) == 0) {
        const n: usize = 16 - (set >> 15); // an escape that begins in the last byte is left to the next turn
        set &= 0x7fff;
        const low = i8x16.swizzle(bytes, v128.load64_zero(squeeze + (((<usize>set) & 255) << 3)));
        store<u64>(out, i64x2.extract_lane(low, 0));
        out += 8 - <usize>popcnt(set & 255);
        const upper = i8x16.shuffle(bytes, bytes, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15);
        const high = i8x16.swizzle(upper, v128.load64_zero(squeeze + (((<usize>set) >> 8) << 3)));
        store<u64>(out, i64x2.extract_lane(high, 0));
        out += n - 8 - <usize>popcnt(set >> 8);
        p += n;
        continue;
      }
    }
    let n: usize = set ? <usize>ctz(set) : 16;
    if (n > left) n = left;
    out = storeFirst(out, bytes, n);
    p += n;
    if (p >= end || load<u8>(p) != 0x5c) continue;
    const letter = <u32>load<u8>(p, 1);
    if (letter != 0x75) {
      store<u8>(out++, unescaped(letter));
      p += 2;
    } else {
      const code = codeAt(p, end);
      p += code < 0x10000 ? 6 : 12;
      out = writeCode(out, code);
    }
  }
  return out;
}

/** The code point of the \u escape at p, or of the two that are a surrogate pair. */
function codeAt(p: usize, end: usize): u32 {
  const code = <u32>hexUnit(p + 2);
  if (code - 0xd800 >= 0x400 || p + 6 >= end || load<u16>(p, 6) != 0x755c) return code;
  const low = <u32>hexUnit(p + 8) - 0xdc00;
  return low < 0x400 ? 0x10000 + ((code - 0xd800) << 10) + low : code;
}

/** Stores the first n bytes of the vector and nothing else. */
function storeFirst(out: usize, bytes: v128, n: usize): usize {
  if (n == 16) {
    v128.store(out, bytes);
    return out + 16;
  }
  let rest = <u64>i64x2.extract_lane(bytes, 0);
  if (n & 8) {
    store<u64>(out, rest);
    rest = <u64>i64x2.extract_lane(bytes, 1);
    out += 8;
  }
  if (n & 4) {
    store<u32>(out, <u32>rest);
    rest >>= 32;
    out += 4;
  }
  if (n & 2) {
    store<u16>(out, <u16>rest);
    rest >>= 16;
    out += 2;
  }
  if (n & 1) store<u8>(out++, <u8>rest);
  return out;
}

/** Writes a code point as UTF-8, a surrogate as U+FFFD. */
function writeCode(out: usize, code: u32): usize {
  if (code < 0x80) {
    store<u8>(out, code);
    return out + 1;
  }
  if (code < 0x800) {
    store<u8>(out, 0xc0 | (code >> 6));
    store<u8>(out, 0x80 | (code & 63), 1);
    return out + 2;
  }
  if (code - 0xd800 < 0x800) return replacement(out);
  if (code < 0x10000) {
    store<u8>(out, 0xe0 | (code >> 12));
    store<u8>(out, 0x80 | ((code >> 6) & 63), 1);
    store<u8>(out, 0x80 | (code & 63), 2);
    return out + 3;
  }
  store<u8>(out, 0xf0 | (code >> 18));
  store<u8>(out, 0x80 | ((code >> 12) & 63), 1);
  store<u8>(out, 0x80 | ((code >> 6) & 63), 2);
  store<u8>(out, 0x80 | (code & 63), 3);
  return out + 4;
}
