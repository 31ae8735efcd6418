import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { TooLong } from "../../kube/errors.ts";
import { Lines } from "../../kube/lines.ts";

function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const places = [...new Set([0, ...at.map((place) => place % (bytes.length + 1)), bytes.length])].sort(
    (a, b) => a - b,
  );
  return places.slice(1).map((end, i) => bytes.subarray(places[i], end));
}

function linesOf(pieces: readonly Buffer[], bytesMax = 1 << 20): string[] {
  const lines = new Lines(bytesMax);
  const found: string[] = [];
  for (const piece of pieces) lines.push(piece, (line) => found.push(line.toString("utf8")));
  return found;
}

test("lines are the same however the bytes are cut, inside characters too", () => {
  const text = fc.array(fc.string({ unit: fc.constantFrom("a", "é", "😀", "\u2028", "\r", '"'), maxLength: 20 }), {
    maxLength: 20,
  });
  fc.assert(
    fc.property(text, fc.array(fc.nat(), { maxLength: 30 }), (lines, at) => {
      const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(""));
      assert.deepEqual(linesOf(cut(bytes, at)), lines);
    }),
  );
});

test("U+2028, U+2029, U+0085 and a carriage return end no line", () => {
  assert.deepEqual(linesOf([Buffer.from('{"a":"\u2028\u2029\u0085\r"}\n')]), ['{"a":"\u2028\u2029\u0085\r"}']);
});

test("a line without an end is not given", () => {
  assert.deepEqual(linesOf([Buffer.from("whole\nhal"), Buffer.from("f")]), ["whole"]);
});

test("a line of the greatest length passes, a longer one ends in TooLong whether it ends or not", () => {
  assert.deepEqual(linesOf([Buffer.from("12345678\n"), Buffer.from("1234"), Buffer.from("5678\n")], 8), [
    "12345678",
    "12345678",
  ]);
  assert.throws(() => linesOf([Buffer.from("123456789\n")], 8), TooLong);
  assert.throws(() => linesOf([Buffer.from("12345"), Buffer.from("6789")], 8), TooLong);
});

test("what was kept of an unfinished line does not change when its chunk is written over", () => {
  const lines = new Lines(100);
  const chunk = Buffer.from("abc");
  const found: string[] = [];
  lines.push(chunk, () => assert.fail("no line has ended"));
  chunk.fill("x");
  lines.push(Buffer.from("d\n"), (line) => found.push(line.toString()));
  assert.deepEqual(found, ["abcd"]);
});
