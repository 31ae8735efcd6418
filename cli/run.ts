/** `tailrace run`: the agent on one machine, until it is told to stop, or once over what is there now. */
import { mkdirSync, statSync, watch } from "node:fs";
import { hostname } from "node:os";
import { resolve } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import type { Config, Problem } from "../crds/config.ts";
import { parseDuration } from "../crds/quantity.ts";
import { createAdmin, type Admin } from "../agent/admin.ts";
import { addLedger, emptyLedger, imbalance, sumTotals, type Ledger } from "../agent/ledger.ts";
import { lockDirectory } from "../agent/lock.ts";
import { isStateError, realWorld } from "../agent/machine.ts";
import { Agent } from "../agent/main.ts";
import { loadConfig } from "./files.ts";
import { ledgerLine, ledgerTable } from "./ledger-line.ts";
import { filesOption, outputOption, printJson, printProblems, type Output } from "./print.ts";

/** Exit codes of `--once`, DESIGN of the command line: all arrived; something was given up; lines remain. */
const EXIT_BAD = 2;
const EXIT_GIVEN_UP = 3;
const EXIT_REMAIN = 4;
const EXIT_SIGNAL = 130;
/** npm and shells may pass one Ctrl-C on twice. */
const SAME_SIGNAL_MS = 1_000;
/** How often --once looks whether it is done, and a terminal is told how far it is. */
const LOOK_MS = 50;
const SHOW_MS = 1_000;

export interface RunOptions {
  readonly config: Config;
  /** Reads the configuration again. */
  readonly reload: () => Promise<{ config?: Config; problems: Problem[] }>;
  readonly logsDir: string;
  readonly dataDir: string;
  /** host:port of the HTTP interface; undefined: none. */
  readonly listen: string | undefined;
  readonly node: string;
  readonly once: boolean;
  readonly timeoutMs: number;
  readonly json?: boolean;
  /** Configuration files to watch for changes. */
  readonly watched?: readonly string[];
  /** Called with the sum of all sinks' ledgers now and then. */
  readonly onLedger?: (ledger: Ledger) => void;
}

export function command(): Command {
  return new Command("run")
    .summary("ship logs as the pipelines in the files say")
    .addOption(filesOption())
    .option(
      "--logs-dir <dir>",
      "directory laid out as /var/log/pods, or of links as /var/log/containers",
      "/var/log/pods",
    )
    .option("--data-dir <dir>", "Positions and dead letters; one agent each", "./tailrace-data")
    .option("--listen <host:port>", "health, metrics and /v1 over HTTP; off: none", "127.0.0.1:9598")
    .option("--node <name>", "this machine's name, for {node}", hostname())
    .option("--once", "deliver what the files hold now, print the ledger and exit", false)
    .addOption(
      new Option("--timeout <duration>", "with --once: give up after this long")
        .argParser(duration)
        .default(60_000, "60s"),
    )
    .option("--watch", "reload when a configuration file changes", false)
    .addOption(outputOption())
    .addHelpText(
      "after",
      `
SIGHUP and POST /v1/reload read the files again; only what changed restarts.
SIGINT and SIGTERM stop reading, wait for answers, save the Positions and print the ledger.

Exit codes with --once: 0 every line was delivered or filtered, 3 some were dead-lettered, dropped or lost,
4 lines remain (run again to continue). 2: bad configuration or arguments.

Examples:
  tailrace run -f pipeline.yaml
  tailrace run -f pipelines/ --logs-dir /var/log/pods --data-dir /var/lib/tailrace --watch
  tailrace run -f pipeline.yaml --once --timeout 10m -o json`,
    )
    .action(async (options: Options) => {
      process.exitCode = await run(options);
    });
}

interface Options {
  file: string[];
  logsDir: string;
  dataDir: string;
  listen: string;
  node: string;
  once: boolean;
  timeout: number;
  watch: boolean;
  output: Output;
}

function duration(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) throw new InvalidArgumentError("a duration looks like 60s, 5m or 1h30m");
  return ms;
}

async function run(options: Options): Promise<number> {
  const { config, problems, notes } = await loadConfig(options.file);
  printProblems(problems, notes);
  if (!config) return EXIT_BAD;
  return runAgent({
    config,
    reload: () => loadConfig(options.file),
    logsDir: resolve(options.logsDir),
    dataDir: resolve(options.dataDir),
    listen: options.listen === "off" ? undefined : options.listen,
    node: options.node,
    once: options.once,
    timeoutMs: options.timeout,
    json: options.output === "json",
    watched: options.watch ? options.file.filter((file) => file !== "-") : [],
  });
}

