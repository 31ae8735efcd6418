import assert from "node:assert/strict";
import { test } from "node:test";
import type { Step } from "../../../crds/config.ts";
import { compileProcess } from "../../../agent/process/process.ts";
import { source, World, type Line } from "./world.ts";

const world = new World();
const HEAD_BYTES = 65_536;

type Conditions = Omit<Extract<Step, { kind: "keep" | "drop" }>, "kind">;

/** Which lines meet the conditions: drop filters those, keep the others. */
function met(conditions: Conditions, lines: readonly Line[]): boolean[] {
  const dropped = world.run([{ kind: "drop", ...conditions }], lines).map(({ verdict }) => verdict === 1);
  const kept = world.run([{ kind: "keep", ...conditions }], lines).map(({ verdict }) => verdict === 0);
  assert.deepEqual(kept, dropped);
  return dropped;
}

function metByText(text: NonNullable<Conditions["text"]>, texts: readonly (string | Uint8Array)[]): boolean[] {
  return met(
    { text },
    texts.map((given) => ({ text: given })),
  );
}

test("a level is one of those named; unknown is a level of its own", () => {
  const lines: Line[] = [
    { text: "", level: "info" },
    { text: "", level: "unknown" },
    { text: "", level: "fatal" },
  ];
  assert.deepEqual(met({ level: ["info", "fatal"] }, lines), [true, false, true]);
  assert.deepEqual(met({ level: ["unknown"] }, lines), [false, true, false]);
});

test("contains is a search for bytes", () => {
  assert.deepEqual(metByText({ contains: "né" }, ["né", "ne", "xnéx", "n\u00e9".normalize("NFD"), "n"]), [
    ...[true, false, true, false, false],
  ]);
  assert.deepEqual(metByText({ contains: "a.b" }, ["a.b", "axb"]), [true, false]);
});

test("matches is a search in RE2 syntax", () => {
  assert.deepEqual(metByText({ matches: "^GET /health" }, ["GET /healthz", " GET /healthz", "get /health"]), [
    ...[true, false, false],
  ]);
  assert.deepEqual(metByText({ matches: "(?i)^get" }, ["GET /", "to get"]), [true, false]);
  assert.deepEqual(metByText({ matches: "error|warn|fatal" }, ["a warn", "fatale", "info"]), [true, true, false]);
  assert.deepEqual(metByText({ matches: "^.$" }, ["é", "😀", "\r", "ab", ""]), [true, true, true, false, false]);
  assert.deepEqual(metByText({ matches: "\\pL{2}$" }, ["x日本", "x1"]), [true, false]);
});

test("only the head of a text is looked at", () => {
  const far = (end: string): string => "x".repeat(HEAD_BYTES - 3) + end;
  for (const text of [{ contains: "abc" }, { matches: "abc" }, { matches: "[a]bc" }]) {
    assert.deepEqual(metByText(text, [far("abc"), far(".abc")]), [true, false], JSON.stringify(text));
  }
});

test("a head ends between characters", () => {
  // The é begins one byte before the end of the head.
  const text = `${"x".repeat(HEAD_BYTES - 1)}é`;
  assert.deepEqual(metByText({ matches: "x$" }, [text]), [true]);
  assert.deepEqual(metByText({ matches: "[^x]" }, [text]), [false]);
});

test("bytes that are no UTF-8 read as U+FFFD", () => {
  assert.deepEqual(metByText({ matches: "^a\\x{fffd}b$" }, [Buffer.from("a\xffb", "latin1"), "a\ufffdb", "ab"]), [
    ...[true, true, false],
  ]);
});

test("all conditions must hold", () => {
  const lines: Line[] = [
    { text: "slow query", level: "warn", fields: '{"ms":900}' },
    { text: "slow query", level: "warn", fields: '{"ms":9}' },
    { text: "slow query", level: "info", fields: '{"ms":900}' },
    { text: "query", level: "warn", fields: '{"ms":900}' },
    { text: "slow query", level: "warn" },
  ];
  const conditions: Conditions = {
    level: ["warn"],
    text: { contains: "slow" },
    field: { name: "ms", matches: "^\\d{3,}$" },
  };
  assert.deepEqual(met(conditions, lines), [true, false, false, false, false]);
});

test("a field is compared as text, nested ones by their path, absent ones never meet", () => {
  const equal = (name: string, equals: string, fields: string): boolean =>
    met({ field: { name, equals } }, [{ text: "", fields }])[0]!;
  assert.equal(equal("a", "x", '{"a":"x"}'), true);
  assert.equal(equal("a", "", '{"a":""}'), true);
  assert.equal(equal("a", "", '{"b":1}'), false);
  assert.equal(equal("a", "", '{"a":null}'), false);
  assert.equal(equal("a", "true", '{"a":true}'), true);
  assert.equal(equal("a", "9007199254740993", '{"a":9007199254740993}'), true);
  assert.equal(equal("a", "1.50", '{"a":1.50}'), true);
  assert.equal(equal("http.status", "500", '{"http":{"status":500}}'), true);
  assert.equal(equal("http.status", "500", '{"http.status":500}'), true);
  assert.equal(equal("http.status", "500", '{"http":500}'), false);
  assert.equal(equal("http", '{"status":[1]}', '{"http":{"status":[1]}}'), true);
  assert.equal(equal("toString", "x", "{}"), false);
  assert.equal(equal("__proto__", "x", '{"__proto__":"x"}'), true);
});

test("a pattern that takes too long filters nothing more in this run", () => {
  const slow = new World();
  // Every look is 400 ms later than the one before: the third one after the start is too late.
  slow.tickMs = 400;
  const lines: Line[] = Array.from({ length: 6 }, () => ({
    text: "x".repeat(5000),
    fields: `{"a":"${"x".repeat(5000)}"}`,
  }));
  const texts = { drop: { matches: "^[x]" }, keep: { matches: "[^x]" } };
  for (const kind of ["drop", "keep"] as const) {
    for (const conditions of [{ text: texts[kind] }, { field: { name: "a", ...texts[kind] } }]) {
      const different = lines.map((line, i) => ({ ...line, fields: line.fields!.replace("}", `,"i":${i}}`) }));
      const verdicts = slow.run([{ kind, ...conditions }], different).map(({ verdict }) => verdict);
      assert.deepEqual(verdicts, [1, 1, 0, 0, 0, 0], `${kind} ${JSON.stringify(conditions)}`);
    }
  }
});

test("what a slow pattern did not look at is counted", () => {
  const slow = new World();
  slow.tickMs = 400;
  const records = slow.records(Array.from({ length: 6 }, () => ({ text: "x".repeat(5000) })));
  const process = compileProcess([{ kind: "drop", text: { matches: "[x]" } }], slow);
  slow.release(process.run(source, records)!);
  assert.deepEqual([process.counts[0]!.filtered, process.counts[0]!.undecided], [2, 4]);
  slow.release(records);
  slow.assertEmpty();
});
