/**
 * Sizes and durations as people write them. Sizes are a subset of Kubernetes quantities (`8Mi`, `1.5Gi`, `500k`, a
 * plain number of bytes); durations are Go's without fractions (`1m30s`, `250ms`), as CEL's duration() takes them:
 * so no days.
 */

/**
 * The patterns for schemas; what they accept, the parsers below accept. Digits are so few that neither a number here nor
 * CEL's duration (nanoseconds in 64 bits) can overflow.
 */
export const SIZE_PATTERN = /^[0-9]{1,15}((\.[0-9]{1,6})?(Ki|Mi|Gi|Ti|k|M|G|T))?$/;
export const SIZE_CHARS_MAX = 24;
export const DURATION_PATTERN = /^([0-9]{1,10}ms|[0-9]{1,8}s|[0-9]{1,6}m|[0-9]{1,4}h)+$/;
export const DURATION_CHARS_MAX = 32;

const BYTES: Record<string, number> = {
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};
const MILLISECONDS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/**
 * Bytes of a size, or undefined when it is none. A number is bytes. With a fraction (`0.3Ki`) they may be no whole
 * number: who needs one rounds up, as Kubernetes does.
 */
export function parseSize(size: string | number): number | undefined {
  if (typeof size === "number") return Number.isSafeInteger(size) && size >= 0 ? size : undefined;
  if (!SIZE_PATTERN.test(size)) return undefined;
  const [, whole = "", fraction = "", unit = ""] = /^([0-9]+)\.?([0-9]*)(.*)$/.exec(size)!;
  // One division at the end: 1.1 times 1000 would be 1100.0000000000002.
  const bytes = (Number(whole + fraction) * BYTES[unit]!) / 10 ** fraction.length;
  return bytes <= Number.MAX_SAFE_INTEGER ? bytes : undefined;
}

/** The shortest size that parseSize reads back as the same number of bytes. */
export function formatSize(bytes: number): string {
  for (const unit of ["Ti", "Gi", "Mi", "Ki"]) {
    const count = bytes / BYTES[unit]!;
    if (bytes > 0 && Number.isInteger(count)) return `${count}${unit}`;
  }
  return String(bytes);
}

/** Milliseconds of a duration, or undefined when it is none. */
export function parseDuration(duration: string): number | undefined {
  if (duration.length > DURATION_CHARS_MAX || !DURATION_PATTERN.test(duration)) return undefined;
  let total = 0;
  for (const [, count, unit] of duration.matchAll(/([0-9]+)(ms|s|m|h)/g)) total += Number(count) * MILLISECONDS[unit!]!;
  return Number.isSafeInteger(total) ? total : undefined;
}

/** The duration that parseDuration reads back as the same number of milliseconds: `1h`, `1m30s`, `0s`. */
export function formatDuration(milliseconds: number): string {
  let rest = milliseconds;
  let text = "";
  for (const unit of ["h", "m", "s", "ms"]) {
    const count = Math.floor(rest / MILLISECONDS[unit]!);
    rest -= count * MILLISECONDS[unit]!;
    if (count > 0) text += `${count}${unit}`;
  }
  return text === "" ? "0s" : text;
}