/** Runs an agent until it is told to stop or, with `once`, is done. Resolves to the exit code. */
export async function runAgent(options: RunOptions): Promise<number> {
  const world = realWorld((line) => process.stderr.write(line));
  const { log } = world;
  let unlock: () => Promise<void>;
  let agent: Agent;
  try {
    mkdirSync(options.dataDir, { recursive: true, mode: 0o700 });
    unlock = await lockDirectory(options.dataDir);
    agent = new Agent(options.config, world, options);
  } catch (error) {
    if (!isStateError(error)) throw error;
    process.stderr.write(
      `tailrace: can't use the data directory: ${error.message.replace(/\/proc\/self\/fd\/\d+/, options.dataDir)}\n`,
    );
    return EXIT_BAD;
  }
  const reload = async (): Promise<{ problems: Problem[] }> => {
    const { config, problems } = await options.reload();
    if (config) await agent.reload(config);
    else {
      printProblems(problems, []);
      log.warn("the new configuration is refused, the old one keeps running", { problems: problems.length });
    }
    return { problems };
  };
  let admin: Admin | undefined;
  if (options.listen !== undefined && !options.once) {
    try {
      admin = await createAdmin({ agent, reload, listen: options.listen });
      log.info("listening", { address: admin.address });
    } catch (error) {
      process.stderr.write(
        `tailrace: can't listen on ${options.listen}: ${(error as Error).message}; choose another with --listen\n`,
      );
      await unlock();
      return EXIT_BAD;
    }
  }
  const unwatch = (options.watched ?? []).map((file) => watchFile(file, () => void reload()));
  const onHangup = (): void => void reload();
  process.on("SIGHUP", onHangup);
  agent.start();
  const before = total(agent);
  const end = await untilDone(agent, options);
  const patience = endAtSecondSignal();
  process.off("SIGHUP", onHangup);
  for (const stop of unwatch) stop();
  await agent.stop();
  await admin?.close();
  await unlock();
  patience();
  return report(agent, before, end, options);
}

/** The sum over all sinks. */
function total(agent: Agent): Ledger {
  const sum = emptyLedger();
  for (const { ledger } of agent.ledgers()) addLedger(sum, ledger);
  return sum;
}

type End = "done" | "stopped" | "late";

/** Resolves at a signal, when `once` is done or when its time is up. */
function untilDone(agent: Agent, options: RunOptions): Promise<End> {
  return new Promise((resolveDone) => {
    const end = (how: End): void => {
      clearInterval(looking);
      clearInterval(showing);
      clearTimeout(limit);
      for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, onSignal);
      resolveDone(how);
    };
    const onSignal = (): void => end("stopped");
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, onSignal);
    const looking = setInterval(() => options.once && agent.finished && end("done"), LOOK_MS);
    const limit = options.once ? setTimeout(() => end("late"), options.timeoutMs) : undefined;
    const show = options.onLedger ?? (options.once && process.stderr.isTTY ? showProgress : undefined);
    const showing = setInterval(() => show?.(total(agent)), SHOW_MS);
  });
}

/** While the agent drains, a further signal ends it at once; one that follows within a second is the same one, passed on twice. */
function endAtSecondSignal(): () => void {
  const from = Date.now() + SAME_SIGNAL_MS;
  const onSignal = (): void => {
    if (Date.now() >= from) process.exit(EXIT_SIGNAL);
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, onSignal);
  return () => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, onSignal);
  };
}

function showProgress(ledger: Ledger): void {
  process.stderr.write(`\r\x1b[K${ledgerLine(ledger, process.stderr.columns)}`);
}

/** Prints the final ledger and decides the exit code. */
function report(agent: Agent, before: Ledger, end: End, options: RunOptions): number {
  const after = total(agent);
  if (options.once && process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  const off = imbalance(after);
  if (off.lines !== 0 || off.bytes !== 0) {
    process.stderr.write(`tailrace: BUG: the ledger is off by ${off.lines} lines and ${off.bytes} bytes\n`);
  }
  if (options.json) printJson({ sinks: agent.ledgers(), total: after });
  else process.stderr.write(`${ledgerTable(agent)}\n`);
  if (!options.once) return 0;
  const remaining = after.inFlight.bytes + after.backlogBytes;
  if (end !== "done") {
    const why = end === "stopped" ? "stopped" : `the time of --timeout ${options.timeoutMs / 1000}s is up`;
    process.stderr.write(`tailrace: ${why}: ${remaining} bytes not delivered, run again to continue\n`);
    return EXIT_REMAIN;
  }
  if (remaining > 0) {
    process.stderr.write(
      `tailrace: ${remaining} bytes at the ends of files are no whole lines yet and are left there\n`,
    );
  }
  return givenUp(after) > givenUp(before) || agent.positions.vanishedBytes > 0 ? EXIT_GIVEN_UP : 0;
}

/** Lines and bytes that were neither delivered nor filtered on purpose. */
function givenUp(ledger: Ledger): number {
  const settled = Object.entries(ledger.settled).filter(
    ([name]) => name !== "delivered" && !name.startsWith("filtered/"),
  );
  return sumTotals(Object.fromEntries(settled)).bytes;
}

/** Calls `changed` when a file, or one in a directory, changes, however an editor or a mounted ConfigMap replaces it. */
function watchFile(path: string, changed: () => void): () => void {
  let timer: NodeJS.Timeout | undefined;
  const directory = statSync(path).isDirectory() ? path : resolve(path, "..");
  const watcher = watch(directory, () => {
    clearTimeout(timer);
    timer = setTimeout(changed, 200);
  });
  watcher.on("error", () => watcher.close());
  return () => {
    clearTimeout(timer);
    watcher.close();
  };
}
