/**
 * Sizes and durations as people write them. Sizes are Kubernetes quantities (`8Mi`, `1.5Gi`, `500k`, a plain number of
 * bytes); durations are Go's without fractions (`1m30s`, `250ms`), as CEL's duration() takes them: so no days.
 * https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
 */

/** What the parsers below accept. */
export const SIZE_PATTERN = /^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,3})?$/;
export const SIZE_CHARS_MAX = 24;
/** Digits are so few that CEL's duration (nanoseconds in 64 bits) cannot overflow. */
export const DURATION_PATTERN = /^([0-9]{1,10}ms|[0-9]{1,8}s|[0-9]{1,6}m|[0-9]{1,4}h)+$/;
export const DURATION_CHARS_MAX = 32;

/** What the units stand for: this many bytes, or the part of one that `n`, `u` and `m` are. */
const BYTES: Record<string, number> = {
  "": 1,
  ...Object.fromEntries(["k", "M", "G", "T", "P", "E"].map((unit, index) => [unit, 1000 ** (index + 1)])),
  ...Object.fromEntries(["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].map((unit, index) => [unit, 1024 ** (index + 1)])),
};
const PARTS: Record<string, number> = { n: 1e9, u: 1e6, m: 1e3 };
const MILLISECONDS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/**
 * Bytes of a size, or undefined when it is none or too large to count. A number is bytes. With a fraction (`0.3Ki`) they
 * may be no whole number: who needs one rounds up, as Kubernetes does.
 */
export function parseSize(size: string | number): number | undefined {
  if (typeof size === "number") return Number.isSafeInteger(size) ? size : undefined;
  if (size.length > SIZE_CHARS_MAX || !SIZE_PATTERN.test(size)) return undefined;
  const [, sign, whole = "", fraction = "", unit = ""] = /^([+-]?)([0-9]*)\.?([0-9]*)(.*)$/.exec(size)!;
  const exponent = /^[eE][+-]?[0-9]/.test(unit) ? Number(unit.slice(1)) : 0;
  const factor = BYTES[unit] ?? 1;
  // One division at the end: 1.1 times 1000 would be 1100.0000000000002.
  const most = Number(whole + fraction) * factor * 10 ** Math.max(0, exponent);
  const bytes = most / 10 ** (fraction.length + Math.max(0, -exponent)) / (PARTS[unit] ?? 1);
  if (!(bytes <= Number.MAX_SAFE_INTEGER)) return undefined;
  return sign === "-" ? -bytes : bytes;
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
