/**
 * Pushes to Loki: protobuf with snappy by default, protobuf with snappy's framing but nothing compressed, or JSON.
 * https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs
 *
 * The order key is the label set, rendered once and kept with the key. A push is not atomic: Loki stores what is good
 * in it and tells about the rest (loki-reply.ts).
 */
import { Buffer } from "node:buffer";
import type { LokiOptions } from "../../crds/config.ts";
import type { Batch, Group, OrderKey, Request, Sink, SinkContext, SinkRow } from "../dispatcher/sink.ts";
import { NANOS, SECONDS } from "../memory/columns.ts";
import { snappyBound } from "../memory/kernels.ts";
import type { Memory } from "../memory/memory.ts";
import { wordOf } from "../memory/records.ts";
import { Body, counts, type Block } from "./body.ts";
import { HttpClient } from "./http-client.ts";
import { labelPairs, member, metadataMembers, metadataTail, renderLabels, varint } from "./loki-labels.ts";
import { Metadata } from "./loki-metadata.ts";
import { ofLokiReply, type SentRow } from "./loki-reply.ts";
import { nothing } from "./nothing.ts";

const PUSH_PATH = "/loki/api/v1/push";
const CONTENT_TYPES = { protobuf: "application/x-protobuf", json: "application/json" };
/** PushRequest.streams: field 1, wire type 2. */
const STREAMS = 0x0a;
/** A length, a literal's tag and its length: what stands before bytes that snappy did not compress. */
const LITERAL_HEAD_BYTES = 16;
/** A literal with its length in four bytes, https://github.com/google/snappy/blob/main/format_description.txt §2.1 */
const LITERAL_4 = 63 << 2;

export const loki: SinkRow<LokiOptions> = {
  atomic: false,
  // Loki's parts take messages of 4 MiB from each other (grpc_server_max_recv_msg_size).
  batchBytesMax: 2 * 1024 * 1024,
  order: ({ labels }) => names(labels).map((name) => labels[name]!),
  needsLevel: ({ structuredMetadata }) => Object.values(structuredMetadata).some(({ varies }) => varies.level),
  open: openLoki,
};

function names(labels: LokiOptions["labels"]): string[] {
  return Object.keys(labels).sort();
}

/** What a key keeps: the beginning of its stream in either format. */
interface Prepared {
  readonly protobuf: Buffer;
  readonly json: Buffer;
}

function openLoki(options: LokiOptions, { memory, clock }: SinkContext): Sink {
  const { tenant, format, compression, auth, requestTimeoutMs } = options;
  const headers = { "content-type": CONTENT_TYPES[format], ...(tenant !== undefined && { "x-scope-orgid": tenant }) };
  const client = new HttpClient({ url: pushUrl(options.url), method: "POST", headers, auth, requestTimeoutMs }, clock);
  const labelNames = names(options.labels);
  const metadata = new Metadata(
    options.structuredMetadata,
    format === "json" ? (pairs) => Buffer.from(metadataTail(pairs), "utf8") : metadataMembers,
  );

  function prepared(key: OrderKey): Prepared {
    return (key.prepared ??= prepare(labelPairs(labelNames, key.values))) as Prepared;
  }

  function encodeProtobuf(batch: Batch, body: Body): number {
    let streams = 0;
    for (const { key, slices } of batch.groups) {
      const runs = slices.flatMap((slice) => metadata.runs(memory, slice).map((run) => ({ slice, ...run })));
      const labels = prepared(key).protobuf;
      let bytes = labels.length;
      for (const { slice, from, to, meta } of runs) bytes += body.lokiSize(slice, from, to, meta.length);
      if (bytes === labels.length) continue;
      body.put(Buffer.concat([Buffer.of(STREAMS), varint(bytes), labels]));
      body.full ||= body.out + bytes - labels.length > body.end;
      if (body.full) return streams;
      for (const { slice, from, to, meta } of runs) body.lokiWrite(slice, from, to, meta);
      streams++;
    }
    return streams;
  }

  function encodeJson(batch: Batch, body: Body): number {
    let streams = 0;
    body.put(Buffer.from('{"streams":['));
    for (const { key, slices } of batch.groups) {
      const start = body.out;
      body.put(prepared(key).json);
      const empty = body.out;
      for (const slice of slices) {
        for (const { from, to, meta } of metadata.runs(memory, slice)) body.lokiJson(slice, from, to, meta);
      }
      if (body.full) return streams;
      if (body.out === empty) {
        body.out = start;
        continue;
      }
      body.out--; // the comma behind the last entry
      body.put(Buffer.from("]},"));
      streams++;
    }
    if (streams > 0) body.out--;
    body.put(Buffer.from("]}"));
    return streams;
  }

  return {
    encode(batch) {
      const body = new Body(memory, LITERAL_HEAD_BYTES);
      const start = body.out;
      const streams = format === "json" ? encodeJson(batch, body) : encodeProtobuf(batch, body);
      if (body.full) return "too large";
      if (streams === 0) return nothing;
      const [from, to] = format === "json" ? [start, body.out] : compress(body, start, compression, batch.rows === 1);
      if (to > body.end) return "too large";
      const block = body.toBlock(from, to);
      return block === "no room"
        ? block
        : requestOf(client, memory, batch.groups, { block, streams, replaced: body.replaced });
    },
    close: async () => client.close(),
  };
}

