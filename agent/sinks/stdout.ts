/**
 * Writes to standard output: for programs as NDJSON or plain text, for people with namespace/pod/container before each
 * line, in colours on a terminal. A request waits until its bytes are written: who reads slowly holds the sink, and a
 * reader that is gone stops it.
 */
import pc from "picocolors";
import type { StdoutOptions } from "../../crds/config.ts";
import type { Outcome, Request, Sink, SinkContext, SinkRow } from "../dispatcher/sink.ts";
import { Body, type Block } from "./body.ts";
import { nothing } from "./nothing.ts";
import { levelOf, recordTail, Tails, type Render } from "./tails.ts";

/** What is written to; a test's own. */
export interface Output {
  readonly isTTY?: boolean;
  write(bytes: Uint8Array, done: (error?: Error | null) => void): unknown;
  on(event: "error", listener: () => void): unknown;
  off(event: "error", listener: () => void): unknown;
}

export const stdout: SinkRow<StdoutOptions> = {
  atomic: false,
  batchBytesMax: 1024 * 1024,
  order: () => undefined,
  needsLevel: ({ format }) => format !== "text",
  open: (options, context) => openStdout(options, context, process.stdout),
};

export function openStdout({ format }: StdoutOptions, { memory }: SinkContext, output: Output): Sink {
  const tails = new Tails(format === "console" ? consoleHead(output.isTTY === true) : recordTail);
  // The write's own callback tells it; without a listener it would end the process.
  const ignore = (): void => {};
  output.on("error", ignore);
  let pending = 0;

  async function write({ bytes, chunk }: Block, signal: AbortSignal): Promise<Outcome> {
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    const stop = (): void =>
      resolve({ kind: "retry", reason: "standard output: was stopped while it wrote", ambiguous: true });
    if (signal.aborted) stop();
    else {
      signal.addEventListener("abort", stop, { once: true });
      // A write cannot be called back: its bytes stay where they are until it is done.
      chunk.retain();
      pending++;
      output.write(bytes, (error) => {
        chunk.release();
        pending--;
        signal.removeEventListener("abort", stop);
        resolve(error ? { kind: "hold", reason: `standard output: ${error.message}` } : { kind: "delivered" });
      });
    }
    return promise;
  }

  return {
    encode(batch) {
      const body = new Body(memory);
      for (const { slices } of batch.groups) {
        for (const slice of slices) {
          if (format === "ndjson") body.ndjson(slice, tails);
          else body.text(slice, format === "console" ? tails : undefined);
        }
      }
      if (body.full) return "too large";
      if (body.out === memory.encode) return nothing;
      const block = body.toBlock(memory.encode, body.out);
      if (block === "no room") return block;
      const request: Request = {
        bytes: block.bytes.length,
        replaced: body.replaced,
        send: async (signal) => write(block, signal),
        free: () => block.chunk.release(),
      };
      return request;
    },
    async close() {
      // What was stopped may still hang in a pipe that nobody reads, and fail later.
      if (pending === 0) output.off("error", ignore);
    },
  };
}

/** `shop/checkout-1/app  ERROR  `; a level that is not known is left out. */
function consoleHead(coloured: boolean): Render {
  const { cyan, red, yellow, green, dim } = pc.createColors(coloured && !process.env["NO_COLOR"]);
  const colours = { fatal: red, error: red, warn: yellow, info: green, debug: dim, trace: dim };
  return ({ namespace, pod, container }, bits) => {
    const level = levelOf(bits);
    const source = cyan(`${namespace}/${pod}/${container}`);
    return level === "unknown" ? `${source}  ` : `${source}  ${colours[level](level.toUpperCase())}  `;
  };
}
