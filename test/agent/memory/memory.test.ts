import assert from "node:assert/strict";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { test } from "node:test";
import { PAGE_BYTES } from "../../../agent/memory/arena.ts";
import { CLASSES, ROW_BYTES, VERDICTS } from "../../../agent/memory/columns.ts";
import { OVERREAD_BYTES, RESULT, TALLY } from "../../../agent/memory/kernels.ts";
import * as memoryModule from "../../../agent/memory/memory.ts";

const { createMemory, ROWS_MAX } = memoryModule;
const MiB = 1024 * 1024;

test("the areas of a memory lie apart, and its views show the same bytes", () => {
  for (const encodeBytes of [MiB, 100_001, 5 * MiB]) {
    const memory = createMemory({ memoryLimit: 16 * MiB, encodeBytes });
    assert.equal(memory.bytes.length, 16 * MiB);
    const areas = [
      [RESULT, RESULT + 64],
      [TALLY, TALLY + VERDICTS * 16],
      [memory.constants, memory.constantsEnd],
      [memory.encode, memory.encodeEnd],
      [memory.rows, memory.rows + memory.rowsMax * ROW_BYTES],
      [memory.snappyTable, memory.snappyTable + 32 * 1024],
    ] as [number, number][];
    const arena = memory.arena.allocate(memory.arena.freeBytes);
    areas.push([arena, arena + memory.arena.usedBytes]);
    areas.sort(([a], [b]) => a - b);
    areas.forEach(([from, to], index) => assert.ok(from < to && to <= (areas[index + 1]?.[0] ?? memory.bytes.length)));
    assert.ok(arena + memory.arena.usedBytes + OVERREAD_BYTES <= memory.bytes.length);
    assert.ok(memory.encodeEnd + OVERREAD_BYTES <= memory.bytes.length);
    assert.equal(memory.encodeEnd - memory.encode, encodeBytes);
    assert.equal(memory.constantsEnd - memory.constants, 256 * 1024);
    assert.ok(memory.constantsEnd - memory.constants >= CLASSES * 8);
    assert.equal(memory.rowsMax, ROWS_MAX);
    memory.words[memory.rows >> 2] = 0x01020304;
    assert.deepEqual([...memory.bytes.subarray(memory.rows, memory.rows + 4)], [4, 3, 2, 1]);
    assert.equal(memory.buffer.readInt32LE(memory.rows), 0x01020304);
    memory.floats[TALLY >> 3] = 1;
    assert.equal(memory.buffer.readDoubleLE(TALLY), 1);
  }
});

test("memoryLimit is rounded up to pages, and one that leaves no room for chunks is refused", () => {
  const least = ((): number => {
    try {
      createMemory({ memoryLimit: 1, encodeBytes: MiB });
      return 0;
    } catch (error) {
      assert.ok(error instanceof RangeError);
      return Number(/at least (\d+) bytes/.exec(error.message)?.[1]);
    }
  })();
  const memory = createMemory({ memoryLimit: least, encodeBytes: MiB });
  assert.ok(memory.arena.freeBytes >= 4 * MiB && memory.arena.freeBytes < 4 * MiB + 2 * PAGE_BYTES);
  assert.equal(memory.bytes.length % PAGE_BYTES, 0);
  assert.throws(() => createMemory({ memoryLimit: least - PAGE_BYTES, encodeBytes: MiB }), RangeError);
});

test("two memories do not see each other, with either kind of kernels", () => {
  for (const kernels of ["wasm", "reference"] as const) {
    const [a, b] = [
      createMemory({ memoryLimit: 8 * MiB, encodeBytes: MiB, kernels }),
      createMemory({ memoryLimit: 8 * MiB, encodeBytes: MiB, kernels }),
    ];
    a.buffer.write("one\ntwo", a.constants);
    assert.equal(a.kernels.lineLength(a.constants, a.constants + 7), 4);
    assert.equal(b.kernels.lineLength(b.constants, b.constants + 7), 0);
  }
});

test("kernels are found beside the module, as in a bundle; without them the error says what to do", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tailrace-kernels-"));
  try {
    cpSync(fileURLToPath(new URL("../../../agent/memory", import.meta.url)), folder, { recursive: true });
    const copy = pathToFileURL(join(folder, "memory.ts")).href;
    const { createMemory: create } = (await import(copy)) as typeof memoryModule;
    assert.throws(() => create({ memoryLimit: 8 * MiB, encodeBytes: MiB }), /npm run build:kernels/);
    cpSync(fileURLToPath(new URL("../../../dist/kernels.wasm", import.meta.url)), join(folder, "kernels.wasm"));
    create({ memoryLimit: 8 * MiB, encodeBytes: MiB });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
