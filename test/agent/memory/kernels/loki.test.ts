import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import protobuf from "protobufjs";
import { R_OUT, R_REPLACED } from "../../../../agent/memory/kernels.ts";
import { decoded, encoderCase, lay, taken } from "../encoder-rows.ts";
import { Pair, type Row } from "../pair.ts";

/** What Loki's push endpoint reads (pkg/push/push.proto). */
const { root } = protobuf.parse(`
  syntax = "proto3";
  message PushRequest { repeated StreamAdapter streams = 1; }
  message StreamAdapter { string labels = 1; repeated EntryAdapter entries = 2; }
  message EntryAdapter { Timestamp timestamp = 1; string line = 2; repeated LabelPairAdapter structuredMetadata = 3; }
  message LabelPairAdapter { string name = 1; string value = 2; }
  message Timestamp { int64 seconds = 1; int32 nanos = 2; }
`);
const StreamAdapter = root.lookupType("StreamAdapter");
const EntryAdapter = root.lookupType("EntryAdapter");

const pair = new Pair();

/** The entries of a stream as the oracle writes them. Members that are 0 or empty are given to it as absent. */
function expected(rows: Row[], metadata: { name: string; value: string }[]): Buffer {
  const entries = rows.map((row) => ({
    timestamp: {
      ...(row.seconds ? { seconds: row.seconds } : {}),
      ...(row.nanos ? { nanos: row.nanos } : {}),
    },
    ...(decoded(row) === "" ? {} : { line: decoded(row) }),
    structuredMetadata: metadata,
  }));
  return Buffer.from(StreamAdapter.encode({ entries }).finish());
}

test("entries are what protobufjs writes, and as long as lokiSize says", () => {
  const pairs = fc.array(
    fc.record({ name: fc.string({ minLength: 1, maxLength: 8 }), value: fc.string({ minLength: 1, maxLength: 200 }) }),
    { maxLength: 2 },
  );
  fc.assert(
    fc.property(encoderCase, pairs, (input, metadata) => {
      const { args, end: meta } = lay(pair, input);
      const metaBytes = EntryAdapter.encode({ structuredMetadata: metadata }).finish();
      const out = pair.write(meta, metaBytes);
      const bytes = pair.call((kernels) => kernels.lokiSize(...args, metaBytes.length));
      const end = pair.call((kernels) => kernels.lokiWrite(out, ...args, meta, metaBytes.length));
      assert.equal(end - out, bytes);
      assert.equal(pair.result(R_OUT), end);
      assert.deepEqual(pair.wasm.buffer.subarray(out, end), expected(taken(input), metadata));
      const replaced = taken(input).filter((row) => !Buffer.from(decoded(row)).equals(row.text as Buffer));
      assert.equal(pair.result(R_REPLACED), replaced.length);
    }),
    { numRuns: 1000 },
  );
});

test("lengths around every step of a varint are exact", () => {
  for (const length of [
    0, 1, 100, 110, 111, 112, 113, 114, 126, 127, 128, 129, 16_364, 16_370, 16_383, 16_384, 16_400,
  ]) {
    for (const seconds of [
      0,
      127,
      128,
      16_383,
      16_384,
      2 ** 21 - 1,
      2 ** 21,
      2 ** 28 - 1,
      2 ** 28,
      2 ** 31,
      2 ** 32 - 1,
    ]) {
      const row = { text: Buffer.from("x".repeat(length)), seconds, nanos: seconds % 1e9, isKept: true, key: 0 };
      const { args, end: out } = lay(pair, { rows: [row], filter: "all", mask: -1, from: 0, to: 1 });
      const bytes = pair.call((kernels) => kernels.lokiSize(...args, 0));
      const end = pair.call((kernels) => kernels.lokiWrite(out, ...args, 0, 0));
      assert.equal(end - out, bytes);
      assert.deepEqual(pair.wasm.buffer.subarray(out, end), expected([row], []));
    }
  }
});
