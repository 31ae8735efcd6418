/** The steps against a model that works on one line at a time, with objects and strings. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { RE2JS } from "re2js";
import { LEVELS, STREAM_STDERR, STREAM_STDOUT } from "../../../agent/memory/columns.ts";
import type { Step } from "../../../crds/config.ts";
import { parseTemplate, renderTemplate } from "../../../crds/template.ts";
import { source, World, type Line, type Outcome } from "./world.ts";

const world = new World();

const SPACED = [
  "",
  " ",
  "bob@example.com",
  "4111 1111 1111 1111",
  "token=abc",
  "error",
  "GET /healthz",
  "né",
  "日本",
  "😀",
];
const word = fc.oneof(
  fc.constantFrom(...SPACED, "x", "took 12ms", "\r", "\t"),
  fc.uint8Array({ minLength: 1, maxLength: 3 }).map((bytes) => bytes.map((byte) => (byte < 128 ? 0x2e : byte))),
);
const line: fc.Arbitrary<Line> = fc.record({
  text: fc
    .array(word, { maxLength: 6 })
    .map((words) => Buffer.concat(words.flatMap((part) => [Buffer.from(part as Uint8Array), Buffer.from(" ")]))),
  stream: fc.constantFrom(STREAM_STDOUT, STREAM_STDERR),
  level: fc.constantFrom(...LEVELS),
  seconds: fc.constantFrom(0, 3599, 3600, 0xffffffff),
  fields: fc.oneof(
    { weight: 3, arbitrary: fc.constant(undefined) },
    fc.constantFrom('{"a":"x"}', '{"a":"bob@example.com","n":{"b":["token=abc",1.50]}}', '{"n":{"b":7},"token":"é"}'),
  ),
});

const PATTERNS = ["error", "token=\\w+", "\\d+ms", "(?i)GET", "é|日", "[^ -~]+", "o{2}"];
const condition = fc
  .record(
    {
      level: fc.uniqueArray(fc.constantFrom(...LEVELS), { minLength: 1 }),
      text: fc.oneof(
        fc.constantFrom("error", "né", "x", "@", "GET /healthz ").map((contains) => ({ contains })),
        fc.constantFrom(...PATTERNS).map((matches) => ({ matches })),
      ),
      field: fc.oneof(
        fc.constantFrom("a", "n.b", "token").map((name) => ({ name, equals: "x" })),
        fc.constantFrom("a", "n.b", "b").map((name) => ({ name, matches: "[a-z7]" })),
      ),
    },
    { requiredKeys: [] },
  )
  .filter((given) => Object.keys(given).length > 0);
const step: fc.Arbitrary<Step> = fc.oneof(
  condition.map((given): Step => ({ kind: "drop", ...given })),
  condition.map((given): Step => ({ kind: "keep", ...given })),
  fc.record({
    kind: fc.constant("redact" as const),
    presets: fc.subarray(["email" as const, "creditCard" as const]),
    patterns: fc.array(
      fc.record({
        matches: fc.constantFrom(...PATTERNS),
        replacement: fc.constantFrom("", "***", "né", "longer than it was"),
      }),
      { maxLength: 2 },
    ),
  }),
  fc.record({
    kind: fc.constant("fields" as const),
    add: fc.dictionary(
      fc.constantFrom("a", "n.b", "c"),
      fc.constantFrom("x", "{level}-{stream}", "{fields.a}", "{hour}", "é").map(parseTemplate),
      { maxKeys: 2 },
    ),
    remove: fc.subarray(["a", "n.b"]),
    rename: fc.constantFrom<Record<string, string>>({}, { a: "token", token: "a" }, { n: "m" }),
  }),
);

type Plain = Line & { verdict: number };
type PlainFields = Record<string, unknown> & { n?: Record<string, unknown> };

/** One record at a time, with objects and strings. */
function model(steps: readonly Step[], lines: readonly Line[]): Outcome[] {
  const plain = lines.map((given): Plain => ({ ...given, verdict: 0 }));
  for (const [index, given] of steps.entries()) {
    for (const record of plain) if (record.verdict === 0) modelStep(given, index, record);
  }
  return plain.map(({ text, fields, verdict }) => ({ text: Buffer.from(text as Uint8Array), fields, verdict }));
}

