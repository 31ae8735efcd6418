import assert from "node:assert/strict";
import { test } from "node:test";
import type { Count } from "../../../agent/ledger.ts";
import { Rig, lines, type SinkSettings } from "./rig.ts";

/** Small batches that leave soon, quick retries. */
const QUICK: SinkSettings = {
  batchSize: 10,
  batchTimeoutMs: 100,
  workerCount: 1,
  retryBaseDelayMs: 100,
  retryMaxDelayMs: 1_000,
};

function start(settings: SinkSettings = {}): Rig {
  return new Rig({ a: { ...QUICK, ...settings } });
}

function total(rig: Rig, name: string, container = "web"): Count {
  return rig.subscription(container).totals[name] ?? { lines: 0, bytes: 0 };
}

const dead = (rig: Rig): string[] => rig.deadLetters().map(({ text }) => text);
const requests = (rig: Rig): (readonly string[])[] => rig.destination().sent.map(({ texts }) => texts);

test("delivered: its records are settled, in order", async () => {
  const rig = start();
  rig.write("web", lines("w", 25));
  await rig.run(1_000);
  assert.deepEqual(rig.destination().stored, lines("w", 25));
  assert.equal(total(rig, "delivered").lines, 25);
  assert.deepEqual(
    requests(rig).map(({ length }) => length),
    [10, 10, 5],
  );
  rig.check();
});

test("retry: the same records are sent again after the backoff, and nothing behind them before", async () => {
  const rig = start();
  rig.destination().mode = "retry";
  rig.write("web", lines("w", 25));
  await rig.run(2_000);
  assert.ok(requests(rig).every((texts) => texts[0] === "w-0 " && texts.length === 10));
  assert.equal(rig.outlet().trouble!.kind, "backoff");
  rig.destination().mode = "accept";
  await rig.run(5_000);
  assert.deepEqual(rig.destination().stored, lines("w", 25));
  assert.deepEqual([rig.outlet().trouble, total(rig, "delivered").lines], [undefined, 25]);
  rig.check();
});

test("retry: what the destination asks for is waited out", async () => {
  const rig = start();
  rig.destination().answer = (_, index) => (index === 0 ? { outcome: "retry", afterMs: 30_000 } : undefined);
  rig.write("web", ["a"]);
  await rig.run(60_000);
  const [first, second] = rig.destination().sent;
  assert.ok(second!.at - first!.at >= 30_000 && second!.at - first!.at < 30_300, `${second!.at - first!.at} ms`);
});

test("an answer that never came is ambiguous: counted, and sent again", async () => {
  const rig = start();
  rig.destination().answer = (_, index) => (index === 0 ? { outcome: "lost" } : undefined);
  rig.write("web", ["a"]);
  await rig.run(2_000);
  assert.deepEqual(rig.destination().stored, ["a", "a"]);
  assert.deepEqual([rig.outlet().counts.ambiguous, total(rig, "delivered").lines], [1, 1]);
});

test("maxRetries unset: retried as long as it takes", async () => {
  const rig = start();
  rig.destination().mode = "retry";
  rig.write("web", ["a"]);
  await rig.run(3_600_000);
  assert.ok(requests(rig).length > 1_000);
  assert.deepEqual([dead(rig), rig.subscription("web").tried!.times], [[], requests(rig).length]);
});

for (const maxRetries of [0, 1, 3]) {
  test(`maxRetries ${maxRetries}: after ${maxRetries + 1} attempts a dead letter`, async () => {
    const rig = start({ maxRetries });
    rig.destination().mode = "retry";
    rig.write("web", ["a", "b"]);
    await rig.run(10_000);
    assert.equal(requests(rig).length, maxRetries + 1);
    assert.deepEqual(dead(rig), ["a", "b"]);
    const [letter] = rig.deadLetters();
    assert.equal(letter!.deadLetter["attempts"], maxRetries + 1);
    assert.match(String(letter!.deadLetter["reason"]), /503 \(\d attempts?\)/);
    assert.equal(total(rig, "deadLettered").lines, 2);
    rig.check();
  });
}

