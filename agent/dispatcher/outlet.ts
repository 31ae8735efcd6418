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
import { KEPT } from "../memory/columns.ts";
import type { Memory } from "../memory/memory.ts";
import type { Pool } from "../memory/pool.ts";
import type { Records } from "../memory/records.ts";
import { batchOf, formLoad, halve, type Load, type Range } from "./batch.ts";
import { deadLetter } from "./dead-letter.ts";
import type { DeadLetter, DeadLetters, Evicted } from "./dlq.ts";
import { Keys, type KeySet } from "./keys.ts";
import { holdDelay, retryDelay } from "./retry.ts";
import type { Outcome, Refused, Request, Sink } from "./sink.ts";
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

export type WorkerState = "idle" | "sending" | "dead-lettering";

export interface Worker {
  state: WorkerState;
  batches: number;
  records: number;
  busyMs: number;
  lastLatencyMs: number;
  sentAt: number;
  abort: AbortController | undefined;
}

/** What an outlet counts, beside the ledger; from 0 with the process. */
export interface OutletCounts {
  readonly outcomes: Record<Outcome["kind"], number>;
  /** Requests whose answer never came. */
  ambiguous: number;
  /** Records of a refused request that may be stored already and are sent again. */
  repeated: number;
  requestBytes: number;
  replaced: number;
  releases: number;
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
  /** Why nothing is accepted; undefined: the last answer was good. */
  trouble: { kind: "backoff" | "hold"; reason: string; since: number; failures: number } | undefined;
  /** Trouble or not: nothing is sent before this. */
  until = 0;
  readonly #world: OutletWorld;
  readonly #sink: Sink;
  readonly #keys: Keys;
  /** Subscriptions with outstanding records that no request carries. */
  readonly #ready = new Set<Subscription>();
  #released = false;
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
  }

  get busyWorkers(): number {
    return this.workers.reduce((busy, worker) => busy + (worker.state === "idle" ? 0 : 1), 0);
  }

  /** Holds or wants to hold records, so that it counts in the sharing of memory. */
  get active(): boolean {
    return this.rows > 0 && !this.#released;
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
    if (this.#released) return this.now() >= this.until && this.rows === 0 ? Math.min(batchBytes, share) : 0;
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
    if (!this.#released) {
      this.#released = true;
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
    if (!full && !this.flushing && !this.#released && now - oldest < batchTimeoutMs) return undefined;
    const byAge = [...this.#ready].sort((a, b) => a.takenAt - b.takenAt);
    return formLoad(this.memory, byAge, bounds);
  }

  /** Sends one load, in halves where it must, until each of its records is settled or the sink can't go on. */
  async #work(worker: Worker, load: Load): Promise<void> {
    const stack = [load];
    const startedAt = this.now();
    try {
      for (let part; (part = stack.pop()); ) {
        const again = await this.#attempt(worker, part);
        if (again === "stop") break;
        if (again) stack.push(again[1], again[0]);
      }
    } finally {
      worker.busyMs += this.now() - startedAt;
      worker.state = "idle";
      this.#giveBack(load);
      this.notify();
      this.#world.wake();
    }
  }

  /** One request. Returns the halves to go on with, "stop" when the sink can take nothing now, or undefined: settled. */
  async #attempt(worker: Worker, load: Load): Promise<[Load, Load] | "stop" | undefined> {
    const { batch, owners } = batchOf(load);
    const request = this.#sink.encode(batch);
    if (request === "no room") {
      this.#starved = true;
      return "stop";
    }
    if (request === "too large") {
      return load.rows > 1 ? halve(this.memory, load) : this.#bury(worker, load, "the record is too large to encode");
    }
    const sentBefore = this.#sending(load);
    worker.sentAt = this.now();
    const outcome = await this.#send(worker, request, load);
    worker.lastLatencyMs = this.now() - worker.sentAt;
    this.counts.outcomes[outcome.kind]++;
    this.counts.replaced += outcome.kind === "delivered" || outcome.kind === "reject" ? request.replaced : 0;
    switch (outcome.kind) {
      case "delivered":
        this.#recovered();
        for (const { subscription, portion, to } of load.ranges) subscription.settle(portion, to, "delivered");
        return undefined;
      case "reject":
        return this.#reject(worker, load, outcome.refused, owners, sentBefore);
      case "split":
        if (!this.settings.atomic) this.counts.repeated += load.rows;
        return load.rows > 1 ? halve(this.memory, load) : this.#bury(worker, load, outcome.reason);
      case "retry":
        if (outcome.ambiguous) this.counts.ambiguous++;
        // We ended it ourselves: that is no attempt.
        if (outcome.ambiguous && this.#closing) return "stop";
        return this.#retry(worker, load, outcome.reason, outcome.afterMs);
      case "hold":
        this.#failed("hold", outcome.reason, undefined);
        return "stop";
    }
  }

  async #send(worker: Worker, request: Request, load: Load): Promise<Outcome> {
    worker.state = "sending";
    worker.abort = new AbortController();
    worker.batches++;
    worker.records += load.rows;
    this.counts.requestBytes += request.bytes;
    try {
      return await request.send(worker.abort.signal);
    } finally {
      worker.abort = undefined;
      request.free();
    }
  }

  /** Notes in the journal, before the request leaves, how far each subscription was sent. Returns the marks from before. */
  #sending(load: Load): Map<Subscription, number[]> {
    const before = new Map<Subscription, number[]>();
    for (const { subscription } of load.ranges) {
      if (before.has(subscription)) continue;
      const ranges = load.ranges.filter((range) => range.subscription === subscription);
      before.set(subscription, subscription.sending(ranges));
    }
    this.#world.save(before.keys());
    return before;
  }

  async #retry(worker: Worker, load: Load, reason: string, afterMs: number | undefined): Promise<"stop"> {
    this.#failed("backoff", reason, afterMs);
    const { maxRetries } = this.settings.dispatcher;
    const tired: Range[] = [];
    for (const subscription of new Set(load.ranges.map((range) => range.subscription))) {
      const ranges = load.ranges.filter((range) => range.subscription === subscription);
      const rows = ranges.reduce((sum, range) => sum + range.rows, 0);
      const { tried } = subscription;
      const times = (tried && rows <= tried.rows ? tried.times : 0) + 1;
      if (maxRetries !== undefined && times > maxRetries) tired.push(...ranges);
      else {
        subscription.tried = { rows, times };
        this.#world.dirty(subscription);
      }
    }
    const times = (maxRetries ?? 0) + 1;
    if (tired.length > 0) {
      await this.#settleDead(worker, tired, `${reason} (${times} attempts)`, "RetriesExhausted", times);
    }
    return "stop";
  }

  /** The one record of a load is refused for good. */
  async #bury(worker: Worker, load: Load, reason: string): Promise<"stop" | undefined> {
    return (await this.#settleDead(worker, load.ranges, reason, "Rejected", 1)) ? undefined : "stop";
  }

  async #reject(
    worker: Worker,
    load: Load,
    refused: readonly Refused[],
    owners: Map<object, Range>,
    sentBefore: Map<Subscription, number[]>,
  ): Promise<"stop" | undefined> {
    const dead: { range: Range; row: number; reason: string }[] = [];
    for (const { slice, row, reason, outOfOrder } of refused) {
      const range = owners.get(slice)!;
      const marks = sentBefore.get(range.subscription)!;
      // The destination has it: it took it when its answer did not reach us.
      if (outOfOrder && range.subscription.wasSent(marks, slice.records, row)) continue;
      dead.push({ range, row, reason });
    }
    const letters = dead.map(({ range, row, reason }) => this.#letter(range, row, reason, 1));
    if (!(await this.#keep(worker, letters))) {
      this.counts.repeated += load.rows - dead.length;
      return "stop";
    }
    this.#recovered();
    const name = this.deadLetters ? "deadLettered" : "dropped/Rejected";
    for (const range of load.ranges) {
      const { subscription, portion } = range;
      const rows = dead.filter((entry) => entry.range === range).map((entry) => entry.row);
      for (const row of rows.sort((a, b) => a - b)) {
        subscription.settle(portion, row, "delivered");
        subscription.settle(portion, row + 1, name);
      }
      subscription.settle(portion, range.to, "delivered");
    }
    return undefined;
  }

  /** Dead-letters (or, without a queue, drops) all records of ranges; false: they could not be kept, and nothing is settled. */
  async #settleDead(
    worker: Worker,
    ranges: readonly Range[],
    reason: string,
    why: string,
    attempts: number,
  ): Promise<boolean> {
    const { bytes } = this.memory;
    const letters: DeadLetter[] = [];
    for (const range of ranges) {
      const { verdicts } = range.portion.records;
      for (let row = range.from; row < range.to; row++) {
        if (!verdicts || bytes[verdicts + row] === KEPT) letters.push(this.#letter(range, row, reason, attempts));
      }
    }
    if (!(await this.#keep(worker, letters))) return false;
    const name = this.deadLetters ? "deadLettered" : `dropped/${why}`;
    for (const { subscription, portion, to } of ranges) subscription.settle(portion, to, name);
    return true;
  }

  #letter(range: Range, row: number, reason: string, attempts: number): DeadLetter {
    const { subscription, portion } = range;
    const { pipeline, name } = this.settings;
    const offset = subscription.at(portion.records, row);
    const details = { pipeline, sink: name, reason, attempts, offset, wallMs: this.#world.clock.wall() };
    return deadLetter(this.memory, subscription.chain.source, portion.records, row, details);
  }

  /**
   * Keeps dead letters. While they can't be written the sink holds, and so does this load: what else of it was stored must not be sent
   * again. False: the sink is closing, nothing was kept.
   */
  async #keep(worker: Worker, letters: readonly DeadLetter[]): Promise<boolean> {
    if (letters.length === 0) return true;
    const { pipeline, name } = this.settings;
    const { deadLetters } = this;
    const first = JSON.parse(letters[0]!.json) as { deadLetter: { reason: string } };
    this.#world.log.error(deadLetters ? "records were dead-lettered" : "records were dropped", {
      ...{ pipeline, sink: name, records: letters.length, reason: first.deadLetter.reason },
    });
    if (!deadLetters) return true;
    worker.state = "dead-lettering";
    for (;;) {
      try {
        for (const evicted of await deadLetters.add(letters)) this.#world.evicted(this, evicted);
        return true;
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        this.#failed("hold", `the dead-letter queue can't be written: ${why}`, undefined);
      }
      if (this.stopping) return false;
      await Promise.race([
        new Promise<void>((resolve) => this.#world.clock.after(this.until - this.now(), resolve)),
        this.changedOnce(),
      ]);
    }
  }

  #failed(kind: "backoff" | "hold", reason: string, afterMs: number | undefined): void {
    const now = this.now();
    const { dispatcher, pipeline, name } = this.settings;
    const failures = this.trouble?.kind === kind ? this.trouble.failures : 0;
    const delay =
      kind === "hold" ? holdDelay(failures) : retryDelay(dispatcher, failures, afterMs, this.#world.random());
    this.until = now + delay;
    this.trouble = { kind, reason, since: this.trouble?.since ?? now, failures: failures + 1 };
    this.#world.log.warn(kind === "hold" ? "the sink holds: nothing is lost, but nothing is delivered" : "the sink failed, trying again", {
      ...{ pipeline, sink: name, reason, inMs: Math.round(delay), failures: failures + 1 },
    });
  }

  #recovered(): void {
    const { pipeline, name } = this.settings;
    if (this.trouble) this.#world.log.info("the sink accepts again", { pipeline, sink: name });
    this.trouble = undefined;
    this.until = 0;
    this.#released = false;
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
      if (this.#released && this.trouble) this.letGo(subscription);
    }
  }
}
