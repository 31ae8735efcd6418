import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { suite, test } from "node:test";
import fc from "fast-check";
import { NoRoom } from "../../../agent/memory/pool.ts";
import { plainRows, START_SECONDS, Stream, worldOf, type Row } from "./stream.ts";

const TIME = Date.parse("2026-11-24T10:00:00Z") / 1000;
const at = (seconds: number): string => new Date((TIME + seconds) * 1000).toISOString().replace(".000Z", ".123456789Z");
const cri = (text: string, tag = "F", stream = "stdout", seconds = 0): string =>
  `${at(seconds)} ${stream} ${tag} ${text}\n`;
const json = (text: string, stream = "stdout", seconds = 0): string =>
  `${JSON.stringify({ log: text, stream, time: at(seconds) })}\n`;

/** The rows of a file that is read in one piece, or in reads of `length`. */
function rowsOf(content: string | Buffer, maxLineBytes = 1_000, length = 1_000_000): Row[] {
  const stream = new Stream(Buffer.from(content as string, "latin1"), worldOf(maxLineBytes));
  stream.readAll(() => length);
  stream.flush("unended");
  const { rows } = stream;
  stream.close();
  return rows;
}

const texts = (rows: readonly Row[]): string[] => rows.map(({ text }) => text);

suite("framing", () => {
  test("CRI and json-file are told apart by the first line that parses, whatever stands before it", () => {
    const [a, b] = [json("a\n", "stderr", 1), cri("b", "F", "stdout", 2)];
    assert.deepEqual(texts(rowsOf(`junk\n${b}${a}`)), ["junk", "b", a.slice(0, -1)]);
    assert.deepEqual(texts(rowsOf(`junk\n${a}${b}`)), ["junk", "a", b.slice(0, -1)]);
  });

  test("each file of a chain has its own format", () => {
    const stream = new Stream(Buffer.from(cri("a") + json("b\n")), worldOf(1_000));
    stream.read(cri("a").length);
    stream.lines.nextFile();
    stream.read(1_000);
    assert.deepEqual(texts(stream.rows), ["a", "b"]);
    stream.close();
  });

  test("a final carriage return belongs to the text, in both formats", () => {
    assert.deepEqual(texts(rowsOf(cri("a\r"))), ["a\r"]);
    assert.deepEqual(texts(rowsOf(json("a\r\n"))), ["a\r"]);
  });

  test("a line that does not parse is whole, has no stream, and the time of the line before it", () => {
    const [, junk] = rowsOf(`${cri("a", "F", "stdout", 7)}\x80junk \r\n`);
    const expected = { text: "\x80junk \r", seconds: TIME + 7, stream: undefined, truncated: false, invalid: true };
    assert.deepEqual(junk, { ...expected, at: cri("a").length, last: cri("a").length, raw: 8 });
  });

  test("lines before the first with a time get that one's; without any it is the time of the start", () => {
    assert.deepEqual(
      rowsOf(`x\ny\n${cri("a", "F", "stdout", 7)}`).map(({ seconds }) => seconds),
      [TIME + 7, TIME + 7, TIME + 7],
    );
    assert.deepEqual(
      rowsOf("x\ny\n").map(({ seconds }) => seconds),
      [START_SECONDS, START_SECONDS],
    );
  });

  test("one who begins in the middle of a file looks back for the time of the line before", () => {
    for (const before of [
      cri("a", "F", "stdout", 7),
      json("a\n", "stdout", 7),
      `${cri("x")}junk\n${cri("a", "F", "stdout", 7)}more\n`,
    ]) {
      const stream = new Stream(Buffer.from(`${before}junk\n`), worldOf(1_000));
      stream.at = before.length;
      stream.goBack();
      const [row] = stream.read(1_000);
      assert.deepEqual([row!.text, row!.seconds], ["junk", TIME + 7]);
      stream.close();
    }
  });
});