test("attempts go on where they were after a release and after a restart", async () => {
  let rig = start({ maxRetries: 4 });
  rig.destination().mode = "retry";
  rig.write("web", ["a", "b"]);
  await rig.run(110);
  assert.equal(rig.subscription("web").tried!.times, 1);
  rig.outlet().release();
  await rig.run(150);
  assert.equal(rig.subscription("web").tried!.times, 2);
  assert.equal(rig.outlet().counts.releases, 1);
  rig.crash();
  rig = new Rig({ a: { ...QUICK, maxRetries: 4 } }, { before: rig });
  await rig.run(20_000);
  assert.equal(requests(rig).length, 5);
  assert.deepEqual(dead(rig), ["a", "b"]);
});

test("attempts of records that were tried together count on though others come and go beside them", async () => {
  const rig = start({ maxRetries: 3, batchSize: 6, batchTimeoutMs: 10 });
  rig.destination().mode = "retry";
  rig.write("web", lines("w", 5));
  await rig.run(20);
  for (let i = 0; i < 20; i++) {
    rig.write(`other-${i}`, ["o"]);
    await rig.run(500);
  }
  const withWeb = requests(rig).filter((texts) => texts.some((text) => text.startsWith("w-")));
  assert.equal(withWeb.length, 4, "and none more");
  assert.ok(withWeb.every((texts) => texts.filter((text) => text.startsWith("w-")).length === 5));
  assert.equal(total(rig, "deadLettered").lines, 5);
});

test("attempts of a batch count on for its front when batches become smaller", async () => {
  let rig = start({ maxRetries: 2 });
  rig.destination().mode = "retry";
  rig.write("web", lines("w", 10));
  await rig.run(20);
  assert.deepEqual(rig.subscription("web").tried, { rows: 10, times: 1 });
  rig.crash();
  rig = new Rig({ a: { ...QUICK, maxRetries: 2, batchSize: 4 } }, { before: rig });
  const before = requests(rig).length;
  await rig.run(700);
  assert.deepEqual(
    requests(rig)
      .slice(before, before + 2)
      .map(({ length }) => length),
    [4, 4],
  );
  assert.deepEqual(dead(rig).slice(0, 4), lines("w", 4));
});

test("split: halved until what is too large for the destination fits", async () => {
  const rig = start();
  rig.destination().rowsMax = 3;
  rig.write("web", lines("w", 10));
  await rig.run(1_000);
  assert.deepEqual(rig.destination().stored, lines("w", 10));
  assert.deepEqual(
    requests(rig).map(({ length }) => length),
    [10, 5, 2, 3, 5, 2, 3],
  );
  assert.equal(rig.outlet().counts.repeated, 0, "an atomic sink repeats nothing");
  rig.check();
});

test("split: a record that is refused alone is a dead letter, and the rest is delivered", async () => {
  const rig = start({ atomic: false });
  rig.destination().isPoison = (text) => text.includes("poison");
  rig.destination().anonymous = true;
  rig.write("web", [...lines("w", 4), "poison", ...lines("x", 3)]);
  await rig.run(2_000);
  assert.deepEqual([...new Set(rig.destination().stored)], [...lines("w", 4), ...lines("x", 3)]);
  assert.deepEqual(dead(rig), ["poison"]);
  assert.deepEqual([total(rig, "delivered").lines, total(rig, "deadLettered").lines], [7, 1]);
  assert.equal(
    rig.outlet().counts.repeated,
    8 + 4 + 2,
    "of what may have been stored, all but the last was sent again",
  );
  rig.check();
});

test("split: a sink that was in trouble has recovered, it looked at the records", async () => {
  const rig = start();
  rig.destination().isPoison = () => true;
  rig.destination().anonymous = true;
  rig.destination().answer = (_, index) => (index === 0 ? { outcome: "retry" } : undefined);
  rig.write("web", ["a", "b"]);
  await rig.run(2_000);
  assert.deepEqual(dead(rig), ["a", "b"]);
  assert.equal(rig.outlet().trouble, undefined);
});

test("split: a retry in the middle keeps what is settled, and the other half for later", async () => {
  const rig = start();
  rig.destination().answer = ({ texts }, index) => {
    if (texts.length > 5) return { outcome: "split" };
    return index === 2 ? { outcome: "retry" } : undefined;
  };
  rig.write("web", lines("w", 10));
  await rig.run(5_000);
  assert.deepEqual(rig.destination().stored, lines("w", 10));
  assert.deepEqual(
    requests(rig).map(({ length }) => length),
    [10, 5, 5, 5],
  );
});

