/** Virtual time: events happen in order, as fast as they can, and only when `run` lets them. */
import type { Clock } from "../../agent/clock.ts";

interface Event {
  at: number;
  order: number;
  run: () => void;
  cancelled: boolean;
}

/** Lets promises that are settled go on. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export class SimClock implements Clock {
  #now = 1_000_000;
  #order = 0;
  #events: Event[] = [];
  #wallOffset = 1_700_000_000_000;

  now(): number {
    return this.#now;
  }

  wall(): number {
    return Math.floor(this.#now + this.#wallOffset);
  }

  after(ms: number, run: () => void): () => void {
    const event = { at: this.#now + Math.max(0, ms), order: this.#order++, run, cancelled: false };
    this.#events.push(event);
    return () => {
      event.cancelled = true;
    };
  }

  soon(run: () => void): void {
    this.after(0, run);
  }

  /** All that was to happen never will: the process died. */
  clear(): void {
    this.#events = [];
  }

  /** Runs events for `ms` of virtual time, at most `eventsMax`; returns how many there were. */
  async run(ms: number, eventsMax = 100_000): Promise<number> {
    const until = this.#now + ms;
    let count = 0;
    for (;;) {
      let next: Event | undefined;
      for (const event of this.#events) {
        if (event.cancelled || event.at > until) continue;
        if (!next || event.at < next.at || (event.at === next.at && event.order < next.order)) next = event;
      }
      if (!next) break;
      if (++count > eventsMax) throw new Error(`more than ${eventsMax} events in ${ms} ms: the loop never rests`);
      this.#now = Math.max(this.#now, next.at);
      const running = next;
      this.#events = this.#events.filter((event) => event !== running && !event.cancelled);
      running.run();
      await settle();
    }
    this.#now = until;
    return count;
  }
}
