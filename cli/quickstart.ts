/**
 * `npm start`: the agent on examples/quickstart.yaml, so that the first lines are there within seconds. It tails the
 * container logs of this machine or, where there are none to read, those of a demonstration workload.
 */
import { accessSync, constants, readdirSync } from "node:fs";
import { hostname } from "node:os";
import { join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { Ledger } from "../agent/ledger.ts";
import { loadConfig } from "./files.ts";
import { ledgerLine } from "./ledger-line.ts";
import { printProblems } from "./print.ts";
import { Footer } from "./quickstart/footer.ts";
import { Workload } from "./quickstart/workload.ts";
import { runAgent } from "./run.ts";

const PIPELINE = fileURLToPath(new URL("../examples/quickstart.yaml", import.meta.url));
const LOGS_DIR = "/var/log/pods";
/** Positions, and the demonstration's logs: deleted together, so that one never contradicts the other. */
const DATA_DIR = "out/.tailrace";
const TICK_MS = 100;
/** How often the ledger is printed where it can't stay at the bottom of a terminal. */
const LEDGER_MS = 5_000;
/** A signal this soon after the first is the same one. */
const SAME_MS = 1_000;
/** As shells tell that Ctrl-C ended a program. */
const EXIT_SIGNAL = 130;

const HELP = `npm start [-- --logs-dir DIR]

Runs the agent on examples/quickstart.yaml: lines on the terminal, NDJSON files under ./out.
It tails DIR (${LOGS_DIR}) where that holds log files that can be read, otherwise a demonstration workload.
Ctrl-C delivers what was read and prints the ledger.
`;

/** Whether a directory laid out as /var/log/pods holds a log file: one that can be read, only others, or none. */
function findLogs(directory: string): "readable" | "forbidden" | "none" {
  let found: "forbidden" | "none" = "none";
  const names = (path: string): string[] => {
    try {
      return readdirSync(path);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EACCES") found = "forbidden";
      return [];
    }
  };
  const isReadable = (path: string): boolean => {
    try {
      accessSync(path, constants.R_OK);
      return true;
    } catch {
      found = "forbidden";
      return false;
    }
  };
  for (const pod of names(directory)) {
    for (const container of names(join(directory, pod))) {
      const folder = join(directory, pod, container);
      for (const name of names(folder)) {
        if (/^\d+\.log$/.test(name) && isReadable(join(folder, name))) return "readable";
      }
    }
  }
  return found;
}

/** Starts the demonstration; the returned function ends it. */
function startWorkload(directory: string): () => void {
  const workload = new Workload(directory);
  const timer = setInterval(() => {
    try {
      workload.tick();
    } catch (error) {
      clearInterval(timer);
      process.stderr.write(`tailrace: the demonstration ends, it can't write: ${(error as Error).message}\n`);
    }
  }, TICK_MS);
  return () => clearInterval(timer);
}

/** Shows the ledger (of so many sinks) at the bottom of a terminal, elsewhere as a line now and then. */
function ledgerShower(sinks: number): { show: (ledger: Ledger) => void; close: () => void } {
  const { stdout, stderr } = process;
  const of = `${sinks} sinks: `;
  if (stderr.isTTY && process.env["TERM"] !== "dumb") {
    const footer = new Footer(stderr, stdout.isTTY ? [stdout] : []);
    const show = (ledger: Ledger): void => footer.show(of + ledgerLine(ledger, footer.columns - of.length));
    return { show, close: () => footer.close() };
  }
  let shownAt = -Infinity;
  const show = (ledger: Ledger): void => {
    if (performance.now() - shownAt < LEDGER_MS) return;
    shownAt = performance.now();
    stderr.write(`${of}${ledgerLine(ledger)}\n`);
  };
  return { show, close: () => {} };
}

/**
 * The first signal ends the workload, beside what the agent does at it: lines written later would only be backlog. A
 * later one ends the process at once; but one right after the first is the same Ctrl-C, which npm passes on as well.
 */
function onSignals(first: () => void, last: () => void): void {
  let firstAt: number | undefined;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      const isAgentThere = process.listenerCount(signal) > 1 || firstAt !== undefined;
      firstAt ??= performance.now();
      first();
      if (isAgentThere && performance.now() - firstAt < SAME_MS) return;
      last();
      process.exit(EXIT_SIGNAL);
    });
  }
}

function introduce(logsDir: string, found: ReturnType<typeof findLogs>): void {
  const whose = {
    readable: `tails ${logsDir} from now on`,
    forbidden: `this user may not read ${logsDir} (root may), so a demonstration workload writes logs`,
    none: `${logsDir} holds no logs, so a demonstration workload writes some`,
  };
  const pipeline = relative(".", PIPELINE);
  process.stderr.write(
    `tailrace: ${whose[found]}\n` +
      `tailrace: the pipeline is ${pipeline}, files go to out/<namespace>.ndjson, Ctrl-C stops\n`,
  );
}

async function main(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      "logs-dir": { type: "string", default: LOGS_DIR },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const reload = async (): ReturnType<typeof loadConfig> => loadConfig([PIPELINE]);
  const { config, problems, notes } = await reload();
  printProblems(problems, notes);
  if (!config) return 2;
  const dataDir = resolve(DATA_DIR);
  const wanted = resolve(values["logs-dir"]);
  const found = findLogs(wanted);
  introduce(wanted, found);
  const logsDir = found === "readable" ? wanted : join(dataDir, "demo");
  const stopWorkload = found === "readable" ? () => {} : startWorkload(logsDir);
  // `npm start | head`: whoever read is gone, so it ends as by Ctrl-C.
  process.stdout.once("error", () => process.kill(process.pid, "SIGINT"));
  const shower = ledgerShower(config.pipelines.reduce((sum, { sinks }) => sum + sinks.length, 0));
  onSignals(stopWorkload, shower.close);
  try {
    return await runAgent({
      ...{ config, reload, logsDir, dataDir, listen: "127.0.0.1:0", node: hostname(), once: false, timeoutMs: 0 },
      onLedger: shower.show,
    });
  } finally {
    stopWorkload();
    shower.close();
  }
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException;
  if (!code?.startsWith("ERR_PARSE_ARGS")) throw error;
  process.stderr.write(`tailrace: ${message}\n`);
  process.exitCode = 2;
}
