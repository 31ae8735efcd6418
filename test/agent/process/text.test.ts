import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BROKEN_UTF8, NON_ASCII } from "../../../agent/memory/columns.ts";
import { cutText, readText, textBytes, writeText } from "../../../agent/process/text.ts";
import { bytes } from "../memory/arbitrary.ts";
import { World } from "./world.ts";

const { memory } = new World();
const from = memory.encode;
const to = from + 4096;

/** BITS of a text, as the kernels find them. */
function bitsOf(text: Buffer): number {
  if (!text.some((byte) => byte > 127)) return 0;
  return Buffer.from(text.toString()).equals(text) ? NON_ASCII : NON_ASCII | BROKEN_UTF8;
}

test("a text that is read and written has the same bytes and flags", () => {
  fc.assert(
    fc.property(bytes(200), (text) => {
      memory.bytes.set(text, from);
      const read = readText(memory, from, from + text.length, bitsOf(text));
      assert.equal(textBytes(read), text.length);
      const flags = writeText(memory, to, read, text.length);
      assert.deepEqual(memory.buffer.subarray(to, to + text.length), text);
      assert.equal(flags, bitsOf(text));
    }),
    { numRuns: 3000 },
  );
});

test("what is valid in a broken text reads as always, each other byte as a surrogate of its own", () => {
  const text = Buffer.concat([Buffer.from("é😀"), Buffer.from([0xff, 0xe2, 0x82, 0x41, 0xed, 0xa0, 0x80])]);
  memory.bytes.set(text, from);
  assert.equal(
    readText(memory, from, from + text.length, NON_ASCII | BROKEN_UTF8),
    "é😀\udcff\udce2\udc82A\udced\udca0\udc80",
  );
});

test("a text is cut between characters", () => {
  assert.equal(cutText("aé😀\udcffb", 9), "aé😀\udcffb");
  assert.equal(cutText("aé😀\udcffb", 8), "aé😀\udcff");
  assert.equal(cutText("aé😀\udcffb", 7), "aé😀");
  assert.equal(cutText("aé😀\udcffb", 6), "aé");
  assert.equal(cutText("é", 1), "");
});
