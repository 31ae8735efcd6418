import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import * as columns from "../../../../agent/memory/columns.ts";
import { R_BYTES, R_ROWS, TALLY } from "../../../../agent/memory/kernels.ts";
import { bytes } from "../arbitrary.ts";
import { Pair, type Row } from "../pair.ts";

const pair = new Pair();
const CAP = 24;
const BLOCK = pair.from;
const VERDICTS = pair.from + 1024;
const TEXT = pair.from + 2048;
const OTHER = pair.from + 32_768;

const uint32 = fc.integer({ min: 0, max: 0xffffffff });
const verdict = fc.oneof(fc.constant(0), fc.nat(columns.VERDICTS - 1));
const record: fc.Arbitrary<Row & { verdict: number }> = fc.record({
  text: fc.oneof(bytes(60), fc.constant(Buffer.alloc(0))),
  bits: fc.nat(0x7ff),
  seconds: uint32,
  nanos: fc.nat(999_999_999),
  lines: fc.nat(1000),
  raw: uint32,
  at: uint32,
  fields: fc.constantFrom(undefined, undefined, '{"a":1}', '{"b":"two"}'),
  verdict,
});

interface Layout {
  verdicts: number;
  from: number;
  to: number;
  end: number;
}

/** Rows with verdicts laid down, and a range of them. */
function laid(rows: readonly (Row & { verdict: number })[], hasVerdicts: boolean, range: [number, number]): Layout {
  pair.reset();
  const end = pair.writeRows(BLOCK, CAP, TEXT, rows);
  pair.write(
    VERDICTS,
    Uint8Array.from(rows, (row) => row.verdict),
  );
  const [from, to] = range.map((at) => Math.round(at * rows.length)).toSorted((a, b) => a - b) as [number, number];
  return { verdicts: hasVerdicts ? VERDICTS : 0, from, to, end };
}

const range = fc.tuple(fc.constantFrom(0, 0, 0.3), fc.constantFrom(1, 1, 0.6));
const layout = fc.tuple(fc.array(record, { maxLength: CAP }), fc.boolean(), range);

test("lineLength counts the newline, and only lines that end in the range", () => {
  for (const length of [0, 1, 15, 16, 63, 64, 65, 500]) {
    pair.reset();
    const to = pair.write(TEXT, `${"x".repeat(length)}\nmore\n`);
    assert.equal(
      pair.call((kernels) => kernels.lineLength(TEXT, to)),
      length + 1,
    );
    assert.equal(
      pair.call((kernels) => kernels.lineLength(TEXT, TEXT + length + 1)),
      length + 1,
    );
    assert.equal(
      pair.call((kernels) => kernels.lineLength(TEXT, TEXT + length)),
      0,
    );
  }
});

test("classes is the set of classes among the kept rows", () => {
  pair.reset();
  const bits = [0, columns.NON_ASCII | 5, 31, 31, 7];
  pair.writeRows(
    BLOCK,
    CAP,
    TEXT,
    bits.map((each) => ({ bits: each })),
  );
  pair.write(VERDICTS, Uint8Array.of(0, 0, 0, 0, columns.DROPPED));
  assert.equal(
    pair.call((kernels) => kernels.classes(BLOCK, CAP, VERDICTS, 0, 5)),
    (1 | (1 << 5) | (1 << 31)) >> 0,
  );
  assert.equal(
    pair.call((kernels) => kernels.classes(BLOCK, CAP, 0, 1, 2)),
    1 << 5,
  );
  assert.equal(
    pair.call((kernels) => kernels.classes(BLOCK, CAP, 0, 2, 2)),
    0,
  );
});

test("tally sums lines and source bytes by verdict", () => {
  pair.reset();
  const rows = [
    { lines: 1, raw: 100 },
    { lines: 12, raw: 0xffffffff },
    { lines: 0, raw: 0xffffffff },
    { lines: 3, raw: 7 },
  ];
  pair.writeRows(BLOCK, CAP, TEXT, rows);
  pair.write(VERDICTS, Uint8Array.of(0, columns.SKIPPED, columns.SKIPPED, 0));
  pair.call((kernels) => kernels.tally(BLOCK, CAP, VERDICTS, 0, 4));
  const pairOf = (verdict: number): number[] => [...pair.wasm.floats.subarray(TALLY / 8 + verdict * 2).subarray(0, 2)];
  assert.deepEqual(pairOf(columns.KEPT), [4, 107]);
  assert.deepEqual(pairOf(columns.SKIPPED), [12, 0xffffffff * 2]);
  assert.deepEqual(pairOf(columns.DROPPED), [0, 0]);
});

