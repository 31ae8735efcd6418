// The bench: builds what it needs, runs every scenario with every agent in turn, prints one table. See README.md.

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, statfsSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { skipWithoutGo } from "../servers/tool.ts";
import { type Agent, buildVlagent, raw, tailrace, vlagent } from "./agents.ts";
import { allowedCpus, buildHarness, generate, Harness, type Result, type ScenarioName, type Spec } from "./harness.ts";
import { type BenchScenario, type Options, parseOptions, usage } from "./options.ts";
import { faults, figures, judge, type Row, table, type Verdict } from "./rows.ts";

const root = join(import.meta.dirname, "..", "..");
const gateLooser = 3;
const restSeconds = 5;
const burstMiB = 64; // written at once before every second life of the kill scenario
const textBytes = 200; // with the CRI head and the newline 241 bytes a line

/** What each scenario sets; the rest is common to all. */
function settings(scenario: ScenarioName, options: Options): Partial<Spec> {
  const limitSeconds = 90 + options.mib / 4;
  switch (scenario) {
    case "rest":
      return { seconds: restSeconds };
    case "catchup":
      return { files: 10, limitSeconds };
    case "steady":
      return { files: 30, textBytes: 175, rateLines: 10_000, warmSeconds: 8, seconds: options.seconds ?? 60 };
    case "idle":
      return { files: 1_000, warmSeconds: 15, seconds: options.seconds ?? 30, limitSeconds: 240 };
    case "sinkdown":
      return { files: 10, seconds: options.seconds ?? 30, stallSeconds: 60, limitSeconds: limitSeconds + 60 };
    case "kill":
      return {
        files: 10,
        rateLines: 10_000,
        kills: options.kills,
        burstMiB,
        limitSeconds: 120 + options.kills * 15,
      };
  }
}

/** The first two CPUs that we may use: the agent's and the harness's; [-1, -1] where there is only one. */
function twoCpus(): [number, number] {
  const [agent, harness] = allowedCpus();
  return agent === undefined || harness === undefined ? [-1, -1] : [agent, harness];
}

class Bench {
  readonly #options: Options;
  readonly #scratch: string;
  readonly #cpus = twoCpus();
  readonly rows: Row[] = [];
  #generated = false;

  constructor(options: Options, scratch: string) {
    this.#options = options;
    this.#scratch = scratch;
  }

