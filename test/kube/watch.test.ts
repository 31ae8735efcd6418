/** The watch in virtual time, one trouble at a time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Fault } from "../support/kube-faults.ts";
import { agrees, Observed } from "./support.ts";

test("the cache shows what was there and follows what becomes of it, in order", async () => {
  const o = new Observed();
  o.model.put("shop", "a", 1);
  o.model.put("shop", "b", 1);
  await o.begin();
  assert.equal(await o.watch.synced, true);
  assert.deepEqual(o.kinds(), ["added shop/a", "added shop/b"]);
  o.model.put("shop", "a", 2);
  o.model.put("shop", "c", 1);
  o.model.delete("shop", "b");
  o.model.put("shop", "b", 3);
  await o.clock.run(1_000);
  assert.deepEqual(o.kinds().slice(2), ["changed shop/a", "added shop/c", "deleted shop/b", "added shop/b"]);
  const [changed] = o.changes.slice(2);
  assert.ok(changed?.kind === "changed");
  assert.deepEqual([changed.previous.data, changed.object.data], [1, 2]);
  agrees(o);
  assert.deepEqual(o.troubles, []);
  await o.watch.stop();
});

test("an hour of quiet costs one list, a watch every five to ten minutes, and no complaint", async () => {
  const o = new Observed();
  o.model.put("shop", "a", 1);
  await o.begin();
  await o.clock.run(3_600_000);
  assert.equal(o.asked("list"), 1);
  assert.ok(o.asked("watch") >= 6 && o.asked("watch") <= 13, `${o.asked("watch")} watches`);
  assert.deepEqual(o.troubles, []);
  assert.ok(o.clock.now() - o.watch.counts.heardAt <= 61_000);
  o.model.put("shop", "b", 1);
  await o.clock.run(1_000);
  agrees(o);
  await o.watch.stop();
});

test("after a cut the watch goes on from the last version and lists nothing", async () => {
  const o = new Observed();
  await o.begin();
  for (let i = 0; i < 20; i++) {
    o.model.put("shop", `a${i}`, i);
    await o.clock.run(500);
    o.model.cutAll();
    o.model.put("shop", `b${i}`, i);
    await o.clock.run(5_000);
    agrees(o);
  }
  assert.equal(o.asked("list"), 1);
  assert.equal(o.troubles.length, 20);
  assert.match(o.troubles[0]!.message, /ECONNRESET/);
  await o.watch.stop();
});

test("a history that is gone, told in an event or by a status, leads to a list that finds what was deleted meanwhile", async () => {
  for (const inStream of [true, false]) {
    const o = new Observed();
    o.model.goneInStream = inStream;
    o.model.put("shop", "goes", 1);
    o.model.put("shop", "returns", 1);
    o.model.put("shop", "stays", 1);
    await o.begin();
    const before = o.changes.length;
    o.model.cutAll();
    o.model.delete("shop", "goes");
    o.model.delete("shop", "returns");
    o.model.put("shop", "returns", 1);
    o.model.put("shop", "new", 1);
    o.model.compact();
    await o.clock.run(5_000);
    agrees(o);
    assert.equal(o.asked("list"), 2);
    assert.deepEqual(o.kinds().slice(before), [
      "added shop/new",
      "deleted shop/returns",
      "added shop/returns",
      "deleted shop/goes",
    ]);
    await o.watch.stop();
  }
});

test("a 410 in the middle of a watch leads to a list", async () => {
  const o = new Observed();
  await o.begin();
  o.model.put("shop", "a", 1);
  o.model.errorAll(410);
  o.model.put("shop", "b", 1);
  await o.clock.run(5_000);
  agrees(o);
  assert.equal(o.asked("list"), 2);
  await o.watch.stop();
});

test("a watch that says nothing for 90 seconds is opened anew, without a list and without a complaint", async () => {
  const o = new Observed();
  await o.begin();
  o.model.silenceAll();
  o.model.put("shop", "a", 1);
  await o.clock.run(88_000);
  assert.equal(o.watch.objects.size, 0);
  await o.clock.run(4_000);
  agrees(o);
  assert.deepEqual([o.asked("list"), o.asked("watch"), o.watch.counts.silent], [1, 2, 1]);
  assert.deepEqual(o.troubles, []);
  await o.watch.stop();
});

test("where bookmarks never come, silence is borne ever longer; one event, and it is suspicious again", async () => {
  const o = new Observed();
  o.model.bookmarkMs = Infinity;
  await o.begin();
  await o.clock.run(3_600_000);
  // 90 and 180 seconds, then as long as the server keeps the watch: at least 300.
  assert.ok(o.asked("watch") <= 3 + 3_600 / 300, `${o.asked("watch")} watches in an hour`);
  assert.deepEqual(o.troubles, []);
  o.model.put("shop", "a", 1);
  await o.clock.run(1_000);
  const { silent } = o.watch.counts;
  await o.clock.run(92_000);
  assert.equal(o.watch.counts.silent, silent + 1);
  await o.clock.run(182_000);
  assert.equal(o.watch.counts.silent, silent + 2);
  await o.watch.stop();
});

test("half a line every second is silence too", async () => {
  const o = new Observed();
  o.model.bookmarkMs = Infinity;
  await o.begin();
  o.model.put("shop", "a", 1);
  for (let i = 0; i < 120; i++) {
    o.model.insertAll(" ");
    await o.clock.run(1_000);
  }
  assert.equal(o.watch.counts.silent, 1);
  assert.equal(o.asked("watch"), 2);
  await o.watch.stop();
});

test("while the server refuses, it is asked ever less often, and at the latest every 30 seconds", async () => {
  const o = new Observed();
  for (let i = 0; i < 400; i++) o.model.faults.push({ on: "list", kind: "refuse" });
  await o.start();
  await o.clock.run(3_600_000);
  const times = o.troubles.map(({ at }) => at);
  const waits = times.slice(1).map((at, i) => at - times[i]!);
  assert.ok(
    waits.every((wait) => wait <= 30_100),
    `${Math.max(...waits)} ms`,
  );
  assert.ok(waits.slice(0, 5).reduce((sum, wait) => sum + wait, 0) < 25_000);
  assert.ok(times.length > 120 && times.length < 400, `${times.length} in an hour`);
  // Jitter is full: waits lie anywhere below the maximum.
  assert.ok(waits.slice(8).some((wait) => wait < 8_000) && waits.slice(8).some((wait) => wait > 22_000));
  o.model.faults.length = 0;
  o.model.put("shop", "a", 1);
  await o.clock.run(31_000);
  agrees(o);
  await o.watch.stop();
});

test("a server that closes every watch at once is not asked in circles", async () => {
  const o = new Observed();
  await o.begin();
  for (let i = 0; i < 1_000; i++) o.model.faults.push({ on: "watch", kind: "end" });
  o.model.endAll();
  await o.clock.run(600_000);
  assert.ok(o.asked("watch") < 60, `${o.asked("watch")} watches in ten minutes`);
  assert.equal(o.asked("list"), 1);
  await o.watch.stop();
});

test("a server that sends one event and closes, always, is asked a few times a second at most", async () => {
  const o = new Observed();
  await o.begin();
  for (let second = 0; second < 60; second++) {
    for (let i = 0; i < 10; i++) {
      o.model.bookmarkAll();
      o.model.endAll();
      await o.clock.run(100);
    }
  }
  assert.ok(o.asked("watch") < 60 * 4, `${o.asked("watch")} watches in a minute`);
  await o.watch.stop();
});

test("refusals that say nothing about the version do not lead to a list", async () => {
  const faults: Fault[] = [];
  for (let i = 0; i < 3; i++) {
    for (const code of [401, 403, 429, 503]) faults.push({ on: "watch", kind: "status", code });
    faults.push({ on: "watch", kind: "refuse" }, { on: "watch", kind: "cut", afterBytes: 1 });
  }
  const o = new Observed();
  await o.begin();
  o.model.faults.push(...faults);
  o.model.cutAll();
  await o.clock.run(1_200_000);
  assert.equal(o.model.faults.length, 0);
  assert.equal(o.asked("list"), 1);
  await o.watch.stop();
});

test("an event that cannot be read is stepped over by a list, after the third try", async () => {
  for (const text of [
    "{not json\n",
    "[]\n",
    '{"type":"ADDED"}\n',
    '{"type":"NEW","object":{"metadata":{"resourceVersion":"9999"}}}\n',
  ]) {
    const o = new Observed();
    await o.begin();
    for (let i = 0; i < 3; i++) o.model.faults.push({ on: "watch", kind: "insert", text });
    o.model.cutAll();
    o.model.put("shop", "a", 1);
    await o.clock.run(30_000);
    agrees(o);
    assert.equal(o.asked("list"), 2, text);
    assert.equal(o.troubles.filter(({ during }) => during === "watch").length, 4, text);
    await o.watch.stop();
  }
});

test("an event longer than an object can be ends the watch, not the process", async () => {
  const o = new Observed();
  await o.begin();
  o.model.insertAll(`{"type":"ADDED","object":"${"x".repeat(9 << 20)}`);
  o.model.put("shop", "a", 1);
  await o.clock.run(5_000);
  agrees(o);
  assert.match(o.troubles[0]!.message, /a line has more than/);
  await o.watch.stop();
});
