/** Much of everything: what waits, one line, files. Memory stays within its budget, and all of it arrives. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { logPipeline, Place } from "../support/agent-process.ts";
import { criLine, LoggingContainer } from "../support/log-writer.ts";
import { SinkServer } from "../support/sink-server.ts";
import { eventually } from "../support/wait.ts";
import { scaled } from "./scale.ts";

const MIB = 1 << 20;
/** The default of `memoryLimit`. */
const MEMORY_LIMIT = 32 * MIB;
const MAX_LINE_BYTES = 256 * 1024;
const BACKLOG_MIB = scaled(128, 1024);
const LINE_MIB = 100;
const FILES = 10_000;
const DOWN_MS = scaled(4_000, 15_000);

const mib = (bytes: number): string => `${(bytes / MIB).toFixed(1)} MiB`;

/** What an agent with nothing to do weighs, and the most that one with much to do may. */
async function idleMemory(t: TestContext): Promise<{ idle: number; most: number }> {
  const place = new Place(t);
  const sink = await SinkServer.open(place);
  place.configure(logPipeline({ sinks: [{ name: "http", http: { url: sink.url } }] }));
  const agent = await place.start();
  await sleep(3_000);
  const idle = agent.memory("VmRSS");
  await agent.stop();
  return { idle, most: 1.2 * (idle + MEMORY_LIMIT) };
}

test(`with the sink down and ${BACKLOG_MIB} MiB waiting memory keeps to its budget, and all comes later`, async (t) => {
  const { idle, most } = await idleMemory(t);
  const place = new Place(t);
  const sink = await SinkServer.open(place);
  const containers = Array.from({ length: 8 }, (_, i) => new LoggingContainer(place.logsDir, `c${i}`));
  for (let bytes = 0; bytes < BACKLOG_MIB * MIB;) {
    for (const container of containers) container.write(2_000);
    bytes = containers.reduce((sum, container) => sum + container.bytes, 0);
  }
  place.configure(logPipeline({ sinks: [{ name: "http", http: { url: sink.url, requestTimeout: "2s" } }] }));
  const looks: string[] = [];
  sink.answer = () => ({ status: 503 });
  const agent = await place.start();
  const look = async (how: string): Promise<void> => {
    await sleep(DOWN_MS);
    await agent.ledger(`while the sink ${how}`);
    const peak = agent.memory("VmHWM");
    looks.push(`${how} ${mib(peak)}`);
    assert.ok(peak <= most, `${mib(peak)} while the sink ${how}; idle ${mib(idle)}, at most ${mib(most)}`);
  };
  await look("answers 503");
  sink.answer = () => "hang";
  await look("never answers");
  await sink.close();
  await look("refuses connections");
  sink.answer = () => ({ status: 204 });
  await sink.listen();
  const lines = containers.reduce((sum, container) => sum + container.lines, 0);
  await eventually("all lines", () => sink.set.lines === lines, {
    ms: 150_000,
    details: () => `${sink.set.lines} of ${lines}\n${agent.tail()}`,
  });
  const { total } = await agent.ledgerWhen("all settled", (ledger) => ledger.total.delivered.lines === lines);
  assert.deepEqual(total.lost, {});
  const peak = agent.memory("VmHWM");
  assert.equal((await agent.stop()).code, 0);
  sink.set.assertExact(containers, 0);
  assert.equal(sink.set.repeated, 0);
  console.log(
    `${BACKLOG_MIB} MiB waiting: idle ${mib(idle)}, at most ${mib(most)}; peak while the sink ${looks.join(", ")}, ` +
      `when all was sent ${mib(peak)}`,
  );
});

