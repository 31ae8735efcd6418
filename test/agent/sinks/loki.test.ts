import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import protobuf from "protobufjs";
import snappy from "snappyjs";
import { realClock } from "../../../agent/clock.ts";
import type { Outcome, Sink } from "../../../agent/dispatcher/sink.ts";
import { createMemory, type Memory } from "../../../agent/memory/memory.ts";
import { loki, pushUrl } from "../../../agent/sinks/loki.ts";
import { Secret, type LokiOptions } from "../../../crds/config.ts";
import { parseTemplate } from "../../../crds/template.ts";
import { Batches, source, type Part } from "../../support/batch.ts";
import { sinkContract, type Arrived, type Rig } from "./contract.ts";
import { answering, keptLog, type Received } from "./support.ts";

const never = new AbortController().signal;

// Loki's pkg/push/push.proto, the parts that a push has.
const PushRequest = protobuf
  .parse(
    `syntax = "proto3";
    message PushRequest { repeated Stream streams = 1; }
    message Stream { string labels = 1; repeated Entry entries = 2; uint64 hash = 3; }
    message Entry { Timestamp timestamp = 1; string line = 2; repeated Pair structuredMetadata = 3; }
    message Timestamp { int64 seconds = 1; int32 nanos = 2; }
    message Pair { string name = 1; string value = 2; }`,
    { keepCase: true },
  )
  .root.lookupType("PushRequest");

interface Pushed {
  labels: Record<string, string>;
  nanoseconds: bigint;
  line: string;
  metadata: Record<string, string>;
}

/** Reads a push as Loki does. */
function read({ headers, body }: Received): Pushed[] {
  if (headers["content-type"] === "application/json") return readJson(body);
  assert.equal(headers["content-type"], "application/x-protobuf");
  const decoded = PushRequest.decode(new Uint8Array(snappy.uncompress(body)));
  const { streams = [] } = PushRequest.toObject(decoded, { longs: String, defaults: true }) as {
    streams?: {
      labels: string;
      entries: {
        timestamp: { seconds: string; nanos: number } | null;
        line: string;
        structuredMetadata: { name: string; value: string }[];
      }[];
    }[];
  };
  return streams.flatMap(({ labels, entries }) =>
    entries.map(({ timestamp, line, structuredMetadata }) => ({
      labels: readLabels(labels),
      nanoseconds: BigInt(timestamp?.seconds ?? 0) * 1_000_000_000n + BigInt(timestamp?.nanos ?? 0),
      line,
      metadata: Object.fromEntries(structuredMetadata.map(({ name, value }) => [name, value])),
    })),
  );
}

function readJson(body: Buffer): Pushed[] {
  const { streams } = JSON.parse(body.toString("utf8")) as {
    streams: { stream: Record<string, string>; values: [string, string, Record<string, string>?][] }[];
  };
  return streams.flatMap(({ stream, values }) =>
    values.map(([time, line, metadata = {}]) => ({ labels: stream, nanoseconds: BigInt(time), line, metadata })),
  );
}

/** `{a="b", c="d"}` as Go would: escapes are a subset of what JSON and \x know. */
function readLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  const names: string[] = [];
  for (const [, name = "", quoted = ""] of text.matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)) {
    names.push(name);
    labels[name] = JSON.parse(`"${quoted.replaceAll("\\x", "\\u00")}"`) as string;
  }
  assert.deepEqual(names, names.toSorted(), "labels are sorted");
  return labels;
}

const templates = (sources: Record<string, string>): LokiOptions["labels"] =>
  Object.fromEntries(Object.entries(sources).map(([name, template]) => [name, parseTemplate(template)]));

const LABELS = { stream: "{stream}", namespace: "{namespace}", pod: "{pod}", container: "{container}" };

