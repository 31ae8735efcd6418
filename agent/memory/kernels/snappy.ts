import { copy } from "./bytes";

const FRAGMENT_BYTES: usize = 65536; // offsets within a fragment fit the 16-bit table
const MARGIN: usize = 15; // matches are not looked for in the last bytes, so wide loads stay inside

export function snappy(from: usize, to: usize, out: usize, table: usize): u32 {
  const start = out;
  let length = <u32>(to - from);
  while (length > 0x7f) {
    store<u8>(out++, length | 0x80);
    length >>= 7;
  }
  store<u8>(out++, length);
  while (from < to) {
    const left = to - from;
    const end = left < FRAGMENT_BYTES ? to : from + FRAGMENT_BYTES;
    out = fragment(from, end, out, table);
    from = end;
  }
  return <u32>(out - start);
}

function fragment(base: usize, end: usize, out: usize, table: usize): usize {
  const size = end - base;
  let emitted = base;
  if (size > MARGIN) {
    let tableBits: u32 = 14;
    while (tableBits > 8 && (<usize>1) << (tableBits - 1) >= size) --tableBits;
    const shift = 32 - tableBits;
    memory.fill(table, 0, (<usize>2) << tableBits);
    const limit = end - MARGIN;
    let p = base + 1;
    for (;;) {
      let skip: u32 = 32;
      let next = p;
      let candidate: usize = 0;
      let data = load<u32>(p);
      do {
        p = next;
        const slot = table + ((<usize>((data * 0x1e35a7bd) >> shift)) << 1);
        next = p + <usize>(skip >> 5);
        ++skip;
        if (next > limit) return literal(out, emitted, end);
        candidate = base + load<u16>(slot);
        store<u16>(slot, <u16>(p - base));
        if (data == load<u32>(candidate)) break;
        data = load<u32>(next);
      } while (true);
      out = literal(out, emitted, p);
      do {
        const matched: usize = 4 + common(candidate + 4, p + 4, end);
        out = copies(out, <u32>(p - candidate), <u32>matched);
        p += matched;
        emitted = p;
        if (p >= limit) return literal(out, emitted, end);
        const before = load<u64>(p - 1);
        const slotBefore = table + ((<usize>((<u32>before * 0x1e35a7bd) >> shift)) << 1);
        store<u16>(slotBefore, <u16>(p - base - 1));
        const now = <u32>(before >> 8);
        const slot = table + ((<usize>((now * 0x1e35a7bd) >> shift)) << 1);
        candidate = base + load<u16>(slot);
        store<u16>(slot, <u16>(p - base));
        if (now != load<u32>(candidate)) break;
      } while (true);
      ++p;
    }
  }
  return literal(out, emitted, end);
}

/** How many bytes at a and at b (a < b) are equal, at most up to end. */
function common(a: usize, b: usize, end: usize): usize {
  const start = b;
  while (b + 8 <= end) {
    const x = load<u64>(a) ^ load<u64>(b);
    if (x) return b - start + <usize>(ctz(x) >> 3);
    a += 8;
    b += 8;
  }
  while (b < end && load<u8>(a) == load<u8>(b)) {
    ++a;
    ++b;
  }
  return b - start;
}

function literal(out: usize, from: usize, to: usize): usize {
  const n = to - from;
  if (!n) return out;
  const m = <u32>n - 1;
  if (m < 60) {
    store<u8>(out++, m << 2);
  } else if (m < 256) {
    store<u16>(out, <u16>(0xf0 | (m << 8)));
    out += 2;
  } else {
    store<u8>(out, 0xf4);
    store<u16>(out, <u16>m, 1);
    out += 3;
  }
  return copy(out, from, n);
}

function copies(out: usize, offset: u32, length: u32): usize {
  while (length >= 68) {
    store<u8>(out, (63 << 2) | 2);
    store<u16>(out, <u16>offset, 1);
    out += 3;
    length -= 64;
  }
  if (length > 64) {
    store<u8>(out, (59 << 2) | 2);
    store<u16>(out, <u16>offset, 1);
    out += 3;
    length -= 60;
  }
  if (length < 12 && offset < 2048) {
    store<u16>(out, <u16>(1 | ((length - 4) << 2) | ((offset >> 8) << 5) | ((offset & 0xff) << 8)));
    return out + 2;
  }
  store<u8>(out, ((length - 1) << 2) | 2);
  store<u16>(out, <u16>offset, 1);
  return out + 3;
}
