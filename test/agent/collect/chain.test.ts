import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { ChainWorld, line, lines, reading } from "./world.ts";

suite("reading a chain", () => {
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
