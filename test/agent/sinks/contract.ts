/**
 * What every sink must do, whatever it writes to. A sink's test gives a rig: how to open it, what has arrived, and how
 * to make its destination fail.
 */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import fc from "fast-check";
import type { Outcome, Request, Sink, SinkContext, SinkRow } from "../../../agent/dispatcher/sink.ts";
import { openChunk, type Chunk } from "../../../agent/memory/chunk.ts";
import { LEVELS } from "../../../agent/memory/columns.ts";
import { createMemory, type Memory } from "../../../agent/memory/memory.ts";
import { realClock } from "../../../agent/clock.ts";
import { Batches, source, type Line, type Part } from "../../support/batch.ts";
import { keptLog } from "./support.ts";

/** A record as it arrived; members that the format does not show are left out. */
export interface Arrived {
  /** Bytes that are no UTF-8 as U+FFFD. */
  text: string;
  time?: string;
  stream?: string | undefined;
  level?: string | undefined;
  /** namespace/pod/container */
  source?: string;
  node?: string;
  truncated?: boolean;
  fields?: unknown;
}

export interface Rig<Options> {
  readonly row: SinkRow<Options>;
  readonly options: Options;
  /** Opens the sink; left out: as the row does. */
  open?(context: SinkContext): Sink;
  /** All that has arrived, the records of one container in the order in which they did. */
  arrived(): Arrived[] | Promise<Arrived[]>;
  /** Whether bytes that are no UTF-8 arrive as they were. */
  readonly keepsBytes: boolean;
  /** Whether a newline in a text cannot be told from the end of a record. */
  readonly endsAtNewline: boolean;
  /** From now on requests fail, with this Outcome; nothing of them arrives. */
  fail(): Outcome["kind"];
  repair(): void;
  /** From now on requests are not answered. */
  hang(): void;
}

const MEMORY_LIMIT = 12 << 20;
const ENCODE_BYTES = 3 << 20;
const LONGEST = 256 * 1024;
const T0 = Date.parse("2026-11-23T10:00:00Z") / 1000;
const never = new AbortController().signal;

class Bench<Options> {
  readonly memory: Memory;
  readonly rig: Rig<Options>;
  readonly sink: Sink;
  readonly batches: Batches;
  readonly idleBytes: number;

  constructor(rig: Rig<Options>, encodeBytes = ENCODE_BYTES) {
    this.rig = rig;
    this.memory = createMemory({ memoryLimit: MEMORY_LIMIT, encodeBytes });
    const context = { memory: this.memory, clock: realClock, log: keptLog(), pipeline: "LogPipeline//p", name: "s" };
    this.sink = rig.open ? rig.open(context) : rig.row.open(rig.options, context);
    this.batches = new Batches(this.memory, rig.row.order(rig.options));
    this.idleBytes = this.memory.arena.usedBytes;
  }

  async send(parts: readonly Part[], signal = never): Promise<Outcome> {
    const { batch, release } = this.batches.make(parts);
    const request = this.sink.encode(batch);
    assert.ok(typeof request === "object", JSON.stringify(request));
    try {
      return await request.send(signal);
    } finally {
      request.free();
      release();
    }
  }

  async deliver(parts: readonly Part[]): Promise<void> {
    assert.deepEqual(await this.send(parts), { kind: "delivered" });
  }

  /** Waits until nothing is held any more; a write that cannot be called back may take a moment. */
  async settled(): Promise<void> {
    for (let i = 0; i < 1000 && this.memory.arena.usedBytes > this.idleBytes; i++) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    assert.equal(this.memory.arena.usedBytes, this.idleBytes, "memory leaked");
  }
}