test("a cut ends before the row that is too many or too much, and takes rows along that are not kept", () => {
  pair.reset();
  pair.writeRows(
    BLOCK,
    CAP,
    TEXT,
    ["aaaa", "bbbb", "", "cccc", "", "dddd"].map((text) => ({ text })),
  );
  pair.write(VERDICTS, Uint8Array.of(0, 0, 1, 0, 1, 0));
  const cost = 4 + columns.RECORD_OVERHEAD;
  const cut = (from: number, maxRows: number, maxBytes: number): number[] => [
    pair.call((kernels) => kernels.cut(BLOCK, CAP, VERDICTS, from, 6, maxRows, maxBytes)),
    pair.result(R_ROWS),
    pair.result(R_BYTES),
  ];
  assert.deepEqual(cut(0, 100, 10_000), [6, 4, cost * 4]);
  assert.deepEqual(cut(0, 2, 10_000), [3, 2, cost * 2]);
  assert.deepEqual(cut(1, 2, 10_000), [5, 2, cost * 2]);
  assert.deepEqual(cut(0, 100, cost * 2), [3, 2, cost * 2]);
  assert.deepEqual(cut(0, 100, cost * 2 - 1), [1, 1, cost]);
  assert.deepEqual(cut(0, 1, 1), [1, 1, cost], "at least one");
  assert.deepEqual(cut(4, 1, 1), [6, 1, cost]);
});

test("contains looks at the head of kept texts only", () => {
  pair.reset();
  const needle = pair.to - 512;
  pair.write(needle, "needle");
  const texts = [
    "needle",
    "a needle.",
    `${"x".repeat(100)}needle`,
    "needl",
    "",
    "eneedlneedle",
    "dropped needle",
    `${"needl".repeat(40)}e`,
  ];
  pair.writeRows(
    BLOCK,
    CAP,
    TEXT,
    texts.map((text) => ({ text })),
  );
  pair.write(VERDICTS, Uint8Array.of(0, 0, 0, 0, 0, 0, 1, 0));
  const hits = pair.to - 1024;
  const found = (length: number, head: number): number[] => {
    pair.call((kernels) => kernels.contains(BLOCK, CAP, VERDICTS, 0, 8, needle, length, head, hits));
    return [...pair.wasm.bytes.subarray(hits, hits + 8)];
  };
  assert.deepEqual(found(6, 65_536), [1, 1, 1, 0, 0, 1, 0, 1]);
  assert.deepEqual(found(6, 7), [1, 0, 0, 0, 0, 0, 0, 0]);
  assert.deepEqual(found(1, 65_536), [1, 1, 1, 1, 0, 1, 0, 1]);
});

test("rows copied out keep their columns, texts and shared fields", () => {
  pair.reset();
  const rows = [
    { text: "first", fields: '{"a":1}', seconds: 1, raw: 10 },
    { text: "not kept", fields: '{"a":1}', seconds: 2, raw: 20 },
    { text: "third", fields: '{"a":1}', seconds: 3, raw: 30 },
    { text: "", seconds: 4, raw: 40 },
  ];
  pair.writeRows(BLOCK, CAP, TEXT, rows);
  pair.write(VERDICTS, Uint8Array.of(0, 9, 0, 0));
  const target = OTHER + 4096 + 3;
  pair.call((kernels) => kernels.copyColumns(BLOCK, CAP, 4, OTHER, 5));
  assert.deepEqual(pair.row(OTHER, 5, 2), pair.row(BLOCK, CAP, 2));
  const bytes = pair.call((kernels) => kernels.textBytes(OTHER, 5, VERDICTS, 0, 4));
  const end = pair.call((kernels) => kernels.copyTexts(OTHER, 5, VERDICTS, 0, 4, target));
  assert.equal(end - target, bytes);
  assert.equal(pair.text(target, end), 'first{"a":1}third');
  const [first, second, third] = [0, 1, 2].map((row) => pair.row(OTHER, 5, row));
  assert.deepEqual(first!.slice(0, 2), [target, target + 5]);
  assert.deepEqual([second![columns.START], second![columns.END]], [target, target]);
  assert.deepEqual(first!.slice(8), [target + 5, target + 12]);
  assert.deepEqual(second!.slice(8), [0, 0]);
  assert.deepEqual(third!.slice(8), first!.slice(8));
});

test("kernels over rows agree on any rows, verdicts and ranges", () => {
  const limits = fc.tuple(fc.nat(6), fc.nat(300));
  const search = fc.tuple(bytes(4), fc.nat(60));
  fc.assert(
    fc.property(layout, limits, search, ([rows, hasVerdicts, span], [maxRows, maxBytes], [needle, head]) => {
      const { verdicts, from, to, end } = laid(rows, hasVerdicts, span);
      pair.call((kernels) => kernels.utf8(BLOCK, CAP, from, to));
      pair.call((kernels) => kernels.classes(BLOCK, CAP, verdicts, from, to));
      pair.call((kernels) => kernels.tally(BLOCK, CAP, verdicts, from, to));
      pair.call((kernels) => kernels.cut(BLOCK, CAP, verdicts, from, to, maxRows, maxBytes));
      if (needle.length > 0) {
        pair.write(end, needle);
        const hits = pair.to - 64;
        pair.call((kernels) => kernels.contains(BLOCK, CAP, verdicts, from, to, end, needle.length, head, hits));
      }
      const target = OTHER + 2048;
      pair.call((kernels) => kernels.copyColumns(BLOCK, CAP, rows.length, OTHER, rows.length + 1));
      const cap = rows.length + 1;
      const texts = pair.call((kernels) => kernels.textBytes(OTHER, cap, verdicts, from, to));
      assert.equal(
        pair.call((kernels) => kernels.copyTexts(OTHER, cap, verdicts, from, to, target)),
        target + texts,
      );
    }),
    { numRuns: 600 },
  );
});
