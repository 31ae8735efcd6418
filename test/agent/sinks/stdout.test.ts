import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { Writable } from "node:stream";
import { test, type TestContext } from "node:test";
import { realClock } from "../../../agent/clock.ts";
import type { Outcome, Sink } from "../../../agent/dispatcher/sink.ts";
import { createMemory, type Memory } from "../../../agent/memory/memory.ts";
import { openStdout, stdout, type Output } from "../../../agent/sinks/stdout.ts";
import type { StdoutOptions } from "../../../crds/config.ts";
import { Batches, source, type Line } from "../../support/batch.ts";
import { parseRecord, sinkContract, type Arrived, type Rig } from "./contract.ts";
import { keptLog } from "./support.ts";

const never = new AbortController().signal;

/** A stream that keeps what it is given, fails, or takes nothing. */
class Kept extends Writable {
  content = Buffer.alloc(0);
  mode: "keep" | "fail" | "hang" = "keep";
  #waiting: (() => void)[] = [];

  override _write(chunk: Buffer, _: string, done: (error?: Error) => void): void {
    if (this.mode === "fail") done(Object.assign(new Error("write EPIPE"), { code: "EPIPE" }));
    else if (this.mode === "hang") this.#waiting.push(() => done());
    else {
      this.content = Buffer.concat([this.content, chunk]);
      done();
    }
  }

  goOn(): void {
    this.mode = "keep";
    this.#waiting.splice(0).forEach((run) => run());
  }
}

function rig(format: StdoutOptions["format"]): Rig<StdoutOptions> {
  let output = new Kept();
  // After a failed write a stream takes no more: like a new one behind the same sink.
  const given: Output = {
    isTTY: false,
    write: (bytes, done) => output.write(bytes, done),
    on: () => {},
    off: () => {},
  };
  const parse = { ndjson: parseRecord, text: (text: string) => ({ text }), console: parseConsole }[format];
  let before = "";
  return {
    row: stdout,
    options: { format },
    open: (context) => openStdout({ format }, context, given),
    keepsBytes: format !== "ndjson",
    endsAtNewline: format !== "ndjson",
    arrived() {
      const text = before + output.content.toString("utf8");
      return text === "" ? [] : text.slice(0, -1).split("\n").map(parse);
    },
    fail() {
      output.mode = "fail";
      output.on("error", () => {});
      return "hold";
    },
    repair() {
      before += output.content.toString("utf8");
      output.goOn();
      output = new Kept();
    },
    hang: () => void (output.mode = "hang"),
  };
}

function parseConsole(text: string): Arrived {
  const [, from = "", level = "unknown", rest = ""] =
    /^(.*?\/.*?\/.*?) {2}(?:(TRACE|DEBUG|INFO|WARN|ERROR|FATAL) {2})?(.*)$/s.exec(text) ?? [];
  return { source: from, level: level.toLowerCase(), text: rest };
}

for (const format of ["ndjson", "text", "console"] as const) sinkContract(`stdout ${format}`, async () => rig(format));

interface Opened {
  memory: Memory;
  sink: Sink;
  send(lines: readonly Line[], signal?: AbortSignal): Promise<Outcome>;
}

function opened(t: TestContext, format: StdoutOptions["format"], output: Output): Opened {
  const memory = createMemory({ memoryLimit: 48 << 20, encodeBytes: 4 << 20 });
  const sink = openStdout({ format }, { memory, clock: realClock, log: keptLog(), pipeline: "p", name: "s" }, output);
  t.after(async () => sink.close());
  const batches = new Batches(memory, undefined);
  const send = async (lines: readonly Line[], signal = never): Promise<Outcome> => {
    const { batch, release } = batches.make([{ source: source(), lines }]);
    const request = sink.encode(batch);
    release();
    assert.ok(typeof request === "object");
    try {
      return await request.send(signal);
    } finally {
      request.free();
    }
  };
  return { memory, sink, send };
}

test("people see where a line comes from and how bad it is", async (t) => {
  const output = new Kept();
  const { send } = opened(t, "console", output);
  await send([{ text: "on fire", level: "error" }, { text: "who knows" }]);
  assert.equal(output.content.toString(), "shop/web-1/app  ERROR  on fire\nshop/web-1/app  who knows\n");
});

test("colours are for terminals", async (t) => {
  const output = Object.assign(new Kept(), { isTTY: true });
  const before = process.env["NO_COLOR"];
  t.after(() => {
    if (before !== undefined) process.env["NO_COLOR"] = before;
  });
  delete process.env["NO_COLOR"];
  await opened(t, "console", output).send([{ text: "x", level: "error" }]);
  assert.equal(output.content.toString(), "\u001b[36mshop/web-1/app\u001b[39m  \u001b[31mERROR\u001b[39m  x\n");
  process.env["NO_COLOR"] = "1";
  const plain = Object.assign(new Kept(), { isTTY: true });
  await opened(t, "console", plain).send([{ text: "x", level: "error" }]);
  assert.equal(plain.content.toString(), "shop/web-1/app  ERROR  x\n");
});

test("a reader that does not read holds the request, and gets everything when it goes on", async (t) => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  const [reader] = (await once(server, "connection")) as [Socket];
  t.after(() => {
    socket.destroy();
    server.close();
  });
  reader.pause();
  const { send } = opened(t, "text", socket);
  const lines = Array.from({ length: 10 }, () => ({ text: "z".repeat(100_000) }));
  let ended = 0;
  const sendings = Array.from({ length: 25 }, async () => send(lines).finally(() => ended++));
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(ended < 25, "nobody reads, yet everything is written");
  let bytes = 0;
  reader.on("data", (chunk: Buffer) => (bytes += chunk.length)).resume();
  for (const sending of sendings) assert.deepEqual(await sending, { kind: "delivered" });
  while (bytes < 25 * 10 * 100_001) await once(reader, "data");
  assert.equal(bytes, 25 * 10 * 100_001);
});

test("what is stopped while the reader sleeps keeps its bytes until they are written", async (t) => {
  const output = new Kept();
  output.mode = "hang";
  const { memory, send } = opened(t, "text", output);
  const abort = new AbortController();
  const sending = send([{ text: "first" }], abort.signal);
  abort.abort();
  const outcome = await sending;
  assert.ok(outcome.kind === "retry" && outcome.ambiguous);
  assert.ok(memory.arena.usedBytes > 0, "the stream still reads from there");
  output.goOn();
  await new Promise(setImmediate);
  assert.equal(memory.arena.usedBytes, 0);
});

test("a reader that is gone is a hold, and no crash", async (t) => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  const [reader] = (await once(server, "connection")) as [Socket];
  t.after(() => server.close());
  const { send } = opened(t, "text", socket);
  reader.resetAndDestroy();
  let outcome: Outcome;
  do outcome = await send([{ text: "x".repeat(100_000) }]);
  while (outcome.kind === "delivered");
  assert.ok(outcome.kind === "hold");
  assert.match(outcome.reason, /^standard output: /);
  assert.equal((await send([{ text: "y" }])).kind, "hold");
});

test("a request that was stopped before it began writes nothing", async (t) => {
  const output = new Kept();
  const { memory, send } = opened(t, "text", output);
  const outcome = await send([{ text: "x" }], AbortSignal.abort());
  assert.equal(outcome.kind, "retry");
  assert.equal(output.content.length, 0);
  assert.equal(memory.arena.usedBytes, 0);
});
