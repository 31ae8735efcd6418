/**
 * Sends JSON records to any HTTP endpoint, as NDJSON or as one array. A request is taken to be accepted whole or not at
 * all: an endpoint that answers 400 is believed to have stored nothing of it.
 */
import type { HttpOptions } from "../../crds/config.ts";
import type { Request, Sink, SinkContext, SinkRow } from "../dispatcher/sink.ts";
import { Body, COMMA, NEWLINE, type Block } from "./body.ts";
import { HttpClient } from "./http-client.ts";
import { nothing } from "./nothing.ts";
import { recordTail, Tails } from "./tails.ts";

const CONTENT_TYPES = { ndjson: "application/x-ndjson", json: "application/json" };
const OPEN = Uint8Array.of(0x5b);
const CLOSE = Uint8Array.of(0x5d);

export const http: SinkRow<HttpOptions> = {
  atomic: true,
  batchBytesMax: 4 * 1024 * 1024,
  order: () => undefined,
  needsLevel: () => true,
  open: openHttp,
};

function openHttp(options: HttpOptions, { memory, clock }: SinkContext): Sink {
  const { method, format, auth, requestTimeoutMs } = options;
  const headers = { "content-type": CONTENT_TYPES[format], ...options.headers };
  const client = new HttpClient({ url: new URL(options.url), method, headers, auth, requestTimeoutMs }, clock);
  const tails = new Tails(recordTail);

  function requestOf(block: Block, replaced: number): Request {
    return {
      bytes: block.bytes.length,
      replaced,
      async send(signal) {
        const result = await client.send(block.bytes, signal);
        return "kind" in result ? result : client.outcome(result);
      },
      free: () => block.chunk.release(),
    };
  }

  return {
    encode(batch) {
      const body = new Body(memory);
      const isArray = format === "json";
      if (isArray) body.put(OPEN);
      const start = body.out;
      for (const { slices } of batch.groups) {
        for (const slice of slices) body.ndjson(slice, tails, isArray ? COMMA : NEWLINE);
      }
      if (body.full) return "too large";
      if (body.out === start) return nothing;
      // The last separator.
      if (isArray) body.out--;
      if (isArray) body.put(CLOSE);
      const block = body.toBlock(memory.encode, body.out);
      return block === "no room" ? block : requestOf(block, body.replaced);
    },
    close: async () => client.close(),
  };
}
