/** The watch in virtual time, one trouble at a time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Fault } from "../support/kube-faults.ts";
import { Observed, pick, shown } from "./support.ts";

function agrees({ watch, model }: Observed): void {
  assert.deepEqual(shown(watch.objects), shown(model.objects));
}

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

test("a watch that says nothing for 90 seconds is opened anew", async () => {
  const o = new Observed();
  await o.begin();
  o.model.silenceAll();
  o.model.put("shop", "a", 1);
  await o.clock.run(88_000);
  assert.equal(o.watch.objects.size, 0);
  await o.clock.run(4_000);
  agrees(o);
  assert.equal(o.asked("list"), 1);
  assert.match(o.troubles[0]!.message, /no event and no bookmark for 90000 ms/);
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
  assert.match(o.troubles[0]!.message, /no event and no bookmark/);
  assert.equal(o.asked("watch"), 2);
  await o.watch.stop();
});

test("while the server refuses, it is asked ever less often, and at the latest every 30 seconds", async () => {
  const o = new Observed();
  for (let i = 0; i < 400; i++) o.model.faults.push({ on: "list", kind: "refuse" });
  o.watch.start();
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

test("Retry-After is waited for, in a list and in a watch, but never more than the longest wait", async () => {
  for (const [retryAfter, least] of [
    [20, 20_000],
    [3_000, 30_000],
  ] as const) {
    for (const on of ["list", "watch"] as const) {
      const o = new Observed();
      o.model.faults.push({ on, kind: "status", code: 429, retryAfter });
      await o.begin();
      const asked = o.asked(on);
      await o.clock.run(least - 1_000);
      assert.equal(o.asked(on), asked);
      await o.clock.run(3_000);
      assert.equal(o.asked(on), asked + 1);
      await o.watch.stop();
    }
  }
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

test("a handler that throws is reported, and the cache goes on", async () => {
  const o = new Observed({
    onChange: ({ key }) => {
      throw new Error(`cannot take ${key}`);
    },
  });
  o.model.put("shop", "a", 1);
  await o.begin();
  o.model.put("shop", "b", 1);
  await o.clock.run(1_000);
  agrees(o);
  assert.deepEqual(
    o.troubles.map(({ message, during }) => [message, during]),
    [
      ["cannot take shop/a", "handler"],
      ["cannot take shop/b", "handler"],
    ],
  );
  await o.watch.stop();
});

test("a reporter that throws, too", async () => {
  const broken = (): never => {
    throw new Error("broken");
  };
  const o = new Observed({ onChange: broken, onTrouble: broken });
  o.model.put("shop", "a", 1);
  await o.begin();
  o.model.cutAll();
  o.model.put("shop", "b", 1);
  await o.clock.run(5_000);
  agrees(o);
  await o.watch.stop();
});

test("an object that cannot be trimmed stays as it was, or stays out; all others go on", async () => {
  const o = new Observed({
    pick(object) {
      const item = pick(object);
      if (item.data === "bad") throw new Error(`${item.metadata.name} is bad`);
      return item;
    },
  });
  o.model.put("shop", "a", 1);
  o.model.put("shop", "b", "bad");
  await o.begin();
  o.model.put("shop", "a", "bad");
  o.model.put("shop", "c", 1);
  await o.clock.run(1_000);
  const now = (): unknown[] => shown(o.watch.objects).map(([key, { data }]) => [key, data]);
  assert.deepEqual(now(), [
    ["shop/a", 1],
    ["shop/c", 1],
  ]);
  assert.deepEqual(
    o.troubles.map(({ during }) => during),
    ["pick", "pick"],
  );
  o.model.errorAll(410);
  await o.clock.run(5_000);
  assert.deepEqual(now(), [
    ["shop/a", 1],
    ["shop/c", 1],
  ]);
  await o.watch.stop();
});

test("a selector that no longer fits is a deletion, one that fits again an addition", async () => {
  const o = new Observed({ labelSelector: "app=web" });
  o.model.put("shop", "a", 1, { app: "web" });
  o.model.put("shop", "b", 1, { app: "db" });
  await o.begin();
  o.model.put("shop", "a", 2, { app: "db" });
  o.model.put("shop", "a", 3, { app: "web" });
  await o.clock.run(1_000);
  assert.deepEqual(o.kinds(), ["added shop/a", "deleted shop/a", "added shop/a"]);
  await o.watch.stop();
});

test("a server restored from an older state is noticed by its first bookmark, and listed anew", async () => {
  const o = new Observed({ fromMemory: true });
  for (let i = 0; i < 5; i++) o.model.put("shop", `a${i}`, i);
  await o.begin();
  o.model.put("shop", "lost", 1);
  o.model.delete("shop", "a0");
  await o.clock.run(1_000);
  o.model.rewind(2);
  o.model.put("shop", "a1", 10);
  await o.clock.run(65_000);
  agrees(o);
  assert.ok(o.troubles.some(({ message }) => /version \d+ came after \d+/.test(message)));
  // The memory of a restored server could be that of before.
  assert.ok(!o.model.asked.findLast(({ path }) => path.includes("limit="))!.path.includes("resourceVersion="));
  await o.watch.stop();
});

test("a list cut between two pages is made again from its beginning, and shows a deletion between the two", async () => {
  const o = new Observed();
  for (let i = 0; i < 1_200; i++) o.model.put("shop", `a${String(i).padStart(4, "0")}`, i);
  o.model.faults.push({ on: "list", kind: "slow", ms: 10 }, { on: "list", kind: "cut", afterBytes: 20_000 });
  o.watch.start();
  await o.clock.run(100);
  assert.equal(o.watch.objects.size, 500);
  o.model.delete("shop", "a0001");
  await o.clock.run(5_000);
  agrees(o);
  assert.ok(o.kinds().includes("deleted shop/a0001"));
  assert.equal(o.asked("list"), 5);
  await o.watch.stop();
});

test("a list whose continuation is compacted is made again", async () => {
  const o = new Observed();
  for (let i = 0; i < 1_200; i++) o.model.put("shop", `a${i}`, i);
  o.model.answer = (asked) => {
    if (asked.path.includes("continue=") && o.asked("list") < 3) o.model.compact();
    return false;
  };
  await o.begin();
  await o.clock.run(5_000);
  agrees(o);
  assert.match(o.troubles[0]!.message, /410 Expired/);
  await o.watch.stop();
});

test("from memory: any version first, then none older than the last; after a list that fails, what is stored", async () => {
  const o = new Observed({ fromMemory: true });
  o.model.put("shop", "a", 1);
  await o.begin();
  const { version } = o.model;
  const lists = (): (string | null)[] =>
    o.model.asked
      .filter(({ path }) => path.includes("limit="))
      .map(({ path }) => new URL(path, "http://model").searchParams.get("resourceVersion"));
  assert.deepEqual(lists(), ["0"]);
  o.model.errorAll(410);
  await o.clock.run(5_000);
  assert.deepEqual(lists(), ["0", String(version)]);
  o.model.faults.push({ on: "list", kind: "status", code: 504 });
  o.model.errorAll(410);
  await o.clock.run(10_000);
  assert.deepEqual(lists(), ["0", String(version), String(version), null]);
  await o.watch.stop();
});

test("a list that hangs is given up after 30 seconds", async () => {
  const o = new Observed();
  o.model.faults.push({ on: "list", kind: "silent", afterBytes: 10 });
  o.model.put("shop", "a", 1);
  o.watch.start();
  await o.clock.run(32_000);
  agrees(o);
  assert.match(o.troubles[0]!.message, /no answer within 30000 ms/);
  await o.watch.stop();
});

test("stopped before the first list, in a pause, in a watch or by a handler: nothing is called any more", async () => {
  const early = new Observed();
  early.watch.start();
  await early.watch.stop();
  assert.equal(await early.watch.synced, false);
  const never = new Observed();
  await never.watch.stop();
  assert.equal(await never.watch.synced, false);

  const paused = new Observed();
  for (let i = 0; i < 50; i++) paused.model.faults.push({ on: "list", kind: "refuse" });
  await paused.begin();
  await paused.clock.run(60_000);
  const told = paused.troubles.length;
  await paused.watch.stop();
  await paused.clock.run(600_000);
  assert.equal(paused.troubles.length, told);

  const watching = new Observed();
  await watching.begin();
  await watching.watch.stop();
  assert.equal(watching.model.watchers, 0);
  watching.model.put("shop", "a", 1);
  await watching.clock.run(10_000);
  assert.deepEqual(watching.changes, []);
  assert.deepEqual(watching.troubles, []);

  const seen: string[] = [];
  const handled: Observed = new Observed({
    onChange({ key }) {
      seen.push(key);
      if (key === "shop/b") void handled.watch.stop();
    },
  });
  await handled.begin();
  for (const name of ["a", "b", "c", "d"]) handled.model.put("shop", name, 1);
  await handled.clock.run(60_000);
  await handled.watch.stop();
  assert.deepEqual(seen, ["shop/a", "shop/b"]);
});
