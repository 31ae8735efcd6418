import assert from "node:assert/strict";
import { test } from "node:test";
import { parseTemplate } from "../../../crds/template.ts";
import { Keys, type KeySet } from "../../../agent/dispatcher/keys.ts";
import { Pool } from "../../../agent/memory/pool.ts";
import type { Memory } from "../../../agent/memory/memory.ts";
import type { Records } from "../../../agent/memory/records.ts";
import { lay, testMemory, testSource, type Row } from "./rows.ts";

const HOUR = 3_600;

interface World {
  memory: Memory;
  pool: Pool;
  keys: Keys;
  rows(rows: Row[]): Records;
  of(name: string, rows: Row[]): KeySet;
}

function world(...templates: string[]): World {
  const memory = testMemory();
  const pool = new Pool(memory);
  const keys = new Keys(memory, pool, templates.length > 0 ? templates.map(parseTemplate) : undefined);
  const rows = (given: Row[]): Records => lay(memory, 0, given)!;
  const of = (name: string, given: Row[]): KeySet => {
    const records = rows(given);
    const set = keys.of(testSource(name), records, 0, given.length)!;
    for (const chunk of records.chunks) chunk.release();
    return set;
  };
  return { memory, pool, keys, rows, of };
}

const values = ({ entries }: KeySet): string[] => entries.map(({ key }) => key.values.join(" ")).sort();

/** By row, the values of its key. */
function byRow({ memory }: World, set: KeySet, rows: number): (string | undefined)[] {
  return Array.from({ length: rows }, (_, row) => {
    const id = memory.words[(set.column >> 2) + row];
    return set.entries.find(({ key }) => key.id === id)?.key.values.join(" ");
  });
}

test("without templates each container has one key, for all of its rows", () => {
  const { of } = world();
  const first = of("web", [
    { text: "a", stream: "stdout" },
    { text: "b", stream: "stderr" },
  ]);
  assert.deepEqual(
    first.entries.map(({ mask }) => mask),
    [-1],
  );
  assert.equal(of("web", [{ text: "c" }]).entries[0]!.key, first.entries[0]!.key);
  assert.notEqual(of("db", [{ text: "d" }]).entries[0]!.key, first.entries[0]!.key);
});

test("templates that two containers fill alike give them one key", () => {
  const { of } = world("{namespace}");
  assert.equal(of("web", [{ text: "a" }]).entries[0]!.key, of("db", [{ text: "b" }]).entries[0]!.key);
});

test("keys that vary with stream and level select rows by class, those of kept rows only", () => {
  const { of } = world("{pod}", "{stream}", "{level}");
  const set = of("web", [
    { text: "a", stream: "stdout", level: "info" },
    { text: "b", stream: "stderr", level: "error" },
    { text: "c", stream: "stderr", level: "debug", verdict: 1 },
  ]);
  assert.deepEqual(values(set), ["web stderr error", "web stdout info"]);
  const masks = set.entries.map(({ mask }) => mask);
  assert.ok(
    masks.every((mask) => mask !== 0 && (mask & (mask - 1)) === 0),
    "one class each",
  );
});

test("classes that are rendered alike share one key, and its uses come back to 0", () => {
  const w = world("{level}");
  const set = w.of("web", [
    { text: "a", stream: "stdout", level: "info" },
    { text: "b", stream: "stderr", level: "info" },
  ]);
  assert.equal(set.entries.length, 1);
  assert.equal(set.entries[0]!.key.uses, 1);
  w.keys.drop(set);
  assert.equal(set.entries[0]!.key.uses, 0);
});

test("keys that vary with the time number each row", () => {
  const w = world("{pod}-{hour}");
  const rows = [0, 1, HOUR - 1, HOUR, 2 * HOUR].map((seconds) => ({ text: "x", seconds }));
  const set = w.of("web", rows);
  assert.deepEqual(byRow(w, set, 5), ["web-00", "web-00", "web-00", "web-01", "web-02"]);
  assert.deepEqual(
    set.entries.map(({ key }) => key.uses),
    [1, 1, 1],
  );
  w.keys.drop(set);
  assert.deepEqual(
    set.entries.map(({ key }) => key.uses),
    [0, 0, 0],
  );
});

