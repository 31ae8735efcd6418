import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import * as columns from "../../../../agent/memory/columns.ts";
import { R_BITS, R_CONSUMED, R_INVALID, R_NANOS, R_SECONDS, RESULT } from "../../../../agent/memory/kernels.ts";
import { Pair } from "../pair.ts";
import { blob, instant, mutated } from "../arbitrary.ts";

const pair = new Pair();
const CAP = 64;
const TEXT = pair.from + 8192;
const LIMIT = pair.to;

/** Decodes the bytes on both sides. */
function decode(bytes: Uint8Array | string, options: { at?: number; cap?: number; limit?: number } = {}): number {
  pair.reset();
  const from = options.at ?? TEXT;
  const to = pair.write(from, bytes);
  return pair.call((kernels) => kernels.decodeCri(from, to, pair.from, options.cap ?? CAP, options.limit ?? LIMIT));
}

function texts(rows: number, cap = CAP): string[] {
  return Array.from({ length: rows }, (_, row) => {
    const values = pair.row(pair.from, cap, row);
    return pair.text(values[columns.START]!, values[columns.END]!);
  });
}

test("a line becomes a row of text, time, stream, place and length", () => {
  const line = "2026-11-23T10:00:00.123456789Z stderr F hello world\n";
  assert.equal(decode(`${line}${line}`), 2);
  assert.deepEqual(texts(2), ["hello world", "hello world"]);
  const seconds = Date.parse("2026-11-23T10:00:00Z") / 1000;
  const start = TEXT + line.length + 40;
  const expected = [start, start + 11, seconds, 123456789, columns.STREAM_STDERR, 1, line.length, line.length, 0, 0];
  assert.deepEqual(pair.row(pair.from, CAP, 1), expected);
  assert.equal(pair.result(R_CONSUMED), line.length * 2);
  assert.equal(pair.result(R_BITS), columns.STREAM_STDERR);
  assert.equal(pair.result(R_INVALID), 0);
});

test("times with zones, without and with any fraction up to nine digits are read", () => {
  const cases: [time: string, iso: string, nanos: number][] = [
    ["2026-11-23T10:00:00Z", "2026-11-23T10:00:00Z", 0],
    ["2026-11-23T10:00:00.5Z", "2026-11-23T10:00:00Z", 500_000_000],
    ["2026-11-23T10:00:00.12345678Z", "2026-11-23T10:00:00Z", 123_456_780],
    ["2026-11-23T10:00:00.000000001Z", "2026-11-23T10:00:00Z", 1],
    ["2026-11-23T10:00:00.123456789+02:00", "2026-11-23T08:00:00Z", 123_456_789],
    ["2026-11-23T00:10:00.1-07:30", "2026-11-23T07:40:00Z", 100_000_000],
    ["2024-02-29T23:59:59.999999999Z", "2024-02-29T23:59:59Z", 999_999_999],
    ["2000-02-29T00:00:00Z", "2000-02-29T00:00:00Z", 0],
    ["1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", 0],
    ["2106-02-07T06:28:15Z", "2106-02-07T06:28:15Z", 0],
  ];
  for (const [time, iso, nanos] of cases) {
    assert.equal(decode(`${time} stdout F x\n`), 1);
    const row = pair.row(pair.from, CAP, 0);
    assert.equal(row[columns.BITS], columns.STREAM_STDOUT, time);
    assert.equal(row[columns.SECONDS], Date.parse(iso) / 1000, time);
    assert.equal(row[columns.NANOS], nanos, time);
  }
});

test("a line that does not parse is its own text, with the time of the line before it", () => {
  const good = "2026-11-23T10:00:00.123456789Z stdout F ok\n";
  const cases = [
    "",
    "plain text",
    "2026-11-23T10:00:00.123456789Z stdout F",
    "2026-11-23T10:00:00.123456789Z stdout X text",
    "2026-11-23T10:00:00.123456789Z stdout FX text",
    "2026-11-23T10:00:00.123456789Z stdout F:tag",
    "2026-11-23T10:00:00.123456789Z stdin F text",
    "2026-11-23T10:00:00.1234567891Z stdout F ten digits",
    "2026-11-23T10:00:00.Z stdout F no digits",
    "2026-11-23T10:00:00.123456789 stdout F no zone",
    "2026-11-23T10:00:60Z stdout F second 60",
    "2026-02-29T10:00:00Z stdout F no such day",
    "2100-02-29T10:00:00Z stdout F no such day",
    "2026-13-01T10:00:00Z stdout F no such month",
    "2026-04-31T10:00:00Z stdout F no such day",
    "2026-11-23T24:00:00Z stdout F no such hour",
    "2026-11-23T10:00:00+24:00 stdout F no such zone",
    "1969-12-31T23:59:59Z stdout F before 1970",
    "2106-02-07T06:28:16Z stdout F more than 32 bits",
    `${"\0".repeat(16)}:00Z stdout F zeros`,
  ];
  for (const line of cases) {
    assert.equal(decode(`${good}${line}\n`), 2, line);
    assert.equal(texts(2)[1], line);
    const row = pair.row(pair.from, CAP, 1);
    assert.equal(row[columns.BITS], columns.INVALID, line);
    assert.equal(row[columns.SECONDS], Date.parse("2026-11-23T10:00:00Z") / 1000);
    assert.equal(row[columns.NANOS], 123456789);
    assert.equal(pair.result(R_INVALID), 1);
  }
});

