import assert from "node:assert/strict";
import { test } from "node:test";
import { deadLetter } from "../../../agent/dispatcher/dead-letter.ts";
import { BITS, BROKEN_UTF8, TRUNCATED } from "../../../agent/memory/columns.ts";
import { lay, testMemory, testSource, type Row } from "./rows.ts";

const DETAILS = {
  pipeline: "LogPipeline/shop/web",
  sink: "loki",
  reason: "too old",
  attempts: 3,
  offset: 12,
  wallMs: 0,
};

function letter(
  row: Row,
  bits = 0,
  details = DETAILS,
): { json: Record<string, unknown>; lines: number; bytes: number } {
  const memory = testMemory();
  const records = lay(memory, 0, [row])!;
  memory.words[(records.block >> 2) + BITS * records.cap]! |= bits;
  const made = deadLetter(memory, testSource("web"), records, 0, details);
  return { ...made, json: JSON.parse(made.json) as Record<string, unknown> };
}

test("a dead letter is the record, why it lies here and where it came from", () => {
  const made = letter({
    text: 'a "quoted" line',
    stream: "stderr",
    level: "error",
    seconds: 1_764_000_000,
    fields: { user: "ann" },
  });
  assert.deepEqual(made.json, {
    ...{ time: "2025-11-24T16:00:00.000000000Z", text: 'a "quoted" line', stream: "stderr", level: "error" },
    ...{ namespace: "shop", pod: "web", container: "app", node: "n1", fields: { user: "ann" } },
    deadLetter: {
      ...{ pipeline: "LogPipeline/shop/web", sink: "loki", reason: "too old", attempts: 3 },
      ...{ chain: "uid-web/app/0", offset: 12, lines: 1, bytes: 61, deadLetteredAt: "1970-01-01T00:00:00.000Z" },
    },
  });
  assert.deepEqual([made.lines, made.bytes], [1, 61]);
});

test("a line that was cut says so; a long reason is cut", () => {
  const { json } = letter({ text: "a" }, TRUNCATED, { ...DETAILS, reason: "r".repeat(10_000) });
  assert.equal(json["truncated"], true);
  assert.equal((json["deadLetter"] as { reason: string }).reason.length, 500);
});

test("bytes that are no UTF-8 survive in base64", () => {
  const memory = testMemory();
  const records = lay(memory, 0, [{ text: "abc" }])!;
  memory.bytes[memory.words[records.block >> 2]! + 1] = 0xff;
  memory.words[(records.block >> 2) + BITS * records.cap]! |= BROKEN_UTF8;
  const json = JSON.parse(deadLetter(memory, testSource("web"), records, 0, DETAILS).json) as Record<string, string>;
  assert.deepEqual(
    [json["text"], Buffer.from(json["base64"]!, "base64")],
    ["a\ufffdc", Buffer.from([0x61, 0xff, 0x63])],
  );
});
