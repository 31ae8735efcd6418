/**
 * Whose turn it is when a queue has not room for all: whoever was served waits until those that were refused were served
 * as well. So a container that writes without end gets no more of a full queue than one that wrote a line.
 */
import type { Subscription } from "./subscription.ts";

/** One that was refused and has not asked again for this long has nothing to give any more. */
const FORGOTTEN_MS = 2_000;

export class Rounds {
  /** Refused and not served since, with when they last asked. */
  readonly #waiting = new Map<Subscription, number>();
  /** Served since the round began. */
  readonly #served = new Set<Subscription>();
  #lookedAt = -Infinity;

  /** There was no room for one that asked. */
  refuse(subscription: Subscription, now: number): void {
    this.#waiting.set(subscription, now);
  }

  /** There is room: may this one have it? */
  admits(subscription: Subscription, now: number): boolean {
    if (this.#waiting.size === 0) return true;
    this.#waiting.delete(subscription);
    if (this.#waiting.size > 0 && this.#served.has(subscription)) this.#forget(now);
    if (this.#waiting.size === 0) this.#served.clear();
    else if (this.#served.has(subscription)) return false;
    this.#served.add(subscription);
    return true;
  }

  #forget(now: number): void {
    if (now - this.#lookedAt < FORGOTTEN_MS) return;
    this.#lookedAt = now;
    for (const [subscription, askedAt] of this.#waiting) {
      if (now - askedAt >= FORGOTTEN_MS) this.#waiting.delete(subscription);
    }
  }
}
