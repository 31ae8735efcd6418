import assert from "node:assert/strict";
import { test } from "node:test";
import { openChunk, type Chunk } from "../../../agent/memory/chunk.ts";
import { AT, BITS, FIELDS_START, LINES, RAW, START, STREAM_STDERR } from "../../../agent/memory/columns.ts";
import { wordOf, type Records } from "../../../agent/memory/records.ts";
import { compileProcess, type Process } from "../../../agent/process/process.ts";
import type { Step } from "../../../crds/config.ts";
import { parseTemplate } from "../../../crds/template.ts";
import { MiB, source, World, type Line } from "./world.ts";

const world = new World();

/** Makes records, runs the steps and hands both to `look`, then checks that nothing is left of them. */
function withRun(
  steps: readonly Step[],
  lines: readonly Line[],
  look: (result: Records, records: Records, process: Process) => void,
): void {
  const records = world.records(lines);
  const process = compileProcess(steps, world);
  const result = process.run(source, records)!;
  look(result, records, process);
  world.release(records);
  world.release(result);
  world.assertEmpty();
}

const DROP_DEBUG: Step = { kind: "drop", level: ["debug"] };
const REDACT: Step = { kind: "redact", presets: ["email"], patterns: [{ matches: "secret", replacement: "***" }] };
const ADD: Step = { kind: "fields", add: { level: parseTemplate("{level}") }, remove: [], rename: {} };

test("steps are named by their place and kind", () => {
  const { names } = compileProcess([DROP_DEBUG, { kind: "keep", level: ["info"] }, REDACT, ADD], world);
  assert.deepEqual(names, ["0:drop", "1:keep", "2:redact", "3:fields"]);
});

test("more steps than there are verdicts are refused", () => {
  assert.throws(
    () =>
      compileProcess(
        Array.from({ length: 33 }, () => REDACT),
        world,
      ),
    RangeError,
  );
});

test("levels are asked for only by steps that look at them", () => {
  const needs = (step: Step): boolean => compileProcess([step], world).needsLevel;
  assert.equal(needs(DROP_DEBUG), true);
  assert.equal(needs({ kind: "keep", text: { contains: "x" } }), false);
  assert.equal(needs(REDACT), false);
  assert.equal(needs(ADD), true);
  assert.equal(needs({ ...ADD, add: { pod: parseTemplate("{pod}") } }), false);
});

test("without steps the same rows come out, retained", () => {
  withRun([], [{ text: "a" }], (result, records) => {
    assert.deepEqual({ ...result, chunks: 0 }, { ...records, chunks: 0 });
    assert.equal(records.chunks[0]!.refs, 2);
  });
});

test("no rows are no trouble", () => {
  withRun([DROP_DEBUG, REDACT, ADD], [], (result) => assert.equal(result.count, 0));
});

test("a row that a step filtered is left alone by later ones and keeps its verdict", () => {
  const lines: Line[] = [{ text: "secret", level: "debug" }, { text: "secret" }, { text: "other" }];
  const steps: Step[] = [DROP_DEBUG, REDACT, { kind: "drop", text: { matches: "^s|^\\*" } }, ADD];
  assert.deepEqual(
    world.run(steps, lines).map(({ text, fields, verdict }) => [text.toString(), fields, verdict]),
    [
      ["secret", undefined, 1],
      ["***", undefined, 3],
      ["other", '{"level":"unknown"}', 0],
    ],
  );
});

test("verdicts that the records came with stay", () => {
  const steps: Step[] = [{ kind: "drop", text: { contains: "a" } }];
  assert.deepEqual(
    world.run(steps, [{ text: "a" }, { text: "a" }, { text: "b" }], [42, 0, 0]).map(({ verdict }) => verdict),
    [42, 1, 0],
  );
  assert.deepEqual(
    world.run([REDACT], [{ text: "secret" }, { text: "secret" }], [42, 0]).map(({ text }) => text.toString()),
    ["secret", "***"],
  );
});

test("columns are copied only when a text or fields change, verdicts made only when a row is filtered", () => {
  withRun([DROP_DEBUG, REDACT], [{ text: "a" }], (result, records) => {
    assert.deepEqual([result.block, result.verdicts], [records.block, 0]);
  });
  withRun([DROP_DEBUG], [{ text: "a", level: "debug" }], (result, records) => {
    assert.equal(result.block, records.block);
    assert.notEqual(result.verdicts, 0);
  });
  withRun([REDACT], [{ text: "secret" }], (result, records) => assert.notEqual(result.block, records.block));
});

