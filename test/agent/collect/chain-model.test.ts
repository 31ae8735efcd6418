import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ChainWorld, line } from "./world.ts";

type Act =
  | { do: "write" | "late" | "partial"; n: number }
  | { do: "rotate" | "drop" | "copytruncate" | "read" | "release" | "restart" | "away" | "refresh" }
  | { do: "wait"; ms: number };

const act: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constantFrom("write" as const, "write", "late", "partial"),
      n: fc.integer({ min: 1, max: 40 }),
    }),
  },
  {
    weight: 7,
    arbitrary: fc.record({
      do: fc.constantFrom(
        "rotate" as const,
        "drop",
        "copytruncate",
        "read",
        "read",
        "release",
        "restart",
        "away",
        "refresh",
      ),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.constantFrom(50, 250, 400, 2_500) }) },
);

test("whatever happens to the files, offsets never change and every byte is read once or lost", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(act, { maxLength: 40 }), fc.boolean(), async (acts, reuse) => {
      const world = new ChainWorld();
      world.disk.reusesInodes = reuse;
      const written: string[] = [];
      const bases = new Map<string, number>();
      let rotations = 0;
      const names = (): string[] =>
        world.disk
          .names()
          .filter((name) => /-\d{6}$/.test(name))
          .sort();
      const put = (name: string, n: number): void => {
        for (let i = 0; i < n; i++) {
          written.push(line());
          world.write(written.at(-1)!, name);
        }
      };
      let dropped = "";
      const copies = new Set<string>();
      const check = (): void => {
        for (const { hash, length, skip, base } of world.chain.saved()) {
          if (base < 0 || length < 60) continue;
          const key = `${hash} ${skip ?? 0}`;
          assert.equal(bases.get(key) ?? base, base, "a base changed");
          bases.set(key, base);
        }
        assert.ok(world.chain.end >= world.at);
      };
      for (const step of acts) {
        await world.wait(1);
        if (step.do === "write") {
          put("0.log", step.n);
        } else if (step.do === "partial") {
          // A line in two writes.
          written.push(line());
          world.write(written.at(-1)!.slice(0, 32));
          world.chain.refresh();
          world.read();
          world.write(written.at(-1)!.slice(32));
        } else if (step.do === "late") {
          // Nobody writes to a copy; what was empty before a restart is not known after it.
          const name = names().findLast((own) => !copies.has(own) && world.disk.content(own) !== "");
          if (name) put(name.slice(name.lastIndexOf("/") + 1), step.n % 3);
        } else if (step.do === "wait") await world.wait(step.ms);
        else if (step.do === "rotate") {
          if (world.disk.stat(world.path())) world.rotate(`20261124-${String(rotations++).padStart(6, "0")}`);
        } else if (step.do === "drop") {
          const name = names()[0];
          if (!name || names().length <= 2) continue;
          dropped += world.disk.content(name);
          world.disk.remove(name);
        } else if (step.do === "copytruncate") {
          if (world.disk.stat(world.path())) {
            const copy = world.path(`0.log.20261124-${String(rotations++).padStart(6, "0")}`);
            copies.add(copy);
            world.disk.copy(world.path(), copy);
            world.chain.refresh();
            await world.wait(1);
            world.disk.cut(world.path(), 0);
          }
        } else if (step.do === "read") {
          world.chain.refresh();
          world.read();
        } else if (step.do === "release") world.chain.release(world.at, true);
        else if (step.do === "restart") world.restart();
        else if (step.do === "refresh") world.chain.refresh();
        else {
          world.disk.renameTree("/logs/ns_pod_uid", "/logs/away");
          world.chain.refresh();
          world.read();
          world.disk.renameTree("/logs/away", "/logs/ns_pod_uid");
          world.chain.refresh();
        }
        check();
      }
      await world.drain();
      check();
      assert.equal(world.at, world.chain.end);
      const lost = Object.values(world.lost).reduce((sum, bytes) => sum + bytes, 0);
      assert.equal(world.text.length + lost, world.chain.end);
      const got = world.text.split("\n").filter((text) => text !== "");
      assert.equal(new Set(got).size, got.length, "a line came twice");
      const all = written
        .map((text) => text.slice(0, -1))
        .filter((text) => got.includes(text) || !dropped.includes(text));
      const isOrdered = !acts.some((step) => step.do === "late");
      assert.deepEqual(isOrdered ? got : got.sort(), isOrdered ? all : all.sort(), "a line is missing or out of order");
    }),
    { numRuns: 1500 },
  );
});
