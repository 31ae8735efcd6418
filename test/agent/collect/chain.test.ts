import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { orderedNames } from "../../../agent/collect/files.ts";
import { ChainWorld } from "./world.ts";

let count = 0;
/** A line that is like no other. */
const line = (text = "x".repeat(count % 7)): string =>
  `2026-11-24T10:00:00.${String(count++).padStart(9, "0")}Z stdout F ${text}\n`;
const lines = (n: number): string => Array.from({ length: n }, () => line()).join("");

/** A world whose first file was read. */
function reading(): ChainWorld {
  const world = new ChainWorld();
  world.write(lines(3));
  world.chain.refresh();
  world.read();
  return world;
}

suite("reading a chain", () => {
  test("rotated files come first, by the time in their names, and the growing one last", () => {
    const entries = [
      "0.log",
      "0.log.20261124-100000",
      "1.log",
      "0.log.20261123-100000",
      "0.log.20261125-100000.gz",
      "10.log",
    ];
    const names = orderedNames(
      entries.map((name) => ({ name, kind: "file" })),
      "0.log",
    );
    assert.deepEqual(names, ["0.log.20261123-100000", "0.log.20261124-100000", "0.log"]);
    assert.deepEqual(orderedNames([{ name: "0.log", kind: "directory" }], "0.log"), []);
    assert.deepEqual(orderedNames([{ name: "0.log", kind: "other" }], "0.log"), [], "a pipe would never end");
  });

  test("the files of a chain are one line of bytes, and a line that is not whole waits for its end", async () => {
    const world = new ChainWorld();
    const [old, young] = [lines(2), lines(3)];
    world.write(old, "0.log.20261124-100000");
    world.write(young);
    await world.wait(10_000);
    world.chain.refresh();
    assert.equal(world.read(), old + young);
    assert.equal(world.chain.end, old.length + young.length);
    world.write("half");
    assert.equal(world.read(), "");
    world.write(" and half\n");
    assert.equal(world.read(), "half and half\n");
  });

  test("what is written to a file between its rename and the quiet after its successor comes before that", async () => {
    const world = reading();
    world.rotate("20261124-100000");
    const late = lines(2);
    world.write(late, "0.log.20261124-100000");
    const next = lines(1);
    world.write(next);
    world.chain.refresh();
    assert.equal(world.read(), late);
    await world.wait(200);
    const later = line();
    world.write(later, "0.log.20261124-100000");
    assert.equal(world.read(), later);
    await world.wait(301);
    assert.equal(world.read(), next);
  });

  test("a successor does not seal a file that was quiet for long before it came", async () => {
    const world = reading();
    await world.wait(60_000);
    world.rotate("20261124-100000");
    world.write(lines(1));
    world.chain.refresh();
    world.read();
    const late = line("written by one who still had it open");
    world.write(late, "0.log.20261124-100000");
    assert.equal(world.read(), late);
  });

  test("a chain that has ended gives up its last line without waiting for its newline", async () => {
    const world = reading();
    world.write("no newline");
    world.chain.ended = true;
    assert.equal(world.read(), "");
    await world.wait(301);
    assert.equal(world.read(), "no newline");
    assert.deepEqual(world.look(), { kind: "nothing", complete: true });
  });
});

