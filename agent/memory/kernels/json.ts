import { replacement, sequence } from "./utf8";

// Text into JSON strings: `"` and `\` get a backslash, control characters their short escape or \u00xx, bytes that are
// no UTF-8 become U+FFFD, everything else stays as it is.

/** escape() may write up to this many bytes per byte of text, and ESCAPE_SLACK bytes behind its result. */
export const ESCAPE_RATIO: usize = 6;
export const ESCAPE_SLACK: usize = 16;

/**
 * For each set of bits 0..7 the shuffle that puts byte 8 (a backslash) before each of the bytes 0..7 with a bit set.
 */
const spread: usize = memory.data(4096, 16);

for (let set: usize = 0; set < 256; ++set) {
  let at = spread + (set << 4);
  for (let i: usize = 0; i < 8; ++i) {
    if ((set >> i) & 1) store<u8>(at++, 8);
    store<u8>(at++, <u8>i);
  }
}

/** Second character of the two-character escape of a control character below 16; 0: it has none. */
function shortEscapes(bytes: v128): v128 {
  //                      8: b, 9: t, 10: n,      12: f, 13: r
  return i8x16.swizzle(i8x16(0, 0, 0, 0, 0, 0, 0, 0, 0x62, 0x74, 0x6e, 0, 0x66, 0x72, 0, 0), bytes);
}

/** Writes the escaped form of [p, end), which is valid UTF-8, to out. Returns the address after it. */
export function escape(out: usize, p: usize, end: usize): usize {
  const quote = i8x16.splat(0x22);
  const backslash = i8x16.splat(0x5c);
  const space = i8x16.splat(0x20);
  while (p < end) {
    const bytes = v128.load(p);
    const left = end - p;
    const control = i8x16.lt_u(bytes, space);
    const special = v128.or(v128.or(i8x16.eq(bytes, quote), i8x16.eq(bytes, backslash)), control);
    v128.store(out, bytes);
    let set = <u32>i8x16.bitmask(special);
    if (left < 16) set &= (1 << (<u32>left)) - 1;
    if (!set) {
      if (left <= 16) return out + left;
      p += 16;
      out += 16;
      continue;
    }
    const short = shortEscapes(bytes);
    const long = (<u32>i8x16.bitmask(v128.and(control, i8x16.eq(short, i8x16.splat(0))))) & set;
    const n = left < 16 ? left : 16;
    if (long) {
      // Byte for byte: the block may begin or end inside a sequence.
      for (let at = p; at < p + n; ++at) out = escapeByte(out, load<u8>(at));
    } else {
      const letters = v128.bitselect(short, bytes, control);
      const low = i8x16.shuffle(letters, backslash, 0, 1, 2, 3, 4, 5, 6, 7, 16, 16, 16, 16, 16, 16, 16, 16);
      const high = i8x16.shuffle(letters, backslash, 8, 9, 10, 11, 12, 13, 14, 15, 16, 16, 16, 16, 16, 16, 16, 16);
      v128.store(out, i8x16.swizzle(low, v128.load(spread + (((<usize>set) & 255) << 4))));
      const middle = out + 8 + <usize>popcnt(set & 255);
      v128.store(middle, i8x16.swizzle(high, v128.load(spread + (((<usize>set) >> 8) << 4))));
      out += n + <usize>popcnt(set);
    }
    p += n;
  }
  return out;
}

/** The same, byte for byte and never writing behind the result; [p, end) need not be UTF-8. */
export function escapeEach(out: usize, p: usize, end: usize): usize {
  while (p < end) {
    const byte = <u32>load<u8>(p);
    if (byte < 0x80) {
      out = escapeByte(out, byte);
      ++p;
      continue;
    }
    const length = sequence(p, end);
    if (length < 0) {
      out = replacement(out);
      p -= length;
    } else {
      for (let i = 0; i < length; ++i) store<u8>(out++, load<u8>(p++));
    }
  }
  return out;
}

function shortEscape(byte: u32): u32 {
  if (byte == 0x22 || byte == 0x5c) return byte;
  if (byte == 0x08) return 0x62;
  if (byte == 0x09) return 0x74;
  if (byte == 0x0a) return 0x6e;
  if (byte == 0x0c) return 0x66;
  return byte == 0x0d ? 0x72 : 0;
}

function escapeByte(out: usize, byte: u32): usize {
  const short = shortEscape(byte);
  if (short) {
    store<u8>(out, 0x5c);
    store<u8>(out, short, 1);
    return out + 2;
  }
  if (byte >= 0x20) {
    store<u8>(out, byte);
    return out + 1;
  }
  const digit = byte & 15;
  store<u32>(out, 0x3030755c); // \u00
  store<u8>(out, 0x30 + (byte >> 4), 4);
  store<u8>(out, digit < 10 ? 0x30 + digit : 0x57 + digit, 5);
  return out + 6;
}

/** Bytes that escapeEach would write. */
export function escapedLength(p: usize, end: usize): usize {
  let bytes: usize = 0;
  while (p < end) {
    const byte = <u32>load<u8>(p);
    if (byte < 0x80) {
      bytes += shortEscape(byte) ? 2 : byte < 0x20 ? 6 : 1;
      ++p;
      continue;
    }
    const length = sequence(p, end);
    bytes += length < 0 ? 3 : <usize>length;
    p += abs(length);
  }
  return bytes;
}
