import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  BITS,
  CLASS_MASK,
  LEVELS,
  LEVEL_SHIFT,
  NON_ASCII,
  STREAM_STDERR,
  TRUNCATED,
} from "../../../../agent/memory/columns.ts";
import type { Level } from "../../../../agent/memory/columns.ts";
import { bytes } from "../arbitrary.ts";
import { LEVEL_LINES } from "../level-lines.ts";
import { Pair } from "../pair.ts";

const pair = new Pair();
const TEXT = pair.from + 4096;

/** Level of a text, on which both kernels agree; `behind` is what lies in memory behind it. */
function levelOf(text: string | Uint8Array, behind = "", shift = 0): Level {
  pair.reset();
  const end = pair.writeRows(pair.from, 1, TEXT + shift, [{ text }]);
  pair.write(end, behind);
  pair.call((kernels) => kernels.levels(pair.from, 1, 0, 1));
  return LEVELS[(pair.row(pair.from, 1, 0)[BITS]! & CLASS_MASK) >> LEVEL_SHIFT]!;
}

for (const [format, lines] of Object.entries(LEVEL_LINES)) {
  test(`levels of ${format} lines`, () => {
    for (const [expected, line] of lines) assert.equal(levelOf(line), expected, line);
  });
}

test("only the level bits of the rows in the range change", () => {
  pair.reset();
  const bits = STREAM_STDERR | NON_ASCII | TRUNCATED | (6 << LEVEL_SHIFT);
  const rows = ["ERROR a", "WARN b", "c"].map((text) => ({ text, bits }));
  pair.writeRows(pair.from, 4, TEXT, rows);
  pair.call((kernels) => kernels.levels(pair.from, 4, 1, 3));
  const others = bits & ~(7 << LEVEL_SHIFT);
  const expected = [bits, others | (4 << LEVEL_SHIFT), others];
  assert.deepEqual(
    [0, 1, 2].map((row) => pair.row(pair.from, 4, row)[BITS]),
    expected,
  );
});

test("what lies behind the text in memory does not count", () => {
  assert.equal(levelOf('{"level":', '"error"}'), "unknown");
  assert.equal(levelOf('{"level":3', "0}"), "unknown");
  assert.equal(levelOf("ERR", "OR "), "error");
  assert.equal(levelOf("INF", "O "), "info");
  assert.equal(levelOf("level=err", "or"), "error");
  assert.equal(levelOf("", "ERROR"), "unknown");
  assert.equal(levelOf("x", " level=error"), "unknown");
});

test("fields count within the first 4 KiB, words within the first 128 bytes", () => {
  const padding = (n: number): string => `{"p":"${"x".repeat(n)}",`;
  const over = 4096 - padding(0).length;
  assert.equal(levelOf(`${padding(over - 1)}"level":"warn"}`), "warn");
  assert.equal(levelOf(`${padding(over)}"level":"warn"}`), "unknown");
  assert.equal(levelOf(`a ${"x".repeat(4087)} level=warn`), "warn");
  assert.equal(levelOf(`a ${"x".repeat(4088)} level=warn`), "unknown");
  assert.equal(levelOf(`${"x".repeat(126)} ERROR`), "error");
  assert.equal(levelOf(`${"x".repeat(127)} ERROR`), "unknown");
});

test("brackets hold up to four spaces before a word, colours up to ten characters", () => {
  assert.equal(levelOf("a [    error] b"), "error");
  assert.equal(levelOf("a [     error] b"), "unknown");
  assert.equal(levelOf("a \x1b[12;34;5678mERROR b"), "error");
  assert.equal(levelOf("a \x1b[12;34;56789mERROR b"), "unknown");
  assert.equal(levelOf("\x1b[12;34;5678merror: b"), "error");
  assert.equal(levelOf("\x1b[12;34;56789merror: b"), "unknown");
});

test("nested and quoted fields do not count, however many there are", () => {
  assert.equal(levelOf(`{"a":[${'{"level":"error"},'.repeat(200)}{}]}`), "unknown");
  assert.equal(levelOf(`{"a":[${'{"level":"error"},'.repeat(200)}{}],"level":"info"}`), "info");
  assert.equal(levelOf(`x "${"level=error ".repeat(200)}"`), "unknown");
});

const word = fc.constantFrom(
  ..."trace debug info warn warning error err fatal panic critical notice fine config log note fail i e".split(" "),
  ..."level lvl severity log.level @level INFORMATION emergency informational levels errors terror".split(" "),
);
const cased = fc
  .tuple(word, fc.nat(2))
  .map(([text, how]) => (how === 0 ? text : how === 1 ? text.toUpperCase() : text[0]!.toUpperCase() + text.slice(1)));
const glue = fc.constantFrom(
  ...' |\t|[|]|[ | ]|:|: |,|=|="|"|":"|": |{|}|{"|.|/|-|_|<|>|(|)|!|\\|\\"|1|30|10}|\u00e9|  '.split("|"),
  ..."<3>|\x1b[31m|\x1b[0m|E1124 |I20261123 ".split("|"),
);
const piece = fc.oneof(
  { weight: 5, arbitrary: cased },
  { weight: 6, arbitrary: glue },
  {
    weight: 1,
    arbitrary: fc.constantFrom('"level":"', '"level":30,', "level=", '{"', "x".repeat(100), "2026-11-23 10:00:00,123 "),
  },
  { weight: 1, arbitrary: fc.string({ maxLength: 6 }) },
);

test("both kernels agree on lines made of words and what may stand around them", () => {
  const line = fc
    .tuple(fc.constantFrom("", "", '{"', "{", "a=b ", "level=", "\x1b[1m"), fc.array(piece, { maxLength: 24 }))
    .map(([head, pieces]) => head + pieces.join(""));
  const seen = new Set<Level>();
  fc.assert(
    fc.property(line, fc.nat(15), (text, shift) => {
      seen.add(levelOf(text, "error", shift));
    }),
    { numRuns: 4000 },
  );
  assert.deepEqual([...seen].sort(), [...LEVELS].sort());
});

test("both kernels agree on any bytes", () => {
  fc.assert(
    fc.property(bytes(400), fc.nat(15), (text, shift) => {
      levelOf(text, "", shift);
    }),
    { numRuns: 1000 },
  );
});