test("without a line before it, an invalid line takes the time that the caller left", () => {
  pair.reset();
  const to = pair.write(TEXT, "?\n2026-11-23T10:00:00Z stdout F x\n");
  pair.writeWord(RESULT + R_SECONDS * 4, 1234);
  pair.writeWord(RESULT + R_NANOS * 4, 5);
  assert.equal(
    pair.call((kernels) => kernels.decodeCri(TEXT, to, pair.from, CAP, LIMIT)),
    2,
  );
  assert.deepEqual(pair.row(pair.from, CAP, 0).slice(columns.SECONDS, columns.BITS), [1234, 5]);
  assert.equal(pair.result(R_SECONDS), Date.parse("2026-11-23T10:00:00Z") / 1000);
});

test("tags of any length are skipped, and P marks a part", () => {
  const time = "2026-11-23T10:00:00Z stdout";
  const huge = "t".repeat(20_000);
  assert.equal(decode(`${time} P a\n${time} F:x:y b\n${time} P:${huge} c\n${time} F: d\n`), 4);
  assert.deepEqual(texts(4), ["a", "b", "c", "d"]);
  const partial = [0, 1, 2, 3].map((row) => pair.row(pair.from, CAP, row)[columns.BITS]! & columns.PARTIAL);
  assert.deepEqual(partial, [columns.PARTIAL, 0, columns.PARTIAL, 0]);
});

test("bytes above 0x7f are flagged in the row that has them", () => {
  const head = "2026-11-23T10:00:00.123456789Z stdout F ";
  for (const length of [0, 1, 15, 16, 63, 64, 65, 200]) {
    assert.equal(decode(`${head}${"a".repeat(length)}é\n${head}${"b".repeat(length)}\n`), 2);
    const flags = [0, 1].map((row) => pair.row(pair.from, CAP, row)[columns.BITS]! & columns.NON_ASCII);
    assert.deepEqual(flags, [columns.NON_ASCII, 0]);
  }
});

test("a torn line is left, also when bytes of an older one lie behind it", () => {
  const line = "2026-11-23T10:00:00.123456789Z stdout F hello\n";
  for (let cut = 0; cut < line.length; cut++) {
    pair.reset();
    pair.write(TEXT, line + line);
    const to = TEXT + line.length + cut;
    assert.equal(
      pair.call((kernels) => kernels.decodeCri(TEXT, to, pair.from, CAP, LIMIT)),
      1,
    );
    assert.equal(pair.result(R_CONSUMED), line.length);
  }
});

test("it stops where rows or the room behind the text end", () => {
  const line = "2026-11-23T10:00:00.123456789Z stdout F hello\n";
  assert.equal(decode(line.repeat(5), { cap: 3 }), 3);
  assert.equal(pair.result(R_CONSUMED), line.length * 3);
  // Two rows need two lines, rounded up to 4, and two rows of columns.
  const room = Math.ceil((line.length * 2) / 4) * 4 + 2 * columns.ROW_BYTES;
  assert.equal(decode(line.repeat(5), { limit: TEXT + room }), 2);
  assert.equal(decode(line.repeat(5), { limit: TEXT + room - 1 }), 1);
});

const line = fc
  .tuple(
    instant(),
    fc.constantFrom("stdout", "stderr", "stdin", ""),
    fc.constantFrom("F", "P", "F:a", "P:x:y", "FF", "", `F:${"t".repeat(300)}`),
    blob(200),
  )
  .map(([time, stream, tag, text]) => Buffer.concat([Buffer.from(`${time} ${stream} ${tag} `), text]));

const lines = fc
  .array(fc.oneof(line, mutated(line), blob(100)), { maxLength: 12 })
  .map((parts) => Buffer.concat(parts.flatMap((part) => [part, Buffer.from("\n")])));

test("both kernels agree on any lines, torn anywhere, with any room", () => {
  fc.assert(
    fc.property(
      lines,
      fc.nat(80),
      fc.nat(7),
      fc.oneof(fc.constant(CAP), fc.integer({ min: 1, max: 8 })),
      fc.oneof(fc.constant(LIMIT - TEXT), fc.nat(3000)),
      (bytes, torn, shift, cap, room) => {
        const kept = bytes.subarray(0, Math.max(0, bytes.length - torn));
        decode(kept, { at: TEXT + shift, cap, limit: TEXT + room });
      },
    ),
    { numRuns: 1500 },
  );
});
