import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { dump } from "js-yaml";
import { readYaml } from "../../crds/yaml.ts";
import type { Node } from "../../crds/yaml.ts";

function plain(node: Node): unknown {
  if (node.kind === "scalar") return node.value;
  if (node.kind === "list") return node.items.map(plain);
  return Object.fromEntries([...node.entries].map(([key, { value }]) => [key, plain(value)]));
}
const read = (text: string): unknown[] => {
  const { documents, problems } = readYaml("f", text);
  assert.deepEqual(problems, []);
  return documents.map(plain);
};

test("whatever can be written as YAML is read back", () => {
  const key = fc.string().filter((text) => text !== "__proto__" && text !== "<<");
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.oneof(
        fc.string(),
        fc.string({ unit: "grapheme" }),
        fc.integer(),
        fc.double({ noNaN: true, noDefaultInfinity: true }),
        fc.boolean(),
        fc.constant(null),
      ),
      fc.array(tie("value"), { maxLength: 4 }),
      fc.dictionary(key, tie("value"), { maxKeys: 4, noNullPrototype: true }),
    ),
  }));
  fc.assert(
    fc.property(value, (data) => {
      if (data === null) return;
      // YAML has no -0.
      const sent = JSON.parse(
        JSON.stringify(data, (_, inner: unknown) => (Object.is(inner, -0) ? 0 : inner)),
      ) as unknown;
      assert.deepEqual(read(dump(sent)), [sent]);
    }),
    { numRuns: 300 },
  );
});

test("JSON is YAML", () => {
  assert.deepEqual(read('{"a": [1, "x\\u00e9\\n", true, null]}'), [{ a: [1, "xé\n", true, null] }]);
});

test("plain words have the types of the core schema, quoted ones are text", () => {
  assert.deepEqual(read("[yes, no, on, true, 'true', ~, 012, 0x1F, 0o17, 1e3, .5, +1, 1_000, 2026-11-23, '1', .inf]"), [
    ["yes", "no", "on", true, "true", null, 12, 31, 15, 1000, 0.5, 1, "1_000", "2026-11-23", "1", Infinity],
  ]);
  assert.deepEqual(read("a: !!str 12\nb: ! 13\n"), [{ a: "12", b: "13" }]);
});

test("aliases stand for what they name", () => {
  assert.deepEqual(read("a: &x {k: 1}\nb: [*x, *x]\n"), [{ a: { k: 1 }, b: [{ k: 1 }, { k: 1 }] }]);
});

test("an anchor ends with its document", () => {
  assert.match(readYaml("f", "a: &x 1\n---\nb: *x\n").problems[0]!.message, /refers to \*x/);
});

test("documents that hold nothing are skipped", () => {
  assert.deepEqual(read("---\n---\na: 1\n---\n# only a comment\n...\n---\nb: 2\n"), [{ a: 1 }, { b: 2 }]);
});

test("every key knows its line", () => {
  const text = [
    "# one",
    "a:",
    "  - x: 1",
    "    y:",
    "      z: |",
    "        text",
    "",
    "b: 'c",
    "  d'",
    "e: {f: 1,",
    "  g: 2}",
  ].join("\n");
  const found: Record<string, number> = {};
  const walk = (node: Node): void => {
    if (node.kind === "list") node.items.forEach(walk);
    if (node.kind !== "mapping") return;
    for (const [key, { line, value }] of node.entries) {
      found[key] = line;
      walk(value);
    }
  };
  readYaml("f", text).documents.forEach(walk);
  assert.deepEqual(found, { a: 2, x: 3, y: 4, z: 5, b: 8, e: 10, f: 10, g: 11 });
});

test("a byte order mark and Windows line ends change nothing", () => {
  const { documents } = readYaml("f", "\ufeffa: 1\r\nb:\r\n  c: x\r\n");
  assert.deepEqual(documents.map(plain), [{ a: 1, b: { c: "x" } }]);
  const [node] = documents;
  assert.equal(node?.kind === "mapping" && node.entries.get("b")?.line, 2);
});

test("too many aliases are complained about once, at the first", () => {
  const list = `a: &a [${"x, ".repeat(50_000)}x]\n`;
  const { problems } = readYaml("f", `${list}b: [*a, *a, *a, *a, *a]\nc: *a\n`);
  assert.deepEqual(
    problems.map(({ line, path }) => `${line}: ${path}`),
    ["2: b[0]"],
  );
});
