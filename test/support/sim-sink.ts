/**
 * A destination in memory behind the real Sink interface: it takes requests after a latency and answers as it is told.
 * It remembers what it stored, in order, and for every request whether and when its answer left.
 */
import type { Template } from "../../crds/template.ts";
import type { Clock } from "../../agent/clock.ts";
import type {
  Batch,
  Outcome,
  Refused,
  Request,
  Sink,
  SinkContext,
  SinkRow,
  Slice,
} from "../../agent/dispatcher/sink.ts";
import { BITS, CLASS_MASK } from "../../agent/memory/columns.ts";
import { textOf, wordOf } from "../../agent/memory/records.ts";

/** A request without an answer ends after this, as a real sink's does. */
const TIMEOUT_MS = 10_000;

/** How the destination behaves: `lost answer` stores and never answers, `hang` neither. */
export type Mode = "accept" | "retry" | "hold" | "lost answer" | "hang" | "reset";

/** A request's answer: what the destination stored of it (a row's index), and what it says. */
export interface Answer {
  readonly outcome: Outcome["kind"] | "lost" | "none";
  /** Indices of rows that are refused by name. */
  readonly refused?: readonly number[];
  readonly outOfOrder?: boolean;
  readonly afterMs?: number;
  /** Indices of rows that were stored; by default all that were not refused, when the outcome is delivered, reject or lost. */
  readonly stores?: readonly number[];
}

export interface Sent {
  readonly texts: readonly string[];
  /** Virtual time at which it left the agent. */
  readonly at: number;
  /** The values of the order keys in it. */
  readonly keys: readonly string[];
  stored: boolean;
  /** Virtual time at which the answer left; undefined: it has not. */
  answeredAt: number | undefined;
  /** The agent may not know that it was stored, or was told that it was not. */
  ambiguous: boolean;
  /** The connection was closed before the destination did anything. */
  cancelled: boolean;
}

