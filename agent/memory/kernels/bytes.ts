// Moving and finding bytes. Loads may touch up to 63 bytes behind a range (never used for a result); stores never
// leave it.

/** Set by findNewline: whether a byte of 0x80 or above lies before the newline. */
export let nonAscii: bool = false;

/** Address of the first newline in [p, to), or 0. */
export function findNewline(p: usize, to: usize): usize {
  const newline = i8x16.splat(10);
  let high = i8x16.splat(0);
  while (p < to) {
    const a = v128.load(p);
    const b = v128.load(p, 16);
    const c = v128.load(p, 32);
    const d = v128.load(p, 48);
    const ea = i8x16.eq(a, newline);
    const eb = i8x16.eq(b, newline);
    const ec = i8x16.eq(c, newline);
    const ed = i8x16.eq(d, newline);
    const all = v128.or(v128.or(a, b), v128.or(c, d));
    if (v128.any_true(v128.or(v128.or(ea, eb), v128.or(ec, ed)))) {
      const mask = bits64(ea, eb, ec, ed);
      const length = ctz(mask);
      const end = p + <usize>length;
      if (end >= to) return 0;
      const before = ((<u64>1) << length) - 1;
      nonAscii = i8x16.bitmask(high) != 0 || (i8x16.bitmask(all) != 0 && (bits64(a, b, c, d) & before) != 0);
      return end;
    }
    high = v128.or(high, all);
    p += 64;
  }
  return 0;
}

/** The top bits of 64 bytes. */
function bits64(a: v128, b: v128, c: v128, d: v128): u64 {
  return (
    (<u64>((<u32>i8x16.bitmask(a)) | ((<u32>i8x16.bitmask(b)) << 16))) |
    ((<u64>((<u32>i8x16.bitmask(c)) | ((<u32>i8x16.bitmask(d)) << 16))) << 32)
  );
}

/** Copies n bytes between ranges that do not overlap; returns the address after the last byte written. */
export function copy(out: usize, from: usize, n: usize): usize {
  const end = out + n;
  if (n >= 16) {
    const lastOut = end - 16;
    const last = v128.load(from + n - 16);
    while (out < lastOut) {
      v128.store(out, v128.load(from));
      out += 16;
      from += 16;
    }
    v128.store(lastOut, last);
  } else if (n >= 8) {
    const last = load<u64>(from + n - 8);
    store<u64>(out, load<u64>(from));
    store<u64>(end - 8, last);
  } else if (n >= 4) {
    const last = load<u32>(from + n - 4);
    store<u32>(out, load<u32>(from));
    store<u32>(end - 4, last);
  } else if (n) {
    store<u8>(out, load<u8>(from));
    store<u8>(out + (n >> 1), load<u8>(from + (n >> 1)));
    store<u8>(end - 1, load<u8>(from + n - 1));
  }
  return end;
}

/** Whether n bytes at a and b are equal. */
export function equal(a: usize, b: usize, n: usize): bool {
  while (n >= 8) {
    if (load<u64>(a) != load<u64>(b)) return false;
    a += 8;
    b += 8;
    n -= 8;
  }
  if (!n) return true;
  const shift = <u64>(64 - (n << 3));
  return (load<u64>(a) ^ load<u64>(b)) << shift == 0;
}

export function lineLength(from: usize, to: usize): usize {
  const newline = findNewline(from, to);
  return newline ? newline + 1 - from : 0;
}
