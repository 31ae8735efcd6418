/**
 * What becomes of one load: it is sent, in halves where it must be, until each of its records is settled or the sink can
 * take nothing now. The sink's outcomes turn into settlements here, and nowhere else.
 */
import { KEPT } from "../memory/columns.ts";
import type { Memory } from "../memory/memory.ts";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import { batchOf, halve, type Load, type Range } from "./batch.ts";
import { deadLetter } from "./dead-letter.ts";
import type { DeadLetter, DeadLetters, Evicted } from "./dlq.ts";
import type { Health } from "./health.ts";
import type { Outcome, Refused, Request, Sink, Slice } from "./sink.ts";
import type { Subscription } from "./subscription.ts";

export type WorkerState = "idle" | "sending" | "dead-lettering";

export interface Worker {
  state: WorkerState;
  batches: number;
  records: number;
  busyMs: number;
  lastLatencyMs: number;
  /** When the last request left, by the monotonic clock. */
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
  /** Bytes of all requests, as sent. */
  requestBytes: number;
  /** Records in which bytes that are no UTF-8 were replaced. */
  replaced: number;
  /** How often everything queued was let go of. */
  releases: number;
}

export interface DeliveryWorld {
  readonly memory: Memory;
  readonly clock: Clock;
  readonly log: Log;
  readonly settings: {
    readonly pipeline: string;
    readonly name: string;
    readonly atomic: boolean;
    readonly dispatcher: { readonly maxRetries: number | undefined };
  };
  readonly sink: Sink;
  readonly deadLetters: DeadLetters | undefined;
  readonly health: Health;
  readonly counts: OutletCounts;
  /** Writes Positions and marks to the journal at once. */
  save(subscriptions: Iterable<Subscription>): void;
  dirty(subscription: Subscription): void;
  evicted(evicted: Evicted): void;
  /** A batch found no memory for its request. */
  starved(): void;
  /** The sink is closing: "soon" while answers are waited for, "now" when requests are being ended. */
  closing(): "no" | "soon" | "now";
  /** Resolves at the next change of that. */
  changedOnce(): Promise<void>;
}

export class Delivery {
  readonly #world: DeliveryWorld;

  constructor(world: DeliveryWorld) {
    this.#world = world;
  }

  async run(worker: Worker, load: Load): Promise<void> {
    const stack = [load];
    for (let part; (part = stack.pop()); ) {
      const again = await this.#attempt(worker, part);
      if (again === "stop") return;
      if (again) stack.push(again[1], again[0]);
    }
  }

  /** One request. Returns the halves to go on with, "stop" when the sink can take nothing now, or undefined: settled. */
  async #attempt(worker: Worker, load: Load): Promise<[Load, Load] | "stop" | undefined> {
    const { memory, clock, settings, sink, health, counts } = this.#world;
    const { batch, owners } = batchOf(load);
    const request = sink.encode(batch);
    if (request === "no room") {
      this.#world.starved();
      return "stop";
    }
    if (request === "too large") {
      return load.rows > 1 ? halve(memory, load) : this.#bury(worker, load, "the record is too large to encode");
    }
    const sentBefore = this.#sending(load);
    worker.sentAt = clock.now();
    const outcome = await this.#send(worker, request, load);
    worker.lastLatencyMs = clock.now() - worker.sentAt;
    counts.outcomes[outcome.kind]++;
    if (outcome.kind === "delivered" || outcome.kind === "reject") counts.replaced += request.replaced;
    switch (outcome.kind) {
      case "delivered":
        health.recovered();
        for (const { subscription, portion, to } of load.ranges) subscription.settle(portion, to, "delivered");
        return undefined;
      case "reject":
        return this.#reject(worker, load, outcome.refused, owners, sentBefore);
      case "split":
        if (!settings.atomic) counts.repeated += load.rows;
        return load.rows > 1 ? halve(memory, load) : this.#bury(worker, load, outcome.reason);
      case "retry":
        if (outcome.ambiguous) counts.ambiguous++;
        // We ended it ourselves: that is no attempt.
        if (outcome.ambiguous && this.#world.closing() === "now") return "stop";
        return this.#retry(worker, load, outcome.reason, outcome.afterMs);
      case "hold":
        health.failed("hold", outcome.reason);
        return "stop";
    }
  }