test(`a line of ${LINE_MIB} MiB is cut and counted within the same memory, whether its end comes or not`, async (t) => {
  const { idle, most } = await idleMemory(t);
  const place = new Place(t);
  const sink = await SinkServer.open(place);
  sink.keep = true;
  place.configure(logPipeline({ sinks: [{ name: "http", http: { url: sink.url } }] }));
  const log = new LoggingContainer(place.logsDir, "long");
  const other = new LoggingContainer(place.logsDir, "other");
  const part = Buffer.alloc(MIB, "x");
  const long = (): void => {
    log.raw(criLine("begin ").slice(0, -1));
    for (let i = 0; i < LINE_MIB; i++) log.raw(part);
  };
  long();
  const agent = await place.start();
  other.raw(criLine("not held up"));
  await eventually("the other container's line", () => sink.texts().includes("not held up"));
  const open = await agent.ledger("with the line open");
  assert.equal(open.total.delivered.lines, 1);
  log.raw(`\n${criLine("after it")}`);
  const { total } = await agent.ledgerWhen("both lines", (ledger) => ledger.total.delivered.lines === 3, 60_000);
  assert.equal(total.delivered.bytes, log.bytes + other.bytes);
  const [cut, after] = sink.kept.filter(({ pod }) => pod === "long") as { text: string; truncated?: boolean }[];
  assert.deepEqual([cut!.text.slice(0, 10), cut!.text.length, cut!.truncated], ["begin xxxx", MAX_LINE_BYTES, true]);
  assert.deepEqual([after!.text, after!.truncated], ["after it", undefined]);
  const metrics = await (await fetch(`${agent.address}/metrics`)).text();
  assert.match(metrics, /^tailrace_decode_truncated_lines_total 1$/m);
  // And one that has no end: the container is over.
  long();
  log.startAgain();
  log.raw(criLine("the next instance"));
  await agent.ledgerWhen("the next instance", (ledger) => ledger.total.delivered.lines === 5, 60_000);
  assert.equal(sink.texts().at(-1), "the next instance");
  const peak = agent.memory("VmHWM");
  assert.ok(peak <= most, `${mib(peak)}; idle ${mib(idle)}, at most ${mib(most)}`);
  assert.equal((await agent.stop()).code, 0);
  console.log(`a line of ${LINE_MIB} MiB: peak ${mib(peak)}, idle ${mib(idle)}`);
});

test(`${FILES} files are found and delivered, and so is what is written to each of them later`, async (t) => {
  const { idle } = await idleMemory(t);
  const place = new Place(t);
  const sink = await SinkServer.open(place);
  place.configure(logPipeline({ sinks: [{ name: "http", http: { url: sink.url } }] }));
  const containers = Array.from({ length: FILES }, (_, i) => new LoggingContainer(place.logsDir, `f${i}`));
  const write = (): void => {
    for (const container of containers) {
      container.write(10);
      container.close();
    }
  };
  write();
  const startedAt = performance.now();
  const agent = await place.start();
  const all = (): boolean => sink.set.lines === containers.length * containers[0]!.lines;
  await eventually("all lines", all, { ms: 120_000, details: () => `${sink.set.lines}\n${agent.tail()}` });
  const firstMs = performance.now() - startedAt;
  const writtenAt = performance.now();
  write();
  await eventually("the later lines", all, { ms: 120_000, details: () => `${sink.set.lines}\n${agent.tail()}` });
  const laterMs = performance.now() - writtenAt;
  const bytes = containers.reduce((sum, container) => sum + container.bytes, 0);
  const { total } = await agent.ledgerWhen("all settled", (ledger) => ledger.total.delivered.bytes === bytes, 60_000);
  assert.deepEqual([total.delivered.lines, total.lost], [FILES * 20, {}]);
  const peak = agent.memory("VmHWM");
  assert.equal((await agent.stop()).code, 0);
  sink.set.assertExact(containers, 0);
  assert.equal(sink.set.repeated, 0);
  console.log(
    `${FILES} files of 10 lines: all delivered ${(firstMs / 1000).toFixed(1)} s after the start, ten more lines each ` +
      `${(laterMs / 1000).toFixed(1)} s after they were written; peak ${mib(peak)}, idle ${mib(idle)}`,
  );
});
