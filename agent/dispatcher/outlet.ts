/**
 * One sink of one pipeline: its queue (the outstanding records of its subscriptions), its workers, its backoff, its
 * dead-letter queue. What happens here touches no other sink.
 *
 * A sink is open, or backs off or holds until a time; then one worker probes it. One that has accepted nothing for
 * RELEASE_MS holds no records: its subscriptions are dropped to their Positions and a probe reads its own.
 */
import type { DispatcherSettings } from "../../crds/config.ts";
import type { Clock } from "../clock.ts";
import type { Source } from "../collect/source.ts";
import type { Log } from "../log.ts";
import type { Memory } from "../memory/memory.ts";
import type { Pool } from "../memory/pool.ts";
import type { Records } from "../memory/records.ts";
import type { Load } from "./batch.ts";
import { Delivery, type OutletCounts, type Worker } from "./delivery.ts";
import type { DeadLetters, Evicted } from "./dlq.ts";
import { Health, type Trouble } from "./health.ts";
import type { Keys, KeySet } from "./keys.ts";
import { Queue } from "./queue.ts";
import type { Sink } from "./sink.ts";
import type { Host, Subscription } from "./subscription.ts";

/** A sink that accepted nothing for this long gives up what it holds. */
const RELEASE_MS = 5_000;
/** While memory is short, a request without an answer for this long is given up; each time, the next may take twice as long. */
const PATIENCE_MS = 5_000;
const PATIENCE_MS_MAX = 60_000;
/** A batch that found no memory for its request is tried again after this, if nothing else happens before. */
const STARVED_MS = 50;

export interface OutletSettings {
  readonly pipeline: string;
  readonly name: string;
  readonly type: string;
  readonly dispatcher: DispatcherSettings;
  /** The most bytes of one batch, by the sink's row and the memory. */
  readonly batchBytesMax: number;
  readonly atomic: boolean;
  /** Names of the pipeline's steps, for the ledger. */
  readonly steps: readonly string[];
  /** Levels must be found before its records are queued. */
  readonly needsLevel: boolean;
}

export interface OutletWorld {
  readonly memory: Memory;
  readonly pool: Pool;
  readonly clock: Clock;
  readonly log: Log;
  /** In [0, 1). */
  readonly random: () => number;
  /** Bytes that one sink may hold now, as its share of the memory. */
  share(): number;
  /** What the reader of a subscription holds open. */
  open(subscription: Subscription): { at: number; raw: number };
  /** Reading of a subscription is to go on at an earlier place. */
  move(subscription: Subscription, to: number): void;
  /** Something is free again: a turn is due. */
  wake(): void;
  dirty(subscription: Subscription): void;
  done(subscription: Subscription): void;
  /** Writes Positions and marks, and whatever else has changed, to the journal at once; false: it can't be written now. */
  save(subscriptions: Iterable<Subscription>): boolean;
  /** Dead letters of a chain that left the queue unsent. */
  evicted(outlet: Outlet, evicted: Evicted): void;
}

export class Outlet implements Host {
  readonly id: string;
  readonly settings: OutletSettings;
  readonly subscriptions = new Map<string, Subscription>();
  readonly workers: Worker[];
  readonly counts: OutletCounts = {
    outcomes: { delivered: 0, retry: 0, split: 0, reject: 0, hold: 0 },
    ...{ ambiguous: 0, repeated: 0, requestBytes: 0, replaced: 0, releases: 0 },
  };
  readonly deadLetters: DeadLetters | undefined;
  readonly memory: Memory;
  readonly steps: readonly string[];
  /** Send what there is without waiting for a full batch. */
  flushing = false;
  /** Take nothing more; the sink is about to close. */
  stopping = false;
  /** Once released, it may read a probe: those of all sinks together hold little. */
  mayProbe = true;
  readonly #world: OutletWorld;
  readonly #sink: Sink;
  readonly #keys: Keys;
  readonly #queue: Queue;
  readonly #health: Health;
  readonly #delivery: Delivery;
  #closing = false;
  /** A batch found no memory for its request. */
  #starved = false;
  #patienceMs = PATIENCE_MS;
  #dueAt = Infinity;
  readonly #waiting: (() => void)[] = [];

