import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { ChainWorld, line, lines, reading } from "./world.ts";

suite("across restarts", () => {
  test("files are found again by their heads: renamed, with other inodes, grown", async () => {
    const world = reading();
    const [more, next] = [lines(2), lines(3)];
    world.write(more);
    world.chain.saved();
    world.disk.copy(world.path(), world.path("0.log.20261124-100000"));
    world.disk.remove(world.path());
    world.write(next);
    world.restart();
    assert.equal(await world.drain(), more + next);
    assert.deepEqual(world.lost, {});
  });

  test("a file of a few bytes is found again when it has grown", async () => {
    const world = new ChainWorld();
    world.write("a\n");
    world.chain.refresh();
    world.read();
    world.chain.saved();
    const more = lines(100);
    world.write(more);
    world.restart();
    assert.equal(await world.drain(), more);
  });

  test("of files that begin alike the older ones that are gone are not taken for the younger ones", async () => {
    const world = new ChainWorld();
    const texts = ["start\na\n", "start\nbbbb\n", "start\ncc\n"];
    for (const [index, text] of texts.entries()) {
      world.write(text);
      if (index < 2) world.rotate(`20261124-10000${index}`);
    }
    await world.wait(10_000);
    world.chain.refresh();
    world.read();
    assert.equal(world.text, texts.join(""));
    world.disk.remove(world.path("0.log.20261124-100000"));
    world.restart();
    world.write("more\n");
    assert.equal(await world.drain(), "more\n");
    assert.deepEqual(world.lost, {});
  });

  test("what was rotated away unread meanwhile is lost with the bytes that were known, and said", async () => {
    const world = reading();
    const unread = lines(4);
    world.write(unread);
    world.chain.refresh();
    world.chain.saved();
    world.chain.release(0, true);
    world.disk.remove(world.path());
    const fresh = lines(2);
    world.write(fresh);
    world.restart();
    assert.equal(await world.drain(), fresh);
    assert.deepEqual(world.lost, { RotatedBeforeRead: unread.length });
    assert.ok(world.said.some((text) => text.startsWith("warn a log file is gone that the agent left unfinished")));
  });

  test("a place behind all that is known is covered: what is read next is not skipped", async () => {
    const world = reading();
    const saved = world.chain.saved();
    world.write(lines(4));
    world.read();
    world.chain.close();
    world.disk.remove(world.path());
    const fresh = lines(20);
    world.write(fresh);
    world.chain = world.open(saved);
    world.chain.refresh();
    world.chain.cover(world.at);
    assert.equal(world.chain.end >= world.at, true);
    assert.equal(await world.drain(), fresh);
    assert.deepEqual(world.lost, {});
  });

  test("a place before all that is known is lost up to there", async () => {
    const world = reading();
    world.rotate("20261124-100000");
    world.write(lines(1));
    await world.drain();
    world.disk.remove(world.path("0.log.20261124-100000"));
    world.chain.refresh();
    world.chain.release(world.at, false);
    const { start } = world.chain;
    assert.ok(start > 0);
    assert.deepEqual(world.chain.look(10, 0), { kind: "lost", to: start, reason: "RotatedBeforeRead" });
  });

  test("a gap between what is known is lost, not a place to wait at", async () => {
    const world = new ChainWorld();
    const saved = { length: 5, hash: "", sealed: true, size: 10 };
    world.chain = world.open([
      { ...saved, hash: "a", base: 0 },
      { ...saved, hash: "b", base: 50 },
    ]);
    world.chain.refresh();
    await world.wait(3_000);
    world.chain.refresh();
    assert.deepEqual(world.chain.look(10, 0), { kind: "lost", to: 50, reason: "RotatedBeforeRead" });
  });

  test("a file that could not be read keeps its place by its name", async () => {
    const world = new ChainWorld();
    const [old, young] = [lines(2), lines(2)];
    world.write(old, "0.log.20261124-100000");
    world.write(young);
    await world.wait(10_000);
    world.disk.fails = (operation, path) => (operation === "open" && path.endsWith("-100000") ? "EACCES" : undefined);
    world.chain.refresh();
    assert.equal(world.look().kind, "unreadable");
    world.restart();
    assert.equal(world.look().kind, "unreadable");
    world.disk.fails = () => undefined;
    assert.equal(await world.drain(), old + young);
  });

  test("with no descriptor left a known file is not taken for a new one", async () => {
    const world = reading();
    world.disk.fails = (operation) => (operation === "open" ? "EMFILE" : undefined);
    world.restart();
    const more = lines(2);
    world.write(more);
    assert.equal(await world.drain(), "");
    assert.ok(world.said.some((text) => text.startsWith("warn can't look at log files")));
    world.disk.fails = () => undefined;
    assert.equal(await world.drain(), more);
    assert.deepEqual(world.lost, {});
  });
});

suite("a disk in trouble", () => {
  test("a directory that can't be listed, or names that can't be looked at, change nothing and throw nothing", async () => {
    for (const operation of ["list", "stat"] as const) {
      const world = reading();
      world.chain.release(0, true);
      const more = lines(2);
      world.write(more);
      world.disk.fails = (asked) => (asked === operation ? "EACCES" : undefined);
      for (let i = 0; i < 10; i++) {
        world.chain.refresh();
        world.read();
        await world.wait(1_000);
      }
      world.disk.fails = () => undefined;
      assert.equal(await world.drain(), more, operation);
      assert.deepEqual(world.lost, {}, operation);
    }
  });

  test("an unreadable file names itself and the reason, and holds up what is behind it", async () => {
    const world = reading();
    world.rotate("20261124-100000");
    const more = line();
    world.write(more, "0.log.20261124-100000");
    world.write(line());
    world.chain.release(0, true);
    world.chain.refresh();
    world.disk.fails = (operation) => (operation === "open" ? "EIO" : undefined);
    const ahead = world.look();
    assert.deepEqual(ahead, {
      kind: "unreadable",
      path: world.path("0.log.20261124-100000"),
      reason: `EIO: ${world.path("0.log.20261124-100000")}`,
    });
  });

  test("very many files are read in pieces, and ones that are gone become one piece", async () => {
    const world = new ChainWorld();
    const texts = Array.from({ length: 700 }, () => line());
    const name = (index: number): string => `0.log.20261124-${String(index).padStart(6, "0")}`;
    for (const [index, text] of texts.entries()) world.write(text, index === 699 ? "0.log" : name(index));
    await world.wait(10_000);
    for (let i = 0; i < 6; i++) {
      world.chain.refresh();
      world.read();
      world.chain.release(world.at, false);
      assert.ok(world.chain.saved().length <= 257);
      await world.wait(1_000);
    }
    assert.equal(world.text, texts.join(""));
    assert.ok(world.said.some((text) => text.startsWith("warn a container has very many log files")));
    // Nobody reads while they are rotated away.
    let unread = 0;
    for (let index = 1_000; index < 1_600; index++) {
      world.disk.rename(world.path(), world.path(name(index)));
      world.write(line());
      world.chain.refresh();
      if (index >= 1_003) {
        unread += world.disk.stat(world.path(name(index - 3)))!.size;
        world.disk.remove(world.path(name(index - 3)));
      }
      await world.wait(1_000);
    }
    assert.ok(world.chain.saved().length <= 257);
    const left = [1_597, 1_598, 1_599].map((index) => world.disk.content(world.path(name(index)))).join("");
    const last = world.disk.content(world.path());
    // What was read before it was rotated is not lost.
    unread -= texts[699]!.length;
    assert.equal(await world.drain(), left + last);
    assert.deepEqual(world.lost, { RotatedBeforeRead: unread });
  });
});
