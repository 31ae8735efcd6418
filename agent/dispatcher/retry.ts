/**
 * When a sink that failed is tried again. Pure: (failures so far, what the sink said, a random number) -> milliseconds.
 */

/** A sink that holds its records is probed after this long, then at twice the time before, up to HOLD_MAX_MS. */
const HOLD_BASE_MS = 5_000;
const HOLD_MAX_MS = 60_000;
/** However long a destination asks us to wait, we look again after this. */
const RETRY_AFTER_MAX_MS = 600_000;

export interface RetrySettings {
  readonly retryBaseDelayMs: number;
  readonly retryMaxDelayMs: number;
}

/**
 * Exponential backoff with full jitter: between 0 and base * 2^failures, at most the maximum. A Retry-After is waited
 * out at least. `random` lies in [0, 1).
 */
export function retryDelay(
  settings: RetrySettings,
  failures: number,
  afterMs: number | undefined,
  random: number,
): number {
  const most = Math.min(settings.retryMaxDelayMs, settings.retryBaseDelayMs * 2 ** Math.min(failures, 30));
  return Math.max(random * most, retryAfterDelay(afterMs));
}

/** What of a Retry-After is waited; 0 without one. */
export function retryAfterDelay(afterMs: number | undefined): number {
  return Math.min(afterMs ?? 0, RETRY_AFTER_MAX_MS);
}

/** How long a sink holds before the next probe; `failures` counts the probes that failed so far. */
export function holdDelay(failures: number): number {
  return Math.min(HOLD_MAX_MS, HOLD_BASE_MS * 2 ** Math.min(failures, 30));
}
