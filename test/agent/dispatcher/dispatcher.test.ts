import assert from "node:assert/strict";
import { test } from "node:test";
import { Rig, lines, type SinkSettings } from "./rig.ts";

const MIB = 1024 * 1024;
const PAGE = 65_536;

test("one sink dead and one slow: the third keeps its rate", async () => {
  const delivered = async (sinks: string[]): Promise<number> => {
    const rig = new Rig(Object.fromEntries(sinks.map((name) => [name, {}])));
    if (sinks.includes("dead")) rig.destination("dead").mode = "hang";
    if (sinks.includes("slow")) rig.destination("slow").latencyMs = 2_000;
    rig.destination("good").latencyMs = 20;
    for (let second = 0; second < 20; second++) {
      for (let i = 0; i < 10; i++) rig.write(`c${i}`, lines(`${second}`, 1_000, 200));
      await rig.run(1_000);
    }
    rig.check();
    return rig.destination("good").stored.length;
  };
  const alone = await delivered(["good"]);
  const beside = await delivered(["dead", "slow", "good"]);
  assert.ok(alone >= 180_000, `${alone} lines alone`);
  assert.ok(beside >= alone * 0.95, `${beside} lines beside a dead and a slow sink, ${alone} alone`);
});

test("a slow sink of few lines leaves the memory to a fast one of many", async () => {
  const rig = new Rig({ slow: {}, fast: {} }, { selects: (container, sink) => container.startsWith(sink) });
  rig.destination("slow").latencyMs = 2_000;
  for (let second = 0; second < 20; second++) {
    for (let i = 0; i < 10; i++) rig.write(`slow-${i}`, lines("x", 10));
    for (let i = 0; i < 10; i++) rig.write(`fast-${i}`, lines("x", 2_000, 200));
    await rig.run(1_000);
  }
  assert.ok(rig.destination("fast").stored.length >= 380_000, `${rig.destination("fast").stored.length} lines`);
});

/** `pipelines` times three sinks, each pipeline with a container of its own. */
function many(pipelines: number, settings: SinkSettings = {}): Rig {
  const sinks: Record<string, SinkSettings> = {};
  for (let p = 0; p < pipelines; p++) for (const s of ["x", "y", "z"]) sinks[`${p}-${s}`] = settings;
  return new Rig(sinks, { selects: (container, sink) => sink.startsWith(`${container}-`) });
}

test("100 pipelines with three sinks each all get on within 16 MiB", async () => {
  const rig = many(100);
  for (let p = 0; p < 100; p++) rig.write(`${p}`, lines(`${p}`, 700, 200));
  let most = 0;
  for (let i = 0; i < 60; i++) {
    await rig.run(1_000);
    most = Math.max(most, rig.memory.arena.usedBytes);
  }
  rig.check();
  const left = [...rig.destinations].filter(([, { stored }]) => stored.length < 700);
  assert.deepEqual(
    left.map(([name, { stored }]) => `${name} ${stored.length}`),
    [],
  );
  assert.ok(most <= 14 * MIB);
});

test("the same when every third sink is dead: the others get on, and so do these when they are back", async () => {
  const rig = many(40);
  for (let p = 0; p < 40; p++) {
    rig.destination(`${p}-x`).mode = p % 2 ? "hang" : "hold";
    rig.write(`${p}`, lines(`${p}`, 700, 200));
  }
  await rig.run(60_000);
  rig.check();
  const left = (dead: boolean): string[] =>
    [...rig.destinations]
      .filter(([name, { stored }]) => name.endsWith("x") === dead && stored.length < 700)
      .map(([name]) => name);
  assert.deepEqual(left(false), []);
  for (let p = 0; p < 40; p++) rig.destination(`${p}-x`).mode = "accept";
  await rig.run(200_000);
  assert.deepEqual(left(true), []);
});