/**
 * Compresses [start, body.out) behind itself. Where there is no room for that, a single record goes as it is, since it
 * cannot be made smaller; of more records the end that is returned lies behind the area.
 */
function compress(
  body: Body,
  start: number,
  compression: LokiOptions["compression"],
  single: boolean,
): [number, number] {
  const { memory } = body;
  const length = body.out - start;
  const target = (body.out + 15) & ~15;
  const fits = target + snappyBound(length) <= body.end;
  if (compression === "snappy" && (fits || !single)) {
    if (!fits) return [target, body.end + 1];
    return [target, target + memory.kernels.snappy(start, body.out, target, memory.snappyTable)];
  }
  const tag = Buffer.alloc(5);
  tag[0] = LITERAL_4;
  tag.writeUInt32LE(length - 1, 1);
  const head = Buffer.concat([varint(length), tag]);
  memory.bytes.set(head, start - head.length);
  return [start - head.length, body.out];
}

interface Encoded {
  readonly block: Block;
  readonly streams: number;
  readonly replaced: number;
}

function requestOf(client: HttpClient, memory: Memory, groups: readonly Group[], encoded: Encoded): Request {
  const { block, streams, replaced } = encoded;
  const rows = (): SentRow[] => groups.flatMap(({ slices }) => slices.flatMap((slice) => sentRows(memory, slice)));
  return {
    bytes: block.bytes.length,
    replaced,
    async send(signal) {
      const result = await client.send(block.bytes, signal);
      if ("kind" in result) return result;
      const told = result.status >= 400 ? ofLokiReply(result, client.host, { streams, rows }) : undefined;
      return told ?? client.outcome(result);
    },
    free: () => block.chunk.release(),
  };
}

function sentRows(memory: Memory, slice: SentRow["slice"]): SentRow[] {
  const { records, from, to } = slice;
  const rows: SentRow[] = [];
  for (let row = from; row < to; row++) {
    if (!counts(memory, slice, row)) continue;
    const seconds = wordOf(memory, records, SECONDS, row) >>> 0;
    rows.push({ slice, row, seconds, nanos: wordOf(memory, records, NANOS, row) });
  }
  return rows;
}

function prepare(pairs: ReturnType<typeof labelPairs>): Prepared {
  const stream = JSON.stringify(Object.fromEntries(pairs.map(([name, value]) => [name, value.toWellFormed()])));
  return {
    protobuf: member(1, Buffer.from(renderLabels(pairs), "utf8")),
    json: Buffer.from(`{"stream":${stream},"values":[`, "utf8"),
  };
}

/** The push address: the path is added unless it is there already. */
export function pushUrl(text: string): URL {
  const url = new URL(text);
  const path = url.pathname.replace(/\/+$/, "");
  url.pathname = path.endsWith(PUSH_PATH) ? path : path + PUSH_PATH;
  return url;
}