function optionsFor(url: string, more: Partial<LokiOptions> = {}): LokiOptions {
  return {
    ...{ url, labels: templates(LABELS), structuredMetadata: templates({ level: "{level}", node: "{node}" }) },
    ...{ format: "protobuf", compression: "snappy", requestTimeoutMs: 30_000 },
    ...more,
  };
}

async function rig(t: TestContext, more: Partial<LokiOptions>): Promise<Rig<LokiOptions>> {
  let status = 204;
  const records: Arrived[] = [];
  const server = await answering((response, received) => {
    if (status === 0) return;
    if (status === 204) records.push(...read(received).map(arrived));
    response.writeHead(status).end("nothing is stored here");
  });
  t.after(async () => server.close());
  return {
    row: loki,
    options: optionsFor(server.url, more),
    keepsBytes: false,
    endsAtNewline: false,
    arrived: () => records,
    fail() {
      status = 500;
      return "retry";
    },
    repair: () => void (status = 204),
    hang: () => void (status = 0),
  };
}

function arrived({ labels, nanoseconds, line, metadata }: Pushed): Arrived {
  const time = new Date(Number(nanoseconds / 1_000_000_000n) * 1000).toISOString().slice(0, 19);
  const { level, node = "" } = metadata;
  return {
    ...{ text: line, level, node, stream: labels["stream"] },
    time: `${time}.${String(nanoseconds % 1_000_000_000n).padStart(9, "0")}Z`,
    source: `${labels["namespace"]}/${labels["pod"]}/${labels["container"]}`,
  };
}

sinkContract("loki protobuf", async (t) => rig(t, {}));
sinkContract("loki protobuf uncompressed", async (t) => rig(t, { compression: "none" }));
sinkContract("loki json", async (t) => rig(t, { format: "json", compression: "none" }));

interface Opened {
  memory: Memory;
  sink: Sink;
  received: Received[];
  send(parts: readonly Part[]): Promise<Outcome>;
}

async function opened(
  t: TestContext,
  more: Partial<LokiOptions>,
  reply: [number, string] = [204, ""],
  encodeBytes = 4 << 20,
): Promise<Opened> {
  const server = await answering((response) => response.writeHead(reply[0]).end(reply[1]));
  const options = optionsFor(server.url, { structuredMetadata: {}, ...more });
  const memory = createMemory({ memoryLimit: 16 << 20, encodeBytes });
  const sink = loki.open(options, { memory, clock: realClock, log: keptLog(), pipeline: "p", name: "s" });
  t.after(async () => {
    await sink.close();
    await server.close();
  });
  const batches = new Batches(memory, loki.order(options));
  const send = async (parts: readonly Part[]): Promise<Outcome> => {
    const { batch, release } = batches.make(parts);
    const request = sink.encode(batch);
    assert.ok(typeof request === "object", JSON.stringify(request));
    const outcome = await request.send(never);
    request.free();
    release();
    return outcome;
  };
  return { memory, sink, received: server.received, send };
}

test("the push path is added unless the address has it", () => {
  const cases = [
    ["http://loki:3100", "http://loki:3100/loki/api/v1/push"],
    ["http://loki:3100/", "http://loki:3100/loki/api/v1/push"],
    ["http://loki/insert/", "http://loki/insert/loki/api/v1/push"],
    ["https://loki/loki/api/v1/push", "https://loki/loki/api/v1/push"],
    ["https://loki/a/loki/api/v1/push/?x=1", "https://loki/a/loki/api/v1/push?x=1"],
  ];
  for (const [given, expected] of cases) assert.equal(pushUrl(given!).href, expected);
});

test("a request names its tenant and carries its credentials", async (t) => {
  const bearer = new Secret("t0ken", { value: "t0ken" });
  const { send, received } = await opened(t, { tenant: "shop", auth: { bearer } });
  await send([{ source: source(), lines: [{ text: "x" }] }]);
  const [request] = received;
  assert.equal(request?.path, "/loki/api/v1/push");
  assert.equal(request.headers["x-scope-orgid"], "shop");
  assert.equal(request.headers.authorization, "Bearer t0ken");
});

