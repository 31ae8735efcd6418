/** A watch and those whom it calls; in virtual time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { agrees, Observed, pick, shown } from "./support.ts";

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
});

test("stopped by its own handler or reporter it rests at once, in the middle of what has come", async () => {
  const seen: string[] = [];
  const handled: Observed = new Observed({
    onChange({ key }) {
      seen.push(key);
      if (key === "shop/b") void handled.watch.stop();
    },
  });
  await handled.begin();
  const event = (name: string): string =>
    `${JSON.stringify({ type: "ADDED", object: { metadata: { name, namespace: "shop", uid: name, resourceVersion: "2000" } } })}\n`;
  handled.model.insertAll("abcdefghijk".split("").map(event).join(""));
  await handled.clock.run(60_000);
  await handled.watch.stop();
  assert.deepEqual(seen, ["shop/a", "shop/b"]);
  assert.deepEqual([...handled.watch.objects.keys()], ["shop/a", "shop/b"]);

  let stopped: Promise<void> | undefined;
  const reported: Observed = new Observed({
    onTrouble() {
      stopped = reported.watch.stop();
    },
  });
  reported.model.faults.push({ on: "list", kind: "status", code: 429, retryAfter: 20 });
  await reported.begin();
  // No time passes: it may not be waiting for the next try.
  await stopped;
  assert.equal(reported.asked("list"), 1);
});
