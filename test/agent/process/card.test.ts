import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { findCards, mayHoldCard } from "../../../agent/process/card.ts";

/** Numbers in square brackets. */
function marked(text: string): string {
  const ranges = findCards(text);
  let out = "";
  let at = 0;
  for (let i = 0; i < ranges.length; i += 2) {
    out += `${text.slice(at, ranges[i])}[${text.slice(ranges[i], ranges[i + 1])}]`;
    at = ranges[i + 1]!;
  }
  return out + text.slice(at);
}

function check(cases: readonly string[]): void {
  for (const expected of cases) {
    const text = expected.replaceAll(/[[\]]/g, "");
    assert.equal(marked(text), expected);
    const bytes = Buffer.from(text);
    if (text !== expected) assert.ok(mayHoldCard(bytes, 0, bytes.length), text);
  }
}

test("the networks' test numbers are found", () => {
  check([
    "[4111111111111111]", // Visa
    "[4222222222222]", // Visa, 13 digits
    "[5555555555554444]", // Mastercard
    "[2223003122003222]", // Mastercard, new range
    "[378282246310005]", // American Express
    "[6011111111111117]", // Discover
    "[30569309025904]", // Diners
    "[3530111333300000]", // JCB
    "[6200000000000005]", // UnionPay
    "[6759649826438453]", // Maestro
  ]);
});

test("numbers in groups are found", () => {
  check([
    "[4111 1111 1111 1111]",
    "[4111-1111-1111-1111].",
    "amex [3782 822463 10005],",
    "[4222 2222 2222 2]",
    "12 [4111 1111 1111 1111] 09/27",
    "[4111 1111 1111 1111] [5555 5555 5555 4444]",
    "id-[4111111111111111]-7",
  ]);
});

test("what stands around a number does not hide it", () => {
  check([
    'card="[4111111111111111]"',
    "pan:[4111111111111111];",
    "card_[4111111111111111]_",
    '{"m":"paid with\\n[4111111111111111]\\n"}',
    "?card%3D[4111111111111111]&x",
    "?card=%20[4111111111111111]",
    "(4111) [4111111111111111]",
    "paid 10.[4111111111111111]".replace("10.", "£"),
    "é[4111111111111111]é",
  ]);
});

test("other numbers are left alone", () => {
  check([
    "4111111111111112", // wrong check digit
    "0000000000000000",
    "1763892000123", // milliseconds since 1970
    "1763892000123456789",
    "41111111111111111111111", // too long
    "a4111111111111111",
    "4111111111111111f",
    "0.4111111111111111",
    "4111111111111111.5",
    "4111  1111  1111  1111",
    "41 11 11 11 11 11 11 11",
    "2026-11-23 10:00:00.123456789",
    "-------------",
    "             ",
  ]);
});

test("the byte search passes over no number", () => {
  const filler = fc.array(fc.constantFrom("a", " ", "-", "1", "12345678", "x".repeat(11), "é"), { maxLength: 12 });
  const number = fc.constantFrom("4111111111111111", "4222222222222", "3782 822463 10005", "4222-2222-2222-2", "");
  fc.assert(
    fc.property(filler, number, filler, (before, card, after) => {
      const text = [...before, card, ...after].join("");
      const bytes = Buffer.from(`9${text}9`);
      // Bytes outside of the range are those of other lines.
      if (findCards(text).length > 0) assert.ok(mayHoldCard(bytes, 1, bytes.length - 1), text);
    }),
    { numRuns: 5000 },
  );
});

test("the byte search looks only at its range and finds what has digits enough", () => {
  const may = (text: string, from = 0, to = text.length): boolean => mayHoldCard(Buffer.from(text), from, to);
  assert.equal(may("1234567890123"), true);
  assert.equal(may("1234567890123", 1), false);
  assert.equal(may("1234567890123", 0, 12), false);
  assert.equal(may("123456789012 x"), false);
  assert.equal(may("- 1 2-3 4-5 6-7 8-9 0-1 2-3 -"), true);
  assert.equal(may("x".repeat(100)), false);
});

test("time grows with the length of the text only", () => {
  for (const unit of ["4111 ", "4111111111111111 ", "1", "1-", "4111111111111", " "]) {
    const text = unit.repeat(Math.ceil((1 << 20) / unit.length));
    const start = process.threadCpuUsage();
    findCards(text);
    mayHoldCard(Buffer.from(text), 0, text.length);
    const { user, system } = process.threadCpuUsage(start);
    assert.ok(user + system < 1_500_000, `${unit}: ${user + system} µs`);
  }
});