  constructor(
    settings: OutletSettings,
    sink: Sink,
    keys: Keys,
    deadLetters: DeadLetters | undefined,
    world: OutletWorld,
  ) {
    this.id = `${settings.pipeline}/${settings.name}`;
    this.settings = settings;
    this.steps = settings.steps;
    this.memory = world.memory;
    this.deadLetters = deadLetters;
    this.#world = world;
    this.#sink = sink;
    this.#keys = keys;
    const { dispatcher, batchBytesMax } = settings;
    this.#queue = new Queue(world.memory, {
      ...dispatcher,
      batchBytes: Math.min(dispatcher.batchBytes, batchBytesMax),
    });
    this.workers = Array.from({ length: dispatcher.workerCount }, () => ({
      ...{ state: "idle", batches: 0, records: 0, busyMs: 0, lastLatencyMs: 0, sentAt: 0 },
      ...{ abort: undefined, givenUp: false },
    }));
    this.#health = new Health(dispatcher, { pipeline: settings.pipeline, sink: settings.name }, world);
    this.#delivery = new Delivery({
      ...{ memory: world.memory, clock: world.clock, log: world.log, settings, sink, deadLetters },
      ...{ health: this.#health, counts: this.counts },
      save: (subscriptions) => world.save(subscriptions),
      dirty: (subscription) => world.dirty(subscription),
      evicted: (evicted) => world.evicted(this, evicted),
      starved: () => (this.#starved = true),
      closing: () => (this.#closing ? "now" : this.stopping ? "soon" : "no"),
      changedOnce: () => this.changedOnce(),
    });
  }

  /** Why nothing is accepted; undefined: the last answer was good. */
  get trouble(): Trouble | undefined {
    return this.#health.trouble;
  }

  /** Nothing is sent before this, by the monotonic clock. */
  get until(): number {
    return this.#health.until;
  }

  get busyWorkers(): number {
    return this.workers.reduce((busy, worker) => busy + (worker.state === "idle" ? 0 : 1), 0);
  }

  /** Outstanding records and their bytes, those in requests included. */
  get rows(): number {
    return this.#queue.rows;
  }

  get bytes(): number {
    return this.#queue.bytes;
  }

  /** Bytes of memory that its records hold. */
  get pinnedBytes(): number {
    return this.#queue.pinnedBytes;
  }

  /** Holds no more than a probe, until it accepts again. */
  get released(): boolean {
    return this.#health.released;
  }

  /** Holds records, so that it counts in the sharing of memory. */
  get active(): boolean {
    return this.rows > 0 && !this.released;
  }

  /** Holds records, accepts nothing, and so should let go of them when memory is short; what it has read for a probe is little. */
  get stuck(): boolean {
    return this.trouble !== undefined && this.rows > 0 && !this.released;
  }

  /** Found no memory for a request when it was last pumped. */
  get starved(): boolean {
    return this.#starved;
  }

  // Host: what subscriptions ask for.

  now(): number {
    return this.#world.clock.now();
  }

  keysOf(subscription: Subscription, records: Records, from: number, to: number): KeySet | undefined {
    return this.#keys.of(subscription.chain.source, records, from, to);
  }

  dropKeys(keys: KeySet): void {
    this.#keys.drop(keys);
  }

  room(subscription: Subscription): number {
    if (this.stopping) return 0;
    const now = this.now();
    if (!this.released) return this.#queue.room(subscription, this.#world.share(), now);
    if (now < this.until || this.rows > 0 || !this.mayProbe) return 0;
    return Math.min(this.settings.dispatcher.batchBytes, this.#world.share());
  }

  changed(subscription: Subscription, rows: number, bytes: number): void {
    this.#queue.changed(subscription, rows, bytes);
  }

  dirty(subscription: Subscription): void {
    this.#world.dirty(subscription);
  }

  done(subscription: Subscription): void {
    this.#world.done(subscription);
  }

  forget(source: Source): void {
    this.#keys.forget(source);
  }

  /** When `pump` should be called again without anything else happening, by the monotonic clock; as of the last pump. */
  dueAt(): number {
    return this.#dueAt;
  }

  /** Starts what can be started: batches that are full, old enough or flushed, while workers are free. */
  pump(): void {
    const now = this.now();
    this.#starved = false;
    this.#dueAt = Infinity;
    if (this.trouble && now - this.trouble.since >= RELEASE_MS && now < this.until) this.release();
    const refused = this.#queue.takeRefused();
    while (!this.#starved) {
      const worker = this.workers.find(({ state }) => state === "idle");
      const busy = this.busyWorkers;
      // Whatever is on its way looks again when it ends; a sink in trouble is probed by one request.
      if (!worker || this.#queue.ready.size === 0 || (this.trouble && busy > 0)) return;
      if (now < this.until) {
        this.#dueAt = this.until;
        return;
      }
      // Who finds the queue full must not wait for the rest of a batch that can't come.
      const load = this.#queue.form(now, this.flushing || this.released || (refused && busy === 0));
      this.#dueAt = this.#queue.dueAt;
      if (!load) return;
      void this.#work(worker, load);
    }
  }

  /** Lets go of all records that no request carries; they are read again from the Positions. */
  release(): void {
    if (!this.released) {
      this.#health.released = true;
      this.counts.releases++;
    }
    for (const subscription of [...this.#queue.ready]) this.letGo(subscription);
  }

  /** Memory is short: requests that have had no answer for long are ended. They count as ambiguous, not as attempts. */
  giveUp(): void {
    const now = this.now();
    let gave = false;
    for (const worker of this.workers) {
      if (!worker.abort || worker.givenUp || now - worker.sentAt < this.#patienceMs) continue;
      worker.givenUp = gave = true;
      worker.abort.abort();
    }
    if (gave) this.#patienceMs = Math.min(this.#patienceMs * 2, PATIENCE_MS_MAX);
  }

  /** Ends everything that is under way and lets go of the sink. */
  async close(): Promise<void> {
    this.stopping = this.#closing = true;
    this.notify();
    for (const worker of this.workers) worker.abort?.abort();
    while (this.busyWorkers > 0) await this.changedOnce();
    await this.#sink.close();
    await this.deadLetters?.close();
  }

  /** Resolves when a worker becomes idle, or at `notify`. */
  changedOnce(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  notify(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Drops what a subscription holds; it is read again from its Position. */
  letGo(subscription: Subscription): void {
    this.#world.move(subscription, subscription.release(this.#world.open(subscription)));
  }

  async #work(worker: Worker, load: Load): Promise<void> {
    const startedAt = this.now();
    let end: "ended" | "no room" = "ended";
    try {
      end = await this.#delivery.run(worker, load);
    } finally {
      worker.busyMs += this.now() - startedAt;
      worker.state = "idle";
      if (worker.lastLatencyMs < PATIENCE_MS && !this.trouble) this.#patienceMs = PATIENCE_MS;
      const holding = this.#queue.giveBack(load);
      if (this.released && (this.trouble || end === "no room"))
        for (const subscription of holding) this.letGo(subscription);
      const again = (): void => {
        this.notify();
        this.#world.wake();
      };
      // At once would be in vain: nothing was freed.
      if (end === "no room") this.#world.clock.after(STARVED_MS, again);
      else again();
    }
  }
}
