/** Whether a sink accepts at present, why not, and when it is tried again. */
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import { holdDelay, retryAfterDelay, retryDelay, type RetrySettings } from "./retry.ts";

export interface Trouble {
  readonly kind: "backoff" | "hold";
  readonly reason: string;
  /** When it began, by the monotonic clock. */
  readonly since: number;
  /** Failures of this kind in a row. */
  readonly failures: number;
}

const SENTENCES = {
  backoff: "the sink failed, trying again",
  hold: "the sink holds: nothing is lost, but nothing is delivered",
};
/** A sink that comes and goes is said to accept again at most this often. */
const RECOVERY_SAID_MS = 10_000;

export class Health {
  /** undefined: the last answer was good. */
  trouble: Trouble | undefined;
  /** Nothing is sent before this, by the monotonic clock. */
  until = 0;
  /** What was queued has been let go of, until the sink accepts again. */
  released = false;
  /** When the last failure was known. */
  #failedAt = -Infinity;
  #saidAt = -Infinity;
  readonly #settings: RetrySettings;
  readonly #names: { readonly pipeline: string; readonly sink: string };
  readonly #world: { readonly clock: Clock; readonly log: Log; readonly random: () => number };

  constructor(
    settings: RetrySettings,
    names: { pipeline: string; sink: string },
    world: { clock: Clock; log: Log; random: () => number },
  ) {
    this.#settings = settings;
    this.#names = names;
    this.#world = world;
  }

  /**
   * A request that left at `sentAt` failed; `afterMs`: what the destination asked for. Requests that were under way together fail for one
   * reason: only the first of them counts, and none takes back a wait that another was asked for.
   */
  failed(kind: Trouble["kind"], reason: string, sentAt: number, afterMs?: number): void {
    const { clock, log, random } = this.#world;
    const now = clock.now();
    if (this.trouble?.kind === kind && sentAt < this.#failedAt) {
      this.until = Math.max(this.until, now + retryAfterDelay(afterMs));
      return;
    }
    const failures = this.trouble?.kind === kind ? this.trouble.failures : 0;
    const delay = kind === "hold" ? holdDelay(failures) : retryDelay(this.#settings, failures, afterMs, random());
    this.until = Math.max(this.until, now + delay);
    this.#failedAt = now;
    this.trouble = { kind, reason, since: this.trouble?.since ?? now, failures: failures + 1 };
    log.warn(SENTENCES[kind], { ...this.#names, reason, inMs: Math.round(delay), failures: failures + 1 });
  }

  /** The destination dealt with a request that left at `sentAt`; one from before the last failure says nothing about now. */
  recovered(sentAt: number): void {
    if (this.trouble && sentAt < this.#failedAt) return;
    const now = this.#world.clock.now();
    if (this.trouble && now - this.#saidAt >= RECOVERY_SAID_MS) {
      this.#saidAt = now;
      this.#world.log.info("the sink accepts again", this.#names);
    }
    this.trouble = undefined;
    this.until = 0;
    this.released = false;
  }
}
