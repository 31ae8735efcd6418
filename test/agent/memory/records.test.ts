import assert from "node:assert/strict";
import { test } from "node:test";
import { INVALID, LEVEL_SHIFT, STREAM_STDERR, TRUNCATED } from "../../../agent/memory/columns.ts";
import { recordAt, textOf, type Records } from "../../../agent/memory/records.ts";
import { Pair } from "./pair.ts";

test("rows are read as plain objects, with offsets and times beyond 31 bits", () => {
  const pair = new Pair();
  const memory = pair.wasm;
  const fields = '{"user":"é"}';
  pair.writeRows(pair.from, 4, pair.from + 1024, [
    {
      text: "first é",
      seconds: 1_795_428_000,
      nanos: 5,
      bits: STREAM_STDERR | (5 << LEVEL_SHIFT) | TRUNCATED,
      lines: 12,
      at: 7,
      raw: 900,
      fields,
    },
    { text: Uint8Array.of(0x61, 0xff), seconds: 0xffffffff, bits: INVALID, at: -5 },
  ]);
  const records: Records = {
    block: pair.from,
    cap: 4,
    count: 2,
    base: 5_000_000_000,
    chunks: [],
    verdicts: 0,
    joined: false,
  };
  assert.deepEqual(recordAt(memory, records, 0), {
    text: "first é",
    seconds: 1_795_428_000,
    nanos: 5,
    stream: "stderr",
    level: "error",
    truncated: true,
    invalid: false,
    lines: 12,
    at: 5_000_000_007,
    raw: 900,
    fields: { user: "é" },
  });
  assert.deepEqual(recordAt(memory, records, 1), {
    text: "a\ufffd",
    seconds: 0xffffffff,
    nanos: 0,
    stream: undefined,
    level: "unknown",
    truncated: false,
    invalid: true,
    lines: 1,
    at: 4_999_999_995,
    raw: 0,
    fields: undefined,
  });
  assert.deepEqual(textOf(memory, records, 1), Buffer.of(0x61, 0xff));
});
