import { BITS, BROKEN_UTF8, END, NON_ASCII, START } from "./layout";

export function utf8(block: usize, cap: u32, from: u32, to: u32): u32 {
  const stride = (<usize>cap) << 2;
  let broken: u32 = 0;
  for (let row = from; row < to; ++row) {
    const column = block + ((<usize>row) << 2);
    const bits = load<u32>(column + BITS * stride);
    if (!(bits & NON_ASCII)) continue;
    if (isUtf8(load<u32>(column + START * stride), load<u32>(column + END * stride))) {
      store<u32>(column + BITS * stride, bits & ~BROKEN_UTF8);
    } else {
      store<u32>(column + BITS * stride, bits | BROKEN_UTF8);
      ++broken;
    }
  }
  return broken;
}

/** Whether [p, end) is valid UTF-8. */
function isUtf8(p: usize, end: usize): bool {
  // The first block has nothing before it; every later one reads what is before it again, at odd addresses. Behind the
  // end the last block, which may be empty, has zeros, so that an unfinished sequence is followed by something wrong;
  // only the first of them counts, because what lies before the others is not text.
  const none = i8x16.splat(0);
  let block = upTo(v128.load(p), p, end);
  let bad = faults(
    block,
    i8x16.shuffle(none, block, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30),
    i8x16.shuffle(none, block, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29),
    i8x16.shuffle(none, block, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28),
  );
  for (p += 16; p <= end; p += 16) {
    const three = v128.load(p - 3);
    block = v128.load(p);
    if (i8x16.bitmask(v128.or(block, three)) == 0) continue;
    block = upTo(block, p, end);
    bad = v128.or(bad, upTo(faults(block, v128.load(p - 1), v128.load(p - 2), three), p, end + 1));
  }
  return !v128.any_true(bad);
}

/** The 16 bytes that belong to p with zeros for those from `end` on. */
function upTo(block: v128, p: usize, end: usize): v128 {
  const left = end - p;
  if (left >= 16) return block;
  const index = i8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return v128.and(block, i8x16.lt_u(index, i8x16.splat(<u8>left)));
}

/**
 * Non-zero bytes where `block`, with the blocks that begin one, two and three bytes before it, is no UTF-8. The method
 * is that of Keiser and Lemire, "Validating UTF-8 in less than one instruction per byte" (2021): two neighbouring
 * bytes are looked up in three tables, by the halves of the first and the high half of the second. Each entry is a set
 * of faults that this half leaves possible; what all three leave possible is a fault. Bits of the sets:
 *
 *     1 lead, then no continuation      2 ASCII, then a continuation      4 overlong: E0 80..9F
 *     8 too large: F4 90.. and above   16 surrogate: ED A0..BF           32 overlong: C0, C1
 *    64 F0 80..8F, F5.. 80..8F        128 two continuations: right only as third or fourth byte, which `due` says
 */
function faults(block: v128, before1: v128, before2: v128, before3: v128): v128 {
  const firstHigh = i8x16.swizzle(
    // 0..7: 2; 8..B: 128; C: 1 + 32; D: 1; E: 1 + 4 + 16; F: 1 + 8 + 64
    i8x16(2, 2, 2, 2, 2, 2, 2, 2, -128, -128, -128, -128, 33, 1, 21, 73),
    i8x16.shr_u(before1, 4),
  );
  const firstLow = i8x16.swizzle(
    // 1 + 2 + 128 everywhere; 0: 4 + 32 + 64; 1: 32; 4: 8; 5 and above: 8 + 64; D: 8 + 64 + 16
    i8x16(-25, -93, -125, -125, -117, -53, -53, -53, -53, -53, -53, -53, -53, -37, -53, -53),
    v128.and(before1, i8x16.splat(15)),
  );
  const secondHigh = i8x16.swizzle(
    // 0..7 and C..F: 1; 8: 2 + 4 + 32 + 64 + 128; 9: 2 + 4 + 8 + 32 + 128; A, B: 2 + 8 + 16 + 32 + 128
    i8x16(1, 1, 1, 1, 1, 1, 1, 1, -26, -82, -70, -70, 1, 1, 1, 1),
    i8x16.shr_u(block, 4),
  );
  const possible = v128.and(v128.and(firstHigh, firstLow), secondHigh);
  // A continuation is due where E0.. lies two bytes before or F0.. three: their difference then has its top bit set.
  const due = v128.or(i8x16.sub_sat_u(before2, i8x16.splat(0x60)), i8x16.sub_sat_u(before3, i8x16.splat(0x70)));
  return v128.xor(v128.and(due, i8x16.splat(-128)), possible);
}

/**
 * Length of the UTF-8 sequence at p, or minus the length of what U+FFFD stands for there: the longest beginning of a
 * valid sequence, else one byte (WHATWG Encoding, "UTF-8 decoder").
 */
export function sequence(p: usize, end: usize): i32 {
  const lead = <u32>load<u8>(p);
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return -1;
  let lower: u32 = 0x80;
  let upper: u32 = 0xbf;
  if (lead == 0xe0) lower = 0xa0;
  else if (lead == 0xed) upper = 0x9f;
  else if (lead == 0xf0) lower = 0x90;
  else if (lead == 0xf4) upper = 0x8f;
  const length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  for (let i = 1; i < length; ++i) {
    if (p + i >= end) return -i;
    const byte = <u32>load<u8>(p + i);
    if (byte < lower || byte > upper) return -i;
    lower = 0x80;
    upper = 0xbf;
  }
  return length;
}

/** Bytes of [p, end) once what is no UTF-8 is replaced by U+FFFD. */
export function replacedLength(p: usize, end: usize): usize {
  let bytes: usize = 0;
  while (p < end) {
    const length = sequence(p, end);
    bytes += length > 0 ? <usize>length : 3;
    p += abs(length);
  }
  return bytes;
}

/** Copies [p, end) to out with U+FFFD for what is no UTF-8; returns the address after the last byte. */
export function copyReplaced(out: usize, p: usize, end: usize): usize {
  while (p < end) {
    const length = sequence(p, end);
    if (length > 0) {
      for (let i = 0; i < length; ++i) store<u8>(out++, load<u8>(p++));
    } else {
      out = replacement(out);
      p -= length;
    }
  }
  return out;
}

/** Writes U+FFFD. */
export function replacement(out: usize): usize {
  store<u16>(out, 0xbfef);
  store<u8>(out, 0xbd, 2);
  return out + 3;
}
