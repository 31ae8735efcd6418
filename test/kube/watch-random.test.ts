/**
 * Random schedules of changes and faults: soon after the last fault the cache shows what the server has, and what the
 * handler was told adds up to it.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { watchIntervals } from "../../kube/watch-options.ts";
import type { Change } from "../../kube/cache.ts";
import type { Fault } from "../support/kube-faults.ts";
import { type Item, Observed, shown } from "./support.ts";

type Step =
  | { do: "put"; name: string; data: number; app: string }
  | { do: "delete" | "recreate"; name: string }
  | { do: "fault"; fault: Fault }
  | { do: "insert"; text: string }
  | { do: "error"; code: number }
  | { do: "cut" | "end" | "silence" | "bookmark" | "compact" }
  | { do: "gone"; inStream: boolean }
  | { do: "wait"; ms: number };

const name = fc.constantFrom("a", "b", "c", "d", "e", "f", "g", "h");
const on = fc.constantFrom("list" as const, "watch" as const);
const code = fc.constantFrom(400, 401, 403, 410, 429, 500, 503, 504);
const badText = fc.constantFrom(
  "{not json\n",
  "\n",
  "[1]\n",
  "null\n",
  '{"type":"ADDED","object":{}}\n',
  '{"half":',
  "\u2028",
);
const bytes = fc.nat({ max: 600 });

const fault: fc.Arbitrary<Fault> = fc.oneof(
  fc.record({ on, kind: fc.constant("status" as const), code, retryAfter: fc.nat({ max: 40 }) }),
  fc.record({ on, kind: fc.constantFrom("refuse" as const, "end" as const) }),
  fc.record({ on, kind: fc.constantFrom("cut" as const, "silent" as const), afterBytes: bytes }),
  fc.record({ on, kind: fc.constant("slow" as const), ms: fc.nat({ max: 60_000 }) }),
  fc.record({ on, kind: fc.constant("insert" as const), text: badText }),
);

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant("put" as const), name, data: fc.nat(), app: fc.constantFrom("x", "y") }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom("delete" as const, "recreate" as const), name }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("fault" as const), fault }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("insert" as const), text: badText }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("error" as const), code }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constantFrom(...(["cut", "end", "silence", "bookmark", "compact"] as const)) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("gone" as const), inStream: fc.boolean() }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.nat({ max: 20_000 }) }) },
);

/** A list that hangs, silence at its longest, the longest wait with what Retry-After adds, some latencies. */
const settleMs = 60_000 + watchIntervals.lifeMs + 2 * watchIntervals.retryMaxMs + 2_000;

function perform({ model }: Observed, step: Step): void {
  switch (step.do) {
    case "put":
      return model.put("ns", step.name, step.data, { app: step.app });
    case "delete":
      return model.delete("ns", step.name);
    case "recreate":
      model.delete("ns", step.name);
      return model.put("ns", step.name, 0, { app: "x" });
    case "fault":
      return void model.faults.push(step.fault);
    case "insert":
      return model.insertAll(step.text);
    case "error":
      return model.errorAll(step.code);
    case "cut":
      return model.cutAll();
    case "end":
      return model.endAll();
    case "silence":
      return model.silenceAll();
    case "bookmark":
      return model.bookmarkAll();
    case "compact":
      return model.compact();
    case "gone":
      model.goneInStream = step.inStream;
      return;
    case "wait":
  }
}

/** What a handler believes that only listens; fails when it is told what cannot be. */
function believed(changes: readonly Change<Item>[]): Map<string, Item> {
  const objects = new Map<string, Item>();
  for (const change of changes) {
    const { key, object } = change;
    const known = objects.get(key);
    if (change.kind === "added") assert.equal(known, undefined, `${key} was added twice`);
    else assert.equal(known?.metadata.uid, object.metadata.uid, `${key} became another`);
    if (change.kind === "changed") {
      assert.equal(change.previous, known);
      assert.ok(Number(known!.metadata.resourceVersion) < Number(object.metadata.resourceVersion), `${key} went back`);
    }
    if (change.kind === "deleted") objects.delete(key);
    else objects.set(key, object);
  }
  return objects;
}

for (const labelSelector of [undefined, "app=x"]) {
  const selected = labelSelector === undefined ? "all objects" : "objects with a label";
  test(`after any schedule of changes and faults the cache of ${selected} is that of the server`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 60, size: "max" }),
        fc.integer(),
        fc.boolean(),
        async (steps, seed, fromMemory) => {
          const o = new Observed({ labelSelector, seed, fromMemory });
          for (const first of ["a", "b", "c"]) o.model.put("ns", first, 0, { app: "x" });
          await o.start();
          for (const step of steps) {
            perform(o, step);
            await o.clock.run(step.do === "wait" ? step.ms : 20);
          }
          o.model.faults.length = 0;
          await o.clock.run(settleMs);
          const wanted = [...o.model.objects].filter(
            ([, { metadata }]) => labelSelector === undefined || metadata.labels?.["app"] === "x",
          );
          assert.deepEqual(shown(o.watch.objects), shown(new Map(wanted)));
          assert.deepEqual(shown(believed(o.changes)), shown(o.watch.objects));
          await o.watch.stop();
          assert.equal(o.model.watchers, 0);
        },
      ),
      { numRuns: Number(process.env["RUNS"] ?? 300) },
    );
  });
}
