import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import * as columns from "../../../../agent/memory/columns.ts";
import { R_CONSUMED, R_INVALID, R_NANOS } from "../../../../agent/memory/kernels.ts";
import { blob, instant, mutated } from "../arbitrary.ts";
import { Pair } from "../pair.ts";

const pair = new Pair();
const CAP = 16;
const TEXT = pair.from + 8192;

function decode(bytes: Uint8Array | string, options: { at?: number; cap?: number; limit?: number } = {}): number {
  pair.reset();
  const from = options.at ?? TEXT;
  const to = pair.write(from, bytes);
  const { cap = CAP, limit = pair.to } = options;
  return pair.call(
    (kernels) => kernels.decodeJsonFile(from, to, pair.from, cap, limit),
    (memory, rows) => {
      // What is left of a line behind its text.
      for (let row = 0; row < rows; row++) {
        const word = (column: number): number => memory.words[(pair.from >> 2) + column * cap + row]!;
        memory.bytes.fill(0xee, word(columns.END), from + word(columns.AT) + word(columns.RAW));
      }
    },
  );
}

function textOf(row: number): string {
  const values = pair.row(pair.from, CAP, row);
  return pair.text(values[columns.START]!, values[columns.END]!);
}

function bitsOf(row: number): number {
  return pair.row(pair.from, CAP, row)[columns.BITS]!;
}

const TIME = "2026-11-23T10:00:00.123456789Z";

test("a line becomes a row, its newline left out", () => {
  const line = `{"log":"hello\\n","stream":"stderr","time":"${TIME}"}\n`;
  assert.equal(decode(line), 1);
  const seconds = Date.parse("2026-11-23T10:00:00Z") / 1000;
  const start = TEXT + '{"log":"'.length;
  const expected = [start, start + 5, seconds, 123456789, columns.STREAM_STDERR, 1, 0, line.length, 0, 0];
  assert.deepEqual(pair.row(pair.from, CAP, 0), expected);
  assert.equal(pair.result(R_CONSUMED), line.length);
  assert.equal(pair.result(R_NANOS), 123456789);
});

test("a log without its newline is a part", () => {
  assert.equal(
    decode(`{"log":"half","stream":"stdout","time":"${TIME}"}\n{"log":"","stream":"stdout","time":"${TIME}"}\n`),
    2,
  );
  assert.deepEqual([textOf(0), textOf(1)], ["half", ""]);
  assert.deepEqual([bitsOf(0), bitsOf(1)], Array(2).fill(columns.STREAM_STDOUT | columns.PARTIAL));
});

test("members come in any order, and further ones are skipped", () => {
  const attrs = '"attrs":{"tag":"a\\"}b","n":[1,{"log":"x"}]}';
  assert.equal(
    decode(`{ "time" : "${TIME}" ,${attrs},"none":null,"n":-1.5e3,"stream":"stdout", "log":"a\\n" } \r\n`),
    1,
  );
  assert.equal(textOf(0), "a");
  assert.equal(bitsOf(0), columns.STREAM_STDOUT);
});

test("escapes are undone, lone surrogates become U+FFFD", () => {
  const cases: [escaped: string, text: string][] = [
    ['\\"quoted\\" back\\\\slash \\/', '"quoted" back\\slash /'],
    ["tab\\tfeed\\fback\\breturn\\r", "tab\tfeed\fback\breturn\r"],
    ["\\u003cb\\u003E \\u0000 \\u00e9 \\u20AC \\uffff", "<b> \0 é € \uffff"],
    ["\\ud83d\\ude00", "😀"],
    ["\\ud83d", "\ufffd"],
    ["\\ude00\\ud83d", "\ufffd\ufffd"],
    ["\\ud83d\\ud83d\\ude00", "\ufffd😀"],
    ["\\ude00\\ude00", "\ufffd\ufffd"],
    ["\\ud83dx\\ude00", "\ufffdx\ufffd"],
    ["raw é 😀", "raw é 😀"],
    [
      `${"long plain text ".repeat(9)}\\n${"and more of it. ".repeat(9)}`,
      `${"long plain text ".repeat(9)}\n${"and more of it. ".repeat(9)}`,
    ],
  ];
  for (const [escaped, text] of cases) {
    assert.equal(decode(`{"log":"${escaped}\\n","stream":"stdout","time":"${TIME}"}\n`), 1);
    assert.equal(textOf(0), text);
    const flag = /[^\0-\x7f]/.test(text) ? columns.NON_ASCII : 0;
    assert.equal(bitsOf(0), columns.STREAM_STDOUT | flag, escaped);
  }
});