test("without a tenant none is named", async (t) => {
  const { send, received } = await opened(t, {});
  await send([{ source: source(), lines: [{ text: "x" }] }]);
  assert.equal(received[0]?.headers["x-scope-orgid"], undefined);
});

test("a label set is one stream, over classes and containers; empty labels are left out", async (t) => {
  for (const format of ["protobuf", "json"] as const) {
    const { send, received } = await opened(t, { format, labels: templates({ ns: "{namespace}", s: "{stream}" }) });
    await send([
      { source: source("a"), lines: [{ text: "1", stream: "stdout" }, { text: "2", stream: "stderr" }, { text: "3" }] },
      { source: source("b"), lines: [{ text: "4", stream: "stdout", level: "error" }] },
    ]);
    const streams = Map.groupBy(read(received[0]!), ({ labels }) => JSON.stringify(labels));
    assert.deepEqual(
      Object.fromEntries([...streams].map(([labels, entries]) => [labels, entries.map(({ line }) => line).join("")])),
      { '{"ns":"shop","s":"stdout"}': "14", '{"ns":"shop","s":"stderr"}': "2", '{"ns":"shop"}': "3" },
    );
  }
});

test("labels may come from fields and times, row by row", async (t) => {
  const { send, received } = await opened(t, { labels: templates({ user: "{fields.u.name}", at: "{hour}" }) });
  const lines = ["a", "b", "a", ""].map((name, i) => ({ text: `${i}`, seconds: i * 1800, fields: { u: { name } } }));
  await send([{ source: source(), lines }]);
  assert.deepEqual(
    read(received[0]!)
      .map(({ labels, line }) => `${labels["user"] ?? "-"} ${labels["at"]} ${line}`)
      .sort(),
    ["- 01 3", "a 00 0", "a 01 2", "b 00 1"],
  );
});

test("structured metadata comes with every entry, constant or row by row, in order", async (t) => {
  for (const format of ["protobuf", "json"] as const) {
    const { send, received } = await opened(t, {
      format,
      labels: templates({ a: "{namespace}" }),
      structuredMetadata: templates({ who: "{pod}", level: "{level}", id: "{fields.id}", day: "{date}" }),
    });
    const lines = Array.from({ length: 60 }, (_, i) => ({
      ...{ text: `${i}`, seconds: 1 + i, nanos: i, verdict: i % 7 === 3 ? 1 : 0 },
      level: i % 5 ? ("info" as const) : ("error" as const),
      ...(i % 3 > 0 && { fields: { id: i % 2 ? `id ${i >> 2}` : "" } }),
    }));
    await send([{ source: source(), lines }]);
    const wanted = lines.flatMap(({ text, verdict, level, fields }) => {
      const id = fields?.id;
      return verdict ? [] : [{ line: text, metadata: { day: "1970-01-01", ...(id && { id }), level, who: "web-1" } }];
    });
    assert.deepEqual(
      read(received[0]!).map(({ line, metadata }) => ({ line, metadata })),
      wanted,
    );
  }
});

test("metadata that Loki would not take is left out, the record goes on", async (t) => {
  const { send, received } = await opened(t, {
    structuredMetadata: templates({ big: "{fields.big}", small: "{pod}" }),
  });
  await send([{ source: source(), lines: [{ text: "x", fields: { big: "y".repeat(100_000) } }] }]);
  assert.deepEqual(read(received[0]!)[0]?.metadata, { small: "web-1" });
});

test("levels are needed only where they are shown", () => {
  assert.equal(loki.needsLevel(optionsFor("http://x", { structuredMetadata: templates({ a: "{pod}" }) })), false);
  assert.equal(loki.needsLevel(optionsFor("http://x", { structuredMetadata: templates({ a: "{level}" }) })), true);
});

