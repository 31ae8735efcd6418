import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BITS, BROKEN_UTF8, NON_ASCII } from "../../../../agent/memory/columns.ts";
import { Pair } from "../pair.ts";

const pair = new Pair();
const TEXT = pair.from + 4096;

/** Whether the kernel calls the bytes broken; `before` and `behind` lie around them in memory. */
function isBroken(text: Uint8Array, before: Uint8Array, behind: Uint8Array, shift = 0): boolean {
  pair.reset();
  const start = pair.write(TEXT + shift, before);
  const end = pair.writeRows(pair.from, 1, start, [{ text, bits: NON_ASCII }]);
  pair.write(end, behind);
  const broken = pair.call((kernels) => kernels.utf8(pair.from, 1, 0, 1));
  assert.equal((pair.row(pair.from, 1, 0)[BITS]! & BROKEN_UTF8) !== 0, broken === 1);
  return broken === 1;
}

const SEQUENCES = [
  "24",
  "c3a9",
  "c080",
  "c1bf",
  "c2",
  "80",
  "bf",
  "e282ac",
  "e08080",
  "e0a080",
  "eda080",
  "ed9fbf",
  "efbfbf",
  "e282",
]
  .concat([
    "f09f9880",
    "f0808080",
    "f0908080",
    "f48fbfbf",
    "f4908080",
    "f5808080",
    "f09f98",
    "f09f",
    "f0",
    "fe",
    "ff",
    "e28228",
    "c328",
  ])
  .map((hex) => Buffer.from(hex, "hex"));

test("every kind of sequence is judged alike at every place in a block", () => {
  for (const sequence of SEQUENCES) {
    for (let length = 0; length < 34; length++) {
      const text = Buffer.concat([Buffer.from("a".repeat(length)), sequence]);
      // Neither a lead byte before the text nor a continuation behind it belongs to it.
      isBroken(text, Buffer.from([0xe2]), Buffer.from([0x80, 0x80]));
      isBroken(Buffer.concat([text, Buffer.from("é")]), Buffer.from([0x80]), Buffer.from([]));
    }
  }
});

test("rows without a byte above 0x7f are not looked at, and a flag that is wrong is taken back", () => {
  pair.reset();
  pair.writeRows(pair.from, 3, TEXT, [
    { text: Buffer.from([0xff]), bits: 0 },
    { text: "é", bits: NON_ASCII | BROKEN_UTF8 },
    { text: Buffer.from([0xff]), bits: NON_ASCII },
  ]);
  assert.equal(
    pair.call((kernels) => kernels.utf8(pair.from, 3, 0, 3)),
    1,
  );
  assert.deepEqual(
    [0, 1, 2].map((row) => pair.row(pair.from, 3, row)[BITS]),
    [0, NON_ASCII, NON_ASCII | BROKEN_UTF8],
  );
});

test("both kernels agree on any bytes", () => {
  const piece = fc.oneof(
    fc.constantFrom(...SEQUENCES),
    fc.uint8Array({ maxLength: 6 }),
    fc.string({ unit: "binary", maxLength: 30 }).map((text) => Buffer.from(text)),
    fc.nat(40).map((n) => Buffer.from("x".repeat(n))),
  );
  const text = fc.array(piece, { maxLength: 8 }).map((pieces) => Buffer.concat(pieces));
  let broken = 0;
  let runs = 0;
  fc.assert(
    fc.property(
      text,
      fc.uint8Array({ maxLength: 4 }),
      fc.uint8Array({ maxLength: 4 }),
      fc.nat(15),
      (middle, before, behind, shift) => {
        runs++;
        if (isBroken(middle, before, behind, shift)) broken++;
      },
    ),
    { numRuns: 3000 },
  );
  assert.ok(broken > runs / 10 && broken < (runs * 9) / 10, `${broken} of ${runs} were broken`);
});