/** Runs the contract. `name` tells sink and format apart. */
export function sinkContract<Options>(name: string, make: (t: TestContext) => Promise<Rig<Options>>): void {
  const check = (
    what: string,
    run: (bench: Bench<Options>, rig: Rig<Options>) => Promise<void>,
    encodeBytes?: number,
  ): void => {
    void test(`${name}: ${what}`, async (t) => {
      const rig = await make(t);
      const bench = new Bench(rig, encodeBytes);
      t.after(async () => bench.sink.close());
      await run(bench, rig);
      await bench.settled();
    });
  };

  check("records arrive once and in order, of several containers and batches", async (bench, rig) => {
    const all: Part[] = [];
    for (let i = 0; i < 3; i++) {
      const parts = ["app", "sidecar"].map((container) => ({
        source: source(container),
        lines: Array.from({ length: 500 }, (_, n) => line(i * 500 + n, `${container} ${i} ${n}`, { stream: "stdout" })),
      }));
      await bench.deliver(parts);
      all.push(...parts);
    }
    await expect(rig, all);
    for (const container of ["app", "sidecar"]) {
      const texts = (await rig.arrived()).map(({ text }) => text).filter((text) => text.startsWith(container));
      const wanted = all.flatMap(({ lines }) => lines.map(({ text }) => text as string));
      assert.deepEqual(
        texts,
        wanted.filter((text) => text.startsWith(container)),
      );
    }
  });

  check("every class of record says what it is", async (bench, rig) => {
    const lines = [undefined, "stdout" as const, "stderr" as const].flatMap((stream, i) =>
      LEVELS.map((level, n) => line(i * 10 + n, `${stream} ${level}`, { stream, level })),
    );
    await bench.deliver([{ source: source(), lines }]);
    await expect(rig, [{ source: source(), lines }]);
  });

  check("filtered records stay out", async (bench, rig) => {
    const lines = Array.from({ length: 100 }, (_, n) => line(n, `n ${n}`, { verdict: n % 3 === 0 ? 1 : 0 }));
    await bench.deliver([{ source: source(), lines }]);
    await expect(rig, [{ source: source(), lines }]);
  });

  check("a batch without any kept record is delivered without a word", async (bench, rig) => {
    const part = { source: source(), lines: [line(0, "a", { verdict: 2 })] };
    const { batch, release } = bench.batches.make([part]);
    const request = bench.sink.encode(batch);
    assert.ok(typeof request === "object");
    assert.equal(request.bytes, 0);
    rig.fail();
    assert.deepEqual(await request.send(never), { kind: "delivered" });
    request.free();
    release();
    rig.repair();
    assert.deepEqual(await rig.arrived(), []);
  });

  check("text of any kind arrives", async (bench, rig) => {
    const lines = strangeTexts(!rig.endsAtNewline).map((text, n) =>
      line(n, text, { stream: "stdout", truncated: n === 1, fields: fieldsFor(n) }),
    );
    for (const one of lines) await bench.deliver([{ source: source(), lines: [one] }]);
    await expect(rig, [{ source: source(), lines }]);
  });

  check("names with quotes, controls and other scripts arrive", async (bench, rig) => {
    const odd = source('a"\\b', { namespace: "né\u0001", pod: "日本 x", node: "\u2028" });
    const lines = [line(0, "x", { stream: "stderr", level: "error" })];
    await bench.deliver([{ source: odd, lines }]);
    await expect(rig, [{ source: odd, lines }]);
  });

  check("replaced bytes are counted, where the format cannot carry them", async (bench, rig) => {
    const texts = ["plain", "é", Buffer.of(0xff), Buffer.of(0x61, 0xc3), Buffer.of(0xed, 0xa0, 0x80)];
    const { batch, release } = bench.batches.make([{ source: source(), lines: texts.map((text, n) => line(n, text)) }]);
    const request = bench.sink.encode(batch);
    assert.ok(typeof request === "object");
    assert.equal(request.replaced, rig.keepsBytes ? 0 : 3);
    request.free();
    release();
  });

  check("without room in memory nothing is taken, and it works again when there is room", async (bench, rig) => {
    const { arena } = bench.memory;
    const part = { source: source(), lines: [line(0, "x")] };
    const { batch, release } = bench.batches.make([part]);
    const ballast: Chunk[] = [];
    for (let chunk; (chunk = openChunk(bench.memory, 65_536));) ballast.push(chunk);
    assert.equal(bench.sink.encode(batch), "no room");
    assert.equal(arena.freeBytes, 0);
    ballast.pop()?.release();
    const request = bench.sink.encode(batch);
    assert.ok(typeof request === "object");
    assert.equal(bench.sink.encode(batch), "no room");
    assert.deepEqual(await request.send(never), { kind: "delivered" });
    request.free();
    for (const chunk of ballast) chunk.release();
    release();
    await expect(rig, [part]);
  });

  check("requests hold their own bytes, whatever is encoded after them", async (bench, rig) => {
    const parts = Array.from({ length: 5 }, (_, i) => ({ source: source(`c${i}`), lines: [line(i, `text ${i}`)] }));
    const made = parts.map((part) => bench.batches.make([part]));
    const requests = made.map(({ batch }) => bench.sink.encode(batch)) as Request[];
    made.forEach(({ release }) => release());
    bench.memory.bytes.fill(0x21, bench.memory.encode, bench.memory.encodeEnd);
    bench.memory.bytes.fill(0x21, bench.memory.constants, bench.memory.constantsEnd);
    const outcomes = await Promise.all(requests.map(async (request) => request.send(never)));
    for (const outcome of outcomes) assert.deepEqual(outcome, { kind: "delivered" });
    requests.forEach((request) => request.free());
    await expect(rig, parts);
  });

  check(
    "a batch that passes the encode area is too large, one record of the longest kind is not",
    async (bench, rig) => {
      const worst = [Buffer.alloc(LONGEST, 0x01), Buffer.alloc(LONGEST, 0xff), Buffer.alloc(LONGEST, 0x22)];
      const lines = Array.from({ length: 12 }, (_, n) => line(n, worst[n % 3]!, { stream: "stdout" }));
      const { batch, release } = bench.batches.make([{ source: source(), lines }]);
      assert.equal(bench.sink.encode(batch), "too large");
      release();
      await bench.settled();
      const alone = lines.slice(0, 3);
      for (const one of alone) await bench.deliver([{ source: source(), lines: [one] }]);
      await expect(rig, [{ source: source(), lines: alone }]);
    },
    // What main.ts lays aside for lines of this length.
    LONGEST * 6 + 64 * 1024,
  );

  check(
    "a destination that fails gives a reason and takes nothing; later the same records go in once",
    async (bench, rig) => {
      const part = { source: source(), lines: Array.from({ length: 50 }, (_, n) => line(n, `n ${n}`)) };
      const kind = rig.fail();
      for (let i = 0; i < 3; i++) {
        const outcome = await bench.send([part]);
        assert.equal(outcome.kind, kind);
        assert.ok("reason" in outcome && outcome.reason.length > 10, JSON.stringify(outcome));
      }
      rig.repair();
      await bench.deliver([part]);
      await expect(rig, [part]);
    },
  );

  check("an abort ends a request at once, as an ambiguous retry", async (bench, rig) => {
    rig.hang();
    const abort = new AbortController();
    const sending = bench.send([{ source: source(), lines: [line(0, "x".repeat(200_000))] }], abort.signal);
    await new Promise(setImmediate);
    const started = performance.now();
    abort.abort();
    const outcome = await sending;
    assert.ok(performance.now() - started < 1_000);
    assert.ok(outcome.kind === "retry" && outcome.ambiguous, JSON.stringify(outcome));
    rig.repair();
  });

  check("random batches arrive exactly", async (bench, rig) => {
    const sources = ["a", "b", "c"].map((container) => source(container));
    let seconds = 0;
    const lineOf = fc.record({
      text: fc.oneof(fc.string({ unit: "binary", maxLength: 60 }), fc.uint8Array({ maxLength: 60 })),
      nanos: fc.integer({ min: 0, max: 999_999_999 }),
      stream: fc.constantFrom(undefined, "stdout" as const, "stderr" as const),
      level: fc.constantFrom(...LEVELS),
      truncated: fc.boolean(),
      verdict: fc.constantFrom(0, 0, 0, 1, 32),
    });
    const parts = fc.array(fc.tuple(fc.constantFrom(...sources), fc.array(lineOf, { minLength: 1, maxLength: 20 })), {
      minLength: 1,
      maxLength: 4,
    });
    const all: Part[] = [];
    const fit = (text: string | Uint8Array): string | Uint8Array => {
      if (!rig.endsAtNewline) return text;
      return typeof text === "string" ? text.replaceAll("\n", " ") : text.map((byte) => (byte === 10 ? 32 : byte));
    };
    await fc.assert(
      fc.asyncProperty(parts, async (drawn) => {
        const sent = drawn.map(([from, lines]) => ({
          source: from,
          lines: lines.map((one) => ({ ...one, text: fit(one.text), seconds: T0 + seconds++ })),
        }));
        await bench.deliver(sent);
        all.push(...sent);
      }),
      { numRuns: 40, endOnFailure: true },
    );
    await expect(rig, all);
  });
}

