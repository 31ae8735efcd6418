import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { batchOf, formLoad, halve, type Load } from "../../../agent/dispatcher/batch.ts";
import { RECORD_OVERHEAD } from "../../../agent/memory/columns.ts";
import { textOf } from "../../../agent/memory/records.ts";
import { Rig, lines } from "./rig.ts";
import type { Row } from "./rows.ts";

const LARGE = { rows: 1_000, bytes: 1_000_000 };

let rig: Rig;

beforeEach(() => {
  rig = new Rig({ a: {} });
});

/** Has the lines of containers read, one after the other, but not sent. */
async function take(logs: Record<string, (string | Row)[]>): Promise<void> {
  for (const [name, rows] of Object.entries(logs)) {
    rig.write(name, rows);
    await rig.run(1);
  }
}

const form = (names: string[], bounds = LARGE): ReturnType<typeof formLoad> =>
  formLoad(
    rig.memory,
    names.map((name) => rig.subscription(name)),
    bounds,
  );

function texts(load: Load | undefined): string[] {
  const found: string[] = [];
  for (const { portion, from, to } of load?.ranges ?? []) {
    for (let row = from; row < to; row++) found.push(textOf(rig.memory, portion.records, row).toString());
  }
  return found;
}

test("a batch takes whole subscriptions, the oldest first, until a bound is reached", async () => {
  await take({ x: ["x1", "x2"], y: ["y1"], z: ["z1"] });
  const load = form(["x", "y", "z"], { rows: 3, bytes: 1_000_000 });
  assert.deepEqual(texts(load), ["x1", "x2", "y1"]);
  assert.deepEqual([load!.rows, load!.full], [3, true]);
  assert.equal(load!.takenAt, rig.subscription("x").takenAt);
  assert.equal(form(["x", "y", "z"])!.full, false, "all of it fits");
});

test("the bytes of a batch stay below the bound, but one record always goes", async () => {
  await take({ x: ["a".repeat(100), "b".repeat(100), "c"] });
  const each = 100 + RECORD_OVERHEAD;
  assert.equal(form(["x"], { rows: 10, bytes: 2 * each })!.bytes, 2 * each);
  assert.equal(form(["x"], { rows: 10, bytes: 2 * each - 1 })!.rows, 1);
  assert.equal(form(["x"], { rows: 10, bytes: 1 })!.rows, 1);
});

test("a record that does not fit ends the batch before it", async () => {
  await take({ x: ["short"], y: ["y".repeat(500)], z: ["short"] });
  assert.deepEqual(texts(form(["x", "y", "z"], { rows: 10, bytes: 200 })), ["short"]);
});

test("a key that is on its way stops its subscription there, and no other", async () => {
  rig = new Rig({ a: { order: "{hour}" } });
  await take({ x: [{ text: "x0", seconds: 0 }], y: [{ text: "y1", seconds: 3_600 }] });
  rig.write("x", [{ text: "x1", seconds: 3_600 }]);
  rig.write("x", [{ text: "x0 again", seconds: 0 }]);
  await rig.run(1);
  const [key] = rig.subscription("y").portions[0]!.keys.entries;
  key!.key.inFlight = true;
  assert.deepEqual(texts(form(["x", "y"])), ["x0"], "what was read behind it waits, though some of it has another key");
  rig.write("z", [{ text: "z0", seconds: 0 }]);
  await rig.run(1);
  assert.deepEqual(texts(form(["x", "y", "z"])), ["x0", "z0"]);
  key!.key.inFlight = false;
});

test("what was tried together is sent together, or not at all", async () => {
  await take({ x: lines("x", 5), y: lines("y", 5), z: ["z1"] });
  rig.subscription("y").tried = { rows: 3, times: 1 };
  assert.deepEqual(texts(form(["y"])), ["y-0 ", "y-1 ", "y-2 "], "and nothing with it from behind");
  const load = form(["x", "y", "z"], { rows: 7, bytes: 1_000_000 });
  assert.deepEqual(texts(load), lines("x", 5), "3 more would not fit, 2 would begin a new count");
  assert.deepEqual(texts(form(["x", "y"], { rows: 8, bytes: 1_000_000 })).length, 8);
});

test("what was tried together goes in parts when the bounds have become smaller than it", async () => {
  await take({ x: lines("x", 5) });
  rig.subscription("x").tried = { rows: 5, times: 1 };
  assert.equal(form(["x"], { rows: 2, bytes: 1_000_000 })!.rows, 2);
});

test("what was tried together and is only partly there again goes as far as it is there", async () => {
  await take({ w: ["w"], x: lines("x", 2) });
  rig.subscription("x").tried = { rows: 5, times: 1 };
  assert.equal(form(["w", "x"])!.rows, 3);
});

test("halves hold the same records in the same order, and neither is empty", async () => {
  await take({ x: lines("x", 3), y: [{ text: "y0" }, { text: "no", verdict: 1 }, { text: "y1" }], z: ["z0"] });
  const whole = form(["x", "y", "z"])!;
  const queue: Load[] = [whole];
  const singles: Load[] = [];
  for (let load; (load = queue.shift());) {
    if (load.rows === 1) {
      singles.push(load);
      continue;
    }
    const [first, second] = halve(rig.memory, load);
    assert.ok(first.rows > 0 && second.rows > 0);
    assert.equal(first.rows + second.rows, load.rows);
    assert.equal(first.bytes + second.bytes, load.bytes);
    assert.deepEqual([...texts(first), ...texts(second)], texts(load));
    queue.unshift(first, second);
  }
  assert.equal(singles.length, 6);
});

test("a batch is grouped by key, in the order in which its records were read", async () => {
  rig = new Rig({ a: { order: "{stream}" } });
  await take({ x: [{ text: "x out" }, { text: "x err", stream: "stderr" }], y: [{ text: "y out" }] });
  const { batch, owners } = batchOf(rig.memory, form(["x", "y"])!);
  const groups = batch.groups.map(({ key, slices }) => [key.values[0], slices.map(({ source }) => source.pod).join()]);
  assert.deepEqual(
    groups.toSorted((a, b) => String(a).localeCompare(String(b))),
    [
      ["stderr", "x"],
      ["stdout", "x,y"],
    ],
  );
  assert.deepEqual([...owners.values()].map(({ subscription }) => subscription.chain.source.pod).sort(), [
    "x",
    "x",
    "y",
  ]);
});

test("of a portion's many keys a batch has only those of its own rows", async () => {
  rig = new Rig({ a: { order: "{fields.user}" } });
  const users: Row[] = Array.from({ length: 100 }, (_, user) => ({ text: "x", fields: { user } }));
  await take({ x: users });
  const { batch } = batchOf(rig.memory, form(["x"], { rows: 3, bytes: 1_000_000 })!);
  assert.deepEqual(
    batch.groups.map(({ key }) => key.values[0]),
    ["0", "1", "2"],
  );
});
