/**
 * Appends to files: whole lines, synced before they count as delivered, and taken back when they could not be written
 * and synced in full (appender.ts). So a request stores all of its records or none.
 */
import type { FileOptions } from "../../crds/config.ts";
import type { OrderKey, Outcome, Request, Sink, SinkContext, SinkRow } from "../dispatcher/sink.ts";
import { AppendError, Appender, type Part } from "./appender.ts";
import { Body, type Block } from "./body.ts";
import { pathNames, renderPath } from "./file-path.ts";
import { nothing } from "./nothing.ts";
import { recordTail, Tails } from "./tails.ts";

/** Passes when there is room or peace again; anything else needs somebody to change something. */
const PASSING = new Set([
  "ENOSPC",
  "EDQUOT",
  "EIO",
  "EMFILE",
  "ENFILE",
  "ENOMEM",
  "EAGAIN",
  "EBUSY",
  "EINTR",
  "ESTALE",
]);

export const file: SinkRow<FileOptions> = {
  atomic: true,
  batchBytesMax: 4 * 1024 * 1024,
  order: ({ path }) => pathNames(path),
  needsLevel: ({ format }) => format === "ndjson",
  open: openFile,
};

function openFile(options: FileOptions, { memory, log, pipeline, name }: SinkContext): Sink {
  const appender = new Appender(log, { pipeline, sink: name });
  const tails = new Tails(recordTail);
  const running = new Set<Promise<Outcome>>();

  function pathOf(key: OrderKey): string {
    return (key.prepared ??= renderPath(options.path, key.values)) as string;
  }

  function requestOf(block: Block, parts: readonly Part[], replaced: number): Request {
    return {
      bytes: block.bytes.length,
      replaced,
      async send(signal) {
        // After an abort the writing goes on for a moment, to be taken back: it still needs its bytes.
        block.chunk.retain();
        const work = append(parts, signal).finally(() => {
          running.delete(work);
          block.chunk.release();
        });
        running.add(work);
        return Promise.race([work, aborted(signal)]);
      },
      free: () => block.chunk.release(),
    };
  }

  async function append(parts: readonly Part[], signal: AbortSignal): Promise<Outcome> {
    try {
      await appender.append(parts, signal);
      return { kind: "delivered" };
    } catch (error) {
      return outcomeOf(error);
    }
  }

  return {
    encode(batch) {
      const body = new Body(memory);
      const places: { path: string; from: number; to: number }[] = [];
      for (const { key, slices } of batch.groups) {
        const from = body.out;
        for (const slice of slices) {
          if (options.format === "ndjson") body.ndjson(slice, tails);
          else body.text(slice, undefined);
        }
        if (body.out > from)
          places.push({ path: pathOf(key), from: from - memory.encode, to: body.out - memory.encode });
      }
      if (body.full) return "too large";
      if (places.length === 0) return nothing;
      const block = body.toBlock(memory.encode, body.out);
      if (block === "no room") return block;
      const parts = places.map(({ path, from, to }) => ({ path, bytes: block.bytes.subarray(from, to) }));
      return requestOf(block, parts, body.replaced);
    },
    async close() {
      await Promise.all(running);
      await appender.close();
    },
  };
}

async function aborted(signal: AbortSignal): Promise<Outcome> {
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  const stop = (): void => resolve({ kind: "retry", reason: "was stopped while it wrote", ambiguous: true });
  if (signal.aborted) stop();
  else signal.addEventListener("abort", stop, { once: true });
  return promise;
}

function outcomeOf(error: unknown): Outcome {
  if (!(error instanceof AppendError)) return { kind: "retry", reason: String(error), ambiguous: true };
  const { code, message: reason, left } = error;
  if (PASSING.has(code)) return { kind: "retry", reason, ...(left && { ambiguous: true }) };
  return { kind: "hold", reason };
}