function line(seconds: number, text: string | Uint8Array, more: Partial<Line> = {}): Line {
  return { text, seconds: T0 + seconds, nanos: 123_456_789, ...more };
}

function fieldsFor(n: number): { fields?: Record<string, unknown> } {
  return n === 2 ? { fields: { a: 'x"\\', b: { c: [1, null] } } } : {};
}

function strangeTexts(newlines: boolean): (string | Uint8Array)[] {
  return [
    "plain",
    "",
    " blanks before and behind ",
    '{"json": "in \\"it\\""}',
    'tab\tquote"back\\slash\u0000\u0007\u001b[31mred\u007f',
    "é 日本 😀 \u2028",
    "\r",
    "x".repeat(LONGEST),
    Buffer.alloc(LONGEST, 0xff),
    Buffer.of(0xc3, 0x28, 0xe2, 0x82, 0xf0, 0x9f, 0x98, 0xed, 0xa0, 0x80, 0xf4, 0x90, 0x80, 0x80),
    Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)).filter((byte) => byte !== 10),
    ...(newlines ? ["\n", "several\nlines\n", "\r\n"] : []),
  ];
}

/** Exactly these arrived, those of each stream of each container in order, as far as the format shows them. */
async function expect<Options>(rig: Rig<Options>, parts: readonly Part[]): Promise<void> {
  const arrived = await rig.arrived();
  const members = Object.keys(arrived[0] ?? {}) as (keyof Arrived)[];
  const wanted = parts.flatMap(({ source: from, lines }) =>
    lines
      .filter(({ verdict }) => !verdict)
      .map((one) => plain(from, one))
      .map((record) => Object.fromEntries(members.map((member) => [member, record[member]])) as unknown as Arrived),
  );
  assert.equal(arrived.length, wanted.length);
  if (members.includes("source")) assert.deepEqual(byStream(arrived), byStream(wanted));
  else assert.deepEqual(arrived.map(({ text }) => text).sort(), wanted.map(({ text }) => text).sort());
}