test("compressed requests are small, uncompressed ones are the text and little more", async (t) => {
  const lines = Array.from({ length: 1000 }, (_, i) => ({
    text: `GET /index.html 200 ${i}`,
    seconds: 1_700_000_000,
    nanos: i,
  }));
  const sizes: number[] = [];
  for (const compression of ["snappy", "none"] as const) {
    const { send, received } = await opened(t, { compression });
    await send([{ source: source(), lines }]);
    assert.equal(read(received[0]!).length, 1000);
    sizes.push(received[0]!.body.length);
  }
  assert.ok(sizes[0]! < sizes[1]! / 2, sizes.join(" "));
});

test("records that the reply names are rejected, by their slice and row", async (t) => {
  const reply =
    "entry with timestamp 2026-11-23 10:00:01.000000007 +0000 UTC ignored, " +
    "reason: 'entry out of order' for stream: {a=\"shop\"},\n" +
    "total ignored: 1 out of 3\n";
  const { send } = await opened(t, { labels: templates({ a: "{namespace}" }) }, [400, reply]);
  const seconds = Date.parse("2026-11-23T10:00:00Z") / 1000;
  const outcome = await send([
    {
      source: source("a"),
      lines: [
        { text: "0", seconds },
        { text: "filtered", seconds: seconds + 1, nanos: 7, verdict: 1 },
      ],
    },
    {
      source: source("b"),
      lines: [
        { text: "1", seconds: seconds + 2 },
        { text: "2", seconds: seconds + 1, nanos: 7 },
      ],
    },
  ]);
  assert.ok(outcome.kind === "reject", JSON.stringify(outcome));
  assert.equal(outcome.refused.length, 1);
  const [refused] = outcome.refused;
  assert.equal(refused?.slice.source.container, "b");
  assert.equal(refused.row, 1);
  assert.equal(refused.outOfOrder, true);
});

test("rows of other keys are not counted among those refused", async (t) => {
  const reply =
    "entry with timestamp 1970-01-01 00:00:01 +0000 UTC ignored, " +
    "reason: 'entry out of order' for stream: {u=\"a\"},\ntotal ignored: 1 out of 2\n";
  const { send } = await opened(t, { labels: templates({ u: "{fields.u}" }) }, [400, reply]);
  const lines = ["a", "b", "a", "b"].map((u, i) => ({
    ...{ text: `${i}`, seconds: i < 2 ? 2 : 1, fields: { u } },
    verdict: u === "b" ? 1 : 0,
  }));
  const outcome = await send([{ source: source(), lines }]);
  assert.ok(outcome.kind === "reject", JSON.stringify(outcome));
  assert.deepEqual(
    outcome.refused.map(({ row }) => row),
    [2],
  );
});

test("what cannot be compressed for want of room is too large, but a record alone goes as it is", async (t) => {
  const { sink, memory, send, received } = await opened(t, {}, [204, ""], 1 << 20);
  const lines = Array.from({ length: 7 }, (_, i) => ({ text: `${i}`.repeat(100_000), seconds: 1 + i }));
  const { batch, release } = new Batches(memory, undefined).make([{ source: source(), lines }]);
  assert.equal(sink.encode(batch), "too large");
  release();
  const whole = [{ text: "x".repeat(700_000), seconds: 1 }];
  assert.deepEqual(await send([{ source: source(), lines: whole }]), { kind: "delivered" });
  assert.equal(read(received[0]!)[0]?.line, whole[0]!.text);
});

test("a refusal of one of several streams is a split", async (t) => {
  const reply =
    "entry with timestamp 2026-11-23 10:00:01 +0000 UTC ignored, " +
    "reason: 'entry out of order' for stream: {a=\"shop\"},\ntotal ignored: 1 out of 1\n";
  const { send } = await opened(t, {}, [400, reply]);
  const lines = [
    { text: "1", stream: "stdout" as const },
    { text: "2", stream: "stderr" as const },
  ];
  assert.equal((await send([{ source: source(), lines }])).kind, "split");
});