test("reject: the records that are named are dead letters, the rest is delivered", async () => {
  const rig = start();
  rig.destination().answer = () => ({ outcome: "reject", refused: [7, 2, 2, 3] });
  rig.write("web", lines("w", 9));
  await rig.run(500);
  assert.deepEqual(dead(rig).sort(), ["w-2 ", "w-3 ", "w-7 "], "each once, though one was named twice");
  assert.deepEqual([total(rig, "delivered").lines, total(rig, "deadLettered").lines], [6, 3]);
  const { pipeline, sink, reason, attempts, chain, offset } = rig
    .deadLetters()
    .find(({ text }) => text === "w-3 ")!.deadLetter;
  assert.deepEqual(
    { pipeline, sink, reason, attempts, chain },
    { pipeline: "p", sink: "a", reason: "poison", attempts: 1, chain: "uid-web/app/0" },
  );
  assert.equal(offset, 3 * 50);
  rig.check();
});

test("alreadySent: refused as out of order, but the request before had reached the destination", async () => {
  const rig = start();
  const destination = rig.destination();
  destination.strict = true;
  destination.answer = (_, index) => (index === 0 ? { outcome: "lost" } : undefined);
  rig.write("web", lines("w", 3));
  await rig.run(3_000);
  assert.deepEqual([destination.stored, dead(rig)], [lines("w", 3), []]);
  assert.equal(total(rig, "delivered").lines, 3);
});

test("alreadySent holds after a kill before the answer came", async () => {
  let rig = start();
  const destination = rig.destination();
  destination.strict = true;
  destination.answer = (_, index) => (index === 0 ? { outcome: "none", stores: [0, 1, 2] } : undefined);
  rig.write("web", lines("w", 3));
  await rig.run(150);
  assert.equal(destination.stored.length, 3);
  rig.crash();
  rig = new Rig({ a: QUICK }, { before: rig });
  await rig.run(3_000);
  assert.deepEqual([destination.stored, dead(rig)], [lines("w", 3), []]);
  assert.equal(total(rig, "delivered").lines, 3);
});

test("out of order without ever having been sent is a refusal like any other", async () => {
  const rig = start();
  rig.destination().answer = (_, index) =>
    index === 0 ? { outcome: "reject", refused: [1], outOfOrder: true } : undefined;
  rig.write("web", lines("w", 3));
  await rig.run(1_000);
  assert.deepEqual(dead(rig), ["w-1 "]);
});

test("what a sink held back was not sent: refused as out of order later, it is a dead letter and not delivered", async () => {
  const rig = start();
  rig.destination().answer = (_, index) =>
    index === 0 ? { outcome: "hold" } : { outcome: "reject", refused: [0], outOfOrder: true };
  rig.write("web", ["a"]);
  await rig.run(10_000);
  assert.deepEqual([dead(rig), total(rig, "delivered").lines], [["a"], 0]);
});

test("hold: never a dead letter, whatever maxRetries says; probed after 5 s, then backing off to a minute", async () => {
  const rig = start({ maxRetries: 0 });
  rig.destination().mode = "hold";
  rig.write("web", lines("w", 25));
  await rig.run(400_000);
  const at = rig.destination().sent.map((sent) => sent.at);
  const waits = at.slice(1).map((time, i) => Math.round((time - at[i]!) / 1_000));
  assert.deepEqual(waits.slice(0, 7), [5, 10, 20, 40, 60, 60, 60]);
  assert.deepEqual([dead(rig), rig.outlet().trouble!.kind], [[], "hold"]);
  rig.destination().mode = "accept";
  await rig.run(70_000);
  assert.deepEqual(rig.destination().stored, lines("w", 25));
  rig.check();
});

