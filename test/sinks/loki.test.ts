// The loki sink against a real Loki, strict about order, and its structured metadata against VictoriaLogs.

import assert from "node:assert/strict";
import { after, before, suite, test, type TestContext } from "node:test";
import fc from "fast-check";
import { realClock } from "../../agent/clock.ts";
import type { Outcome, Refused } from "../../agent/dispatcher/sink.ts";
import { createMemory } from "../../agent/memory/memory.ts";
import { loki } from "../../agent/sinks/loki.ts";
import type { LokiOptions } from "../../crds/config.ts";
import { parseTemplate } from "../../crds/template.ts";
import { keptLog } from "../agent/sinks/support.ts";
import { startLoki, type Loki } from "../servers/loki.ts";
import { skipWithoutGo } from "../servers/tool.ts";
import { startVictoriaLogs, type VictoriaLogs } from "../servers/victorialogs.ts";
import { Batches, source, type Line, type Part } from "../support/batch.ts";

const skip = skipWithoutGo();
const never = new AbortController().signal;
/** Loki takes what is younger than a week; what is queried lies before now. */
const NOW = Math.floor(Date.now() / 1000) - 3_600;
const FORMATS: [string, Partial<LokiOptions>][] = [
  ["protobuf with snappy", { format: "protobuf", compression: "snappy" }],
  ["protobuf uncompressed", { format: "protobuf", compression: "none" }],
  ["json", { format: "json", compression: "none" }],
];

interface Opened {
  send(parts: readonly Part[]): Promise<Outcome>;
  /** Sends as the dispatcher does: splits halve until a record is alone. Returns what was refused. */
  drive(parts: readonly Part[]): Promise<{ line: Line; refused: Pick<Refused, "reason" | "outOfOrder"> }[]>;
}

function opened(t: TestContext, url: string, more: Partial<LokiOptions>): Opened {
  const labels = { namespace: "{namespace}", pod: "{pod}", container: "{container}", stream: "{stream}" };
  const options: LokiOptions = {
    ...{ url, labels: templates(labels), structuredMetadata: {}, requestTimeoutMs: 30_000 },
    ...{ format: "protobuf", compression: "snappy" },
    ...more,
  };
  const memory = createMemory({ memoryLimit: 32 << 20, encodeBytes: 8 << 20 });
  const sink = loki.open(options, { memory, clock: realClock, log: keptLog(), pipeline: "p", name: "s" });
  t.after(async () => sink.close());
  const batches = new Batches(memory, loki.order(options));
  const send: Opened["send"] = async (parts) => {
    const { batch, release } = batches.make(parts);
    const request = sink.encode(batch);
    release();
    assert.ok(typeof request === "object", JSON.stringify(request));
    const outcome = await request.send(never);
    request.free();
    return outcome;
  };
  const drive: Opened["drive"] = async (parts) => {
    const { batch, release } = batches.make(parts);
    const request = sink.encode(batch);
    assert.ok(typeof request === "object", JSON.stringify(request));
    const outcome = await request.send(never);
    request.free();
    release();
    if (outcome.kind === "delivered") return [];
    if (outcome.kind === "reject") {
      const recordsOf = new Map(batch.groups.flatMap(({ slices }) => slices.map((slice) => [slice.records, 0])));
      const lines = new Map([...recordsOf.keys()].map((records, i) => [records, parts[i]!.lines]));
      return outcome.refused.map((refused) => ({ line: lines.get(refused.slice.records)![refused.row]!, refused }));
    }
    assert.equal(outcome.kind, "split", JSON.stringify(outcome));
    const rows = parts.flatMap((part) => part.lines.map((line) => ({ source: part.source, lines: [line] })));
    if (rows.length === 1) return [{ line: rows[0]!.lines[0]!, refused: { reason: "anonymous", outOfOrder: false } }];
    const halves = [rows.slice(0, rows.length >> 1), rows.slice(rows.length >> 1)];
    return [...(await drive(halves[0]!)), ...(await drive(halves[1]!))];
  };
  return { send, drive };
}

function templates(sources: Record<string, string>): LokiOptions["labels"] {
  return Object.fromEntries(Object.entries(sources).map(([name, template]) => [name, parseTemplate(template)]));
}