function modelStep(given: Step, index: number, record: Plain): void {
  if (given.kind === "keep" || given.kind === "drop") {
    const { level, text, field } = given;
    const string = Buffer.from(record.text as Uint8Array).toString();
    const value = field && valueAt(JSON.parse(record.fields ?? "{}") as PlainFields, field.name);
    const met =
      (!level || level.includes(record.level!)) &&
      (text?.contains === undefined || string.includes(text.contains)) &&
      (text?.matches === undefined || RE2JS.compile(text.matches).test(string)) &&
      (!field ||
        (value !== undefined && (field.matches ? RE2JS.compile(field.matches).test(value) : value === field.equals)));
    if (met !== (given.kind === "keep")) record.verdict = index + 1;
  } else if (given.kind === "redact") {
    record.text = replaceBetween(Buffer.from(record.text as Uint8Array), (part) => redactModel(given, part));
    record.fields = record.fields?.replaceAll(/:"([^"]*)"|"([^"]*)"(?=[,\]])/g, (whole, value: string, item: string) =>
      whole.replace(value ?? item, () => redactModel(given, value ?? item)),
    );
  } else if (given.kind === "fields") {
    const fields = JSON.parse((record.fields ?? "{}").replace("1.50", '"1.50!"')) as PlainFields;
    for (const name of given.remove) {
      if (name === "a") delete fields.a;
      else if (fields.n) delete fields.n.b;
    }
    const moved = Object.entries(given.rename).map(([from, to]) => [to, fields[from]] as const);
    for (const from of Object.keys(given.rename)) delete fields[from];
    for (const [to, value] of moved) if (value !== undefined) fields[to] = value;
    const seconds = record.seconds!;
    const stream = record.stream === STREAM_STDOUT ? "stdout" : "stderr";
    const values = { ...source, stream, level: record.level!, seconds, fields: structuredClone(fields) };
    for (const [name, template] of Object.entries(given.add)) {
      const value = renderTemplate(template, values);
      if (value === "") continue;
      if (name === "n.b") (fields.n ??= {}).b = value;
      else fields[name] = value;
    }
    const empty = Object.keys(fields).length === 0;
    record.fields = empty ? undefined : JSON.stringify(fields).replace('"1.50!"', "1.50");
  }
}

function valueAt(fields: PlainFields, name: string): string | undefined {
  const value = name === "n.b" ? fields.n?.b : fields[name];
  return value === undefined || typeof value === "string" ? value : JSON.stringify(value).replace("1.5]", "1.50]");
}

function redactModel(given: Extract<Step, { kind: "redact" }>, text: string): string {
  if (given.presets.includes("email")) text = text.replaceAll("bob@example.com", "***");
  if (given.presets.includes("creditCard")) text = text.replaceAll("4111 1111 1111 1111", "***");
  for (const { matches, replacement } of given.patterns) {
    text = RE2JS.compile(matches).matcher(text).replaceAll(replacement.replaceAll("$", "$$$$"));
  }
  return text;
}

/** Changes a text; a byte that is no UTF-8 is one character to the patterns, and survives where they leave it. */
function replaceBetween(bytes: Buffer, change: (part: string) => string): Buffer {
  if (!bytes.toString().includes("\ufffd")) return Buffer.from(change(bytes.toString()));
  // Each byte that begins no valid sequence becomes a character that occurs nowhere else.
  let text = "";
  for (let at = 0; at < bytes.length;) {
    const length = [1, 2, 3, 4].find((n) => at + n <= bytes.length && isOneCharacter(bytes.subarray(at, at + n)));
    text += length ? bytes.toString("utf8", at, at + length) : String.fromCharCode(0xe000 + bytes[at]!);
    at += length ?? 1;
  }
  const parts = change(text).split(/([\ue080-\ue0ff])/);
  return Buffer.concat(
    parts.map((part) => (/^[\ue080-\ue0ff]$/.test(part) ? Buffer.of(part.charCodeAt(0) - 0xe000) : Buffer.from(part))),
  );
}

function isOneCharacter(bytes: Buffer): boolean {
  const text = bytes.toString("utf8");
  return /^.$/su.test(text) && Buffer.from(text).equals(bytes);
}

test("steps make of records what they make of one line at a time", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 5 }), fc.array(line, { maxLength: 12 }), (steps, lines) => {
      assert.deepEqual(world.run(steps, lines), model(steps, lines));
    }),
    { numRuns: 1500 },
  );
});