suite("files that are written to when they should not be", () => {
  test("what is added to a rotated file after its successor was read comes late, and nothing else is touched", async () => {
    const world = reading();
    world.rotate("20261124-100000");
    world.write(lines(2));
    await world.drain();
    const before = world.text;
    const late = lines(2);
    world.write(late, "0.log.20261124-100000");
    world.write("the beginning of a line");
    const { end } = world.chain;
    world.chain.refresh();
    assert.equal(world.chain.end, end + late.length + "the beginning of a line".length);
    world.write(" and its end\n");
    assert.equal(await world.drain(), `${late}the beginning of a line and its end\n`);
    assert.equal(world.text.length, world.chain.end);
    assert.ok(world.text.startsWith(before));
    assert.equal(world.said.filter((text) => text.startsWith("warn a log file was written to after")).length, 1);
    // And again, with a rotation and a restart in between.
    world.rotate("20261124-110000");
    world.write(line());
    await world.drain();
    world.restart();
    world.write(line("even later"), "0.log.20261124-100000");
    world.write(line("as well"), "0.log.20261124-110000");
    assert.match(await world.drain(), /even later\n.*as well\n/);
    assert.equal(world.text.length, world.chain.end);
  });

  test("late bytes wait while the growing file's last line is longer than anybody can take at once", async () => {
    const world = reading();
    world.rotate("20261124-100000");
    world.write(`${line()}a very long line`);
    await world.drain();
    // Somebody took a part of it.
    world.at += 6;
    world.look();
    const late = line("late");
    world.write(late, "0.log.20261124-100000");
    world.chain.refresh();
    assert.equal(world.read(), "");
    world.write(" ends\n");
    await world.wait(1_000);
    assert.equal(await world.drain(), ` long line ends\n${late}`);
    assert.equal(world.chain.end, world.at);
  });

  test("an instance that had ended and is written to again is read on", async () => {
    const world = reading();
    world.chain.ended = true;
    await world.drain();
    assert.deepEqual(world.look(), { kind: "nothing", complete: true });
    const more = lines(2);
    world.write(more);
    assert.equal(await world.drain(), more);
  });
});

suite("copytruncate", () => {
  test("what the copy holds is read from our offset, then the file from its new beginning", async () => {
    const world = reading();
    const [unread, fresh] = [lines(4), lines(1)];
    world.write(unread);
    world.disk.copy(world.path(), world.path("0.log.20261124-100000"));
    world.chain.refresh();
    world.disk.cut(world.path(), 0);
    world.write(fresh);
    assert.equal(await world.drain(), unread + fresh);
    assert.deepEqual(world.lost, {});
  });

  test("a file that has already grown beyond its old size is still seen to be another", async () => {
    for (const isOpen of [true, false]) {
      const world = reading();
      if (!isOpen) world.chain.release(0, true);
      const unread = line();
      world.write(unread);
      world.disk.copy(world.path(), world.path("0.log.20261124-100000"));
      world.disk.cut(world.path(), 0);
      const fresh = lines(50);
      world.write(fresh);
      assert.equal(await world.drain(), unread + fresh);
    }
  });

  test("a copy that is still being made changes nothing", async () => {
    const world = reading();
    const unread = lines(4);
    world.write(unread);
    world.write(lines(1), "0.log.20261124-100000");
    world.chain.refresh();
    assert.equal(await world.drain(), unread);
  });

  test("without a copy the unread bytes are lost, exactly those", async () => {
    const world = reading();
    const unread = lines(4);
    world.write(unread);
    world.chain.refresh();
    world.disk.cut(world.path(), 0);
    const fresh = lines(2);
    world.write(fresh);
    assert.equal(await world.drain(), fresh);
    assert.deepEqual(world.lost, { TruncatedBeforeRead: unread.length });
    assert.equal(world.chain.end, world.at);
  });

  test("of a copy that was made too early the rest is lost", async () => {
    const world = reading();
    world.write(lines(30));
    world.read();
    const unread = lines(4);
    world.write(unread);
    world.disk.copy(world.path(), world.path("0.log.20261124-100000"));
    const missed = lines(2);
    world.write(missed);
    world.chain.refresh();
    world.disk.cut(world.path(), 0);
    const fresh = line();
    world.write(fresh);
    assert.equal(await world.drain(), unread + fresh);
    assert.deepEqual(world.lost, { TruncatedBeforeRead: missed.length });
  });

  test("after a restart before the file was emptied, the file is known and not its copy", async () => {
    const world = reading();
    world.write(lines(40));
    world.read();
    world.disk.copy(world.path(), world.path("0.log.20261124-100000"));
    world.restart();
    const [unread, fresh] = [lines(2), lines(2)];
    world.write(unread);
    assert.equal(await world.drain(), unread);
    world.disk.cut(world.path(), 0);
    world.write(fresh);
    assert.equal(await world.drain(), fresh);
  });
});

