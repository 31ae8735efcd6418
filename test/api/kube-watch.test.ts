/** The watch against a real API server, through a proxy that cuts it. */
import assert from "node:assert/strict";
import { after, before, describe, test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { configMaps, type Resource } from "../../kube/objects.ts";
import { Watch } from "../../kube/watch.ts";
import type { WatchOptions } from "../../kube/watch-options.ts";
import { skipWithoutApiServer } from "../cluster/api-server.ts";
import { type Item, pick, realClock, seeded, shown } from "../kube/support.ts";
import { eventually } from "../support/wait.ts";
import { Cutter } from "./kube-cutter.ts";
import { atOnce, kubePlace, type KubePlace } from "./kube-place.ts";

const customResources: Resource = {
  ...{ group: "apiextensions.k8s.io", version: "v1", kind: "CustomResourceDefinition" },
  ...{ plural: "customresourcedefinitions", namespaced: false },
};

const OBJECTS = 200;
const ROUNDS = 20;
const EQUAL_WITHIN_MS = 5_000;

describe("a watch of a real API server", { skip: skipWithoutApiServer() }, () => {
  let place: KubePlace;
  before(async () => {
    place = await kubePlace();
  });
  after(async () => place.close());

  async function watching(
    t: TestContext,
    options: Partial<WatchOptions<Item>> = {},
  ): Promise<{ cutter: Cutter; watch: Watch<Item>; troubles: string[] }> {
    const cutter = await Cutter.open(place.api.url);
    const troubles: string[] = [];
    const watch = new Watch(place.through(cutter.port), realClock, configMaps, {
      ...{ namespace: place.namespace, pick },
      onTrouble: ({ message }, during) => troubles.push(`${during}: ${message}`),
      ...options,
    });
    watch.start();
    t.after(async () => {
      await watch.stop();
      await cutter.close();
    });
    await watch.synced;
    return { cutter, watch, troubles };
  }

  /** What is stored, as the cache should show it. */
  async function stored(labelSelector?: string): Promise<ReturnType<typeof shown>> {
    const { items } = await place.admin.list(configMaps, { namespace: place.namespace, labelSelector, pick });
    return shown(new Map(items.map((item) => [`${item.metadata.namespace}/${item.metadata.name}`, item])));
  }

  test(`while ${OBJECTS} objects come, change and go and connections are cut, the cache is right 5 s after each cut`, async (t) => {
    const random = seeded(process.pid);
    const { cutter, watch, troubles } = await watching(t);
    const { admin, namespace } = place;
    const live: string[] = [];
    let made = 0;
    let slowest = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const tasks: (() => Promise<unknown>)[] = [];
      for (let i = 0; i < OBJECTS / ROUNDS; i++) {
        const name = `cut-${made++}`;
        tasks.push(async () => admin.create(configMaps, { metadata: { namespace, name }, data: { round: "0" } }));
        live.push(name);
      }
      for (const name of live.slice(0, -OBJECTS / ROUNDS)) {
        const metadata = { namespace, name };
        const dice = random();
        if (dice < 0.2) {
          live.splice(live.indexOf(name), 1);
          tasks.push(async () => admin.delete(configMaps, metadata));
        } else if (dice < 0.4) {
          const data = { round: String(round) };
          tasks.push(async () => admin.apply(configMaps, { metadata, data }, { manager: "test", force: true }));
        }
      }
      const working = atOnce(4, tasks);
      await sleep(random() * 100);
      cutter.cut(random() < 0.5);
      const cutAt = performance.now();
      await working;
      const wanted = await stored();
      const same = (): boolean => JSON.stringify(shown(watch.objects)) === JSON.stringify(wanted);
      await eventually(`the cache of round ${round} to be right`, same, {
        ms: EQUAL_WITHIN_MS - (performance.now() - cutAt),
        details: () => troubles.join("\n"),
      });
      slowest = Math.max(slowest, performance.now() - cutAt);
    }
    // In some rounds the watch was just waiting to be opened again.
    assert.ok(cutter.cuts >= ROUNDS / 2, `${cutter.cuts} cuts`);
    assert.equal(watch.counts.lists, 1);
    t.diagnostic(`${cutter.cuts} connections cut; the cache was right at most ${Math.round(slowest)} ms after`);
  });

  test("connections that stay open and pass nothing are left for others", async (t) => {
    // Longer than an idle connection is kept: else the next request could go into one of those that stall.
    const { cutter, watch, troubles } = await watching(t, { intervals: { silentMs: 5_000 } });
    const { admin, namespace } = place;
    const appears = async (name: string): Promise<void> => {
      await admin.create(configMaps, { metadata: { namespace, name } });
      await eventually(`${name} to be seen`, () => watch.objects.has(`${namespace}/${name}`), { ms: 8_000 });
    };
    await appears("before-the-stall");
    const { silent } = watch.counts;
    cutter.stall();
    await appears("after-the-stall");
    assert.ok(watch.counts.silent > silent);
    assert.equal(watch.counts.lists, 1);
    assert.deepEqual(troubles, []);
  });

  test("a watch of nothing gets bookmarks when others of the kind change, and goes on from them", async (t) => {
    const { watch, troubles } = await watching(t, { labelSelector: "none=such", intervals: { lifeMs: 3_000 } });
    const { admin, namespace } = place;
    let made = 0;
    const change = async (): Promise<boolean> => {
      const data = { count: String(made++) };
      await admin.apply(configMaps, { metadata: { namespace, name: "other" }, data }, { manager: "test" });
      return watch.counts.connections >= 2;
    };
    await eventually("two watches with a bookmark", change, { ms: 30_000 });
    assert.equal(watch.objects.size, 0);
    assert.equal(watch.counts.lists, 1);
    assert.deepEqual(troubles, []);
  });

  test("a version that the server does not have is told as 410", async () => {
    const { admin } = place;
    const name = `things.kube${process.pid}.tailrace.dev`;
    const [plural, group] = [name.slice(0, 6), name.slice(7)];
    const things: Resource = { group, version: "v1", kind: "Thing", plural, namespaced: false };
    const schema = { openAPIV3Schema: { type: "object" } };
    await admin.create(customResources, {
      metadata: { name },
      spec: {
        ...{ group, scope: "Cluster", names: { plural, kind: "Thing" } },
        versions: [{ name: "v1", served: true, storage: true, schema }],
      },
    });
    try {
      const exists = async (): Promise<boolean> =>
        admin.list(things, { pick }).then(
          () => true,
          () => false,
        );
      await eventually("the new kind", exists);
      let text = "";
      const { signal } = new AbortController();
      const onData = (chunk: Buffer): unknown => (text += chunk.toString());
      // What came before the kind did is history that its watches never had.
      const options = { resourceVersion: "1", lifeSeconds: 4, openMs: 10_000, signal, onData };
      await admin.follow(things, options).catch((error: unknown) => (text = JSON.stringify(error)));
      assert.match(text, /"code":410/);
      assert.match(text, /"reason":"(Expired|Gone)"/);
    } finally {
      await admin.delete(customResources, { name });
    }
  });

  test("labels select, and what they no longer select is a deletion", async (t) => {
    const { watch } = await watching(t, { labelSelector: "app in (web,api)" });
    const { admin, namespace } = place;
    const key = `${namespace}/labelled`;
    const apply = async (app: string): Promise<unknown> =>
      admin.apply(configMaps, { metadata: { namespace, name: "labelled", labels: { app } } }, { manager: "test" });
    await apply("web");
    await eventually("its coming", () => watch.objects.has(key));
    await apply("db");
    await eventually("its going", () => !watch.objects.has(key));
    await apply("api");
    await eventually("its coming again", () => watch.objects.has(key));
    await admin.delete(configMaps, { namespace, name: "labelled" });
    await eventually("its end", () => !watch.objects.has(key));
  });

  test("a watch of metadata has no bodies, in its list and in its events", async (t) => {
    const { admin, namespace } = place;
    const seen: [string, boolean][] = [];
    const data = { large: "x".repeat(10_000) };
    await admin.create(configMaps, { metadata: { namespace, name: "meta-1" }, data });
    const { watch } = await watching(t, {
      metadataOnly: true,
      pick(object) {
        seen.push([object.metadata.name, "data" in object]);
        return pick(object);
      },
    });
    await admin.create(configMaps, { metadata: { namespace, name: "meta-2" }, data });
    await eventually("the second", () => watch.objects.has(`${namespace}/meta-2`));
    const ours = seen.filter(([name]) => name.startsWith("meta-"));
    assert.deepEqual(ours, [
      ["meta-1", false],
      ["meta-2", false],
    ]);
  });

  test("a list from the server's memory, and one that may not be older than a moment ago", async (t) => {
    const { admin, namespace } = place;
    const { watch, cutter } = await watching(t, { fromMemory: true });
    const { metadata } = await admin.create(configMaps, { metadata: { namespace, name: "remembered" } });
    await eventually("it", () => watch.objects.has(`${namespace}/remembered`));
    assert.equal(watch.counts.lists, 1);
    cutter.cut(true);
    const list = await admin.list(configMaps, { namespace, notOlderThan: metadata.resourceVersion, pick });
    assert.deepEqual(
      shown(new Map(list.items.map((item) => [item.metadata.name, item]))).length,
      (await stored()).length,
    );
    const future = String(Number(metadata.resourceVersion) + 1_000_000);
    await assert.rejects(admin.list(configMaps, { namespace, notOlderThan: future, pick }), { code: 504 });
  });
});