/** Takes all memory but `bytes`; returns what gives it back. */
function fill(rig: Rig, bytes: number): () => void {
  const taken: number[] = [];
  while (rig.memory.arena.freeBytes > bytes) taken.push(rig.memory.arena.allocate(PAGE));
  return () => {
    for (const address of taken) rig.memory.arena.free(address);
  };
}

test("a batch that finds no memory for its request waits without a busy loop, and goes when there is some", async () => {
  const rig = new Rig({ a: { batchTimeoutMs: 10 } });
  rig.write("web", lines("w", 100));
  await rig.run(1);
  const free = fill(rig, 0);
  const { turns } = rig;
  await rig.run(5_000);
  assert.equal(rig.destination().sent.length, 0);
  assert.ok(rig.turns - turns < 300, `${rig.turns - turns} turns in 5 s`);
  free();
  await rig.run(1_000);
  assert.equal(rig.destination().stored.length, 100);
  rig.check();
});

test("when queues hold all memory and none has room for a request, others give way until one has", async () => {
  const sinks: Record<string, SinkSettings> = {};
  for (let i = 0; i < 8; i++) sinks[`s${i}`] = { batchTimeoutMs: 1_000 };
  const rig = new Rig(sinks, { selects: (container, sink) => container === sink });
  for (let i = 0; i < 8; i++) rig.write(`s${i}`, lines(`s${i}`, 1_000, 200));
  await rig.run(10);
  assert.ok([...rig.dispatcher.outlets.values()].every(({ rows }) => rows > 0));
  // What else takes memory, such as lines that were rewritten, knows no reserve.
  const free = fill(rig, 0);
  await rig.run(5_000);
  free();
  await rig.run(10_000);
  for (let i = 0; i < 8; i++) assert.equal(rig.destination(`s${i}`).stored.length, 1_000);
  rig.check();
});

test("memory for requests goes round: a sink that found none comes first the next time", async () => {
  const rig = new Rig({ a: {}, b: {}, c: {} }, { selects: (container, sink) => container.startsWith(sink) });
  for (const sink of ["a", "b", "c"]) rig.destination(sink).latencyMs = 50;
  for (let i = 0; i < 8; i++)
    for (const sink of ["a", "b", "c"]) rig.write(`${sink}${i}`, lines(`${sink}${i}`, 4_000, 200));
  // Readings may not take the rest, so a request's room is all that is scarce.
  await rig.run(1);
  const held = fill(rig, 2.6 * MIB);
  await rig.run(20_000);
  const stored = ["a", "b", "c"].map((sink) => rig.destination(sink).stored.length);
  assert.ok(Math.min(...stored) > 0.5 * Math.max(...stored), stored.join(" "));
  held();
  await rig.run(60_000);
  for (const sink of ["a", "b", "c"]) assert.equal(rig.destination(sink).stored.length, 32_000);
});

test("a sink with much to send and no answers does not keep another from beginning", async () => {
  const rig = new Rig({ stuck: {}, good: {} }, { selects: (container, sink) => container.startsWith(sink) });
  rig.destination("stuck").mode = "hang";
  for (let i = 0; i < 8; i++) rig.write(`stuck-${i}`, lines("s", 6_000, 200));
  await rig.run(3_000);
  for (let i = 0; i < 4; i++) rig.write(`good-${i}`, lines("g", 1_000, 200));
  await rig.run(1_500);
  assert.equal(rig.destination("good").stored.length, 4_000);
});

test("while memory is short a request without an answer is given up after 5 s: that is no attempt", async () => {
  const rig = new Rig(
    { stuck: { maxRetries: 0 }, good: {} },
    { selects: (container, sink) => container.startsWith(sink) },
  );
  rig.destination("stuck").latencyMs = 8_000;
  for (let i = 0; i < 8; i++) rig.write(`stuck-${i}`, lines("s", 6_000, 200));
  for (let i = 0; i < 20; i++) {
    for (let j = 0; j < 8; j++) rig.write(`good-${j}`, lines("g", 2_500, 200));
    rig.dispatcher.relieve();
    await rig.run(1_000);
  }
  await rig.run(3_000);
  assert.equal(rig.deadLetters("stuck").length, 0);
  assert.equal(rig.destination("good").stored.length, 400_000);
  assert.ok(rig.outlet("stuck").counts.ambiguous > 0);
  assert.ok(rig.destination("stuck").stored.length > 0, "given more time, it got through");
  rig.check();
});

