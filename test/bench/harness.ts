// The TypeScript side of harness/: builds the Go program, starts it, and talks to it. One harness is a verifying sink
// with a control port; given a spec it also makes the load, runs one agent and measures it.

import { type ChildProcessByStdio, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { promisify } from "node:util";
import { buildGo } from "../servers/tool.ts";

export type ScenarioName = "catchup" | "steady" | "idle" | "rest" | "sinkdown" | "kill";

/** What a run does; the meaning of each field is told in harness/run.go. */
export interface Spec {
  scenario: ScenarioName;
  root: string;
  command: string[];
  env: string[];
  logFile: string;
  cpu: number;
  files: number;
  textBytes: number;
  rateLines: number;
  warmSeconds: number;
  seconds: number;
  kills: number;
  burstMiB: number;
  stallSeconds: number;
  limitSeconds: number;
}

/** What the sink has counted since its start or the last reset; the meanings are told in harness/deliveries.go. */
export interface Totals {
  lines: number;
  duplicated: number;
  duplicatedAllowed: number;
  reordered: number;
  damaged: number;
  unknown: number;
  requests: number;
  refused: number;
  hung: number;
  undecodable: number;
  wireBytes: number;
  bodyBytes: number;
}

export interface ContainerTotals {
  file: number;
  lines: number;
  highest: number;
  missing: number;
  duplicated: number;
  reordered: number;
  damaged: number;
}

export interface JournalEntry {
  index: number;
  generation: number;
  receivedAt: number;
  answeredAt: number;
  status: number;
  lines: number;
  uncertain: boolean;
}

/** What a run found; the meaning of each field is told in harness/run.go. */
export interface Result {
  scenario: ScenarioName;
  writtenLines: number;
  lines: number;
  bytes: number;
  wallSeconds: number;
  cpuSeconds: number;
  harnessCpuSeconds: number;
  otherCores: number;
  peakRssMiB: number;
  rssMiB: number;
  downPeakRssMiB: number;
  firstLineSeconds: number;
  lagSeconds: number;
  lost: number;
  set: Totals;
  repeatedRequests: number;
  kills: number;
  troubled: ContainerTotals[];
  notes: string[];
  logTail: string;
}

export interface Generated {
  files: number;
  textBytes: number;
  lines: number;
  bytes: number;
}

export function buildHarness(): Promise<string> {
  return buildGo({ name: "bench-harness", folder: join(import.meta.dirname, "harness"), target: "." });
}

/** Writes log files full of lines below `root` (pods/ and containers/): `mib` in all, or so many `lines` in each. */
export async function generate(
  root: string,
  size: { files: number; mib?: number; lines?: number; textBytes?: number },
): Promise<Generated> {
  const { files, mib = 0, lines = 0, textBytes = 200 } = size;
  const flags = { root, files, mib, lines, "text-bytes": textBytes };
  const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const { stdout } = await promisify(execFile)(await buildHarness(), ["generate", ...args]);
  return JSON.parse(stdout) as Generated;
}

/**
 * Appends lines to new log files below `root` at a steady rate, one write each and the files in turn, until it is
 * stopped. Resolves when it writes.
 */
export async function startWriter(
  root: string,
  load: { files: number; rate: number; textBytes?: number },
): Promise<{ stop(): Promise<Generated> }> {
  const { files, rate, textBytes = 200 } = load;
  const args = ["write", "--root", root, "--files", `${files}`, "--rate", `${rate}`, "--text-bytes", `${textBytes}`];
  const child = spawn(await buildHarness(), args, { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  await nextLine(lines);
  return {
    stop: async () => {
      child.stdin.end();
      return JSON.parse(await nextLine(lines)) as Generated;
    },
  };
}

/** The CPUs that this process may use, in their order; empty where the system does not tell (not Linux). */
export function allowedCpus(): number[] {
  if (!existsSync("/proc/self/status")) return [];
  const list = /^Cpus_allowed_list:\s*(.*)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "";
  return list.split(",").flatMap((part) => {
    const [from = 0, to = from] = part.split("-").map(Number);
    return Array.from({ length: to - from + 1 }, (_, i) => from + i);
  });
}

/** A running harness. Its control calls are those of harness/control.go. */
export class Harness {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;
  /** Where agents push to, on any path. */
  readonly sinkUrl: string;
  readonly controlUrl: string;
  /** A Kubernetes API with the pods of the run. */
  readonly kubeUrl: string;

  private constructor(
    child: ChildProcessByStdio<Writable, Readable, null>,
    lines: AsyncIterator<string>,
    first: string,
  ) {
    this.#child = child;
    this.#lines = lines;
    const { sink, control, kube } = JSON.parse(first) as Record<"sink" | "control" | "kube", string>;
    this.sinkUrl = sink;
    this.controlUrl = control;
    this.kubeUrl = kube;
  }

  /** Starts a harness on free ports, pinned to a CPU when one is given, for texts of a mean length. */
  static async start({ cpu = -1, textBytes = 200 } = {}): Promise<Harness> {
    const args = ["serve", "--cpu", String(cpu), "--text-bytes", String(textBytes)];
    const child = spawn(await buildHarness(), args, { stdio: ["pipe", "pipe", "inherit"] });
    child.stdin.on("error", () => {}); // it may be gone; reading tells
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    return new Harness(child, lines, await nextLine(lines));
  }

  /** Runs one agent. The agent is dead when this returns or throws. */
  async run(spec: Spec): Promise<Result> {
    this.#child.stdin.write(`${JSON.stringify(spec)}\n`);
    return JSON.parse(await nextLine(this.#lines)) as Result;
  }

  /** Ends the harness and whatever it runs. */
  async stop(): Promise<void> {
    const closed =
      this.#child.exitCode === null && this.#child.signalCode === null ? once(this.#child, "close") : undefined;
    this.#child.stdin.end();
    await closed;
  }

  async stats(): Promise<Totals & { repeatedRequests: number; containers: ContainerTotals[] }> {
    const response = await fetch(`${this.controlUrl}/stats?containers=all`);
    return (await response.json()) as Totals & { repeatedRequests: number; containers: ContainerTotals[] };
  }

  async journal(last = 1_000): Promise<JournalEntry[]> {
    return (await (await fetch(`${this.controlUrl}/journal?last=${last}`)).json()) as JournalEntry[];
  }

  /** The next `times` pushes (without it, all) get that status; 0 ends it. */
  async fail(status: number, times?: number, retryAfter?: string): Promise<void> {
    await this.#post("fail", { status, times, retryAfter });
  }

  async delay(ms: number): Promise<void> {
    await this.#post("delay", { ms });
  }

  /** Pushes are read and never answered; when that ends their connections are cut, with nothing taken from them. */
  async hang(on: boolean): Promise<void> {
    await this.#post("hang", { on: on ? 1 : 0 });
  }

  /** The port is closed; afterwards the same one is open again. */
  async refuse(on: boolean): Promise<void> {
    await this.#post("refuse", { on: on ? 1 : 0 });
  }

  /** Says that the agent has just been killed, so that the sink can judge what its successor repeats. */
  async killed(): Promise<void> {
    await this.#post("killed", {});
  }

  async reset(): Promise<void> {
    await this.#post("reset", {});
  }

  async #post(path: string, values: Record<string, string | number | undefined>): Promise<void> {
    const given = new URLSearchParams();
    for (const [name, value] of Object.entries(values)) if (value !== undefined) given.set(name, String(value));
    const response = await fetch(`${this.controlUrl}/${path}?${given.toString()}`, { method: "POST" });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  }
}

async function nextLine(lines: AsyncIterator<string>): Promise<string> {
  const { value, done } = await lines.next();
  if (done === true) throw new Error("the harness ended before it answered; what it said is above");
  return value;
}
