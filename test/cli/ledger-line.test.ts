import assert from "node:assert/strict";
import { test } from "node:test";
import { emptyLedger, type Ledger } from "../../agent/ledger.ts";
import type { Agent } from "../../agent/main.ts";
import { bytesText, ledgerLine, ledgerTable } from "../../cli/ledger-line.ts";

const count = (lines: number, bytes: number) => ({ lines, bytes });

const busy: Ledger = {
  ...{ start: 0, end: 3_000_000, readLines: 12_345, inFlight: count(44, 9_000), backlogBytes: 1_258_291 },
  settled: {
    delivered: count(12_001, 1_500_000),
    "filtered/0:drop": count(200, 20_000),
    "filtered/2:keep": count(100, 10_000),
    deadLettered: count(3, 300),
    "lost/RotatedBeforeRead": count(0, 4_096),
  },
};

test("the ledger is one line with every term", () => {
  assert.equal(
    ledgerLine(emptyLedger()),
    "read 0 lines · delivered 0 · filtered 0 · dropped 0 · dead-lettered 0 · lost 0 · in flight 0 · backlog 0",
  );
  assert.equal(
    ledgerLine(busy),
    "read 12,345 lines · delivered 12,001 · filtered 300 · dropped 0 · dead-lettered 3 · lost 4.0 KiB · " +
      "in flight 44 · backlog 1.2 MiB",
  );
});

test("in a narrow terminal terms that are 0 are left out first, then the rest is cut", () => {
  const narrow = ledgerLine({ ...busy, settled: { delivered: count(12_001, 1) } }, 79);
  assert.equal(narrow, "read 12,345 lines · delivered 12,001 · in flight 44 · backlog 1.2 MiB");
  for (let columns = 1; columns < 140; columns++) assert.ok(ledgerLine(busy, columns).length <= columns, `${columns}`);
  assert.equal(ledgerLine(busy, 20), "read 12,345 lines ·…");
});

test("the table has a row for each sink, and what was filtered or lost by its reason", () => {
  const ledgers = [
    { sink: "LogPipeline//a/loki", ledger: busy },
    { sink: "LogPipeline//a/out", ledger: emptyLedger() },
  ];
  const table = ledgerTable({ ledgers: () => ledgers } as unknown as Agent);
  assert.deepEqual(table.split("\n"), [
    "sink                   read  delivered  filtered  dropped  dead-lettered     lost  in flight  backlog",
    "LogPipeline//a/loki  12,345     12,001       300        0              3  4.0 KiB         44  1.2 MiB",
    "LogPipeline//a/out        0          0         0        0              0        0          0        0",
    "LogPipeline//a/loki: filtered/0:drop 200 lines, 19.5 KiB",
    "LogPipeline//a/loki: filtered/2:keep 100 lines, 9.8 KiB",
    "LogPipeline//a/loki: lost/RotatedBeforeRead 0 lines, 4.0 KiB",
  ]);
});

test("bytes are told with the unit that fits", () => {
  const told: [number, string][] = [
    [0, "0"],
    [1, "1 B"],
    [1023, "1023 B"],
    [1024, "1.0 KiB"],
    [1024 * 1023.9, "1023.9 KiB"],
    [1024 * 1024 - 1, "1.0 MiB"],
    [5.5 * 1024 ** 3, "5.5 GiB"],
    [3000 * 1024 ** 4, "3000.0 TiB"],
  ];
  for (const [bytes, text] of told) assert.equal(bytesText(bytes), text);
});
