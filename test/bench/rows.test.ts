// The bench's arithmetic: medians, ratios, and what counts as a miss.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Result, Totals } from "./harness.ts";
import { parseOptions } from "./options.ts";
import { faults, figures, judge, median, type Row, table } from "./rows.ts";

const none = { duplicated: 0, duplicatedAllowed: 0, reordered: 0, damaged: 0, unknown: 0, refused: 0, undecodable: 0 };
const exact: Totals = { ...none, lines: 1_000, requests: 4, hung: 0, wireBytes: 0, bodyBytes: 0 };
const work = { writtenLines: 1_000, lines: 1_000, bytes: 1_024 * 2 ** 20, wallSeconds: 8, cpuSeconds: 4 };
const rest = { harnessCpuSeconds: 1, otherCores: 0, firstLineSeconds: 1, lagSeconds: 0, repeatedRequests: 0, kills: 0 };
const memory = { peakRssMiB: 100, rssMiB: 60, downPeakRssMiB: 0 };
const words = { troubled: [], notes: [], logTail: "" };

function result(values: Partial<Result>, set: Partial<Totals> = {}): Result {
  const figures = { ...work, ...rest, ...memory, ...words, lost: 0 };
  return { scenario: "catchup", ...figures, ...values, set: { ...exact, ...set } };
}

test("the median of an even number of runs lies between the middle two", () => {
  assert.deepEqual([median([5]), median([9, 1, 5]), median([1, 9, 3, 5])], [5, 5, 4]);
});

test("a row shows medians, and its CPU time beside that of the raw limit", () => {
  const rows: Row[] = [
    { scenario: "rest", agent: "tailrace", results: [result({ scenario: "rest", rssMiB: 62 })] },
    { scenario: "catchup", agent: "raw", results: [1, 2, 3].map((cpuSeconds) => result({ cpuSeconds })) },
    { scenario: "catchup", agent: "tailrace", results: [4, 100, 5].map((cpuSeconds) => result({ cpuSeconds })) },
  ];
  const f = figures(rows[2] as Row, rows);
  assert.deepEqual([f.mibPerCpuSecond, f.mibPerSecond, f.ofRaw, f.idleRssMiB], [1_024 / 5, 128, 2 / 5, 62]);
  assert.match(table(rows), /^catchup +tailrace +204\.8 +128\.0 +0\.625 +0\.40 +- +100 +62 +0 +0 +0 +4 +0\.00$/m);
});

test("targets are met at their bound, three times looser in the gate, and missed without an idle figure", () => {
  const idle: Row = { scenario: "rest", agent: "tailrace", results: [result({ scenario: "rest", rssMiB: 60 })] };
  const cases: [Row["scenario"], Partial<Result>, number, boolean[]][] = [
    ["catchup", { cpuSeconds: 1_024 / 150, peakRssMiB: 1.2 * 92 }, 1, [true, true]],
    ["catchup", { cpuSeconds: 1_024 / 149, peakRssMiB: 111 }, 1, [false, false]],
    ["catchup", { cpuSeconds: 1_024 / 50, peakRssMiB: 111 }, 3, [true, false]],
    ["steady", { cpuSeconds: 1.6 }, 1, [true]],
    ["steady", { cpuSeconds: 1.7 }, 1, [false]],
    ["idle", { cpuSeconds: 0.17 }, 1, [false]],
    ["idle", { cpuSeconds: 0.17 }, 3, [true]],
    ["sinkdown", { downPeakRssMiB: 112, peakRssMiB: 50 }, 1, [false]],
    ["kill", {}, 1, []],
  ];
  for (const [scenario, values, looser, met] of cases) {
    const row: Row = { scenario, agent: "tailrace", results: [result({ scenario, ...values })] };
    assert.deepEqual(judge(row, [idle, row], looser).map((verdict) => verdict.met), met, scenario); // prettier-ignore
  }
  const alone: Row = { scenario: "sinkdown", agent: "tailrace", results: [result({ scenario: "sinkdown" })] };
  assert.deepEqual(judge(alone, [alone]).map(({ met }) => met), [false]); // prettier-ignore
});

test("only an exact set is without fault; repeats that a kill allows are none", () => {
  assert.deepEqual(faults(result({ kills: 3 }, { duplicated: 7, duplicatedAllowed: 7 })), []);
  const each: [Result, RegExp][] = [
    [result({ lost: 1 }), /1 lines lost/],
    [result({ lost: -1 }), /-1 lines lost/],
    [result({ kills: 1 }, { duplicated: 9, duplicatedAllowed: 7 }), /2 lines duplicated although/],
    [result({}, { reordered: 1 }), /reordered/],
    [result({}, { damaged: 1 }), /damaged/],
    [result({}, { unknown: 1 }), /nobody wrote/],
    [result({}, { undecodable: 1 }), /undecodable/],
    [result({ notes: ["the agent ended by itself"] }), /by itself/],
  ];
  for (const [bad, said] of each) assert.match(faults(bad).join(), said);
});

test("options are read, gate defaults are smaller, and a wrong one is refused with a sentence", () => {
  const gate = parseOptions(["--gate", "--scenario", "kill,idle"], "bin/tailrace");
  assert.ok(gate !== "help");
  assert.deepEqual([gate.scenarios, gate.mib, gate.kills, gate.seconds], [["kill", "idle"], 256, 5, 12]);
  for (const args of [["--scenario", "all"], ["--runs", "0"], ["--mib", "1e9"], ["--peer", "other"], ["--nope"]]) {
    assert.throws(() => parseOptions(args, "x"), /--/);
  }
});
