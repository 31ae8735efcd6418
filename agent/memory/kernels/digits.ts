// Numbers and times into ASCII digits.

/** Writes v < 100,000,000 as eight digits. */
function writeEight(out: usize, v: u32): void {
  // Halves, then pairs, then digits, each in its own lane; the divisions are multiplications by rounded reciprocals.
  const halves = (<u64>(v / 10000)) | ((<u64>(v % 10000)) << 32);
  const hundreds = ((halves * 10486) >> 20) & 0x0000007f0000007f;
  const pairs = hundreds | ((halves - hundreds * 100) << 16);
  const tens = ((pairs * 103) >> 10) & 0x000f000f000f000f;
  store<u64>(out, (tens | ((pairs - tens * 10) << 8)) + 0x3030303030303030);
}

/** Writes v < 1,000,000,000 as nine digits; returns the address after them. */
export function writeNine(out: usize, v: u32): usize {
  const eight = v / 10;
  writeEight(out, eight);
  store<u8>(out, 0x30 + (v - eight * 10), 8);
  return out + 9;
}

/** Writes v without leading zeros; returns the address after it. */
export function writeNumber(out: usize, v: u32): usize {
  let digits: usize = 1;
  for (let rest = v; rest > 9; rest /= 10) ++digits;
  const end = out + digits;
  for (let at = end; at > out; v /= 10) store<u8>(--at, 0x30 + (v % 10));
  return end;
}

/** Writes v < 100 as two digits. */
function writeTwo(out: usize, v: u32): void {
  const tens = v / 10;
  store<u16>(out, <u16>(0x3030 + tens + ((v - tens * 10) << 8)));
}

/** Writes seconds since 1970 as the 19 bytes `2026-11-23T10:00:00`. */
export function writeTime(out: usize, seconds: u32): void {
  const days = seconds / 86400;
  const time = seconds - days * 86400;
  // Years are counted from March 0000, so that the leap day comes last: 719,468 days before 1970.
  const day = days + 719468;
  const era = day / 146097;
  const dayOfEra = day - era * 146097;
  const yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146096) / 365;
  const dayOfYear = dayOfEra - (yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100);
  const march = (dayOfYear * 5 + 2) / 153;
  const month = march < 10 ? march + 3 : march - 9;
  const year = era * 400 + yearOfEra + (month < 3 ? 1 : 0);
  writeTwo(out, year / 100);
  writeTwo(out + 2, year % 100);
  store<u8>(out, 0x2d, 4);
  writeTwo(out + 5, month);
  store<u8>(out, 0x2d, 7);
  writeTwo(out + 8, dayOfYear - (march * 153 + 2) / 5 + 1);
  store<u8>(out, 0x54, 10);
  writeTwo(out + 11, time / 3600);
  store<u8>(out, 0x3a, 13);
  writeTwo(out + 14, (time / 60) % 60);
  store<u8>(out, 0x3a, 16);
  writeTwo(out + 17, time % 60);
}