suite("names and inodes", () => {
  test("a new file with the inode of one that was removed is a new file, however large", async () => {
    for (const size of [1, 100]) {
      const world = new ChainWorld();
      world.disk.reusesInodes = true;
      const texts = [lines(10), lines(10), lines(size)];
      world.write(texts[0]!, "0.log.20261124-100000");
      world.write(texts[1]!);
      world.chain.refresh();
      world.chain.saved();
      world.chain.release(0, true);
      // The oldest goes unread, and the next file gets its inode.
      const { node } = world.disk.stat(world.path("0.log.20261124-100000"))!;
      world.disk.remove(world.path("0.log.20261124-100000"));
      world.rotate("20261124-110000");
      world.write(texts[2]!);
      assert.equal(world.disk.stat(world.path())!.node, node);
      world.chain.refresh();
      await world.wait(10_000);
      assert.equal(await world.drain(), texts[1]! + texts[2]!);
      assert.deepEqual(world.lost, { RotatedBeforeRead: texts[0]!.length });
    }
  });

  test("a file that is recreated under its name with its inode is a new file", async () => {
    const world = reading();
    world.disk.reusesInodes = true;
    world.chain.release(0, true);
    world.disk.remove(world.path());
    const fresh = lines(20);
    world.write(fresh);
    assert.equal(await world.drain(), fresh);
  });

  test("a name that is missing for a moment, or a directory, costs nothing", async () => {
    const world = reading();
    world.chain.release(0, true);
    const more = lines(2);
    world.write(more);
    world.disk.renameTree("/logs/ns_pod_uid", "/logs/away");
    world.chain.refresh();
    assert.equal(world.read(), "");
    await world.wait(1_500);
    world.chain.refresh();
    world.disk.renameTree("/logs/away", "/logs/ns_pod_uid");
    assert.equal(await world.drain(), more);
    assert.deepEqual(world.lost, {});
  });

  test("a name that is back when the time for it is over is not given up without a look", async () => {
    const world = reading();
    world.chain.release(0, true);
    const more = lines(2);
    world.write(more);
    world.chain.refresh();
    world.disk.rename(world.path(), world.path("away"));
    world.chain.refresh();
    await world.wait(5_000);
    world.disk.rename(world.path("away"), world.path());
    world.read();
    assert.equal(world.read(), more);
    assert.deepEqual(world.lost, {});
  });

  test("a file renamed away and back is one file, whatever was read meanwhile", async () => {
    const world = reading();
    world.rotate("20261124-100000");
    const more = line();
    world.write(more, "0.log.20261124-100000");
    world.chain.refresh();
    assert.equal(world.read(), more);
    world.disk.rename(world.path("0.log.20261124-100000"), world.path());
    const rest = line();
    world.write(rest);
    assert.equal(await world.drain(), rest);
  });

  test("a file is opened only as itself: a name that moved on meanwhile is followed", async () => {
    const world = reading();
    world.chain.release(0, true);
    const more = lines(2);
    world.write(more);
    world.chain.refresh();
    world.rotate("20261124-100000");
    const next = lines(30);
    world.write(next);
    // Before any look at the names.
    world.chain.saved();
    assert.equal(await world.drain(), more + next);
  });

  test("a deleted file that is open is read to its end, one that is not is lost with its bytes", async () => {
    for (const isOpen of [true, false]) {
      const world = reading();
      const more = lines(2);
      world.write(more);
      world.chain.refresh();
      if (isOpen) world.chain.hold(world.at);
      else world.chain.release(0, true);
      world.disk.deleteTree("/logs/ns_pod_uid");
      world.chain.refresh();
      world.chain.ended = world.chain.deleted = true;
      assert.equal(await world.drain(), isOpen ? more : "");
      assert.deepEqual(world.lost, isOpen ? {} : { PodDeletedBeforeRead: more.length });
      assert.deepEqual(world.look(), { kind: "nothing", complete: true });
    }
  });

  test("a deleted file that nobody reads is held for a day, then it is given up", async () => {
    const world = reading();
    world.write(lines(2));
    world.chain.hold(world.at);
    world.disk.deleteTree("/logs/ns_pod_uid");
    world.chain.refresh();
    await world.wait(23 * 3_600_000);
    world.chain.refresh();
    assert.equal(world.disk.openCount, 1);
    await world.wait(3_600_001);
    world.chain.refresh();
    assert.equal(world.disk.openCount, 0);
  });

  test("a file that lost its end but begins as before is not read again: the missing rest is lost, what follows is read", async () => {
    const world = new ChainWorld();
    const [first, unread] = [lines(30), lines(30)];
    world.write(first);
    world.chain.refresh();
    world.read();
    world.chain.saved();
    world.write(unread);
    world.chain.refresh();
    const left = first.length + 100;
    world.disk.cut(world.path(), left);
    await world.drain();
    const fresh = lines(2);
    world.write(fresh);
    await world.drain();
    assert.equal(world.text, `${first}${unread.slice(0, 100)}${fresh}`);
    assert.deepEqual(world.lost, { TruncatedBeforeRead: unread.length - 100 });
    assert.equal(world.chain.end, world.at);
  });
});

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

