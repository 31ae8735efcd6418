import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { configMaps, type KubeObject } from "../../kube/objects.ts";
import { Watch } from "../../kube/watch.ts";
import type { ModelObject } from "../support/kube-model.ts";
import { type Item, realClock, served } from "./support.ts";

const MIB = 1 << 20;

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

function heap(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

/** As pods are trimmed: who it is, and two short strings out of a large body. */
function pick(object: KubeObject): Item {
  const { name, namespace, uid, resourceVersion } = object.metadata;
  const { node, image } = (object as ModelObject).data as { node: string; image: string };
  return {
    metadata: { name, uid, resourceVersion, ...(namespace === undefined ? {} : { namespace }) },
    data: { node, image },
  };
}

test("10,000 objects of 3 KiB take a kibibyte each when trimmed: nothing holds on to what was not picked", async (t) => {
  const { model, client } = await served(t);
  const env = Object.fromEntries(
    Array.from({ length: 60 }, (_, i) => [`variable-${i}`, "a value of some length, as usual"]),
  );
  for (let i = 0; i < 10_000; i++) {
    model.put("shop", `pod-${i}`, { node: `node-${i % 100}`, image: `registry.example/app:${i}`, env });
  }
  const before = heap();
  const watch = new Watch(client, realClock, configMaps, { pick });
  watch.start();
  await watch.synced;
  const kept = heap() - before;
  assert.equal(watch.objects.size, 10_000);
  await watch.stop();
  t.diagnostic(`${(kept / MIB).toFixed(1)} MiB`);
  assert.ok(kept < 10 * MIB, `${(kept / MIB).toFixed(1)} MiB`);
});
