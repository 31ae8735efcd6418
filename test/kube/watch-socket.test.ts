/** The watch over real sockets, where bytes come as the kernel likes. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { configMaps } from "../../kube/objects.ts";
import { Watch } from "../../kube/watch.ts";
import type { WatchOptions } from "../../kube/watch-options.ts";
import type { KubeModel } from "../support/kube-model.ts";
import { eventually } from "../support/wait.ts";
import { type Item, pick, realClock, seeded, served, shown } from "./support.ts";

const intervals = { silentMs: 300, steadyMs: 50, retryBaseMs: 10, retryMaxMs: 100 };

async function watching(
  t: TestContext,
  options: Partial<WatchOptions<Item>> = {},
): Promise<{ model: KubeModel; watch: Watch<Item>; troubles: string[] }> {
  const { model, client } = await served(t);
  const troubles: string[] = [];
  const onTrouble = ({ message }: Error): unknown => troubles.push(message);
  const watch = new Watch(client, realClock, configMaps, { pick, onTrouble, intervals, ...options });
  t.after(async () => watch.stop());
  return { model, watch, troubles };
}

async function agree(model: KubeModel, watch: Watch<Item>, troubles: string[]): Promise<void> {
  const same = (): boolean => JSON.stringify(shown(watch.objects)) === JSON.stringify(shown(model.objects));
  await eventually("the cache to be that of the server", same, { ms: 5_000, details: () => troubles.join("\n") });
}

test("answers cut after any number of bytes lead to the same cache", async (t) => {
  const random = seeded(7);
  const { model, watch, troubles } = await watching(t);
  for (let i = 0; i < 30; i++) model.put("shop", `a${i}`, `é😀\u2028${i}`);
  for (let i = 0; i < 20; i++) {
    model.faults.push({ on: "list", kind: "cut", afterBytes: Math.floor(random() * 4_000) });
    model.faults.push({ on: "watch", kind: "cut", afterBytes: Math.floor(random() * 1_000) });
  }
  watch.start();
  for (let i = 0; i < 30; i++) {
    model.put("shop", `b${i % 10}`, `ü\u2029${i}`);
    model.delete("shop", `a${i}`);
    if (i % 7 === 0) model.compact();
    model.cutAll();
    await agree(model, watch, troubles);
  }
  assert.ok(troubles.length > 10, `${troubles.length} troubles`);
});

test("a list, a watch and a connection that fall silent are left", async (t) => {
  const { model, watch, troubles } = await watching(t);
  model.faults.push({ on: "watch", kind: "silent", afterBytes: 0 });
  watch.start();
  await watch.synced;
  model.put("shop", "a", 1);
  await agree(model, watch, troubles);
  model.silenceAll();
  model.put("shop", "a", 2);
  await agree(model, watch, troubles);
  assert.equal(watch.counts.lists, 1);
  assert.equal(watch.counts.silent, 2);
  assert.deepEqual(troubles, []);
});

test("objects of a mebibyte come whole", async (t) => {
  const { model, watch, troubles } = await watching(t);
  model.put("shop", "first", "x".repeat(1 << 20));
  watch.start();
  await watch.synced;
  model.put("shop", "second", "é".repeat(1 << 19));
  await agree(model, watch, troubles);
  assert.deepEqual(troubles, []);
});

test("twenty watches and as many requests share one pool, and stopping them ends their connections", async (t) => {
  const { model, server, client } = await served(t);
  const watches = Array.from({ length: 20 }, () => new Watch(client, realClock, configMaps, { pick }));
  for (const watch of watches) watch.start();
  await Promise.all(watches.map(async ({ synced }) => synced));
  await eventually("all watches to be open", () => model.watchers === 20);
  await Promise.all(watches.map(async () => client.list(configMaps, { pick })));
  assert.ok(server.connections.made <= 42, `${server.connections.made} connections`);
  await Promise.all(watches.map(async (watch) => watch.stop()));
  await eventually("their connections to end", () => model.watchers === 0);
});