test("keys that vary with fields number each row; a row without the field has an empty value", () => {
  const w = world("{fields.user}");
  const set = w.of("web", [
    { text: "a", fields: { user: "ann" } },
    { text: "b" },
    { text: "c", fields: { user: "ann" } },
  ]);
  assert.deepEqual(byRow(w, set, 3), ["ann", "", "ann"]);
});

test("without room for the numbers there are no keys, and nothing is held", () => {
  const w = world("{hour}");
  const records = w.rows([{ text: "a" }]);
  while (w.memory.arena.allocate(65_536));
  const used = w.memory.arena.usedBytes;
  assert.equal(w.keys.of(testSource("web"), records, 0, 1), undefined);
  assert.equal(w.memory.arena.usedBytes, used);
});

test("the column's memory is given back with the keys", () => {
  const w = world("{hour}");
  const set = w.of("web", [{ text: "a" }]);
  const { chunk } = set;
  const refs = chunk!.refs;
  w.keys.drop(set);
  assert.equal(chunk!.refs, refs - 1);
});

test("only keys that no record needs are let go of, and what a sink prepared goes with them", () => {
  const w = world("{fields.user}");
  const held = w.of("web", [{ text: "held", fields: { user: "held" } }]);
  held.entries[0]!.key.prepared = "held";
  const flying = w.of("web", [{ text: "f", fields: { user: "flying" } }]);
  flying.entries[0]!.key.inFlight = true;
  w.keys.drop(flying);
  for (let i = 0; i < 25; i++) {
    const users = Array.from({ length: 1_000 }, (_, j) => ({ text: "", fields: { user: `${i}-${j}` } }));
    w.keys.drop(w.of("web", users));
  }
  assert.equal(w.keys.size, 10_000);
  const again = w.of("web", [
    { text: "held", fields: { user: "held" } },
    { text: "", fields: { user: "flying" } },
    { text: "", fields: { user: "0-0" } },
  ]);
  const [first, second, third] = again.entries;
  assert.equal(first!.key, held.entries[0]!.key);
  assert.equal(first!.key.prepared, "held");
  assert.equal(second!.key, flying.entries[0]!.key, "a request carries it");
  assert.equal(third!.key.prepared, undefined);
});

test("more keys in one reading than are kept: rows with the same values still have the same key", () => {
  const w = world("{fields.user}");
  const users = [...Array.from({ length: 10_500 }, (_, i) => i), 0, 1, 10_499].map((user) => ({
    text: "",
    fields: { user },
  }));
  const set = w.of("web", users);
  const names = set.entries.map(({ key }) => key.values[0]);
  assert.equal(new Set(names).size, names.length, "a key is there once");
  assert.deepEqual(byRow(w, set, users.length).slice(-3), ["0", "1", "10499"]);
  w.keys.drop(set);
  assert.equal(w.keys.size, 10_000, "and afterwards no more than may be kept");
});

test("a remembered combination does not bring back a key that was let go of", () => {
  const w = world("{pod}", "{stream}");
  const old = w.of("web", [{ text: "a", stream: "stdout" }]);
  w.keys.drop(old);
  for (let i = 0; i < 10_001; i++) w.keys.drop(w.of(`pod-${i}`, [{ text: "b" }]));
  assert.equal(old.entries[0]!.key.gone, true);
  const again = w.of("web", [{ text: "c", stream: "stdout" }]);
  assert.notEqual(again.entries[0]!.key, old.entries[0]!.key);
  assert.equal(w.of("web", [{ text: "d", stream: "stdout" }]).entries[0]!.key, again.entries[0]!.key);
});

test("letting go of many keys takes no time to speak of", { timeout: 60_000 }, () => {
  const w = world("{fields.user}");
  const started = performance.now();
  for (let i = 0; i < 60; i++) {
    const users = Array.from({ length: 2_000 }, (_, j) => ({ text: "", fields: { user: `${i}-${j}` } }));
    const records = w.rows(users);
    w.keys.drop(w.keys.of(testSource("web"), records, 0, users.length)!);
    records.chunks[0]!.release();
  }
  assert.ok(performance.now() - started < 15_000, "120,000 keys came and went");
});
