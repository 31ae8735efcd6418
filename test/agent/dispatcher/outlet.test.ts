import assert from "node:assert/strict";
import { test } from "node:test";
import { RECORD_OVERHEAD } from "../../../agent/memory/columns.ts";
import { Rig, lines } from "./rig.ts";

const MIB = 1024 * 1024;

test("a batch leaves when it has batchSize lines", async () => {
  const rig = new Rig({ a: { batchSize: 100, batchTimeoutMs: 60_000 } });
  rig.write("web", lines("w", 250));
  await rig.run(1_000);
  assert.deepEqual(
    rig.destination().sent.map(({ texts }) => texts.length),
    [100, 100],
  );
});

test("a batch leaves when it has batchBytes", async () => {
  const each = 1_000 + RECORD_OVERHEAD;
  const rig = new Rig({ a: { batchBytes: 10 * each, batchTimeoutMs: 60_000 } });
  rig.write("web", lines("w", 25, 1_000));
  await rig.run(1_000);
  assert.deepEqual(
    rig.destination().sent.map(({ texts }) => texts.length),
    [10, 10],
  );
});

test("a batch leaves batchTimeout after its oldest line was taken, to the millisecond", async () => {
  const rig = new Rig({ a: { batchTimeoutMs: 700 } });
  const written = rig.clock.now();
  for (let i = 0; i < 10; i++) {
    rig.write(`c${i}`, ["x"]);
    await rig.run(60);
  }
  await rig.run(700);
  const [first, second] = rig.destination().sent;
  assert.deepEqual([first!.at - written, first!.texts.length, second], [700, 10, undefined]);
});

test("10,000 lines a second of 30 containers go in few full batches", async () => {
  const rig = new Rig({ a: {} });
  for (let tick = 0; tick < 100; tick++) {
    for (let i = 0; i < 30; i++) rig.write(`c${i}`, lines(`${tick}`, 17, 170));
    await rig.run(50);
  }
  const sizes = rig.destination().sent.map(({ texts }) => texts.length);
  const seconds = 5;
  assert.ok(sizes.length <= 3 * seconds, `${sizes.length} requests in ${seconds} s`);
  assert.ok(Math.min(...sizes) > 2_000, `the smallest has ${Math.min(...sizes)} lines`);
  assert.ok(rig.turns < 100 * seconds, `${rig.turns} turns`);
});

test("at most workerCount requests are in flight, and one per container", async () => {
  const rig = new Rig({ a: { workerCount: 3, batchSize: 10, batchTimeoutMs: 10 } });
  const destination = rig.destination();
  destination.latencyMs = 100;
  for (let i = 0; i < 8; i++) rig.write(`c${i}`, lines(`c${i}`, 40));
  await rig.run(5_000);
  assert.equal(destination.inFlightMost, 3);
  assert.equal(destination.stored.length, 320);
  for (let i = 0; i < 8; i++) {
    assert.deepEqual(
      destination.stored.filter((text) => text.startsWith(`c${i}-`)),
      lines(`c${i}`, 40),
    );
  }
});

test("a key that several containers share is in one request at a time, and its wait costs no turns", async () => {
  const rig = new Rig({ a: { order: "{namespace}", batchSize: 10, batchTimeoutMs: 10 } });
  rig.destination().latencyMs = 1_000;
  for (let i = 0; i < 5; i++) rig.write(`c${i}`, lines(`c${i}`, 20));
  await rig.run(12_000);
  assert.equal(rig.destination().inFlightMost, 1);
  assert.equal(rig.destination().stored.length, 100);
  assert.ok(rig.turns < 200, `${rig.turns} turns`);
});