const timeOf = ({ seconds = 0, nanos = 0 }: Line): string => `${seconds}${String(nanos).padStart(9, "0")}`;

void suite("loki 1.6.1", { skip }, () => {
  let server: Loki;
  let tenants = 0;
  before(async () => {
    server = await startLoki();
  });
  after(async () => server.stop());

  for (const [name, format] of FORMATS) {
    void test(`${name}: the exact set comes back, in order, to the nanosecond`, async (t) => {
      const tenant = `t${++tenants}`;
      const { send } = opened(t, server.url, { tenant, ...format });
      const texts = ["plain", " blanks ", 'q"\\', "tab\t\u0001\u001b", "é 日本 😀", "x".repeat(200_000), "\r", "a\nb"];
      const parts = ["app", "sidecar"].map((container) => ({
        source: source(container, { namespace: 'né"\\\n' }),
        lines: Array.from({ length: 3_000 }, (_, i) => ({
          text: `${i} ${texts[i % 100] ?? ""}`,
          ...{ seconds: NOW + i, nanos: (i * 7_919) % 1_000_000_000 },
          stream: i % 10 ? ("stdout" as const) : ("stderr" as const),
        })),
      }));
      for (let from = 0; from < 3_000; from += 500) {
        const some = parts.map((part) => ({ source: part.source, lines: part.lines.slice(from, from + 500) }));
        assert.deepEqual(await send(some), { kind: "delivered" });
      }
      for (const { source: from, lines } of parts) {
        for (const stream of ["stdout", "stderr"]) {
          const stored = await server.queryAll(`{container="${from.container}", stream="${stream}"}`, tenant);
          const wanted = lines.filter((line) => line.stream === stream);
          assert.deepEqual(
            stored.map(({ ts, line }) => [ts, line]),
            wanted.map((line) => [timeOf(line), line.text]),
          );
          const { namespace, pod, container } = from;
          assert.deepEqual(stored[0]?.labels, { namespace, pod, container, stream });
        }
      }
    });
  }

  void test("entries older than the newest are named, refused alone, and may have been delivered before", async (t) => {
    const tenant = `t${++tenants}`;
    const { send } = opened(t, server.url, { tenant });
    const lines = [10, 5, 11, 3, 11, 12].map((at, i) => ({ text: `${i}`, seconds: NOW + at }));
    const outcome = await send([{ source: source(), lines }]);
    assert.ok(outcome.kind === "reject", JSON.stringify(outcome));
    assert.deepEqual(
      outcome.refused.map(({ row, reason, outOfOrder }) => [row, reason, outOfOrder]),
      [
        [1, "entry out of order", true],
        [3, "entry out of order", true],
      ],
    );
    const stored = await server.queryAll('{pod="web-1"}', tenant);
    assert.deepEqual(stored.map(({ line }) => line).sort(), ["0", "2", "4", "5"]);
  });

  void test("a batch that is sent again is refused whole, in one request", async (t) => {
    const { send } = opened(t, server.url, { tenant: `t${++tenants}` });
    const lines = Array.from({ length: 1_000 }, (_, i) => ({ text: `${i}`, seconds: NOW + i }));
    assert.equal((await send([{ source: source(), lines }])).kind, "delivered");
    // The very last entry is the newest: Loki takes it again, as the same.
    const again = await send([{ source: source(), lines: lines.slice(0, -1) }]);
    assert.ok(again.kind === "reject");
    assert.equal(again.refused.length, 999);
    assert.ok(again.refused.every(({ outOfOrder }) => outOfOrder));
  });

  void test("a line that is too long, too old or too new is refused, the others are stored", async (t) => {
    const tenant = `t${++tenants}`;
    const { drive } = opened(t, server.url, { tenant });
    const kinds = {
      long: { text: "x".repeat(262_145), seconds: NOW + 1 },
      old: { text: "old", seconds: NOW - 8 * 86_400 },
      new: { text: "new", seconds: NOW + 86_400 },
    };
    for (const [kind, bad] of Object.entries(kinds)) {
      const good = [0, 2].map((at) => ({ text: `${kind} ${at}`, seconds: NOW + at }));
      const from = source(kind);
      const refused = await drive([
        { source: from, lines: [good[0]!, bad, good[1]!].sort((a, b) => a.seconds - b.seconds) },
      ]);
      const lost = refused.filter((each) => !each.refused.outOfOrder);
      assert.deepEqual(
        lost.map(({ line }) => line),
        [bad],
        kind,
      );
      assert.match(lost[0]!.refused.reason, /Max entry size|timestamp too (old|new)/);
      const stored = await server.queryAll(`{container="${kind}"}`, tenant);
      assert.deepEqual(
        stored.map(({ line }) => line),
        good.map(({ text }) => text),
        kind,
      );
    }
  });

  void test("a day of lines that are too old costs few requests", async (t) => {
    const { drive, send } = opened(t, server.url, { tenant: `t${++tenants}` });
    const lines = Array.from({ length: 2_000 }, (_, i) => ({ text: `${i}`, seconds: NOW - 8 * 86_400 + i }));
    const outcome = await send([{ source: source(), lines }]);
    assert.ok(outcome.kind === "reject" && outcome.refused.length === 2_000, outcome.kind);
    assert.equal((await drive([{ source: source(), lines }])).length, 2_000);
  });

  void test("whatever is mixed, every line is stored or refused, and none is both lost and unsaid", async (t) => {
    const kind = fc.constantFrom("good", "good", "good", "late", "old", "long", "same");
    const stream = fc.constantFrom("stdout" as const, "stderr" as const);
    const drawn = fc.array(fc.tuple(kind, stream), { minLength: 1, maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(drawn, async (kinds) => {
        const tenant = `t${++tenants}`;
        const { drive } = opened(t, server.url, { tenant });
        const lines = kinds.map(([what, to], i) => ({
          text: what === "long" ? `${i}${"x".repeat(262_144)}` : `${i}`,
          seconds: what === "old" ? NOW - 8 * 86_400 + i : what === "late" ? NOW - 60 : what === "same" ? NOW : NOW + i,
          stream: to,
        }));
        const refused = await drive([{ source: source(), lines }]);
        const stored = new Set((await server.queryAll('{pod="web-1"}', tenant)).map(({ line }) => line));
        const said = new Map(refused.map((each) => [each.line.text, each.refused]));
        for (const { text } of lines) {
          const verdict = said.get(text);
          if (!stored.has(text)) assert.ok(verdict, `${text.slice(0, 20)} is neither stored nor refused`);
          // Stored, and refused when sent again after a split: only as a record that was there already.
          else assert.ok(!verdict || verdict.outOfOrder, `${text.slice(0, 20)} is stored, yet ${verdict?.reason}`);
        }
      }),
      { numRuns: 25, endOnFailure: true },
    );
  });

  void test("without a tenant, and with more labels than are allowed, the sink holds", async (t) => {
    const parts = [{ source: source(), lines: [{ text: "x", seconds: NOW }] }];
    const anonymous = await opened(t, server.url, {}).send(parts);
    assert.ok(anonymous.kind === "hold");
    assert.match(anonymous.reason, /answered 401 Unauthorized: no org id/);
    const many = templates(Object.fromEntries(Array.from({ length: 16 }, (_, i) => [`l${i}`, "x"])));
    const outcome = await opened(t, server.url, { tenant: `t${++tenants}`, labels: many }).send(parts);
    assert.ok(outcome.kind === "hold");
    assert.match(outcome.reason, /has 16 label names; limit 15/);
    const lost = await opened(t, `${server.url}/nowhere`, { tenant: "t" }).send(parts);
    assert.ok(lost.kind === "hold", JSON.stringify(lost));
    assert.match(lost.reason, /answered 404/);
  });

  void test("a label value that is too long costs its stream's records alone", async (t) => {
    const tenant = `t${++tenants}`;
    const { drive } = opened(t, server.url, { tenant, labels: templates({ c: "{container}", user: "{fields.user}" }) });
    const lines = ["ok", "x".repeat(3_000)].flatMap((user) =>
      Array.from({ length: 20 }, (_, i) => ({ text: `${user.slice(0, 2)}${i}`, seconds: NOW + i, fields: { user } })),
    );
    const refused = (await drive([{ source: source(), lines }])).filter((each) => !each.refused.outOfOrder);
    assert.equal(refused.length, 20);
    assert.ok(
      refused.every(({ line, refused: { reason } }) => String(line.text).startsWith("xx") && /too long/.test(reason)),
    );
    assert.equal((await server.queryAll('{c="app"}', tenant)).length, 20);
  });

  void test("tenants do not see each other's lines", async (t) => {
    const [mine, other] = [`t${++tenants}`, `t${++tenants}`];
    await opened(t, server.url, { tenant: mine }).send([{ source: source(), lines: [{ text: "m", seconds: NOW }] }]);
    await opened(t, server.url, { tenant: other }).send([{ source: source(), lines: [{ text: "o", seconds: NOW }] }]);
    assert.deepEqual(
      (await server.queryAll('{pod="web-1"}', mine)).map(({ line }) => line),
      ["m"],
    );
  });

  void test("over the rate limit it is asked again, and when Loki is gone", async (t) => {
    const flags = ["-distributor.ingestion-rate-limit-mb=0.01", "-distributor.ingestion-burst-size-mb=0.01"];
    const limited = await startLoki(flags);
    t.after(async () => limited.stop());
    const { send } = opened(t, limited.url, { tenant: "t" });
    const over = await send([{ source: source(), lines: [{ text: "x".repeat(100_000), seconds: NOW }] }]);
    assert.ok(over.kind === "retry" && !over.ambiguous, JSON.stringify(over));
    assert.match(over.reason, /answered 429 Too Many Requests: Ingestion rate limit exceeded/);
    assert.deepEqual(await limited.queryAll('{pod="web-1"}', "t"), []);
    await limited.stop();
    const gone = await send([{ source: source(), lines: [{ text: "x", seconds: NOW }] }]);
    assert.ok(gone.kind === "retry", JSON.stringify(gone));
  });

  void test("what is too large for Loki's own messages is split until it fits", async (t) => {
    const small = await startLoki(["-server.grpc-max-recv-msg-size-bytes=300000"]);
    t.after(async () => small.stop());
    const { send, drive } = opened(t, small.url, { tenant: "t" });
    const lines = Array.from({ length: 8 }, (_, i) => ({ text: `${i}${"x".repeat(100_000)}`, seconds: NOW + i }));
    assert.equal((await send([{ source: source(), lines }])).kind, "split");
    assert.deepEqual(await drive([{ source: source(), lines }]), []);
    assert.equal((await small.queryAll('{pod="web-1"}', "t")).length, 8);
  });
});

void suite("VictoriaLogs", { skip }, () => {
  let server: VictoriaLogs;
  before(async () => {
    server = await startVictoriaLogs();
  });
  after(async () => server.stop());

  for (const [i, [name, format]] of FORMATS.entries()) {
    void test(`${name}: structured metadata comes back with its line`, async (t) => {
      const structuredMetadata = templates({ level: "{level}", trace: "{fields.trace}", node: "{node}" });
      const { send } = opened(t, server.url, { tenant: String(i + 1), structuredMetadata, ...format });
      const lines = Array.from({ length: 500 }, (_, n) => ({
        ...{ text: `line ${n}`, seconds: NOW + n, nanos: n, stream: "stdout" as const },
        level: n % 3 ? ("info" as const) : ("error" as const),
        ...(n % 2 && { fields: { trace: `é "${n >> 2}"` } }),
      }));
      assert.deepEqual(await send([{ source: source(), lines }]), { kind: "delivered" });
      const stored = await server.queryAll('{pod="web-1"}', String(i + 1));
      assert.deepEqual(
        stored.map(({ ts, line, metadata }) => ({ ts, line, metadata })),
        lines.map((line) => ({
          ...{ ts: timeOf(line), line: line.text },
          metadata: { level: line.level, node: "n1", ...(line.fields && { trace: line.fields.trace }) },
        })),
      );
      assert.equal(await server.rowsDropped(), 0);
    });
  }

  void test("a tenant that it cannot read is a hold: no record is at fault", async (t) => {
    const outcome = await opened(t, server.url, { tenant: "shop" }).send([
      {
        source: source(),
        lines: [
          { text: "x", stream: "stdout" },
          { text: "y", stream: "stderr" },
        ],
      },
    ]);
    assert.ok(outcome.kind === "hold", JSON.stringify(outcome));
    assert.match(outcome.reason, /cannot parse accountID/);
  });
});