suite("partial lines", () => {
  test("parts are joined per stream and come out where the last one stands, with the first one's time and place", () => {
    const content =
      cri("a", "P", "stdout", 1) + cri("x", "F", "stderr", 2) + cri("b", "P", "stdout", 3) + cri("c", "F", "stdout", 4);
    const rows = rowsOf(content);
    assert.deepEqual(texts(rows), ["x", "abc"]);
    assert.deepEqual(
      [rows[1]!.seconds, rows[1]!.at, rows[1]!.raw],
      [TIME + 1, 0, content.length - cri("x", "F", "stderr").length],
    );
    assert.deepEqual(texts(rowsOf(json("a") + json("x\n", "stderr") + json("b\n"))), ["x", "ab"]);
  });

  test("parts that are 60 s apart by their own times belong together, at 61 s the first ones end, cut", () => {
    const rows = (seconds: number): [string, boolean][] =>
      rowsOf(cri("a", "P") + cri("b", "F", "stdout", seconds)).map(({ text, truncated }) => [text, truncated]);
    assert.deepEqual(rows(60), [["ab", false]]);
    assert.deepEqual(rows(61), [
      ["a", true],
      ["b", false],
    ]);
    const slow = [0, 50, 100, 150].map((seconds, i) => cri(String(i), i < 3 ? "P" : "F", "stdout", seconds)).join("");
    assert.deepEqual(texts(rowsOf(slow)), ["0123"], "a line that is written slowly is one line");
  });

  test("a part whose end never comes ends after 60 s without another, by the clock, and is cut", () => {
    const stream = new Stream(Buffer.from(cri("a", "P") + cri("b", "P")), worldOf(1_000));
    stream.read(cri("a").length);
    stream.now = 59_999;
    assert.equal(stream.lines.stale(stream.now), false);
    stream.read(1_000);
    stream.now = 119_998;
    assert.deepEqual(stream.flush("stale"), []);
    stream.now = 119_999;
    assert.equal(stream.lines.stale(stream.now), true);
    const [row] = stream.flush("stale");
    assert.deepEqual([row!.text, row!.truncated, row!.raw], ["ab", true, 2 * cri("a").length]);
    assert.equal(stream.lines.openAt, Infinity);
    stream.close();
  });

  test("what is open says where it begins and how many source bytes it is, until it ends", () => {
    const content = cri("x") + cri("a", "P") + cri("b", "P", "stderr") + cri("c");
    const stream = new Stream(Buffer.from(content), worldOf(1_000));
    stream.read(content.length - 1);
    const part = cri("a").length;
    assert.deepEqual([stream.lines.openAt, stream.lines.openRaw], [part, 2 * part]);
    stream.read(1_000);
    assert.deepEqual([stream.lines.openAt, stream.lines.openRaw], [2 * part, part]);
    assert.deepEqual(texts(stream.flush("all")), ["b"]);
    assert.deepEqual([stream.lines.openAt, stream.lines.openRaw], [Infinity, 0]);
    stream.close();
  });

  test("of joined parts maxLineBytes are kept, and all are counted", () => {
    const parts = Array.from({ length: 50 }, (_, i) => cri("0123456789", i < 49 ? "P" : "F")).join("");
    const [row] = rowsOf(parts, 123);
    assert.deepEqual(
      [row!.text, row!.truncated, row!.raw],
      ["0123456789".repeat(13).slice(0, 123), true, parts.length],
    );
  });

  test("a line is counted as cut or as joined once, when it comes out", () => {
    const stream = new Stream(
      Buffer.from(cri("a".repeat(200), "P") + cri("b") + cri("c".repeat(200)) + cri("d", "P")),
      worldOf(100),
    );
    stream.readAll(() => 1_000);
    stream.flush("all");
    assert.deepEqual(stream.world.counts, { invalid: 0, truncated: 3, joined: 1 });
    stream.close();
  });
});