test("lines of another key wait for their batch though many wait for a key that is on its way", async () => {
  const rig = new Rig({ a: { order: "{fields.key}", batchSize: 10, batchTimeoutMs: 1_000 } });
  rig.destination().latencyMs = 3_000;
  const write = (name: string, key: string, count: number): void =>
    rig.write(
      name,
      lines(name, count).map((text) => ({ text, fields: { key } })),
    );
  for (let i = 0; i < 4; i++) write(`b${i}`, "busy", 30);
  await rig.run(50);
  for (let i = 0; i < 10; i++) {
    write("q", "quiet", 1);
    await rig.run(40);
  }
  const quiet = rig.destination().sent.filter(({ keys }) => keys.includes("quiet"));
  assert.deepEqual(
    quiet.map(({ texts }) => texts.length),
    [10],
    "in a batch, not one by one",
  );
});

test("reading stops at queueSize, but for the reading that reaches it", async () => {
  const rig = new Rig({ a: { queueSize: 1_000, batchSize: 100 } });
  rig.destination().mode = "hang";
  for (let i = 0; i < 10; i++) rig.write(`c${i}`, lines("x", 700));
  await rig.run(2_000);
  assert.ok(rig.outlet().rows >= 1_000 && rig.outlet().rows <= 1_700, `${rig.outlet().rows} lines`);
  rig.check();
});

test("reading stops at queueBytes, but for the reading that reaches it", async () => {
  const rig = new Rig({ a: { queueBytes: MIB, batchBytes: MIB / 4 } });
  rig.destination().mode = "hang";
  for (let i = 0; i < 10; i++) rig.write(`c${i}`, lines("x", 3_000, 200));
  await rig.run(2_000);
  assert.ok(rig.outlet().bytes >= MIB * 0.75 && rig.outlet().bytes <= MIB * 1.25, `${rig.outlet().bytes} bytes`);
});

test("a queue that is full of less than a batch sends what it has", async () => {
  const rig = new Rig({ a: { queueSize: 100_000, batchTimeoutMs: 300_000, queueBytes: 2 * MIB, batchBytes: 2 * MIB } });
  for (let i = 0; i < 40; i++) rig.write(`c${i}`, lines(`c${i}`, 500, 200));
  await rig.run(10_000);
  assert.ok(rig.destination().stored.length > 10_000, `${rig.destination().stored.length} lines`);
});

test("one container that writes without end delays the lines of 500 others by no more than a round", async () => {
  // The sink takes 100 KiB a second; the queue holds 1 MiB.
  const rig = new Rig({ a: { workerCount: 1, batchBytes: 100_000, queueBytes: MIB, batchTimeoutMs: 100 } });
  rig.destination().latencyMs = 1_000;
  rig.write("noisy", lines("noisy", 40_000, 200));
  await rig.run(3_000);
  const written = rig.clock.now();
  for (let i = 0; i < 500; i++) rig.write(`quiet-${i}`, [`quiet-${i}`]);
  await rig.run(30_000);
  const arrived = rig.destination().sent.filter(({ texts }) => texts.some((text) => text.startsWith("quiet")));
  const count = arrived.reduce((sum, { texts }) => sum + texts.filter((text) => text.startsWith("quiet")).length, 0);
  assert.equal(count, 500);
  const last = arrived.at(-1)!.at - written;
  assert.ok(last <= 15_000, `the last left after ${last} ms: behind what was queued before it, a queue of 10 s`);
});

test("of many containers that all write without end none is left behind", async () => {
  const rig = new Rig({ a: { workerCount: 4, batchBytes: 100_000, queueBytes: MIB / 2, batchTimeoutMs: 100 } });
  rig.destination().latencyMs = 500;
  for (let i = 0; i < 40; i++) rig.write(`c${i}`, lines(`c${i}`, 20_000, 200));
  await rig.run(120_000);
  const delivered = Array.from({ length: 40 }, (_, i) => rig.subscription(`c${i}`).totals["delivered"]?.lines ?? 0);
  const [least, most] = [Math.min(...delivered), Math.max(...delivered)];
  assert.ok(least > 0 && most <= least * 3, `between ${least} and ${most} lines`);
});

