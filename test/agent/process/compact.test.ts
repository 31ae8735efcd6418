import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { openChunk } from "../../../agent/memory/chunk.ts";
import { END, FIELDS_END, FIELDS_START, START } from "../../../agent/memory/columns.ts";
import { wordOf } from "../../../agent/memory/records.ts";
import { compact } from "../../../agent/process/compact.ts";
import { compileProcess } from "../../../agent/process/process.ts";
import { source, World, type Line } from "./world.ts";

const world = new World();

function lines(count: number, bytes: number): Line[] {
  return Array.from({ length: count }, (_, i) => ({ text: `${i} `.padEnd(bytes, "x") }));
}

test("where under half is kept, it moves and the chunk is free again", () => {
  const records = world.records(
    lines(100, 200),
    Array.from({ length: 100 }, (_, i) => (i % 10 ? 1 : 0)),
  );
  const before = world.outcomes(records);
  const result = compact(world, records);
  assert.equal(records.chunks[0]!.refs, 1);
  assert.ok(result.chunks.every((chunk) => !records.chunks.includes(chunk)));
  const after = world.outcomes(result);
  for (const [row, outcome] of after.entries()) {
    assert.equal(outcome.verdict, before[row]!.verdict);
    assert.deepEqual(outcome.text, outcome.verdict ? Buffer.alloc(0) : before[row]!.text);
  }
  world.release(records);
  world.release(result);
  world.assertEmpty();
});

test("where half or more is kept, the input comes back retained", () => {
  const records = world.records(
    lines(100, 200),
    Array.from({ length: 100 }, (_, i) => (i % 4 ? 0 : 1)),
  );
  const result = compact(world, records);
  assert.deepEqual({ ...result, chunks: 0 }, { ...records, chunks: 0 });
  assert.equal(records.chunks[0]!.refs, 2);
  world.release(records);
  world.release(result);
  world.assertEmpty();
});

test("the caller may know better what the rows pin", () => {
  const records = world.records(lines(100, 200));
  for (const [pinned, refs] of [
    [1_000_000, 1],
    [1000, 2],
  ] as const) {
    const result = compact(world, records, pinned);
    assert.equal(records.chunks[0]!.refs, refs);
    world.release(result);
  }
  world.release(records);
  world.assertEmpty();
});

test("without a kept row no text is left, only columns and verdicts", () => {
  const records = world.records(
    lines(50, 1000),
    Array.from({ length: 50 }, () => 3),
  );
  const result = compact(world, records);
  assert.deepEqual(
    world.outcomes(result).map(({ text }) => text.length),
    Array.from({ length: 50 }, () => 0),
  );
  assert.deepEqual(
    world.outcomes(result).map(({ verdict }) => verdict),
    Array.from({ length: 50 }, () => 3),
  );
  assert.equal(records.chunks[0]!.refs, 1);
  world.release(records);
  world.release(result);
  world.assertEmpty();
});

test("kept rows, their fields and all other columns are the same afterwards", () => {
  const line = fc.record({
    text: fc.string({ maxLength: 300 }),
    fields: fc.constantFrom(undefined, '{"a":1}', '{"b":"é"}'),
    verdict: fc.constantFrom(0, 0, 1, 7),
  });
  fc.assert(
    fc.property(
      fc.array(line, { minLength: 1, maxLength: 20 }),
      fc.constantFrom(undefined, 0, 1e9),
      (given, pinned) => {
        const records = world.records(
          given,
          given.map(({ verdict }) => verdict),
        );
        const image = world.image(records);
        const result = compact(world, records, pinned);
        const after = world.image(result);
        const moving = [START, END, FIELDS_START, FIELDS_END];
        for (const [column, words] of image.words.entries()) {
          if (!moving.includes(column)) assert.deepEqual(after.words[column], words);
        }
        for (const [row, outcome] of image.outcomes.entries()) {
          if (outcome.verdict === 0) assert.deepEqual(after.outcomes[row], outcome);
          assert.equal(after.outcomes[row]!.verdict, outcome.verdict);
        }
        assert.deepEqual(world.image(records), image);
        world.release(records);
        world.release(result);
        world.assertEmpty();
      },
    ),
    { numRuns: 300 },
  );
});

test("a chunk in which nothing kept lies is left out, though nothing moves", () => {
  const text = "secret ".repeat(40);
  const records = world.records([{ text }, { text, level: "debug" }, { text }]);
  const steps = [
    { kind: "drop" as const, level: ["debug" as const] },
    { kind: "redact" as const, presets: [], patterns: [{ matches: "secret", replacement: "redacted" }] },
  ];
  const redacted = compileProcess(steps, world).run(source, records)!;
  const result = compact(world, redacted, 0);
  assert.ok(!result.chunks.includes(records.chunks[0]!));
  world.release(redacted);
  world.release(records);
  const [first, , third] = world.outcomes(result);
  assert.equal(first!.text.toString(), text.replaceAll("secret", "redacted"));
  assert.deepEqual(first!.text, third!.text);
  world.release(result);
  world.assertEmpty();
});

test("a chunk that only fields lie in stays", () => {
  const records = world.records([{ text: "", fields: '{"a":1}' }]);
  const other = world.records([{ text: "" }]);
  const both = { ...other, chunks: [...other.chunks, ...records.chunks] };
  for (const column of [FIELDS_START, FIELDS_END]) {
    world.memory.words[(other.block >> 2) + column * other.cap] = wordOf(world.memory, records, column, 0);
  }
  const result = compact(world, both, 0);
  assert.deepEqual(new Set(result.chunks), new Set(both.chunks));
  for (const taken of [result, other, records]) world.release(taken);
  world.assertEmpty();
});

test("a chunk that only verdicts lie in stays", () => {
  const records = world.records(lines(2, 10));
  const other = world.records([], [1, 0]);
  const both = { ...records, verdicts: other.verdicts, chunks: [...other.chunks, ...records.chunks] };
  const result = compact(world, both, 0);
  assert.deepEqual(new Set(result.chunks), new Set(both.chunks));
  for (const taken of [result, other, records]) world.release(taken);
  world.assertEmpty();
});

test("without room to move the input is good enough", () => {
  const small = new World();
  const records = small.records(
    lines(100, 200),
    Array.from({ length: 100 }, () => 1),
  );
  const taken = [];
  for (let bytes; (bytes = small.memory.arena.largestBytes) > 0;) taken.push(openChunk(small.memory, bytes)!);
  const result = compact(small, records);
  assert.deepEqual(result.chunks, records.chunks);
  for (const chunk of taken) chunk.release();
  small.release(records);
  small.release(result);
  small.assertEmpty();
});
