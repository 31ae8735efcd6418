/** What a watch lists, when, and how new it must be; in virtual time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { agrees, Observed } from "./support.ts";

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
  await o.start();
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
  await o.start();
  await o.clock.run(32_000);
  agrees(o);
  assert.match(o.troubles[0]!.message, /no answer within 30000 ms/);
  await o.watch.stop();
});