export class Destination {
  mode: Mode = "accept";
  latencyMs = 5;
  /** A request that holds one of these is refused: by name, or whole when `anonymous`. */
  isPoison: (text: string) => boolean = () => false;
  anonymous = false;
  /** False: of a request that it refuses as a whole it stored what was good in it, as Loki does. */
  atomic = true;
  /** A request with more rows is too large: 413. */
  rowsMax = Infinity;
  /** What is stored already is refused as out of order, as Loki does. */
  strict = false;
  /** Decides instead of all of the above; undefined: they decide. `index` counts requests from 0. */
  answer: (sent: Sent, index: number) => Answer | undefined = () => undefined;
  readonly stored: string[] = [];
  readonly sent: Sent[] = [];
  readonly clock: Clock;
  inFlight = 0;
  inFlightMost = 0;
  readonly #had = new Set<string>();
  readonly #keys = new Set<unknown>();

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** Order keys of a request are on their way; no other may carry one of them until `done`. */
  begin(keys: readonly unknown[]): void {
    for (const key of keys) {
      if (this.#keys.has(key)) throw new Error("two requests carry the same order key at once");
    }
    for (const key of keys) this.#keys.add(key);
    this.inFlightMost = Math.max(this.inFlightMost, ++this.inFlight);
  }

  done(keys: readonly unknown[]): void {
    this.inFlight--;
    for (const key of keys) this.#keys.delete(key);
  }

  receive(texts: readonly string[], keys: readonly string[]): Promise<Answer> {
    const sent = {
      ...{
        texts,
        keys,
        at: this.clock.now(),
        stored: false,
        answeredAt: undefined,
        ambiguous: false,
        cancelled: false,
      },
    } as Sent;
    const index = this.sent.push(sent) - 1;
    const { mode, latencyMs } = this;
    return new Promise((resolve) =>
      this.clock.after(latencyMs, () => {
        if (sent.cancelled) return;
        const answer = this.answer(sent, index) ?? this.#judge(texts, mode);
        const stores =
          answer.stores ?? (["delivered", "reject", "lost"].includes(answer.outcome) ? this.#all(answer, texts) : []);
        sent.stored = stores.length > 0;
        for (const row of stores) this.#store(texts[row]!);
        if (answer.outcome === "none") return;
        sent.answeredAt = this.clock.now();
        sent.ambiguous ||= answer.outcome === "lost" || (answer.outcome === "split" && sent.stored);
        resolve(answer);
      }),
    );
  }

  #judge(texts: readonly string[], mode: Mode): Answer {
    const poison = texts.flatMap((text, index) => (this.isPoison(text) ? [index] : []));
    switch (mode) {
      case "accept": {
        if (texts.length > this.rowsMax) return { outcome: "split" };
        if (poison.length > 0 && this.anonymous) {
          return {
            outcome: "split",
            refused: poison,
            stores: this.atomic ? [] : this.#all({ refused: poison }, texts),
          };
        }
        const had = this.strict ? texts.flatMap((text, index) => (this.#had.has(text) ? [index] : [])) : [];
        if (had.length > 0) return { outcome: "reject", refused: [...poison, ...had], outOfOrder: true };
        return { outcome: poison.length > 0 ? "reject" : "delivered", refused: poison };
      }
      case "retry":
      case "hold":
        return { outcome: mode };
      case "lost answer":
        return { outcome: "lost", refused: poison };
      case "reset":
        return { outcome: "lost", stores: [] };
      case "hang":
        return { outcome: "none" };
    }
  }

  #all({ refused = [] }: Pick<Answer, "refused">, texts: readonly string[]): number[] {
    return texts.map((_, index) => index).filter((index) => !refused.includes(index));
  }

  #store(text: string): void {
    this.stored.push(text);
    this.#had.add(text);
  }
}

/** Rows of a batch in the order of its groups. */
function rowsOf(context: SinkContext, batch: Batch): { slice: Slice; row: number; text: string }[] {
  const { memory } = context;
  const rows: { slice: Slice; row: number; text: string }[] = [];
  for (const { slices } of batch.groups) {
    for (const slice of slices) {
      const { records, from, to, keys, key, mask } = slice;
      for (let row = from; row < to; row++) {
        if (records.verdicts && memory.bytes[records.verdicts + row] !== 0) continue;
        const bits = wordOf(memory, records, BITS, row) & CLASS_MASK;
        if (keys ? memory.words[(keys >> 2) + row] !== key : !((mask >> bits) & 1)) continue;
        rows.push({ slice, row, text: textOf(memory, records, row).toString("latin1") });
      }
    }
  }
  return rows;
}

/** A sink that sends to `find(pipeline/sink)`. Each request takes room in the arena as a real one does. */
export function simSink(find: (id: string) => Destination, atomic = true): SinkRow<never> {
  return {
    atomic,
    batchBytesMax: 1024 * 1024,
    // A sink with a path or labels orders by them, as real ones do.
    order: (options: { path?: Template }) => options.path && [options.path],
    needsLevel: () => false,
    open: (_options, context): Sink => ({
      encode(batch): Request | "no room" {
        const rows = rowsOf(context, batch);
        if (rows.length !== batch.rows) throw new Error(`a batch of ${batch.rows} rows holds ${rows.length}`);
        const address = context.memory.arena.allocate(Math.max(1, batch.bytes));
        if (!address) return "no room";
        let freed = false;
        return {
          bytes: batch.bytes,
          replaced: 0,
          send(signal) {
            const destination = find(`${context.pipeline}/${context.name}`);
            destination.atomic = atomic;
            return send(destination, context.clock, batch, rows, signal);
          },
          free() {
            if (freed) throw new Error("a request was freed twice");
            freed = true;
            context.memory.arena.free(address);
          },
        };
      },
      close: () => Promise.resolve(),
    }),
  };
}

async function send(
  destination: Destination,
  clock: Clock,
  batch: Batch,
  rows: readonly { slice: Slice; row: number; text: string }[],
  signal: AbortSignal,
): Promise<Outcome> {
  const keys = batch.groups.map(({ key }) => key);
  const aborted = new Promise<"aborted">((resolve) =>
    signal.addEventListener("abort", () => resolve("aborted"), { once: true }),
  );
  let cancel = (): void => undefined;
  const timeout = new Promise<"aborted">((resolve) => {
    cancel = clock.after(TIMEOUT_MS, () => resolve("aborted"));
  });
  destination.begin(keys);
  const received = destination.receive(
    rows.map(({ text }) => text),
    keys.map(({ values }) => values.join()),
  );
  const request = destination.sent.at(-1)!;
  const reply = await Promise.race([received, aborted, timeout]);
  cancel();
  destination.done(keys);
  if (reply === "aborted") {
    request.ambiguous = request.cancelled = true;
    return { kind: "retry", reason: "aborted", ambiguous: true };
  }
  const { afterMs, refused = [], outOfOrder = false } = reply;
  switch (reply.outcome) {
    case "lost":
    case "none":
      return { kind: "retry", reason: "connection reset", ambiguous: true };
    case "reject":
      return {
        kind: "reject",
        refused: refused.map((index): Refused => {
          const { slice, row, text } = rows[index]!;
          return { slice, row, reason: "poison", outOfOrder: outOfOrder && !destination.isPoison(text) };
        }),
      };
    case "retry":
      return { kind: "retry", reason: "503", afterMs };
    case "hold":
      return { kind: "hold", reason: "401" };
    case "split":
      return { kind: "split", reason: "400" };
    case "delivered":
      return { kind: "delivered" };
  }
}
