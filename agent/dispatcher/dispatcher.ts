/**
 * The door of the dispatcher: `handle` gives the records of one reading to the subscriptions they are for; all sinks'
 * queues, workers and requests are driven from here.
 *
 * Promises: no sink waits for another; what all sinks hold together stays within the memory, shared by those that hold
 * something; a record is settled only by its sink's answer.
 */
import type { Clock } from "../clock.ts";
import type { Taker } from "../collect/taker.ts";
import type { Memory } from "../memory/memory.ts";
import type { Records } from "../memory/records.ts";
import type { Outlet } from "./outlet.ts";
import { Subscription } from "./subscription.ts";

/** A sink's share of the memory is never less than this. */
const SHARE_BYTES_MIN = 64 * 1024;
/** Part of the memory that queues may pin; chunks that are partly settled, joined lines and rewritten texts take the rest. */
const QUEUES_SHARE = 0.7;
/** Part of that which sinks that accept nothing may hold all together, to be probed. */
const PROBES_SHARE = 1 / 4;

export class Dispatcher {
  readonly outlets = new Map<string, Outlet>();
  readonly #clock: Clock;
  readonly #queueBytes: number;
  #shareBytes = Infinity;
  /** Sinks that found no memory for a request, in the order in which they are to have it. */
  #hungry = new Set<Outlet>();

  /** `reserveBytes` of the arena are left to requests. */
  constructor(memory: Memory, clock: Clock, reserveBytes: number) {
    this.#clock = clock;
    this.#queueBytes = (memory.arena.freeBytes + memory.arena.usedBytes - reserveBytes) * QUEUES_SHARE;
    this.#deal();
  }

  /** Gives records to takers of one pipeline; returns those that had no room. The records are borrowed. */
  handle(records: Records, takers: readonly Taker[]): Taker[] {
    const refused = takers.filter((taker) => taker instanceof Subscription && !taker.take(records));
    this.#deal();
    return refused;
  }

  /** Bytes that each sink may hold now. */
  share(): number {
    return this.#shareBytes;
  }

  /** Starts all requests that can be started. */
  pump(): void {
    const outlets = new Set([...this.#hungry, ...this.outlets.values()]);
    this.#hungry = new Set();
    for (const outlet of outlets) {
      if (outlet.stopping || !this.outlets.has(outlet.id)) continue;
      outlet.pump();
      if (outlet.starved) this.#hungry.add(outlet);
    }
    const [first] = this.#hungry;
    if (first) this.#feed(first);
    this.#deal();
  }

  /** When `pump` is due again without anything else happening, by the monotonic clock. */
  dueAt(): number {
    let due = Infinity;
    for (const outlet of this.outlets.values()) if (!outlet.stopping) due = Math.min(due, outlet.dueAt());
    return due;
  }

  /** Reading found no memory: sinks that accept nothing give up what they hold, if that is of use to others. */
  relieve(): void {
    for (const outlet of this.outlets.values()) {
      if (this.outlets.size > 1) outlet.giveUp();
      if (outlet.stuck) outlet.release();
    }
  }

  /** Makes room for a request of this sink, which tries again soon. As long as any request is on its way, room comes when it ends. */
  #feed(hungry: Outlet): void {
    this.relieve();
    const outlets = [...this.outlets.values()];
    if (outlets.some(({ busyWorkers }) => busyWorkers > 0)) return;
    const others = outlets.filter((outlet) => outlet !== hungry && !outlet.stopping && outlet.rows > 0);
    for (const outlet of others) outlet.release();
    // Even alone it holds too much: from now on it reads no more than a batch.
    if (others.length === 0) hungry.release();
  }

  /** Deals out the memory anew: in equal shares to those that hold something, and one for whoever comes next. */
  #deal(): void {
    let active = 0;
    let probes = 0;
    for (const outlet of this.outlets.values()) {
      if (outlet.active) active++;
      if (outlet.released) probes += outlet.pinnedBytes;
    }
    const shares = Math.max(1, Math.min(active + 1, this.outlets.size));
    this.#shareBytes = Math.max(SHARE_BYTES_MIN, Math.floor(this.#queueBytes / shares));
    const mayProbe = probes < this.#queueBytes * PROBES_SHARE;
    for (const outlet of this.outlets.values()) outlet.mayProbe = mayProbe;
  }

  /**
   * Takes nothing more into these sinks, sends what they hold for half of their drainTimeout, waits the other half for answers that are
   * still to come; then ends what is under way and closes them. What is left is read again from the Positions.
   */
  async drain(outlets: readonly Outlet[]): Promise<void> {
    await Promise.all(outlets.map((outlet) => this.#drain(outlet)));
  }

  async #drain(outlet: Outlet): Promise<void> {
    const half = outlet.settings.dispatcher.drainTimeoutMs / 2;
    let halves = 0;
    const pass = (): void => {
      halves++;
      outlet.notify();
    };
    const timers = [this.#clock.after(half, pass), this.#clock.after(2 * half, pass)];
    outlet.stopping = outlet.flushing = true;
    outlet.pump();
    // A sink in trouble is waited for only while an answer may come.
    while (halves < 2 && (outlet.busyWorkers > 0 || (halves < 1 && outlet.rows > 0 && !outlet.trouble))) {
      await outlet.changedOnce();
      if (halves < 1 && !outlet.trouble) outlet.pump();
    }
    for (const cancel of timers) cancel();
    await outlet.close();
  }
}