test("a line that does not parse stays whole and untouched", () => {
  const cases = [
    "",
    "plain",
    "{}",
    "[]",
    `{"log":"a\\nb","stream":"stdout","time":"${TIME}"`,
    `{"log":"a\\nb","stream":"stdout","time":"${TIME}"} x`,
    `{"log":"a\\nb","stream":"stdout","time":"yesterday"}`,
    `{"log":"a\\nb","stream":"stdin","time":"${TIME}"}`,
    `{"log":"a\\nb","time":"${TIME}"}`,
    `{"log":"a\\nb","stream":"stdout"}`,
    `{"stream":"stdout","time":"${TIME}"}`,
    `{"log":5,"stream":"stdout","time":"${TIME}"}`,
    `{"log":"a\\xb","stream":"stdout","time":"${TIME}"}`,
    `{"log":"a\\u12g4","stream":"stdout","time":"${TIME}"}`,
    `{"log":"a\\nb","stream":"stdout","time":"${TIME}",}`,
    `{"log":"a\\nb","stream":"stdout","time":"${TIME}","x":}`,
    `{"log":"a\\nb","stream":"stdout","time":"${TIME}","x":[}`,
    `{"log":"a\\n`,
    `{"log":"a\\`,
  ];
  for (const line of cases) {
    assert.equal(decode(`${line}\n`), 1);
    assert.equal(textOf(0), line);
    assert.equal(bitsOf(0), columns.INVALID);
    assert.equal(pair.result(R_INVALID), 1);
  }
});

test("lines that are left are not touched", () => {
  const line = `{"log":"a\\tb\\n","stream":"stdout","time":"${TIME}"}\n`;
  const room = Math.ceil(line.length / 4) * 4 + columns.ROW_BYTES;
  assert.equal(decode(line.repeat(3), { limit: TEXT + room }), 1);
  assert.equal(pair.text(TEXT + line.length, TEXT + line.length * 3), line.repeat(2));
  assert.equal(decode(line.repeat(3), { limit: TEXT + room - 1 }), 0);
  assert.equal(decode(line.slice(0, -1)), 0);
});

test("any text and any further member come back as JSON.parse reads them", () => {
  const text = fc.string({ unit: "binary", maxLength: 300 });
  fc.assert(
    fc.property(text, fc.jsonValue({ maxDepth: 3 }), fc.nat(3), fc.boolean(), (log, other, place, asciiOnly) => {
      const members = Object.entries({ log: `${log}\n`, stream: "stdout", time: TIME });
      members.splice(place, 0, ["other", other as string]);
      let json = JSON.stringify(Object.fromEntries(members));
      if (asciiOnly)
        json = json.replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
      assert.equal(decode(`${json}\n`), 1);
      assert.equal(textOf(0), log.toWellFormed());
    }),
    { numRuns: 500 },
  );
});

const member = fc.oneof(
  blob(60).map((text) => Buffer.concat([Buffer.from('"log":"'), text, Buffer.from('"')])),
  blob(60).map((text) => Buffer.from(`"log":${JSON.stringify(`${text.toString("latin1")}\n`)}`, "latin1")),
  fc.constantFrom('"stream":"stdout"', '"stream":"stderr"', '"stream":""').map((s) => Buffer.from(s)),
  instant().map((time) => Buffer.from(`"time":"${time}"`)),
  fc.tuple(blob(8), blob(20)).map(([name, value]) => Buffer.concat([Buffer.from('"'), name, Buffer.from('":'), value])),
  fc.json({ maxDepth: 2 }).map((json) => Buffer.from(`"x":${json}`)),
);

const line = fc
  .array(member, { minLength: 1, maxLength: 6 })
  .map((members) =>
    Buffer.concat([
      Buffer.from("{"),
      ...members.flatMap((one, i) => (i > 0 ? [Buffer.from(","), one] : [one])),
      Buffer.from("}"),
    ]),
  );
const good = fc
  .tuple(blob(120), instant())
  .map(([text, time]) =>
    Buffer.from(`{"log":${JSON.stringify(text.toString("latin1"))},"stream":"stdout","time":"${time}"}`, "latin1"),
  );

test("both kernels agree on any lines, torn anywhere, with any room", () => {
  const lines = fc
    .array(fc.oneof(good, line, mutated(good), mutated(line), blob(100)), { maxLength: 8 })
    .map((parts) => Buffer.concat(parts.flatMap((part) => [part, Buffer.from("\n")])));
  fc.assert(
    fc.property(
      lines,
      fc.nat(60),
      fc.nat(7),
      fc.integer({ min: 1, max: CAP }),
      fc.oneof(fc.constant(40_000), fc.nat(2000)),
      (bytes, torn, shift, cap, room) => {
        decode(bytes.subarray(0, Math.max(0, bytes.length - torn)), { at: TEXT + shift, cap, limit: TEXT + room });
      },
    ),
    { numRuns: 2000 },
  );
});
