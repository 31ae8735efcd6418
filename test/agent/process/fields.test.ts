import assert from "node:assert/strict";
import { test } from "node:test";
import { STREAM_NONE, STREAM_STDERR } from "../../../agent/memory/columns.ts";
import type { Step } from "../../../crds/config.ts";
import { parseTemplate } from "../../../crds/template.ts";
import { World, type Line } from "./world.ts";

const world = new World();

interface Change {
  add?: Record<string, string>;
  remove?: string[];
  rename?: Record<string, string>;
}

function stepOf({ add = {}, remove = [], rename = {} }: Change): Step {
  const templates = Object.entries(add).map(([name, template]) => [name, parseTemplate(template)] as const);
  return { kind: "fields", add: Object.fromEntries(templates), remove, rename };
}

/** The JSON that a change makes of a record's. */
function changed(
  change: Change,
  fields: string | undefined,
  line: Omit<Line, "text" | "fields"> = {},
): string | undefined {
  return world.run([stepOf(change)], [{ text: "x", fields, ...line }])[0]!.fields;
}

test("fields are removed, renamed and added, in that order", () => {
  const change: Change = { remove: ["b"], rename: { a: "b" }, add: { a: "{fields.b}!" } };
  assert.equal(changed(change, '{"a":"old","b":"gone"}'), '{"b":"old","a":"old!"}');
});

test("templates know the record", () => {
  const add = { all: "{namespace}/{pod}/{container}/{node}/{stream}/{level} {date}T{hour}" };
  const seconds = Date.UTC(2026, 10, 23, 9, 59, 59) / 1000;
  assert.equal(
    changed({ add }, undefined, { stream: STREAM_STDERR, level: "warn", seconds }),
    '{"all":"shop/checkout-1/app/n1/stderr/warn 2026-11-23T09"}',
  );
});

test("hours are told apart in one run, seconds beyond 2038 too", () => {
  const lines: Line[] = [3599, 3600, 3601, 0xffffffff].map((seconds) => ({ text: "x", seconds }));
  const outcomes = world.run([stepOf({ add: { h: "{date} {hour}" } })], lines);
  assert.deepEqual(
    outcomes.map(({ fields }) => fields),
    ["1970-01-01 00", "1970-01-01 01", "1970-01-01 01", "2106-02-07 06"].map((h) => `{"h":"${h}"}`),
  );
});

test("an absent value leaves the field out", () => {
  assert.equal(changed({ add: { a: "{fields.x}" } }, undefined), undefined);
  assert.equal(changed({ add: { a: "{fields.x}" } }, '{"a":1}'), '{"a":1}');
  assert.equal(changed({ add: { s: "{stream}" } }, undefined, { stream: STREAM_NONE }), undefined);
});

test("templates see the fields as they were before any was added", () => {
  assert.equal(changed({ add: { a: "{fields.b}", b: "{fields.a}" } }, '{"a":"1","b":"2"}'), '{"a":"2","b":"1"}');
});

test("fields may swap names", () => {
  assert.equal(changed({ rename: { a: "b", b: "a" } }, '{"a":1,"b":2}'), '{"b":1,"a":2}');
  assert.equal(changed({ rename: { x: "a" } }, '{"a":1}'), '{"a":1}');
});

test("names with dots reach into objects, unless a field has that name", () => {
  const cases: [Change, string | undefined, string | undefined][] = [
    [{ remove: ["http.status"] }, '{"http":{"status":1,"b":2}}', '{"http":{"b":2}}'],
    [{ remove: ["http.status"] }, '{"http.status":1,"http":{"status":2}}', '{"http":{"status":2}}'],
    [{ rename: { "http.status": "code" } }, '{"http":{"status":1}}', '{"http":{},"code":1}'],
    [{ rename: { code: "http.status" } }, '{"code":1}', '{"http":{"status":1}}'],
    [{ rename: { code: "a.b.c" } }, '{"a":{"x":1},"code":1}', '{"a":{"x":1,"b":{"c":1}}}'],
    [{ add: { "http.status": "1" } }, '{"http":{"status":0}}', '{"http":{"status":"1"}}'],
    [{ add: { "http.status": "1" } }, '{"http.status":0}', '{"http.status":"1"}'],
    [{ add: { "http.status": "1" } }, '{"http":"x"}', '{"http":"x","http.status":"1"}'],
    [{ add: { "a.b.c": "1" } }, '{"a":{"b":[]}}', '{"a":{"b":[],"b.c":"1"}}'],
    [{ add: { "a.b.c": "1" } }, undefined, '{"a":{"b":{"c":"1"}}}'],
  ];
  for (const [change, before, after] of cases) assert.equal(changed(change, before), after, JSON.stringify(change));
});

test("a record without fields left has none", () => {
  assert.equal(changed({ remove: ["a"] }, '{"a":1}'), undefined);
  assert.equal(changed({ remove: ["a"] }, undefined), undefined);
});

test("names that objects have by themselves are names like others", () => {
  assert.equal(changed({ remove: ["toString", "constructor.name"] }, '{"a":1}'), '{"a":1}');
  assert.equal(
    changed({ add: { __proto__x: "1" }, rename: { a: "__proto__" } }, '{"a":1}'),
    '{"__proto__":1,"__proto__x":"1"}',
  );
  assert.equal(changed({ rename: { a: "__proto__.b" } }, '{"a":1}'), '{"__proto__":{"b":1}}');
  assert.equal(changed({ rename: { __proto__: "p" } }, '{"__proto__":{"b":1}}'), '{"__proto__":{"b":1}}');
  assert.equal(changed({ remove: ["__proto__"] }, '{"__proto__":{"b":1},"c":2}'), '{"c":2}');
});

test("numbers keep their digits", () => {
  const fields = '{"id":12345678901234567890,"f":1.0,"e":1e5,"n":-0,"s":"1.0"}';
  assert.equal(
    changed({ add: { x: "{fields.id} {fields.f}" } }, fields),
    `${fields.slice(0, -1)},"x":"12345678901234567890 1.0"}`,
  );
});

test("a lone -0 keeps its sign", () => {
  assert.equal(changed({ add: { x: "1" } }, '{"n":-0}'), '{"n":-0,"x":"1"}');
});

test("fields that are no object stay as they are", () => {
  for (const odd of ["[1]", "7", "{", `{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}`]) {
    assert.equal(changed({ add: { x: "1" }, remove: ["a.b"] }, odd), odd);
  }
});

test("what would let the fields grow too much is left out", () => {
  const big = JSON.stringify({ big: "x".repeat(40_000) });
  const step = stepOf({ add: { a: "{fields.big}{fields.big}", b: "small" } });
  const [outcome] = world.run([step], [{ text: "", fields: big }]);
  assert.deepEqual(Object.keys(JSON.parse(outcome!.fields!) as object), ["big", "b"]);
});
