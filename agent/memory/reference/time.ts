const TIME = /^(\d{4}-\d\d-\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))$/;

/** Seconds (unsigned 32-bit) and nanoseconds of an RFC 3339 time, or undefined when it is none or does not fit. */
export function parseTime(text: string): { seconds: number; nanos: number } | undefined {
  const match = TIME.exec(text);
  if (!match) return undefined;
  const [, date, hour, minute, second, fraction = "", sign, zoneHour = "0", zoneMinute = "0"] = match;
  const midnight = Date.parse(`${date}T00:00:00Z`);
  // Date.parse rolls February 30 over instead of refusing it.
  if (Number.isNaN(midnight) || new Date(midnight).toISOString().slice(0, 10) !== date) return undefined;
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 59) return undefined;
  if (Number(zoneHour) > 23 || Number(zoneMinute) > 59) return undefined;
  const zone = (Number(zoneHour) * 60 + Number(zoneMinute)) * 60 * (sign === "-" ? -1 : 1);
  const seconds = midnight / 1000 + Number(hour) * 3600 + Number(minute) * 60 + Number(second) - zone;
  if (seconds < 0 || seconds > 0xffffffff) return undefined;
  return { seconds, nanos: Number(fraction.padEnd(9, "0")) };
}

/** `2026-11-23T10:00:00.123456789Z`. */
export function formatTime(seconds: number, nanos: number): string {
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${String(nanos).padStart(9, "0")}Z`;
}
