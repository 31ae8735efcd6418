import assert from "node:assert/strict";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { realClock } from "../../../agent/clock.ts";
import type { Outcome, Sink } from "../../../agent/dispatcher/sink.ts";
import { createMemory, type Memory } from "../../../agent/memory/memory.ts";
import { file } from "../../../agent/sinks/file.ts";
import type { FileOptions } from "../../../crds/config.ts";
import { parseTemplate } from "../../../crds/template.ts";
import { Batches, source, type Part } from "../../support/batch.ts";
import { parseRecord, sinkContract, type Arrived, type Rig } from "./contract.ts";
import { keptLog, smallDisk } from "./support.ts";

const never = new AbortController().signal;

function folderOf(t: TestContext): string {
  const folder = fs.mkdtempSync(join(tmpdir(), "tailrace-file-"));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  return folder;
}

function rig(t: TestContext, format: FileOptions["format"], name: string): Rig<FileOptions> {
  const folder = join(folderOf(t), "out");
  const parse = (text: string): Arrived => (format === "text" ? { text } : parseRecord(text));
  const arrived = (): Arrived[] =>
    allFiles(folder)
      .filter((path) => fs.statSync(path).size > 0)
      .flatMap((path) => fs.readFileSync(path, "utf8").slice(0, -1).split("\n").map(parse));
  return {
    row: file,
    options: { path: parseTemplate(join(folder, name)), format },
    keepsBytes: format === "text",
    endsAtNewline: format === "text",
    arrived,
    fail() {
      fs.rmSync(folder, { recursive: true, force: true });
      fs.writeFileSync(folder, "in the way");
      return "hold";
    },
    repair: () => fs.rmSync(folder, { recursive: true, force: true }),
    hang() {},
  };
}

