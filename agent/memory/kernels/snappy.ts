import { copy } from "./bytes";

// Snappy's block format (format_description.txt of google/snappy): the length as a varint, then literals and copies of
// what came before. Logs repeat whole phrases, so places are remembered by six bytes: fewer and longer matches than by
// the usual four are both smaller and faster.

const FRAGMENT_BYTES: usize = 65536; // places in a fragment fit the 16-bit table, and distances a copy
const TABLE_BITS_MAX: u32 = 14;
const TABLE_BITS_MIN: u32 = 8;
const MARGIN: usize = 16; // no match begins in the last bytes, so that eight can always be read
const SKIP: u32 = 16; // after so many places without a match, every second one is tried, then every third, …

export function snappy(from: usize, to: usize, out: usize, table: usize): u32 {
  const start = out;
  let length = <u32>(to - from);
  while (length > 0x7f) {
    store<u8>(out++, length | 0x80);
    length >>= 7;
  }
  store<u8>(out++, length);
  while (from < to) {
    const end = to - from < FRAGMENT_BYTES ? to : from + FRAGMENT_BYTES;
    out = fragment(from, end, out, table);
    from = end;
  }
  return <u32>(out - start);
}

/** Address of the table's entry for the first six of the eight bytes; a table of 2^n entries has shift 64 - n. */
function slotOf(table: usize, eight: u64, shift: u64): usize {
  return table + ((<usize>(((eight << 16) * 0x9e3779b97f4a7c15) >> shift)) << 1);
}

function fragment(base: usize, end: usize, out: usize, table: usize): usize {
  const size = end - base;
  if (size <= MARGIN) return literal(out, base, end);
  let tableBits = TABLE_BITS_MAX;
  while (tableBits > TABLE_BITS_MIN && (<usize>1) << (tableBits - 1) >= size) --tableBits;
  memory.fill(table, 0, (<usize>2) << tableBits);
  const limit = end - MARGIN;
  const shift = <u64>(64 - tableBits);
  let emitted = base;
  let p = base + 1;
  let eight = load<u64>(p);
  while (true) {
    // Look for four bytes that came before.
    let skip = SKIP;
    let match: usize;
    while (true) {
      const slot = slotOf(table, eight, shift);
      match = base + load<u16>(slot);
      store<u16>(slot, <u16>(p - base));
      if (<u32>eight == load<u32>(match)) break;
      p += <usize>(skip++ / SKIP);
      if (p > limit) return literal(out, emitted, end);
      eight = load<u64>(p);
    }
    out = shortLiteral(out, emitted, p);
    // Copy it, and what may be repeated directly behind it.
    do {
      const length = common(match, p, end);
      out = copies(out, <u32>(p - match), <u32>length);
      p += length;
      emitted = p;
      if (p > limit) return literal(out, emitted, end);
      store<u16>(slotOf(table, load<u64>(p - 1), shift), <u16>(p - base - 1));
      eight = load<u64>(p);
      const slot = slotOf(table, eight, shift);
      match = base + load<u16>(slot);
      store<u16>(slot, <u16>(p - base));
    } while (<u32>eight == load<u32>(match));
    if (++p > limit) return literal(out, emitted, end);
    eight = load<u64>(p);
  }
}

/** How many bytes from a and from b (a < b) are equal, at most up to end. */
function common(a: usize, b: usize, end: usize): usize {
  const start = b;
  do {
    const different = <u32>i8x16.bitmask(i8x16.ne(v128.load(a), v128.load(b)));
    if (different) {
      b += <usize>ctz(different);
      break;
    }
    a += 16;
    b += 16;
  } while (b < end);
  return (b < end ? b : end) - start;
}

/**
 * Writes a literal that is not the last. Up to 16 bytes are stored at once, whatever their number: snappyBound leaves
 * at least
 * 32 bytes of room behind what is written, because MARGIN bytes of input are still to come.
 */
function shortLiteral(out: usize, from: usize, to: usize): usize {
  const n = to - from;
  if (n - 1 >= 16) return literal(out, from, to);
  store<u8>(out, <u8>((n - 1) << 2));
  v128.store(out, v128.load(from), 1);
  return out + 1 + n;
}

function literal(out: usize, from: usize, to: usize): usize {
  const n = to - from;
  if (!n) return out;
  const last = <u32>n - 1;
  if (last < 60) {
    store<u8>(out++, <u8>(last << 2));
  } else if (last < 256) {
    store<u16>(out, <u16>(0xf0 | (last << 8)));
    out += 2;
  } else {
    store<u8>(out, 0xf4);
    store<u16>(out, <u16>last, 1);
    out += 3;
  }
  return copy(out, from, n);
}

/**
 * Writes copies of `length` >= 4 bytes that lie `offset` bytes back: 64 bytes at most in one, 4 at least in the last.
 */
function copies(out: usize, offset: u32, length: u32): usize {
  if (length > 64) {
    while (length >= 68) {
      out = longCopy(out, offset, 64);
      length -= 64;
    }
    if (length > 64) {
      out = longCopy(out, offset, 60);
      length -= 60;
    }
  }
  if (length >= 12 || offset >= 2048) return longCopy(out, offset, length);
  store<u16>(out, <u16>(1 | ((length - 4) << 2) | ((offset >> 8) << 5) | ((offset & 0xff) << 8)));
  return out + 2;
}

/** A copy in three bytes; four are stored. */
function longCopy(out: usize, offset: u32, length: u32): usize {
  store<u32>(out, 2 | ((length - 1) << 2) | (offset << 8));
  return out + 3;
}
