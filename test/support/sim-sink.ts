/**
 * A destination in memory behind the real Sink interface: it takes requests after a latency and answers as it is told.
 * It remembers what it stored, in order, and for every request whether and when its answer left.
 */
import type { Clock } from "../../agent/clock.ts";
import type { Batch, Outcome, Refused, Request, Sink, SinkContext, SinkRow, Slice } from "../../agent/dispatcher/sink.ts";
import { BITS, CLASS_MASK } from "../../agent/memory/columns.ts";
import { textOf, wordOf } from "../../agent/memory/records.ts";

/** A request without an answer ends after this, as a real sink's does. */
const TIMEOUT_MS = 10_000;

/** How the destination behaves: `lost answer` stores and never answers, `hang` neither. */
export type Mode = "accept" | "retry" | "hold" | "lost answer" | "hang" | "reset";

export interface Sent {
  readonly texts: readonly string[];
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
  readonly stored: string[] = [];
  readonly sent: Sent[] = [];
  readonly clock: Clock;
  inFlight = 0;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  receive(texts: readonly string[]): Promise<{ outcome: Outcome["kind"] | "lost"; poison: number[] }> {
    const sent: Sent = { texts, stored: false, answeredAt: undefined, ambiguous: false, cancelled: false };
    this.sent.push(sent);
    this.inFlight++;
    const { mode } = this;
    return new Promise((resolve) => {
      const answer = (outcome: Outcome["kind"] | "lost", poison: number[] = []): void => {
        this.inFlight--;
        sent.answeredAt = this.clock.now();
        sent.ambiguous ||= outcome === "lost";
        resolve({ outcome, poison });
      };
      const store = (except: number[]): void => {
        sent.stored = true;
        this.stored.push(...texts.filter((_, index) => !except.includes(index)));
      };
      this.clock.after(this.latencyMs, () => {
        if (sent.cancelled) return;
        const poison = texts.flatMap((text, index) => (this.isPoison(text) ? [index] : []));
        switch (mode) {
          case "accept":
            if (poison.length > 0 && this.anonymous) return answer("split");
            store(poison);
            return answer(poison.length > 0 ? "reject" : "delivered", poison);
          case "retry":
          case "hold":
            return answer(mode);
          case "lost answer":
            store(poison);
            return answer("lost");
          case "reset":
            return answer("lost");
          case "hang":
        }
      });
    });
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
export function simSink(find: (id: string) => Destination): SinkRow<never> {
  return {
    atomic: true,
    batchBytesMax: 1024 * 1024,
    order: () => undefined,
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
          async send(signal): Promise<Outcome> {
            const destination = find(`${context.pipeline}/${context.name}`);
            const aborted = new Promise<"aborted">((resolve) =>
              signal.addEventListener("abort", () => resolve("aborted"), { once: true }),
            );
            const timeout = new Promise<"aborted">((resolve) => context.clock.after(TIMEOUT_MS, () => resolve("aborted")));
            const received = destination.receive(rows.map(({ text }) => text));
            const request = destination.sent.at(-1)!;
            const reply = await Promise.race([received, aborted, timeout]);
            if (reply === "aborted") {
              request.ambiguous = request.cancelled = true;
              return { kind: "retry", reason: "aborted", ambiguous: true };
            }
            const refused = (index: number): Refused => ({
              ...{ slice: rows[index]!.slice, row: rows[index]!.row, reason: "poison", outOfOrder: false },
            });
            switch (reply.outcome) {
              case "lost":
                return { kind: "retry", reason: "connection reset", ambiguous: true };
              case "reject":
                return { kind: "reject", refused: reply.poison.map(refused) };
              case "retry":
                return { kind: "retry", reason: "503" };
              case "hold":
                return { kind: "hold", reason: "401" };
              case "split":
                return { kind: "split", reason: "400" };
              case "delivered":
                return { kind: "delivered" };
            }
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
