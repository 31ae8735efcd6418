import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { uncompress } from "snappyjs";
import { snappyBound } from "../../../../agent/memory/kernels.ts";
import { createMemory } from "../../../../agent/memory/memory.ts";
import { bytes } from "../arbitrary.ts";

const MiB = 1024 * 1024;
const sides = (["wasm", "reference"] as const).map((kernels) =>
  createMemory({ memoryLimit: 16 * MiB, encodeBytes: 1 * MiB, kernels }),
);

/** Compresses on both sides, checks what comes back and that nothing is written over the bound; returns the lengths. */
function compress(input: Uint8Array, shift = 0): number[] {
  return sides.map(({ kernels, buffer, constantsEnd, snappyTable }) => {
    const from = constantsEnd + shift;
    const out = from + input.length + 64;
    const bound = snappyBound(input.length);
    buffer.set(input, from);
    buffer.fill(0xee, from + input.length, out + bound + 64);
    const length = kernels.snappy(from, from + input.length, out, snappyTable);
    assert.ok(length <= bound, `${length} bytes for ${input.length}`);
    assert.ok(buffer.subarray(out + bound, out + bound + 64).every((byte) => byte === 0xee));
    assert.deepEqual(Buffer.from(uncompress(buffer.subarray(out, out + length))), Buffer.from(input));
    return length;
  });
}

/** The same numbers each time: bytes that nothing can compress. */
function noise(length: number, seed = 88_172_645): Buffer {
  let state = seed;
  return Buffer.from(
    Uint8Array.from({ length }, () => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return state & 0xff;
    }),
  );
}

test("text of repetitions becomes much shorter", () => {
  const line = Buffer.from(
    '2026-11-23T10:00:00Z {"level":"info","msg":"the quick brown fox jumps over the lazy dog"}\n',
  );
  for (const length of compress(Buffer.concat(Array(3000).fill(line) as Buffer[]))) assert.ok(length < 20_000);
  for (const length of compress(Buffer.alloc(300_000))) assert.ok(length < 16_000);
});

test("a source file comes back", () => {
  compress(readFileSync(new URL("../../../../agent/memory/kernels/level.ts", import.meta.url)));
});

test("what cannot be compressed grows by a few bytes only", () => {
  for (const length of [0, 1, 14, 15, 16, 17, 60, 61, 256, 257, 65_535, 65_536, 65_537, 400_000]) {
    for (const out of compress(noise(length))) assert.ok(out <= length + 5 + Math.ceil(length / 65_536) * 3);
  }
});

test("matches of every length at every kind of distance come back", () => {
  for (const distance of [1, 2, 3, 4, 7, 8, 15, 16, 17, 100, 2047, 2048, 2049, 60_000, 65_535, 65_536, 70_000]) {
    for (const length of [3, 4, 5, 11, 12, 13, 59, 60, 63, 64, 65, 66, 67, 68, 69, 127, 128, 129, 200]) {
      // Far ones have one byte many times in between, so that no place in what is repeated is skipped.
      const head = distance < 300 ? noise(distance) : Buffer.concat([noise(200), Buffer.alloc(distance - 200)]);
      const repeated = Buffer.concat(Array(Math.ceil(length / distance)).fill(head) as Buffer[]).subarray(0, length);
      compress(Buffer.concat([Buffer.from("0"), head, repeated, noise(30, 7)]));
    }
  }
});

test("any input comes back", () => {
  const piece = fc.oneof(
    bytes(200),
    fc.uint8Array({ maxLength: 100 }).map((array) => Buffer.from(array)),
    fc.tuple(bytes(20), fc.nat(200)).map(([unit, times]) => Buffer.concat(Array(times).fill(unit) as Buffer[])),
  );
  const input = fc.array(piece, { maxLength: 40 }).map((pieces) => Buffer.concat([...pieces, ...pieces.slice(0, 9)]));
  fc.assert(
    fc.property(input, fc.nat(15), (plain, shift) => {
      compress(plain, shift);
    }),
    { numRuns: 400 },
  );
});