function byStream(records: Arrived[]): Map<string, Arrived[]> {
  const groups = Map.groupBy(records, ({ source: from, stream }) => `${from} ${stream ?? ""}`);
  return new Map([...groups].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function plain({ namespace, pod, container, node }: Part["source"], one: Line): Arrived {
  const time = new Date((one.seconds ?? 0) * 1000).toISOString().slice(0, 19);
  return {
    text: Buffer.from(one.text as string).toString("utf8"),
    time: `${time}.${String(one.nanos ?? 0).padStart(9, "0")}Z`,
    stream: one.stream,
    level: one.level ?? "unknown",
    source: `${namespace}/${pod}/${container}`,
    node,
    truncated: one.truncated ?? false,
    fields: one.fields,
  };
}

/** An NDJSON record as it arrived. */
export function parseRecord(text: string): Arrived {
  const record = JSON.parse(text) as Record<string, unknown> & { text: string };
  const order = ["time", "text", "stream", "level", "namespace", "pod", "container", "node", "truncated", "fields"];
  assert.deepEqual(
    Object.keys(record),
    order.filter((member) => Object.hasOwn(record, member)),
    "order of the members",
  );
  return {
    text: record.text,
    time: record["time"] as string,
    stream: record["stream"] as string | undefined,
    level: record["level"] as string,
    source: `${record["namespace"] as string}/${record["pod"] as string}/${record["container"] as string}`,
    node: record["node"] as string,
    truncated: (record["truncated"] as boolean | undefined) ?? false,
    fields: record["fields"],
  };
}