suite("long lines", () => {
  const long = (length: number): string =>
    Array.from({ length: length / 10 }, (_, i) => String(i).padStart(10, "0")).join("");

  test("a line over the limit is cut and its bytes are counted, whatever the reads are", () => {
    const content = cri("before") + cri(long(400_000)) + cri("after");
    for (const maxLineBytes of [1_024, 262_144]) {
      const expected = plainRows(Buffer.from(content), {
        maxLineBytes,
        longMax: Math.max(maxLineBytes + 256, 131_072),
      });
      for (const length of [1_000_000, 300_000, 140_000, 10]) {
        assert.deepEqual(rowsOf(content, maxLineBytes, length), expected, `${maxLineBytes} ${length}`);
      }
    }
  });

  test("a json-file line over the limit is passed on as it is, cut, whatever the reads are", () => {
    const content = json("before\n") + json(`${long(200_000)}\n`) + json("after\n");
    const expected = plainRows(Buffer.from(content), { maxLineBytes: 1_024, json: true });
    assert.deepEqual(
      expected.map(({ invalid }) => invalid),
      [false, true, false],
    );
    for (const length of [1_000_000, 150_000, 10]) assert.deepEqual(rowsOf(content, 1_024, length), expected);
  });

  test("the longest json-file line that Docker writes is read whole even where maxLineBytes is small", () => {
    const content = json(`${"\x01".repeat(16_384)}\n`);
    const [row] = rowsOf(content, 1_024, 2_000);
    assert.deepEqual([row!.text, row!.truncated, row!.invalid], ["\x01".repeat(1_024), true, false]);
  });

  test("a line that is exactly as long as may be taken whole, and one byte more", () => {
    for (const more of [0, 1]) {
      const text = "x".repeat(131_072 - cri("").length + more);
      const [row] = rowsOf(cri(text), 1_000_000);
      assert.deepEqual([row!.text.length, row!.truncated], [text.length, false]);
    }
  });

  test("100 MiB without a newline take time like other bytes, and no memory", () => {
    const stream = new Stream(Buffer.alloc(8 * 1024 * 1024, "x"), worldOf(262_144));
    let raw = 0;
    const started = performance.now();
    for (let i = 0; i < 13; i++) {
      stream.at = 0;
      for (; stream.at < stream.content.length; raw += 0) stream.read(1024 * 1024, stream.content.length, false);
      raw += stream.content.length;
      assert.ok(stream.world.budget.bytes <= 262_144);
    }
    assert.ok(performance.now() - started < 2_000);
    assert.equal(stream.lines.openRaw, raw);
    const [row] = stream.flush("unended");
    assert.deepEqual([row!.text.length, row!.truncated, row!.raw], [262_144, true, raw]);
    stream.close();
  });

  test("a line of more than a gigabyte comes out in several, so that counts do not overflow", () => {
    const stream = new Stream(Buffer.alloc(8 * 1024 * 1024, "x"), worldOf(1_024));
    for (let i = 0; i < 300; i++) {
      stream.at = 0;
      while (stream.at < stream.content.length) stream.read(8 * 1024 * 1024, stream.content.length, false);
    }
    stream.flush("unended");
    const raws = stream.rows.map(({ raw }) => raw);
    assert.equal(raws.length, 3);
    assert.ok(raws.every((raw) => raw > 0 && raw < 2 ** 31));
    assert.equal(
      raws.reduce((sum, raw) => sum + raw, 0),
      300 * stream.content.length,
    );
    stream.close();
  });

  test("a long line that its file ends in the middle of comes out when that is said, and the next line is whole", () => {
    const content = cri(long(200_000)).slice(0, -1);
    const stream = new Stream(Buffer.from(content + cri("next")), worldOf(1_024));
    while (stream.at < content.length) stream.read(140_000, content.length, false);
    assert.equal(stream.lines.unended, true);
    const [row] = stream.flush("unended");
    assert.deepEqual([row!.raw, row!.truncated, row!.stream], [content.length, true, "stdout"]);
    assert.equal(stream.lines.unended, false);
    stream.lines.nextFile();
    assert.deepEqual(texts(stream.read(1_000)), ["next"]);
    stream.close();
  });

  test("a long part is joined with the parts before and behind it", () => {
    const parts = [cri("a", "P"), cri(long(200_000), "P"), cri("z")];
    const rows = rowsOf(parts.join(""), 300_000, 140_000);
    assert.deepEqual(texts(rows), [`a${long(200_000)}z`]);
    assert.equal(rows[0]!.raw, parts.join("").length);
  });

  test("when a long part is ended by force, the parts before it come out first", () => {
    const content = cri("a", "P") + cri(long(200_000), "P").slice(0, -1);
    const stream = new Stream(Buffer.from(content), worldOf(1_024));
    stream.readAll(() => 140_000, false);
    const rows = stream.flush("unended");
    assert.deepEqual(
      rows.map((row) => row.at),
      [0, cri("a").length],
    );
    stream.close();
  });
});

