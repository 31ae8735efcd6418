/**
 * The agent's own log: one line per event on standard error, `time level message key=value…`, for the people who run it.
 * A message says what happened, what may be lost, when that is normal and what to change. Lines with the same key are
 * throttled: one in THROTTLE_MS, then how often it was repeated.
 */
import type { Clock } from "./clock.ts";

export type Fields = Record<string, string | number | boolean | undefined>;

export interface Log {
  info(message: string, fields?: Fields): void;
  warn(message: string, fields?: Fields): void;
  /** Data was or may be lost. */
  error(message: string, fields?: Fields): void;
}

const THROTTLE_MS = 10_000;
const KEYS_MAX = 1_000;

/** Renders `key=value`, quoting values with blanks, quotes or control characters. */
function render(fields: Fields): string {
  let text = "";
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    const plain = String(value);
    text += ` ${key}=${/[\s"=\x00-\x1f]/.test(plain) || plain === "" ? JSON.stringify(plain) : plain}`;
  }
  return text;
}

/** A log that writes each line through `write`. Info lines are never throttled; warnings and errors are, by level, message and sink or container. */
export function createLog(clock: Clock, write: (line: string) => void): Log {
  const seen = new Map<string, { until: number; repeats: number }>();
  const emit = (level: string, message: string, fields: Fields, repeats: number): void =>
    write(
      `${new Date(clock.wall()).toISOString()} ${level} ${message}${render(fields)}${repeats ? ` repeated=${repeats}` : ""}\n`,
    );
  const throttled = (level: string, message: string, fields: Fields = {}): void => {
    const key = `${level} ${message} ${fields["pipeline"] ?? ""} ${fields["sink"] ?? ""} ${fields["path"] ?? fields["container"] ?? ""}`;
    const last = seen.get(key);
    if (last && clock.now() < last.until) {
      last.repeats++;
      return;
    }
    if (!last && seen.size >= KEYS_MAX) seen.delete(seen.keys().next().value!);
    seen.delete(key);
    seen.set(key, { until: clock.now() + THROTTLE_MS, repeats: 0 });
    emit(level, message, fields, last?.repeats ?? 0);
  };
  return {
    info: (message, fields = {}) => emit("info", message, fields, 0),
    warn: (message, fields) => throttled("warn", message, fields),
    error: (message, fields) => throttled("error", message, fields),
  };
}
