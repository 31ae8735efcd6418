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
import { formLoad, type Load } from "./batch.ts";
import { Delivery, type OutletCounts, type Worker } from "./delivery.ts";
import type { DeadLetters, Evicted } from "./dlq.ts";
import { Health, type Trouble } from "./health.ts";
import { Keys, type KeySet } from "./keys.ts";
import type { Sink } from "./sink.ts";
import type { Host, Subscription } from "./subscription.ts";

/** A sink that accepted nothing for this long gives up what it holds. */
const RELEASE_MS = 5_000;
/** Below this room reading is not worth its turn, unless nothing is held at all. */
const ROOM_BYTES_MIN = 64 * 1024;

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
  /** Writes Positions and marks to the journal at once. */
  save(subscriptions: Iterable<Subscription>): void;
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
  /** Outstanding records and their bytes, those in requests included. */
  rows = 0;
  bytes = 0;
  /** Send what there is without waiting for a full batch. */
  flushing = false;
  /** Take nothing more; the sink is about to close. */
  stopping = false;
  readonly #world: OutletWorld;
  readonly #sink: Sink;
  readonly #keys: Keys;
  /** Subscriptions with outstanding records that no request carries. */
  readonly #ready = new Set<Subscription>();
  readonly #health: Health;
  readonly #delivery: Delivery;
  #closing = false;
  /** A batch found no memory for its request. */
  #starved = false;
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
    this.workers = Array.from({ length: settings.dispatcher.workerCount }, () => ({
      ...{ state: "idle", batches: 0, records: 0, busyMs: 0, lastLatencyMs: 0, sentAt: 0, abort: undefined },
    }));
    this.#health = new Health(settings.dispatcher, { pipeline: settings.pipeline, sink: settings.name }, world);
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

  /** Holds or wants to hold records, so that it counts in the sharing of memory. */
  get active(): boolean {
    return this.rows > 0 && !this.#health.released;
  }

  /** True when it holds records, accepts nothing, and so should let go of them when memory is short. */
  get stuck(): boolean {
    return this.trouble !== undefined && this.rows > 0;
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

  room(): number {
    const { queueSize, queueBytes, batchBytes } = this.settings.dispatcher;
    if (this.stopping) return 0;
    const share = this.#world.share();
    if (this.#health.released) return this.now() >= this.until && this.rows === 0 ? Math.min(batchBytes, share) : 0;
    if (this.rows >= queueSize) return 0;
    const left = Math.min(queueBytes, share) - this.bytes;
    return left >= ROOM_BYTES_MIN || this.bytes === 0 ? left : 0;
  }

  changed(subscription: Subscription, rows: number, bytes: number): void {
    this.rows += rows;
    this.bytes += bytes;
    if (subscription.inFlight) return;
    if (subscription.portions.length > 0) this.#ready.add(subscription);
    else this.#ready.delete(subscription);
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

  /** When `pump` should be called again without anything else happening, by the monotonic clock. */
  dueAt(): number {
    if (this.#ready.size === 0 || this.busyWorkers === this.workers.length) return Infinity;
    let oldest = Infinity;
    for (const subscription of this.#ready) oldest = Math.min(oldest, subscription.takenAt);
    const batch = this.flushing ? 0 : oldest + this.settings.dispatcher.batchTimeoutMs;
    return Math.max(batch, this.until);
  }

  /** Starts what can be started: batches that are full, old enough or flushed, while workers are free. */
  pump(): void {
    const now = this.now();
    this.#starved = false;
    if (this.trouble && now - this.trouble.since >= RELEASE_MS && now < this.until) this.release();
    while (!this.#starved) {
      const worker = this.workers.find(({ state }) => state === "idle");
      if (!worker || now < this.until || (this.trouble && this.busyWorkers > 0)) return;
      const load = this.#form(now);
      if (!load) return;
      for (const { subscription, portion } of load.ranges) {
        subscription.inFlight = true;
        this.#ready.delete(subscription);
        for (const { key } of portion.keys.entries) key.inFlight = true;
      }
      void this.#work(worker, load);
    }
  }

  /** Lets go of all records that no request carries; they are read again from the Positions. */
  release(): void {
    if (!this.#health.released) {
      this.#health.released = true;
      this.counts.releases++;
    }
    for (const subscription of [...this.#ready]) this.letGo(subscription);
  }

  /** Ends requests that have had no answer for `ms`: they count as ambiguous. */
  abortOlder(ms: number): void {
    const before = this.now() - ms;
    for (const worker of this.workers) if (worker.sentAt <= before) worker.abort?.abort();
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
    this.#ready.delete(subscription);
    this.#world.move(subscription, subscription.release(this.#world.open(subscription)));
  }

  #form(now: number): Load | undefined {
    if (this.#ready.size === 0) return undefined;
    const { batchSize, batchBytes, batchTimeoutMs } = this.settings.dispatcher;
    const bounds = { rows: batchSize, bytes: Math.min(batchBytes, this.settings.batchBytesMax) };
    let rows = 0;
    let bytes = 0;
    let oldest = Infinity;
    for (const subscription of this.#ready) {
      rows += subscription.rows;
      bytes += subscription.bytes;
      oldest = Math.min(oldest, subscription.takenAt);
    }
    const full = rows >= bounds.rows || bytes >= bounds.bytes || this.rows >= this.settings.dispatcher.queueSize;
    if (!full && !this.flushing && !this.#health.released && now - oldest < batchTimeoutMs) return undefined;
    const byAge = [...this.#ready].sort((a, b) => a.takenAt - b.takenAt);
    return formLoad(this.memory, byAge, bounds);
  }

  async #work(worker: Worker, load: Load): Promise<void> {
    const startedAt = this.now();
    try {
      await this.#delivery.run(worker, load);
    } finally {
      worker.busyMs += this.now() - startedAt;
      worker.state = "idle";
      this.#giveBack(load);
      this.notify();
      this.#world.wake();
    }
  }

  /** A load's subscriptions are free again, with whatever of them is not settled. */
  #giveBack(load: Load): void {
    for (const { subscription, portion } of load.ranges) {
      subscription.inFlight = false;
      for (const { key } of portion.keys.entries) key.inFlight = false;
    }
    for (const { subscription } of load.ranges) {
      if (subscription.portions.length === 0) continue;
      this.#ready.add(subscription);
      if (this.#health.released && this.trouble) this.letGo(subscription);
    }
  }
}