  async measure(scenario: ScenarioName, agent: Agent): Promise<Result> {
    process.stderr.write(`${scenario} ${agent.name} … `);
    const place = join(this.#scratch, "run");
    rmSync(place, { recursive: true, force: true });
    const state = join(place, "state");
    mkdirSync(state, { recursive: true });
    const waiting = scenario === "catchup" || scenario === "sinkdown";
    const logs = join(this.#scratch, waiting ? "waiting" : "run/logs");
    if (waiting && !this.#generated) {
      await generate(logs, { files: 10, mib: this.#options.mib, textBytes });
      this.#generated = true;
    }
    const special = settings(scenario, this.#options);
    const harness = await Harness.start({ cpu: this.#cpus[1], textBytes: special.textBytes ?? textBytes });
    try {
      const { command, env } = await agent.prepare({ scenario, root: logs, state, harness });
      const common = { files: 0, textBytes, rateLines: 0, warmSeconds: 0, seconds: 0, kills: 0, burstMiB: 0 };
      const bounds = { stallSeconds: 25, limitSeconds: 90 + (special.seconds ?? 0) };
      const own = { scenario, root: logs, command, env, logFile: join(place, "agent.log"), cpu: this.#cpus[0] };
      const result = await harness.run({ ...common, ...bounds, ...own, ...special });
      const cores = result.cpuSeconds / result.wallSeconds;
      process.stderr.write(`${result.wallSeconds.toFixed(1)} s, ${cores.toFixed(3)} cores\n`);
      this.#row(scenario, agent).results.push(result);
      return result;
    } finally {
      await harness.stop();
    }
  }

  #row(scenario: ScenarioName, agent: Agent): Row {
    let row = this.rows.find((row) => row.scenario === scenario && row.agent === agent.name);
    if (row === undefined) this.rows.push((row = { scenario, agent: agent.name, results: [] }));
    return row;
  }

  /** Every scenario with every agent, one after the other, as often as asked. */
  async measureAll(agents: Agent[]): Promise<void> {
    for (const agent of agents) await this.measure("rest", agent);
    for (let run = 0; run < this.#options.runs; run++) {
      for (const scenario of this.#options.scenarios) {
        for (const agent of agents.filter((agent) => agent.scenarios.includes(scenario)))
          await this.measure(scenario, agent);
      }
    }
  }

  verdicts(looser = 1): Verdict[] {
    return this.rows.filter((row) => row.agent === "tailrace").flatMap((row) => judge(row, this.rows, looser));
  }

  /** Measures Tailrace again, alone, where it missed a figure: once, since a busy machine makes any program slow. */
  async retry(agent: Agent): Promise<void> {
    const missed = new Set(
      this.verdicts(gateLooser)
        .filter(({ met }) => !met)
        .map(({ scenario }) => scenario),
    );
    for (const scenario of missed) {
      process.stderr.write(`${scenario}: missed, once more\n`);
      const row = this.#row(scenario, agent);
      const before = row.results.splice(0);
      await this.measure(scenario, agent);
      if (before.some((result) => faults(result).length > 0)) row.results.unshift(...before);
    }
  }
}

function report(bench: Bench, options: Options): boolean {
  const ours = bench.rows.filter((row) => row.agent === "tailrace");
  const inexact = ours.some((row) => row.results.some((result) => faults(result).length > 0));
  const verdicts = bench.verdicts(options.gate ? gateLooser : 1);
  if (options.json) {
    const rows = bench.rows.map((row) => ({ ...row, figures: figures(row, bench.rows) }));
    console.log(JSON.stringify({ machine: machine(), options, rows, verdicts }, null, 2));
  } else {
    console.log(`\n${machine()}\n\n${table(bench.rows)}\n`);
    for (const row of bench.rows) for (const result of row.results) explain(row, result);
    for (const { scenario, what, value, bound, met } of verdicts) {
      console.log(`${met ? "met   " : "MISSED"}  ${scenario}: ${what} ${value.toFixed(3)} (${bound})`);
    }
  }
  return !inexact && (!options.gate || verdicts.every(({ met }) => met));
}

function explain(row: Row, result: Result): void {
  const wrong = faults(result);
  if (result.kills > 0) {
    const { kills, writtenLines, lost, set, repeatedRequests } = result;
    const allowed = `${set.duplicatedAllowed} of them in ${repeatedRequests} requests`;
    console.log(
      `kill ${row.agent}: ${kills} kills, ${writtenLines} lines, ${lost} lost, ${set.duplicated} duplicated, ` +
        `${allowed} that were unanswered, or answered less than 200 ms before the kill`,
    );
  }
  if (wrong.length === 0) return;
  console.log(`${row.scenario} ${row.agent}: ${wrong.join("; ")}`);
  for (const { file, ...counts } of result.troubled) console.log(`  container ${file}: ${JSON.stringify(counts)}`);
  if (result.logTail !== "")
    console.log(
      result.logTail
        .split("\n")
        .slice(-10)
        .map((line) => `  | ${line}`)
        .join("\n"),
    );
}

function machine(): string {
  const list = cpus();
  const [agent, harness] = twoCpus();
  const pinned = agent < 0 ? "one CPU only: nothing is pinned" : `agent on CPU ${agent}, harness on CPU ${harness}`;
  return `${new Date().toISOString()}, Node ${process.version}, ${list.length} × ${list[0]?.model.trim()}, ${pinned}`;
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2), join(root, "bin", "tailrace"));
  if (options === "help") {
    console.log(usage);
    return 0;
  }
  const missing = process.platform === "linux" ? skipWithoutGo() : "reads /proc, so it runs on Linux only";
  if (missing !== false) throw new Error(`the bench ${missing}`);
  const kill = options.scenarios.includes("kill") ? (options.kills / 2) * burstMiB : 0;
  const needMiB = 256 + kill + (options.scenarios.some(isWaiting) ? options.mib : 0);
  const disk = statfsSync(tmpdir());
  const freeMiB = (disk.bavail * disk.bsize) / 2 ** 20;
  if (freeMiB < needMiB) throw new Error(`needs ${needMiB} MiB in ${tmpdir()}, where ${Math.floor(freeMiB)} are free`);
  if (options.build) {
    const { status } = spawnSync("npm", ["run", "--silent", "build"], { cwd: root, stdio: ["ignore", 2, 2] });
    if (status !== 0) throw new Error("npm run build failed");
  }
  await buildHarness();
  if (options.peer) await buildVlagent();

  const scratch = mkdtempSync(join(tmpdir(), "tailrace-bench-"));
  process.on("exit", () => rmSync(scratch, { recursive: true, force: true }));
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(130));
  const bench = new Bench(options, scratch);
  const ours = tailrace(options.tailrace);
  await bench.measureAll(options.peer ? [raw, ours, vlagent] : [raw, ours]);
  if (options.gate) await bench.retry(ours);
  return report(bench, options) ? 0 : 1;
}

function isWaiting(scenario: BenchScenario): boolean {
  return scenario === "catchup" || scenario === "sinkdown";
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 2;
}