function allFiles(folder: string): string[] {
  if (!fs.existsSync(folder)) return [];
  const entries = fs.readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

sinkContract("file ndjson, one file", async (t) => rig(t, "ndjson", "all.ndjson"));
sinkContract("file ndjson, a file each", async (t) =>
  rig(t, "ndjson", "{namespace}/{pod}_{container}.{stream}.ndjson"),
);
sinkContract("file text, one file", async (t) => rig(t, "text", "all.log"));

interface Opened {
  memory: Memory;
  sink: Sink;
  log: ReturnType<typeof keptLog>;
  send(parts: readonly Part[], signal?: AbortSignal): Promise<Outcome>;
}

function opened(t: TestContext, path: string, format: FileOptions["format"] = "text"): Opened {
  const options = { path: parseTemplate(path), format };
  const memory = createMemory({ memoryLimit: 24 << 20, encodeBytes: 8 << 20 });
  const log = keptLog();
  const sink = file.open(options, { memory, clock: realClock, log, pipeline: "p", name: "s" });
  t.after(async () => sink.close());
  const batches = new Batches(memory, file.order(options));
  const send = async (parts: readonly Part[], signal = never): Promise<Outcome> => {
    const { batch, release } = batches.make(parts);
    const request = sink.encode(batch);
    release();
    assert.ok(typeof request === "object", JSON.stringify(request));
    try {
      return await request.send(signal);
    } finally {
      request.free();
    }
  };
  return { memory, sink, log, send };
}

const one = (text: string, over: Partial<Part["source"]> = {}): Part[] => [
  { source: source("app", over), lines: [{ text }] },
];

test("names in the path are the record's own, kept to their place", async (t) => {
  const folder = folderOf(t);
  const { send } = opened(t, join(folder, "{namespace}/{date}/{fields.user}.log"));
  const seconds = Date.parse("2026-11-23T23:59:59Z") / 1000;
  const lines = ["../../x", "bob", "..", "bob"].map((user, i) => ({
    text: `${i}`,
    seconds: seconds + i,
    fields: { user },
  }));
  assert.deepEqual(await send([{ source: source(), lines }]), { kind: "delivered" });
  const found = Object.fromEntries(
    allFiles(folder).map((path) => [path.slice(folder.length), fs.readFileSync(path, "utf8")]),
  );
  assert.deepEqual(found, {
    "/shop/2026-11-23/.._.._x.log": "0\n",
    "/shop/2026-11-24/bob.log": "1\n3\n",
    "/shop/2026-11-24/...log": "2\n",
  });
});

test("keys that lead to one file share it, whole batches at a time", async (t) => {
  const folder = folderOf(t);
  const { send } = opened(t, join(folder, "{pod}.log"));
  const text = "x".repeat(50_000);
  const outcomes = await Promise.all(
    Array.from({ length: 20 }, async (_, i) => send(one(`${i}${text}`, { pod: i % 2 ? "a/b" : "a_b" }))),
  );
  assert.ok(outcomes.every(({ kind }) => kind === "delivered"));
  const lines = fs.readFileSync(join(folder, "a_b.log"), "utf8").trimEnd().split("\n");
  assert.deepEqual(
    lines.map((line) => Number(line.replaceAll("x", ""))).sort((a, b) => a - b),
    [...Array(20).keys()],
  );
});

test("a full disk is a retry that names the file, and leaves whole lines only", async (t) => {
  const disk = smallDisk(t);
  if (disk === undefined) return;
  const { send } = opened(t, join(disk, "{container}.log"));
  await send(one("before"));
  fs.writeFileSync(join(disk, "ballast"), Buffer.alloc(14 << 20));
  const large = Array.from({ length: 40 }, () => ({ text: "y".repeat(100_000) }));
  const parts = [
    { source: source("aa"), lines: [{ text: "small" }] },
    { source: source("app"), lines: large },
  ];
  const outcome = await send(parts);
  assert.ok(outcome.kind === "retry" && !outcome.ambiguous, JSON.stringify(outcome));
  assert.ok(outcome.reason.includes(join(disk, "app.log")) && outcome.reason.includes("ENOSPC"), outcome.reason);
  assert.equal(fs.readFileSync(join(disk, "app.log"), "utf8"), "before\n");
  assert.equal(fs.readFileSync(join(disk, "aa.log"), "utf8"), "");
  fs.rmSync(join(disk, "ballast"));
  assert.deepEqual(await send(parts), { kind: "delivered" });
  assert.equal(fs.readFileSync(join(disk, "app.log"), "utf8").split("\n").length, 42);
  assert.equal(fs.readFileSync(join(disk, "aa.log"), "utf8"), "small\n");
});

test("a file that may not be written is a hold that names it", async (t) => {
  if (process.getuid?.() !== 0) return t.skip("needs root, to give up its rights");
  const folder = folderOf(t);
  fs.chmodSync(folder, 0o555);
  process.seteuid?.(65534);
  t.after(() => process.seteuid?.(0));
  const path = join(folder, "a.log");
  const outcome = await opened(t, path).send(one("x"));
  process.seteuid?.(0);
  assert.ok(outcome.kind === "hold", JSON.stringify(outcome));
  assert.ok(outcome.reason.includes(path) && outcome.reason.includes("EACCES"), outcome.reason);
});

test("what a crash left of a line is cut, and said", async (t) => {
  const path = join(folderOf(t), "a.ndjson");
  fs.writeFileSync(path, '{"text":"whole"}\n{"text":"to');
  const { send, log } = opened(t, path, "ndjson");
  await send(one("new"));
  const [first, second] = fs.readFileSync(path, "utf8").trimEnd().split("\n");
  assert.equal(first, '{"text":"whole"}');
  assert.equal(parseRecord(second ?? "").text, "new");
  assert.match(log.lines.join("\n"), /warn cut the unfinished last line/);
});

test("close waits for what is still being written", async (t) => {
  const path = join(folderOf(t), "a.log");
  const { memory, send, sink } = opened(t, path);
  const abort = new AbortController();
  const sending = send(one("x".repeat(1 << 20)), abort.signal);
  abort.abort();
  assert.equal((await sending).kind, "retry");
  await sink.close();
  assert.equal(memory.arena.usedBytes, 0);
  assert.equal(fs.existsSync(path) ? fs.statSync(path).size : 0, 0);
});