test("without a dead-letter queue what is refused is dropped, by reason", async () => {
  const rig = start({ dlqEnabled: false, maxRetries: 1 });
  rig.destination().answer = ({ texts }, index) => {
    if (index === 0) return { outcome: "reject", refused: [0] };
    return texts.includes("tired") ? { outcome: "retry" } : undefined;
  };
  rig.write("web", ["bad", "good"]);
  await rig.run(200);
  rig.write("web", ["tired"]);
  await rig.run(10_000);
  assert.equal(total(rig, "dropped/Rejected").lines, 1);
  assert.equal(total(rig, "dropped/RetriesExhausted").lines, 1);
  assert.equal(total(rig, "delivered").lines, 1);
  assert.ok(rig.log.some((line) => line.startsWith("error records were dropped")));
  rig.check();
});

test("a dead-letter queue that can't be written holds the sink; what was stored beside the refused is not sent again", async () => {
  const rig = start({ workerCount: 3 });
  const destination = rig.destination();
  destination.isPoison = (text) => text === "poison";
  rig.disk.full = true;
  rig.write("web", ["good", "poison", "fine"]);
  rig.write("other", ["o"]);
  await rig.run(3_000);
  rig.write("late", ["l"]);
  await rig.run(60_000);
  assert.equal(destination.sent.length, 1, "and nothing else is");
  assert.deepEqual([rig.outlet().trouble!.kind, total(rig, "deadLettered").lines], ["hold", 0]);
  assert.match(rig.outlet().trouble!.reason, /dead-letter queue can't be written: ENOSPC/);
  rig.check();
  rig.disk.full = false;
  await rig.run(70_000);
  assert.deepEqual(destination.stored, ["good", "fine", "o", "l"]);
  assert.deepEqual(dead(rig), ["poison"]);
  assert.equal(rig.outlet().trouble, undefined);
  rig.check();
});

test("a sink that closes while its dead letters can't be written ends, and settles nothing of that request", async () => {
  const rig = start({ drainTimeoutMs: 1_000 });
  rig.destination().isPoison = (text) => text === "poison";
  rig.disk.full = true;
  rig.write("web", ["good", "poison"]);
  await rig.run(1_000);
  const closed = rig.dispatcher.drain([rig.outlet()]);
  await rig.run(1_100);
  await closed;
  assert.deepEqual(rig.subscription("web").totals, {});
  assert.equal(rig.outlet().counts.repeated, 1);
  rig.check();
});

test("several workers fill a small dead-letter queue: every line is in it or counted as evicted", async () => {
  const rig = start({ workerCount: 4, dlqBytes: 8_192, batchSize: 3 });
  rig.destination().isPoison = () => true;
  for (let i = 0; i < 8; i++) rig.write(`c${i}`, lines(`c${i}`, 20, 100));
  await rig.run(10_000);
  const letters = rig.deadLetters();
  for (let i = 0; i < 8; i++) {
    const there = letters.filter(({ text }) => text.startsWith(`c${i}-`)).length;
    assert.equal(total(rig, "deadLettered", `c${i}`).lines, there, "dead-lettered is what lies there");
    assert.equal(total(rig, "dropped/DeadLetterEvicted", `c${i}`).lines, 20 - there);
  }
  assert.ok(rig.outlet().deadLetters!.bytes <= 8_192);
  rig.check();
});

test("a request that is ended because the sink closes is no attempt", async () => {
  const rig = start({ maxRetries: 0, drainTimeoutMs: 500 });
  rig.destination().mode = "hang";
  rig.write("web", ["a"]);
  await rig.run(1_000);
  const closed = rig.dispatcher.drain([rig.outlet()]);
  await rig.run(600);
  await closed;
  assert.deepEqual([dead(rig), rig.subscription("web").tried], [[], undefined]);
  assert.equal(rig.outlet().counts.ambiguous, 1);
});

test("a sink that closes in the middle of a split sends no further part", async () => {
  const rig = start({ drainTimeoutMs: 0 });
  const destination = rig.destination();
  destination.answer = ({ texts }) => (texts.length > 1 ? { outcome: "split" } : undefined);
  destination.latencyMs = 100;
  rig.write("web", lines("w", 8));
  await rig.run(150);
  assert.equal(destination.sent.length, 1);
  // The answer and the end come at the same moment.
  await rig.run(50);
  const closed = rig.dispatcher.drain([rig.outlet()]);
  await rig.run(1_000);
  await closed;
  assert.ok(destination.sent.length <= 2, `${destination.sent.length} requests`);
});