suite("ends", () => {
  test("reading ends at the limit: a line without an end there is left, one of an instance that is over is not", async () => {
    const world = reading();
    world.write("no newline");
    world.chain.refresh();
    world.chain.limit = world.chain.end;
    assert.equal(world.read(), "");
    world.write(" yet\nmore\n");
    assert.equal(await world.drain(), "");
    const over = reading();
    over.write("no newline");
    over.chain.ended = true;
    over.chain.refresh();
    over.chain.limit = over.chain.end;
    assert.equal(await over.drain(), "no newline");
    assert.deepEqual(over.look(), { kind: "nothing", complete: true });
  });

  test("a limit holds across rotation", async () => {
    const world = reading();
    const rest = lines(2);
    world.write(rest);
    world.chain.refresh();
    world.chain.limit = world.chain.end;
    world.write(lines(3));
    world.rotate("20261124-100000");
    world.write(lines(3));
    assert.equal(await world.drain(), rest);
  });

  test("the last line begins behind the last newline, in whichever block that is", () => {
    const cases: [string, number][] = [
      ["", 0],
      ["a\nb\n", 4],
      ["a\nno end", 2],
      ["no newline at all", 0],
      [`a\n${"x".repeat(200_000)}`, 2],
      [`${"x".repeat(65_535)}\n`, 65_536],
      [`${"x".repeat(65_536)}\n`, 65_537],
      [`a\n${"x".repeat(65_536)}`, 2],
    ];
    for (const [text, at] of cases) {
      const world = new ChainWorld();
      world.write(text);
      world.chain.refresh();
      assert.equal(world.chain.lastLine(), at);
    }
    const none = new ChainWorld();
    assert.equal(none.chain.lastLine(), 0);
  });

  test("the last line of several files is that of the last one, and what lies before is settled", async () => {
    const world = new ChainWorld();
    const old = lines(3);
    world.write(old, "0.log.20261124-100000");
    world.write(`${line()}rest`);
    world.chain.refresh();
    world.at = world.chain.lastLine();
    assert.equal(world.at, world.chain.end - 4);
    world.write(" of it\n");
    assert.equal(await world.drain(), "rest of it\n");
  });

  test("a last line whose beginning is too far back is an error, not a long search", () => {
    const world = new ChainWorld();
    world.write("x".repeat(18 * 1024 * 1024));
    world.chain.refresh();
    const { read } = world.disk.asked;
    assert.throws(() => world.chain.lastLine(), /has no beginning/);
    assert.ok(world.disk.asked.read - read < 300);
  });

  test("what is settled and what is idle holds no descriptor", async () => {
    const world = reading();
    world.rotate("20261124-100000");
    world.write(lines(1));
    await world.drain();
    assert.equal(world.disk.openCount, 2);
    world.chain.release(world.at, false);
    assert.equal(world.disk.openCount, 1);
    world.chain.release(world.at, true);
    assert.equal(world.disk.openCount, 0);
    world.chain.release(Infinity, true);
    assert.equal(world.disk.openCount, 0);
  });
});

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