suite("no room", () => {
  test("without memory for a joined line nothing leaks, and going back to where it began gives the same", () => {
    const world = worldOf(600_000);
    const content = Buffer.from(
      Array.from({ length: 40 }, (_, i) => cri("x".repeat(10_000), i < 39 ? "P" : "F")).join(""),
    );
    const stream = new Stream(content, world);
    while (stream.at < content.length - 11_000) stream.read(100_000, content.length - 10_000);
    const { arena } = world.memory;
    const held: number[] = [];
    for (let bytes = arena.largestBytes; bytes > 0; bytes = arena.largestBytes) held.push(arena.allocate(bytes));
    // Room for the read itself, but not for the joined text.
    arena.free(held.pop()!);
    held.push(...Array.from({ length: Math.max(0, arena.largestBytes / 65_536 - 1) }, () => arena.allocate(65_536)));
    const before = stream.at;
    assert.throws(() => stream.read(1_000_000), NoRoom);
    for (const address of held) arena.free(address);
    stream.goBack();
    assert.equal(stream.at, 0);
    assert.ok(before > 0);
    stream.readAll(() => 200_000);
    assert.deepEqual(
      stream.rows.map(({ text, raw }) => [text.length, raw]),
      [[400_000, content.length]],
    );
    stream.close();
  });
});

// Whatever the bytes and the reads.

const text = fc.oneof(
  { weight: 6, arbitrary: fc.string({ unit: "binary-ascii", maxLength: 60 }) },
  { weight: 1, arbitrary: fc.nat(300).map((n) => "y".repeat(n)) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes).toString("latin1")) },
);
const withoutNewline = text.map((value) => value.replaceAll("\n", "."));
const step = fc.record({
  kind: fc.constantFrom("line" as const, "line", "line", "part", "part", "junk"),
  stream: fc.constantFrom("stdout", "stderr"),
  later: fc.constantFrom(0, 0, 1, 20, 61),
  text: withoutNewline,
});

function fileOf(
  steps: readonly { kind: string; stream: string; later: number; text: string }[],
  isJson: boolean,
): Buffer {
  let seconds = 0;
  const lines = steps.map(({ kind, stream, later, text }) => {
    seconds += later;
    if (kind === "junk") return Buffer.from(`junk ${text}\n`, "latin1");
    if (!isJson) return Buffer.from(cri(text, kind === "part" ? "P" : "F", stream, seconds), "latin1");
    return Buffer.from(json(kind === "part" ? text : `${text}\n`, stream, seconds));
  });
  return Buffer.concat(lines);
}

/** Lines before the first that parses have its time only when it was read with them. */
function untimed(rows: readonly Row[]): Row[] {
  const first = rows.findIndex(({ invalid }) => !invalid);
  return rows.map((row, index) => (first >= 0 && index >= first ? row : { ...row, seconds: 0 }));
}

suite("whatever the bytes", () => {
  test("any split into reads gives the rows of a plain reading, and every byte is in one of them or open", () => {
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 40 }),
        fc.boolean(),
        fc.boolean(),
        fc.constantFrom(50, 2_000),
        fc.infiniteStream(fc.integer({ min: 1, max: 400 })),
        fc.infiniteStream(fc.boolean()),
        (steps, isJson, endsEarly, maxLineBytes, lengths, back) => {
          const whole = fileOf(steps, isJson);
          const content = endsEarly ? whole.subarray(0, Math.max(0, whole.length - 3)) : whole;
          const stream = new Stream(content, worldOf(maxLineBytes));
          const marks = new Map<string, number>();
          const got: Row[] = [];
          // As a subscription does it: what it has is skipped when it comes by again.
          const keep = (rows: readonly Row[]): void => {
            for (const row of rows) {
              const name = row.stream ?? "none";
              if (row.at < (marks.get(name) ?? 0)) continue;
              marks.set(name, row.last + 1);
              got.push(row);
            }
          };
          for (let least = 1; stream.at < content.length;) {
            const { at } = stream;
            keep(stream.read(Math.max(least, lengths.next().value)));
            if (stream.at > at) least = 1;
            else least *= 2;
            // Going back after every step would never end.
            if (back.next().value && back.next().value && back.next().value) stream.goBack();
          }
          const expected = plainRows(content, { maxLineBytes, json: isJson });
          assert.deepEqual(untimed(got), untimed(expected));
          const raw = got.reduce((sum, row) => sum + row.raw, stream.lines.openRaw);
          assert.equal(raw, content.length);
          stream.close();
        },
      ),
      { numRuns: 1_500 },
    );
  });

  test("bytes that are no log at all come out as they are, line by line", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2_000 }), fc.integer({ min: 1, max: 500 }), (bytes, length) => {
        const content = Buffer.from(bytes);
        const stream = new Stream(content, worldOf(5_000));
        stream.readAll(() => length);
        const rows = stream.rows.map(({ text, truncated }) => text + (truncated ? "" : "\n"));
        assert.equal(rows.join(""), content.toString("latin1"));
        stream.close();
      }),
      { numRuns: 500 },
    );
  });
});