test("lines, bytes and places of the source never change, nor what the records come with", () => {
  withRun([REDACT, ADD, DROP_DEBUG], [{ text: "a secret", level: "debug" }, { text: "secret" }], (result, records) => {
    for (const column of [RAW, AT, LINES]) {
      for (const row of [0, 1]) {
        assert.equal(wordOf(world.memory, result, column, row), wordOf(world.memory, records, column, row));
      }
    }
    assert.equal(result.base, records.base);
    assert.equal((result as { joined?: boolean }).joined, false);
  });
});

test("each chunk of the result is retained once", () => {
  withRun([REDACT, ADD], [{ text: "secret" }], (result, records) => {
    assert.equal(new Set(result.chunks).size, result.chunks.length);
    assert.ok(result.chunks.includes(records.chunks[0]!));
    assert.equal(records.chunks[0]!.refs, 2);
    // The other one is still open for more.
    assert.deepEqual(
      result.chunks.slice(1).map(({ refs }) => refs),
      [2],
    );
  });
});

test("records that lie in the chunk in which results are made hold it once", () => {
  const first = world.records([{ text: "secret one" }]);
  const process = compileProcess([REDACT], world);
  const second = process.run(source, first)!;
  const third = compileProcess([ADD], world).run(source, second)!;
  assert.deepEqual(third.chunks, second.chunks);
  for (const records of [first, second, third]) world.release(records);
  world.assertEmpty();
});

test("rows of one class share the fields that are added, rows of another do not", () => {
  const lines: Line[] = [{ text: "a" }, { text: "b", stream: STREAM_STDERR }, { text: "c" }];
  const add = { stream: parseTemplate("{stream}") };
  withRun([{ kind: "fields", add, remove: [], rename: {} }], lines, (result) => {
    const [first, second, third] = [0, 1, 2].map((row) => wordOf(world.memory, result, FIELDS_START, row));
    assert.equal(first, third);
    assert.notEqual(first, second);
  });
});

test("what steps did is counted, once", () => {
  const lines: Line[] = [
    { text: "bob@example.com secret secret", level: "debug" },
    { text: "bob@example.com secret secret" },
    { text: "nothing" },
  ];
  withRun([REDACT, DROP_DEBUG], lines, (_result, _records, process) => {
    assert.deepEqual(process.counts, [
      { filtered: 0, undecided: 0, redactions: 6, masked: 0, leftOut: 0, strings: 2 },
      { filtered: 1, undecided: 0, redactions: 0, masked: 0, leftOut: 0, strings: 0 },
    ]);
  });
});

test("without room a run gives everything back and is counted nowhere", () => {
  const lines: Line[] = Array.from({ length: 600 }, (_, i) => ({
    text: `secret ${i} ${"x".repeat(200)}`,
    level: "debug",
  }));
  const many: Step = { kind: "redact", presets: [], patterns: [{ matches: "x", replacement: "secret" }] };
  for (const steps of [[REDACT, many, ADD], [DROP_DEBUG], [ADD]] as Step[][]) {
    const small = new World(8 * MiB);
    const records = small.records(lines);
    const taken: Chunk[] = [];
    for (let bytes = small.memory.arena.largestBytes; bytes > 0; bytes = small.memory.arena.largestBytes) {
      taken.push(openChunk(small.memory, bytes)!);
    }
    // From no room at all to room for some of what the steps make.
    const process = compileProcess(steps, small);
    let failed = 0;
    for (let result: Records | undefined; !result; failed++) {
      small.pool.rest();
      const used = small.memory.arena.usedBytes;
      result = process.run(source, records);
      if (result) {
        small.release(result);
        break;
      }
      small.pool.rest();
      assert.equal(small.memory.arena.usedBytes, used);
      assert.ok(process.counts.every((counts) => Object.values(counts).every((count) => count === 0)));
      // One page more.
      const last = taken.pop()!;
      const bytes = last.end - last.address - 65_536;
      last.release();
      if (bytes > 0) taken.push(openChunk(small.memory, bytes)!);
    }
    assert.ok(failed > 0, "there was room at once");
    for (const chunk of taken) chunk.release();
    small.release(records);
    small.assertEmpty();
  }
});

test("a text that is written anew lies whole in one piece and says what it is made of", () => {
  withRun(
    [{ kind: "redact", presets: [], patterns: [{ matches: "é+", replacement: "e" }] }],
    [{ text: "éé" }, { text: "é日" }],
    (result) => {
      assert.deepEqual(
        world.outcomes(result).map(({ text }) => text.toString()),
        ["e", "e日"],
      );
      assert.deepEqual(
        [0, 1].map((row) => (wordOf(world.memory, result, BITS, row) >> 8) & 3),
        [0, 1],
      );
      assert.notEqual(wordOf(world.memory, result, START, 0), wordOf(world.memory, result, START, 1));
    },
  );
});