test("a sink in trouble is probed by one request at a time", async () => {
  const rig = new Rig({ a: { batchSize: 10, batchTimeoutMs: 10, retryBaseDelayMs: 1_000, retryMaxDelayMs: 1_000 } });
  const destination = rig.destination();
  destination.mode = "retry";
  for (let i = 0; i < 8; i++) rig.write(`c${i}`, lines("x", 10));
  await rig.run(500);
  destination.inFlightMost = 0;
  destination.latencyMs = 300;
  await rig.run(20_000);
  assert.equal(destination.inFlightMost, 1);
});

test("a request that hangs while others failed costs no turns", async () => {
  const rig = new Rig({ a: { batchSize: 10, batchTimeoutMs: 10 } });
  const destination = rig.destination();
  destination.answer = (_, index) => (index === 0 ? { outcome: "none" } : { outcome: "retry" });
  for (let i = 0; i < 4; i++) {
    rig.write(`c${i}`, lines("x", 10));
    await rig.run(20);
  }
  const { turns } = rig;
  await rig.run(8_000);
  assert.equal(rig.outlet().busyWorkers, 1);
  assert.ok(rig.turns - turns <= 100, `${rig.turns - turns} turns in 8 s`);
});

test("a sink that has accepted nothing for 5 s holds no memory, and is probed with little", async () => {
  const rig = new Rig({ a: { batchBytes: 100_000, queueBytes: MIB, batchTimeoutMs: 100 } });
  const destination = rig.destination();
  destination.mode = "hold";
  for (let i = 0; i < 50; i++) rig.write(`c${i}`, lines(`c${i}`, 1_000, 200));
  await rig.run(1_000);
  assert.ok(rig.outlet().bytes > MIB / 2);
  let most = 0;
  const watch = async (ms: number): Promise<void> => {
    for (let i = 0; i < ms / 100; i++) {
      await rig.run(100);
      most = Math.max(most, rig.memory.arena.usedBytes);
    }
  };
  await rig.run(6_000);
  assert.deepEqual([rig.outlet().rows, rig.memory.arena.usedBytes], [0, 0]);
  await watch(200_000);
  assert.ok(destination.sent.length >= 5, "it is probed");
  assert.ok(most <= 6 * 65_536, `probes held ${most} bytes`);
  rig.check();
  destination.mode = "accept";
  await rig.run(120_000);
  assert.equal(destination.stored.length, 50_000);
  for (let i = 0; i < 50; i++) {
    assert.deepEqual(
      destination.stored.filter((text) => text.startsWith(`c${i}-`)),
      lines(`c${i}`, 1_000, 200),
    );
  }
  rig.check();
});

test("2,000 containers behind a sink that holds cost a turn next to nothing", async () => {
  const rig = new Rig({ a: {} });
  rig.destination().mode = "hold";
  for (let i = 0; i < 2_000; i++) rig.write(`c${i}`, ["x"]);
  await rig.run(20_000);
  const outlet = rig.outlet();
  const started = performance.now();
  const turns = 200;
  for (let i = 0; i < turns; i++) {
    for (const subscription of outlet.subscriptions.values()) subscription.room();
    rig.dispatcher.pump();
  }
  const each = (performance.now() - started) / turns;
  // At 10 turns a second, 1 ms each is 1 % of a core.
  assert.ok(each < 1, `${each.toFixed(3)} ms a turn`);
});

test("flushing sends what there is at once", async () => {
  const rig = new Rig({ a: { batchTimeoutMs: 60_000 } });
  rig.outlet().flushing = true;
  rig.write("web", ["a"]);
  await rig.run(50);
  assert.deepEqual(rig.destination().stored, ["a"]);
});

test("of a container's instances the later waits until the earlier is delivered", async () => {
  const rig = new Rig({ a: { batchTimeoutMs: 10 } });
  rig.destination().mode = "retry";
  rig.write("web", ["first"]);
  rig.write("web", ["second"], 1);
  rig.containers.get("web 0")!.ended = true;
  await rig.run(3_000);
  assert.ok(rig.destination().sent.every(({ texts }) => texts.join() === "first"));
  rig.destination().mode = "accept";
  await rig.run(60_000);
  assert.deepEqual(rig.destination().stored, ["first", "second"]);
});
