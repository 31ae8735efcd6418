// From results to what people read: medians, the table, and the verdict on each target. Pure.

import type { AgentName } from "./agents.ts";
import type { Result, ScenarioName, Totals } from "./harness.ts";

/** Tailrace's own byte budget (AgentConfig memoryLimit), which every memory target is relative to. */
const memoryLimitMiB = 32;
const memorySlack = 1.2;

/** All runs of one agent in one scenario. */
export interface Row {
  scenario: ScenarioName;
  agent: AgentName;
  results: Result[];
}

/** The medians of a row; undefined where a figure means nothing in that scenario. */
export interface Figures {
  mibPerCpuSecond: number | undefined;
  mibPerSecond: number | undefined;
  cores: number | undefined;
  /** CPU time of the raw limit for the same work, divided by ours: 1 is the limit. */
  ofRaw: number | undefined;
  lagSeconds: number | undefined;
  peakRssMiB: number;
  /** While the sink was down. */
  downPeakRssMiB: number | undefined;
  idleRssMiB: number | undefined;
  otherCores: number;
}

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

export function figures(row: Row, rows: Row[]): Figures {
  const middle = (f: (result: Result) => number): number => median(row.results.map(f));
  const other = (agent: AgentName, scenario: ScenarioName): Result[] | undefined =>
    rows.find((other) => other.agent === agent && other.scenario === scenario)?.results;
  const cores = (result: Result): number => result.cpuSeconds / result.wallSeconds;
  const mib = (result: Result): number => result.bytes / 2 ** 20;
  const moving = row.scenario === "catchup" || row.scenario === "steady";
  const cost = (result: Result): number =>
    row.scenario === "catchup" ? result.cpuSeconds / mib(result) : cores(result);
  const limit = other("raw", row.scenario);
  const comparable = limit !== undefined && (moving || row.scenario === "idle");
  const rest = other(row.agent, "rest");
  return {
    mibPerCpuSecond: moving ? middle((result) => mib(result) / result.cpuSeconds) : undefined,
    mibPerSecond: moving ? middle((result) => mib(result) / result.wallSeconds) : undefined,
    cores: row.scenario === "kill" ? undefined : middle(cores),
    ofRaw: comparable ? median(limit.map(cost)) / middle(cost) : undefined,
    lagSeconds: row.scenario === "steady" ? middle((result) => result.lagSeconds) : undefined,
    peakRssMiB: middle((result) => result.peakRssMiB),
    downPeakRssMiB: row.scenario === "sinkdown" ? middle((result) => result.downPeakRssMiB) : undefined,
    idleRssMiB: rest && median(rest.map((result) => result.rssMiB)),
    otherCores: Math.max(...row.results.map((result) => result.otherCores)),
  };
}

/** What is wrong with the set that a run delivered, in words; empty when it is exact and the agent ended well. */
export function faults(result: Result): string[] {
  const { set } = result;
  const forbidden = set.duplicated - set.duplicatedAllowed;
  const counts: [number, string][] = [
    [result.lost, "lost"],
    [forbidden, result.kills > 0 ? "duplicated although their request was answered in time" : "duplicated"],
    [set.reordered, "reordered"],
    [set.damaged, "damaged"],
    [set.unknown, "that nobody wrote"],
  ];
  const words = counts.filter(([count]) => count !== 0).map(([count, what]) => `${count} lines ${what}`);
  if (set.undecodable > 0) words.push(`${set.undecodable} undecodable bodies`);
  return [...words, ...result.notes];
}

/** A target of Tailrace; `kind` tells what a missed one says about: `time` depends on the machine, `memory` hardly. */
export interface Verdict {
  scenario: ScenarioName;
  what: string;
  value: number;
  bound: string;
  kind: "time" | "memory";
  met: boolean;
}

/** Judges a row of Tailrace; times may be `looser` times worse than the target. */
export function judge(row: Row, rows: Row[], looser = 1): Verdict[] {
  const f = figures(row, rows);
  const verdicts: Verdict[] = [];
  const atLeast = (what: string, value: number, bound: number): void => {
    verdicts.push({
      scenario: row.scenario,
      what,
      value,
      bound: `≥ ${round(bound)}`,
      kind: "time",
      met: value >= bound,
    });
  };
  const atMost = (kind: Verdict["kind"], what: string, value: number, bound: number): void => {
    verdicts.push({ scenario: row.scenario, what, value, bound: `≤ ${round(bound)}`, kind, met: value <= bound });
  };
  if (row.scenario === "catchup") atLeast("MiB per CPU-second", f.mibPerCpuSecond ?? 0, 150 / looser);
  if (row.scenario === "steady") atMost("time", "cores", f.cores ?? Number.NaN, 0.2 * looser);
  if (row.scenario === "idle") atMost("time", "cores", f.cores ?? Number.NaN, 0.02 * looser);
  const memory = memorySlack * ((f.idleRssMiB ?? Number.NaN) + memoryLimitMiB);
  if (row.scenario === "catchup") atMost("memory", "peak RSS MiB", f.peakRssMiB, memory);
  if (row.scenario === "sinkdown") atMost("memory", "peak RSS MiB while down", f.downPeakRssMiB ?? Number.NaN, memory);
  return verdicts;
}

const columns = [
  "scenario", "agent", "MiB/CPU-s", "MiB/s", "cores", "of raw", "lag s", "peak RSS", "idle RSS",
  "lost", "dup", "reord", "requests", "others",
]; // prettier-ignore

/** The table, its columns as README.md tells them. */
export function table(rows: Row[]): string {
  const lines = rows
    .filter((row) => row.scenario !== "rest")
    .map((row) => {
      const f = figures(row, rows);
      const sum = (f: (set: Totals) => number): number => row.results.reduce((all, result) => all + f(result.set), 0);
      const duplicated = sum((set) => set.duplicated);
      const allowed = sum((set) => set.duplicatedAllowed);
      return [
        row.scenario,
        row.agent,
        show(f.mibPerCpuSecond),
        show(f.mibPerSecond),
        show(f.cores, row.scenario === "idle" ? 4 : 3),
        show(f.ofRaw, 2),
        show(f.lagSeconds, 2),
        show(f.downPeakRssMiB ?? f.peakRssMiB, 0),
        show(f.idleRssMiB, 0),
        String(row.results.reduce((all, result) => all + result.lost, 0)),
        row.results.some((result) => result.kills > 0) ? `${duplicated - allowed} (+${allowed})` : String(duplicated),
        String(sum((set) => set.reordered)),
        String(Math.round(median(row.results.map((result) => result.set.requests)))),
        f.otherCores.toFixed(2),
      ];
    });
  const widths = columns.map((name, i) => Math.max(name.length, ...lines.map((line) => line[i]?.length ?? 0)));
  return [columns, ...lines]
    .map((line) =>
      line.map((cell, i) => (i < 2 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join("  "),
    )
    .map((line) => line.trimEnd())
    .join("\n");
}

function show(value: number | undefined, digits = 1): string {
  return value === undefined || !Number.isFinite(value) ? "-" : value.toFixed(digits);
}

function round(value: number): string {
  return String(Math.round(value * 1_000) / 1_000);
}
