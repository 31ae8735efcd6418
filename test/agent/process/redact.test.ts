import assert from "node:assert/strict";
import { test } from "node:test";
import { BITS, TRUNCATED } from "../../../agent/memory/columns.ts";
import { wordOf } from "../../../agent/memory/records.ts";
import { compileProcess } from "../../../agent/process/process.ts";
import type { Step } from "../../../crds/config.ts";
import { MiB, source, World } from "./world.ts";

const world = new World();

type Redact = Extract<Step, { kind: "redact" }>;

function redact(presets: Redact["presets"], ...patterns: [matches: string, replacement: string][]): Redact {
  return { kind: "redact", presets, patterns: patterns.map(([matches, replacement]) => ({ matches, replacement })) };
}

function texts(step: Redact, given: readonly (string | Uint8Array)[]): string[] {
  return world
    .run(
      [step],
      given.map((text) => ({ text })),
    )
    .map(({ text }) => text.toString("latin1"));
}

function fields(step: Redact, json: string): string | undefined {
  return world.run([step], [{ text: "", fields: json }])[0]!.fields;
}

const TOKEN: [string, string] = ["(token|secret)=\\w+", "$1=***"];

test("presets and patterns each replace all that they find", () => {
  const step = redact(["email", "creditCard"], TOKEN, ["\\d+ms", "<time>"]);
  assert.deepEqual(
    texts(step, ["bob@example.com paid 4111111111111111 token=a secret=b in 12ms and 7ms", "nothing here", "token= 5"]),
    ["*** paid *** token=*** secret=*** in <time> and <time>", "nothing here", "token= 5"],
  );
});

test("patterns work one after the other, each on what the one before left", () => {
  assert.deepEqual(texts(redact([], ["a", "bc"], ["b", "x"]), ["ab"]), ["xcx"]);
});

test("what a pattern puts in is found by those after it, though the line had nothing for them before", () => {
  assert.deepEqual(texts(redact([], ["b", "literal"], ["a", "bc"], ["literal", "never"]), ["a"]), ["bc"]);
});

test("all of a line is looked at", () => {
  const long = `${"x".repeat(200_000)} token=abc bob@example.com ${"y".repeat(200_000)}`;
  const [text] = texts(redact(["email"], TOKEN), [long]);
  assert.equal(text, long.replace("token=abc bob@example.com", "token=*** ***"));
});

test("other bytes of the line survive, also those that are no UTF-8", () => {
  const around = Buffer.from([
    0xff, 0x80, 0xc3, 0x28, 0xed, 0xa0, 0x80, 0xf4, 0x90, 0x80, 0x80, 0xc0, 0xaf, 0xe2, 0x82,
  ]);
  const line = Buffer.concat([around, Buffer.from(" token=abc é😀 "), around]);
  const expected = Buffer.concat([around, Buffer.from(" token=*** é😀 "), around]);
  assert.deepEqual(texts(redact([], TOKEN), [line]), [expected.toString("latin1")]);
});

test("a pattern may match bytes that are no UTF-8, as one character each", () => {
  const line = Buffer.concat([Buffer.from("a"), Buffer.from([0xff, 0xfe]), Buffer.from("b\xff")]);
  assert.deepEqual(texts(redact([], ["a..b", "-"]), [line]), [Buffer.from("-\xff").toString("latin1")]);
});

test("astral characters are never split", () => {
  const [text] = texts(redact([], ["[^a]", "_"]), ["a😀é"]);
  assert.equal(text, "a__");
});

test("a control character, a carriage return and U+2028 are characters like others", () => {
  assert.deepEqual(texts(redact([], ["x.y", "-"]), ["x\ry", "x\u2028y", "x\0y"]), ["-", "-", "-"]);
});

test("string values of fields are redacted, however deep; names and other values stay", () => {
  const step = redact(["email", "creditCard"], TOKEN);
  assert.equal(
    fields(step, '{"bob@example.com":"bob@example.com","a":[{"b":"token=x"}],"n":12345678901234567890,"z":null}'),
    '{"bob@example.com":"***","a":[{"b":"token=***"}],"n":12345678901234567890,"z":null}',
  );
  assert.equal(fields(step, '{"u":"bob\\u0040example.com"}'), '{"u":"***"}', "escaped in the JSON");
  assert.equal(fields(step, '{"__proto__":"token=x"}'), '{"__proto__":"token=***"}');
  assert.equal(fields(step, '{"a": 1.0 }'), '{"a": 1.0 }', "untouched where nothing is found");
});

test("fields that cannot be looked through do not go on", () => {
  for (const odd of ["{", "[]", `{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}`]) {
    assert.equal(fields(redact(["email"]), odd), undefined);
  }
});

test("a text grows by 64 KiB at most; the rest is hidden", () => {
  const records = world.records([{ text: "a".repeat(1000) }, { text: "é".repeat(1000) }]);
  const process = compileProcess([redact([], ["[aé]", "é".repeat(1000)])], world);
  const result = process.run(source, records)!;
  const [first, second] = world.outcomes(result);
  for (const { text } of [first!, second!]) {
    assert.ok(text.length > 65_000 && text.length <= 2000 + 65_536, `${text.length}`);
    assert.ok(!text.includes("a") && text.toString().isWellFormed());
  }
  assert.ok(wordOf(world.memory, result, BITS, 0) & TRUNCATED);
  assert.equal(process.counts[0]!.masked, 2);
  world.release(records);
  world.release(result);
  world.assertEmpty();
});

test("fields grow by 64 KiB at most; values beyond are hidden", () => {
  const json = JSON.stringify(Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`k${i}`, "a"])));
  const after = fields(redact([], ["a", "z".repeat(1000)]), json)!;
  assert.ok(after.length < json.length + 70_000, `${after.length}`);
  assert.equal((JSON.parse(after) as Record<string, string>).k499, "***");
});

test("a slow pattern hides what it did not come to, but no line that it cannot match", () => {
  const slow = new World();
  slow.tickMs = 500;
  const step = redact([], ["s[e]cret", "-"]);
  const lines = ["secret", "other", "secret", "secret", "other"].map((text) => ({ text: text.padEnd(5000) }));
  assert.deepEqual(
    slow.run([step], lines).map(({ text }) => text.toString().trim()),
    ["-", "other", "-", "***", "other"],
  );
});

test("a line of a mebibyte of addresses is redacted whole", () => {
  const line = "a@b.cc ".repeat(MiB / 7);
  assert.deepEqual(texts(redact(["email"]), [line]), ["*** ".repeat(MiB / 7)]);
});
