import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { orderedNames } from "../../../agent/collect/files.ts";
import { ChainWorld, line, lines, reading } from "./world.ts";

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
