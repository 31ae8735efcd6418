// RFC 3339 times to (seconds, nanoseconds) and back, without a Date.

/** Results of parseTime. */
export let seconds: u32 = 0;
export let nanos: u32 = 0;

// The last date and minute that parsed, as its 16 bytes `2026-11-23T10:00`, and what they stand for.
let minuteBytes: v128 = i8x16(
  0x31,
  0x39,
  0x37,
  0x30,
  0x2d,
  0x30,
  0x31,
  0x2d,
  0x30,
  0x31,
  0x54,
  0x30,
  0x30,
  0x3a,
  0x30,
  0x30,
);
let minuteSeconds: i64 = 0;

/**
 * Parses `2026-11-23T10:00:00[.1 to 9 digits](Z|±hh:mm)` at p into `seconds` and `nanos`. Returns the address after it,
 * or 0 when it is no such time or lies outside 1970-01-01 .. 2106-02-07, which is what 32 bits hold. Reads on where
 * bytes match, so a time that ends behind the line's end must be refused by the caller.
 */
export function parseTime(p: usize): usize {
  const head = v128.load(p);
  if (v128.any_true(v128.xor(head, minuteBytes)) && !parseMinute(p, head)) return 0;
  // ":SS" and the byte after, each digit checked.
  const tail = load<u32>(p, 16) ^ 0x0030303a;
  const tens = (tail >> 8) & 0xff;
  const ones = (tail >> 16) & 0xff;
  if ((tail & 0xff) != 0 || tens > 5 || ones > 9) return 0;
  let sum = minuteSeconds + <i64>(tens * 10 + ones);
  let q = p + 19;
  let fraction: u32 = 0;
  if (tail >> 24 == 0x2e) {
    const eight = load<u64>(p, 20) ^ 0x3030303030303030;
    const ninth = (<u32>load<u8>(p, 28)) ^ 0x30;
    if (isEightDigits(eight) && ninth <= 9) {
      fraction = eightDigits(eight) * 10 + ninth;
      q = p + 29;
    } else {
      q = p + 20;
      let scale: u32 = 100000000;
      for (;;) {
        const digit = (<u32>load<u8>(q)) ^ 0x30;
        if (digit > 9) break;
        fraction += digit * scale;
        scale /= 10;
        ++q;
      }
      if (q == p + 20) return 0;
    }
  }
  const zone = <u32>load<u8>(q);
  if (zone == 0x5a) {
    ++q;
  } else if (zone == 0x2b || zone == 0x2d) {
    const hours = twoDigits(q + 1);
    const minutes = twoDigits(q + 4);
    if (hours > 23 || minutes > 59 || load<u8>(q, 3) != 0x3a) return 0;
    const offset = <i64>((hours * 60 + minutes) * 60);
    sum += zone == 0x2b ? -offset : offset;
    q += 6;
  } else {
    return 0;
  }
  if (<u64>sum > 0xffffffff) return 0;
  seconds = <u32>sum;
  nanos = fraction;
  return q;
}

/** Two ASCII digits as a number, or above 99 when they are none. */
function twoDigits(p: usize): u32 {
  const tens = (<u32>load<u8>(p)) ^ 0x30;
  const ones = (<u32>load<u8>(p, 1)) ^ 0x30;
  return tens > 9 || ones > 9 ? 100 : tens * 10 + ones;
}

/** Whether eight bytes, each xor'ed with '0', are all digits. */
function isEightDigits(x: u64): bool {
  return ((x + 0x0606060606060606) | x) & 0xf0f0f0f0f0f0f0f0 ? false : true;
}

/** The value of eight digits (first digit in the lowest byte): pairs, then fours, then all. */
function eightDigits(x: u64): u32 {
  x = x * 10 + (x >> 8);
  return <u32>(
    (((x & 0x000000ff000000ff) * 0x000f424000000064 + ((x >> 16) & 0x000000ff000000ff) * 0x0000271000000001) >> 32)
  );
}

function parseMinute(p: usize, head: v128): bool {
  const century = twoDigits(p);
  const years = twoDigits(p + 2);
  const month = twoDigits(p + 5);
  const day = twoDigits(p + 8);
  const hour = twoDigits(p + 11);
  const minute = twoDigits(p + 14);
  if (century > 99 || years > 99 || month - 1 > 11 || hour > 23 || minute > 59) return false;
  if (load<u8>(p, 4) != 0x2d || load<u8>(p, 7) != 0x2d || load<u8>(p, 10) != 0x54 || load<u8>(p, 13) != 0x3a)
    return false;
  const year = century * 100 + years;
  if (day - 1 >= daysOfMonth(year, month)) return false;
  minuteSeconds = (<i64>daysSince1970(year, month, day) * 1440 + <i64>(hour * 60 + minute)) * 60;
  minuteBytes = head;
  return true;
}

function daysOfMonth(year: u32, month: u32): u32 {
  if (month == 2) return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28;
  return 30 + ((month + (month >> 3)) & 1);
}

/** Days from 1970-01-01 in the Gregorian calendar. Years are counted from March, so that the leap day comes last. */
function daysSince1970(year: u32, month: u32, day: u32): i32 {
  const y = <i32>year - (month <= 2 ? 1 : 0);
  const m = <i32>(month <= 2 ? month + 9 : month - 3);
  // floor divisions: y is -1 only for January and February of year 0.
  const leaps = (y >= 0 ? y / 4 : -1) - (y >= 0 ? y / 100 : -1) + (y >= 0 ? y / 400 : -1);
  return y * 365 + leaps + (153 * m + 2) / 5 + <i32>day - 1 - 719468;
}
