import assert from "node:assert/strict";
import { test } from "node:test";
import { PAGE_BYTES } from "../../../agent/memory/arena.ts";
import { openChunk } from "../../../agent/memory/chunk.ts";
import { createMemory } from "../../../agent/memory/memory.ts";

const MiB = 1024 * 1024;
const memory = createMemory({ memoryLimit: 8 * MiB, encodeBytes: MiB });

test("a chunk fills up from its beginning, aligned, to the last byte of its pages", () => {
  const chunk = openChunk(memory, 100_000)!;
  assert.equal(chunk.end - chunk.address, 2 * PAGE_BYTES);
  assert.equal(chunk.take(3), chunk.address);
  assert.equal(chunk.take(8), chunk.address + 4);
  assert.equal(chunk.take(1, 1), chunk.address + 12);
  assert.equal(chunk.take(16, 16), chunk.address + 16);
  assert.equal(chunk.used, chunk.address + 32);
  assert.equal(chunk.take(2 * PAGE_BYTES), 0);
  assert.equal(chunk.used, chunk.address + 32, "a refusal takes nothing");
  assert.equal(chunk.take(2 * PAGE_BYTES - 32), chunk.address + 32);
  assert.equal(chunk.take(1), 0);
  chunk.release();
});

test("its room goes back with the last release, and its use after that is a bug", () => {
  const before = memory.arena.usedBytes;
  const chunk = openChunk(memory, PAGE_BYTES)!;
  assert.equal(chunk.retain(), chunk);
  assert.equal(chunk.refs, 2);
  chunk.release();
  assert.equal(memory.arena.usedBytes, before + PAGE_BYTES);
  chunk.release();
  assert.equal(memory.arena.usedBytes, before);
  assert.throws(() => chunk.release(), /BUG/);
  assert.throws(() => chunk.retain(), /BUG/);
});

test("without room there is no chunk", () => {
  const all = openChunk(memory, memory.arena.freeBytes)!;
  assert.equal(openChunk(memory, 1), undefined);
  all.release();
  const again = openChunk(memory, 1)!;
  assert.equal(again.address, all.address);
  again.release();
});
