/**
 * What becomes of one load: it is sent, in halves where it must be, until each of its records is settled or the sink can
 * take nothing now. The sink's outcomes turn into settlements here, and nowhere else.
 */
import { KEPT } from "../memory/columns.ts";
import { PAGE_BYTES } from "../memory/arena.ts";
import type { Memory } from "../memory/memory.ts";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import { batchOf, halve, loadOf, type Load, type Range } from "./batch.ts";
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
  /** The last request was ended by us, because others needed its memory. */
  givenUp: boolean;
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
  /** Writes Positions and marks, and whatever else has changed, to the journal at once; false: it can't be written now. */
  save(subscriptions: Iterable<Subscription>): boolean;
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

  /** Sends a load, in parts where it must be. "no room": some of it found no memory and waits. */
  async run(worker: Worker, load: Load): Promise<"ended" | "no room"> {
    const stack = [load];
    for (let part; (part = stack.pop());) {
      if (this.#world.closing() === "now") return "ended";
      const next = await this.#attempt(worker, part);
      if (next === "no room") return next;
      if (next === "stop") return "ended";
      if (next) stack.push(next[1], next[0]);
    }
    return "ended";
  }

  /** One request. Returns the halves to go on with, "stop" when the sink can take nothing now, or undefined: settled. */
  async #attempt(worker: Worker, load: Load): Promise<[Load, Load] | "stop" | "no room" | undefined> {
    const { memory, clock, settings, sink, health, counts } = this.#world;
    const { batch, owners } = batchOf(memory, load);
    const request = sink.encode(batch);
    if (request === "no room") {
      // What is free may lie in pieces; a smaller request may fit in one.
      if (load.rows > 1 && load.bytes > PAGE_BYTES) return halve(memory, load);
      this.#world.starved();
      return request;
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
        health.recovered(worker.sentAt);
        for (const { subscription, portion, to } of load.ranges) subscription.settle(portion, to, "delivered");
        return undefined;
      case "reject":
        return this.#reject(worker, load, outcome.refused, owners, sentBefore);
      case "split":
        // It looked at the records, so it is there.
        health.recovered(worker.sentAt);
        if (settings.atomic) notStored(sentBefore);
        if (load.rows === 1) return this.#bury(worker, load, outcome.reason);
        if (!settings.atomic) counts.repeated += load.rows;
        return halve(memory, load);
      case "retry":
        if (outcome.ambiguous) counts.ambiguous++;
        return this.#retry(worker, load, outcome);
      case "hold":
        notStored(sentBefore);
        health.failed("hold", outcome.reason, worker.sentAt);
        return "stop";
    }
  }

  async #send(worker: Worker, request: Request, load: Load): Promise<Outcome> {
    worker.state = "sending";
    worker.abort = new AbortController();
    worker.givenUp = false;
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
  #sending(load: Load): SentMarks {
    const before = new Map<Subscription, readonly number[]>();
    for (const [subscription, ranges] of bySubscription(load)) before.set(subscription, subscription.sending(ranges));
    this.#world.save(before.keys());
    return before;
  }

  /** The sink backs off; records that were tried too often become dead letters. */
  async #retry(worker: Worker, load: Load, outcome: Outcome & { kind: "retry" }): Promise<"stop"> {
    const { health, settings } = this.#world;
    // A request that we ended ourselves is no attempt.
    if (outcome.ambiguous && this.#world.closing() === "now") return "stop";
    if (outcome.ambiguous && worker.givenUp) {
      health.failed("backoff", "no answer, and others needed the memory of the request", worker.sentAt);
      return "stop";
    }
    const { reason, afterMs } = outcome;
    health.failed("backoff", reason, worker.sentAt, afterMs);
    const { maxRetries } = settings.dispatcher;
    const tired: Range[] = [];
    for (const [subscription, ranges] of bySubscription(load)) {
      const { rows } = loadOf(ranges);
      const times = attemptsOf(subscription, rows);
      if (maxRetries !== undefined && times > maxRetries) tired.push(...ranges);
      else {
        subscription.tried = { rows, times };
        this.#world.dirty(subscription);
      }
    }
    const times = (maxRetries ?? 0) + 1;
    await this.#settleDead(worker, tired, `${reason} (${times} attempts)`, "RetriesExhausted");
    return "stop";
  }

  /** The one record of a load is refused for good. */
  async #bury(worker: Worker, load: Load, reason: string): Promise<"stop" | undefined> {
    return (await this.#settleDead(worker, load.ranges, reason, "Rejected")) ? undefined : "stop";
  }

  async #reject(
    worker: Worker,
    load: Load,
    refused: readonly Refused[],
    owners: ReadonlyMap<Slice, Range>,
    sentBefore: SentMarks,
  ): Promise<"stop" | undefined> {
    const dead = new Map<Range, Map<number, string>>();
    const letters: DeadLetter[] = [];
    for (const { slice, row, reason, outOfOrder } of refused) {
      const range = owners.get(slice)!;
      const { subscription } = range;
      // The destination has it: it took it when its answer did not reach us.
      if (outOfOrder && subscription.wasSent(sentBefore.get(subscription)!, slice.records, row)) continue;
      const rows = dead.get(range) ?? new Map<number, string>();
      dead.set(range, rows);
      if (rows.has(row)) continue;
      rows.set(row, reason);
      letters.push(this.#letter(range, row, reason));
    }
    const { sentAt } = worker;
    const kept = await this.#keep(worker, letters, () => {
      this.#world.health.recovered(sentAt);
      const name = this.#world.deadLetters ? "deadLettered" : "dropped/Rejected";
      for (const range of load.ranges) {
        const { subscription, portion } = range;
        for (const row of [...(dead.get(range)?.keys() ?? [])].sort((a, b) => a - b)) {
          subscription.settle(portion, row, "delivered");
          subscription.settle(portion, row + 1, name);
        }
        subscription.settle(portion, range.to, "delivered");
      }
    });
    if (!kept) this.#world.counts.repeated += load.rows - letters.length;
    return kept ? undefined : "stop";
  }

  /** Dead-letters (or, without a queue, drops) all records of ranges; false: they could not be kept, and nothing is settled. */
  #settleDead(
    worker: Worker,
    ranges: readonly Range[],
    reason: string,
    why: "Rejected" | "RetriesExhausted",
  ): Promise<boolean> {
    const { bytes } = this.#world.memory;
    const letters: DeadLetter[] = [];
    for (const range of ranges) {
      const { verdicts } = range.portion.records;
      for (let row = range.from; row < range.to; row++) {
        if (!verdicts || bytes[verdicts + row] === KEPT) letters.push(this.#letter(range, row, reason));
      }
    }
    const name = this.#world.deadLetters ? "deadLettered" : `dropped/${why}`;
    return this.#keep(worker, letters, () => {
      for (const { subscription, portion, to } of ranges) subscription.settle(portion, to, name);
    });
  }

  #letter({ subscription, portion, rows }: Range, row: number, reason: string): DeadLetter {
    const { memory, clock, settings } = this.#world;
    const offset = subscription.at(portion.records, row);
    const { pipeline, name } = settings;
    const attempts = attemptsOf(subscription, rows);
    const details = { pipeline, sink: name, reason, attempts, offset, wallMs: clock.wall() };
    return deadLetter(memory, subscription.chain.source, portion.records, row, details);
  }

  /**
   * Keeps dead letters, then calls `settle` before anything else happens to the queue. While they can't be written the sink holds, and so
   * does this load: what else of it was stored must not be sent again. False: the sink is closing, nothing was kept.
   */
  async #keep(worker: Worker, letters: readonly DeadLetter[], settle: () => void): Promise<boolean> {
    const { settings, deadLetters, health, clock, log } = this.#world;
    if (letters.length > 0) {
      log.error(deadLetters ? "records were dead-lettered" : "records were dropped", {
        ...{ pipeline: settings.pipeline, sink: settings.name, records: letters.length, reason: letters[0]!.reason },
      });
    }
    if (!deadLetters || letters.length === 0) {
      settle();
      return true;
    }
    worker.state = "dead-lettering";
    for (let held = false, last = false; ; held = true) {
      try {
        await deadLetters.add(letters, { kept: settle, evicted: (evicted) => this.#evicted(evicted) });
        if (held) health.recovered(clock.now());
        return true;
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        health.failed("hold", `the dead-letter queue can't be written: ${why}`, clock.now());
      }
      if (last) return false;
      // A sink that closes tries once more: the disk may have room again.
      last = !(await this.#waited(health.until));
    }
  }

  #evicted(evicted: readonly Evicted[]): boolean {
    for (const one of evicted) this.#world.evicted(one);
    return this.#world.save([]);
  }

  /** Waits until then; false: the sink is closing. */
  async #waited(until: number): Promise<boolean> {
    const { clock } = this.#world;
    while (this.#world.closing() === "no" && clock.now() < until) {
      let cancel = (): void => undefined;
      const time = new Promise<void>((resolve) => (cancel = clock.after(until - clock.now(), resolve)));
      await Promise.race([time, this.#world.changedOnce()]);
      cancel();
    }
    return this.#world.closing() === "no";
  }
}

/** By subscription, up to where each stream had been sent before this request. */
type SentMarks = ReadonlyMap<Subscription, readonly number[]>;

/** Nothing of a request was stored: its records count as sent no further than before. */
function notStored(before: SentMarks): void {
  for (const [subscription, marks] of before) subscription.notSent(marks);
}

/** Attempts on the first `rows` of a subscription, the present one included. */
function attemptsOf({ tried }: Subscription, rows: number): number {
  return (tried && rows <= tried.rows ? tried.times : 0) + 1;
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