  async #send(worker: Worker, request: Request, load: Load): Promise<Outcome> {
    worker.state = "sending";
    worker.abort = new AbortController();
    worker.batches++;
    worker.records += load.rows;
    this.#world.counts.requestBytes += request.bytes;
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
    for (const [subscription, ranges] of bySubscription(load)) before.set(subscription, subscription.sending(ranges));
    this.#world.save(before.keys());
    return before;
  }

  /** The sink backs off; records that were tried too often become dead letters. */
  async #retry(worker: Worker, load: Load, reason: string, afterMs: number | undefined): Promise<"stop"> {
    this.#world.health.failed("backoff", reason, afterMs);
    const { maxRetries } = this.#world.settings.dispatcher;
    const tired: Range[] = [];
    for (const [subscription, ranges] of bySubscription(load)) {
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
    owners: ReadonlyMap<Slice, Range>,
    sentBefore: ReadonlyMap<Subscription, number[]>,
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
      this.#world.counts.repeated += load.rows - dead.length;
      return "stop";
    }
    this.#world.health.recovered();
    const name = this.#world.deadLetters ? "deadLettered" : "dropped/Rejected";
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
    why: "Rejected" | "RetriesExhausted",
    attempts: number,
  ): Promise<boolean> {
    const { bytes } = this.#world.memory;
    const letters: DeadLetter[] = [];
    for (const range of ranges) {
      const { verdicts } = range.portion.records;
      for (let row = range.from; row < range.to; row++) {
        if (!verdicts || bytes[verdicts + row] === KEPT) letters.push(this.#letter(range, row, reason, attempts));
      }
    }
    if (!(await this.#keep(worker, letters))) return false;
    const name = this.#world.deadLetters ? "deadLettered" : `dropped/${why}`;
    for (const { subscription, portion, to } of ranges) subscription.settle(portion, to, name);
    return true;
  }

  #letter({ subscription, portion }: Range, row: number, reason: string, attempts: number): DeadLetter {
    const { memory, clock, settings } = this.#world;
    const offset = subscription.at(portion.records, row);
    const { pipeline, name } = settings;
    const details = { pipeline, sink: name, reason, attempts, offset, wallMs: clock.wall() };
    return deadLetter(memory, subscription.chain.source, portion.records, row, details);
  }

  /**
   * Keeps dead letters. While they can't be written the sink holds, and so does this load: what else of it was stored must not be sent
   * again. False: the sink is closing, nothing was kept.
   */
  async #keep(worker: Worker, letters: readonly DeadLetter[]): Promise<boolean> {
    if (letters.length === 0) return true;
    const { settings, deadLetters, health, clock, log } = this.#world;
    log.error(deadLetters ? "records were dead-lettered" : "records were dropped", {
      ...{ pipeline: settings.pipeline, sink: settings.name, records: letters.length, reason: letters[0]!.reason },
    });
    if (!deadLetters) return true;
    worker.state = "dead-lettering";
    for (;;) {
      try {
        for (const evicted of await deadLetters.add(letters)) this.#world.evicted(evicted);
        return true;
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        health.failed("hold", `the dead-letter queue can't be written: ${why}`);
      }
      if (this.#world.closing() !== "no") return false;
      const waited = new Promise<void>((resolve) => clock.after(health.until - clock.now(), resolve));
      await Promise.race([waited, this.#world.changedOnce()]);
    }
  }
}

function bySubscription(load: Load): Map<Subscription, Range[]> {
  const ranges = new Map<Subscription, Range[]>();
  for (const range of load.ranges) {
    const own = ranges.get(range.subscription);
    if (own) own.push(range);
    else ranges.set(range.subscription, [range]);
  }
  return ranges;
}