test("a sink that is slow but answers gets through though memory is always short", async () => {
  const rig = new Rig({ slow: { batchTimeoutMs: 100 }, other: {} });
  rig.destination("slow").latencyMs = 8_000;
  rig.write("web", lines("w", 50));
  for (let i = 0; i < 600; i++) {
    rig.dispatcher.relieve();
    await rig.run(100);
  }
  assert.equal(rig.subscription("web", "slow").totals["delivered"]?.lines, 50);
  assert.ok(rig.destination("slow").sent.length <= 3, `${rig.destination("slow").sent.length} requests`);
});

test("the only sink does not give up its own requests", async () => {
  const rig = new Rig({ a: {} });
  rig.destination().latencyMs = 9_000;
  rig.write("web", lines("w", 50));
  for (let i = 0; i < 150; i++) {
    rig.dispatcher.relieve();
    await rig.run(100);
  }
  assert.deepEqual([rig.destination().sent.length, rig.outlet().counts.ambiguous], [1, 0]);
});

test("draining sends what is held, waits for the answers, and takes nothing more", async () => {
  const rig = new Rig({ a: { batchTimeoutMs: 60_000, drainTimeoutMs: 10_000 } });
  rig.destination().latencyMs = 1_000;
  rig.write("web", lines("w", 50));
  await rig.run(10);
  let closed = false;
  void rig.dispatcher.drain([rig.outlet()]).then(() => (closed = true));
  rig.write("web", ["later"]);
  await rig.run(900);
  assert.deepEqual([closed, rig.subscription("web").room()], [false, 0]);
  await rig.run(200);
  assert.deepEqual([closed, rig.destination().stored], [true, lines("w", 50)]);
  rig.check();
});

test("draining begins no request in the second half of its time, and ends what has no answer at its end", async () => {
  const rig = new Rig({ a: { batchSize: 10, workerCount: 1, batchTimeoutMs: 60_000, drainTimeoutMs: 4_000 } });
  rig.destination().latencyMs = 900;
  rig.destination().answer = (_, index) => (index === 2 ? { outcome: "none" } : undefined);
  rig.write("web", lines("w", 100));
  await rig.run(10);
  const began = rig.clock.now();
  let closedAt = 0;
  void rig.dispatcher.drain([rig.outlet()]).then(() => (closedAt = rig.clock.now()));
  await rig.run(10_000);
  assert.ok(closedAt - began <= 4_010, `closed after ${closedAt - began} ms`);
  assert.ok(rig.destination().sent.every(({ at }) => at <= began + 2_000));
  assert.equal(rig.subscription("web").totals["delivered"]!.lines, 20);
  rig.check();
});

test("a sink in trouble with nothing on its way is not waited for", async () => {
  const rig = new Rig({ a: { batchTimeoutMs: 10 } });
  rig.destination().mode = "hold";
  rig.write("web", ["a"]);
  await rig.run(100);
  const began = rig.clock.now();
  const closed = rig.dispatcher.drain([rig.outlet()]);
  await rig.run(10);
  await closed;
  assert.ok(rig.clock.now() - began <= 10);
});

test("draining a sink that finds no memory tries again without anybody waking it", async () => {
  const rig = new Rig({ a: { batchTimeoutMs: 60_000 } });
  rig.write("web", lines("w", 50));
  await rig.run(10);
  const free = fill(rig, 0);
  const closed = rig.dispatcher.drain([rig.outlet()]);
  rig.stopped = true;
  await rig.run(1_000);
  free();
  await rig.run(1_000);
  await closed;
  assert.equal(rig.destination().stored.length, 50);
});
