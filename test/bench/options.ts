// The bench's command line.

import { parseArgs } from "node:util";
import type { ScenarioName } from "./harness.ts";

export const scenarioNames = ["catchup", "steady", "idle", "sinkdown", "kill"] as const satisfies ScenarioName[];
export type BenchScenario = (typeof scenarioNames)[number];

export interface Options {
  scenarios: BenchScenario[];
  runs: number;
  /** Of log files in catchup and sinkdown. */
  mib: number;
  /** Length of the measured window; undefined: each scenario's own. */
  seconds: number | undefined;
  kills: number;
  peer: boolean;
  gate: boolean;
  json: boolean;
  build: boolean;
  tailrace: string;
}

export const usage = `npm run bench -- [options]

  --scenario NAME,…   of ${scenarioNames.join(", ")}; default: all
  --runs N            interleaved runs, of which the table shows the median (default 1; acceptance 5)
  --mib N             MiB of log files in catchup and sinkdown (default 1024; with --gate 256)
  --seconds N         measured seconds (default: steady 60, idle 30, sinkdown 30; with --gate 12)
  --kills N           kills of the kill scenario (default 20; with --gate 5)
  --peer vlagent      measure vlagent beside us (built once, about two minutes)
  --gate              for CI: fail on any inexact set, and on a figure three times worse than the target, twice in a row
  --json              print the results as one JSON document instead of the table
  --no-build          take the bundle in dist/ as it is
  --tailrace PATH     the command under test (default bin/tailrace)

  npm run bench -- --scenario catchup --runs 5 --peer vlagent
  npm run bench -- --gate --scenario kill
`;

/** Reads the command line; throws an Error with one sentence when it is wrong. */
export function parseOptions(args: string[], tailrace: string): Options | "help" {
  const { values } = parseArgs({
    args,
    options: {
      scenario: { type: "string", default: scenarioNames.join(",") },
      runs: { type: "string", default: "1" },
      mib: { type: "string" },
      seconds: { type: "string" },
      kills: { type: "string" },
      peer: { type: "string" },
      gate: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      "no-build": { type: "boolean", default: false },
      tailrace: { type: "string", default: tailrace },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return "help";
  if (values.peer !== undefined && values.peer !== "vlagent")
    throw new Error(`--peer: only vlagent, not ${values.peer}`);
  const gate = values.gate;
  return {
    scenarios: values.scenario.split(",").map(scenario),
    runs: whole("runs", values.runs, 1, 100),
    mib: whole("mib", values.mib ?? (gate ? "256" : "1024"), 1, 65_536),
    seconds: values.seconds === undefined ? (gate ? 12 : undefined) : whole("seconds", values.seconds, 3, 3_600),
    kills: whole("kills", values.kills ?? (gate ? "5" : "20"), 1, 1_000),
    peer: values.peer !== undefined,
    gate,
    json: values.json,
    build: !values["no-build"],
    tailrace: values.tailrace,
  };
}

function scenario(name: string): BenchScenario {
  const known = scenarioNames.find((known) => known === name);
  if (known === undefined) throw new Error(`--scenario: ${name} is none of ${scenarioNames.join(", ")}`);
  return known;
}

function whole(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new Error(`--${name}: ${text} is no whole number from ${min} to ${max}`);
  }
  return value;
}
