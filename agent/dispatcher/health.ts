/** Whether a sink accepts at present, why not, and when it is tried again. */
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import { holdDelay, retryDelay, type RetrySettings } from "./retry.ts";

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

export class Health {
  /** undefined: the last answer was good. */
  trouble: Trouble | undefined;
  /** Nothing is sent before this, by the monotonic clock. */
  until = 0;
  /** What was queued has been let go of, until the sink accepts again. */
  released = false;
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

  /** `afterMs`: what the destination asked for. */
  failed(kind: Trouble["kind"], reason: string, afterMs?: number): void {
    const { clock, log, random } = this.#world;
    const now = clock.now();
    const failures = this.trouble?.kind === kind ? this.trouble.failures : 0;
    const delay = kind === "hold" ? holdDelay(failures) : retryDelay(this.#settings, failures, afterMs, random());
    this.until = now + delay;
    this.trouble = { kind, reason, since: this.trouble?.since ?? now, failures: failures + 1 };
    log.warn(SENTENCES[kind], { ...this.#names, reason, inMs: Math.round(delay), failures: failures + 1 });
  }

  recovered(): void {
    if (this.trouble) this.#world.log.info("the sink accepts again", this.#names);
    this.trouble = undefined;
    this.until = 0;
    this.released = false;
  }
}
