/**
 * The real agent as a process of its own: the bundle that `bin/tailrace` runs, on real files in a folder of the test.
 * Whatever a test starts here is ended, by its process id, when the test ends, and the folder goes with it.
 */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";
import { assertBalanced, type LedgerView, type PipelinesView } from "./views.ts";
import { eventually } from "./wait.ts";

const BUNDLE = join(import.meta.dirname, "../../dist/tailrace.js");
const API_VERSION = "tailrace.dev/v1alpha1";
const LOG_LINES_MAX = 10_000;
const RUN_MS_MAX = 60_000;

export interface Exit {
  code: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
}

export interface StartOptions {
  /** Further arguments of `run`. */
  args?: readonly string[];
  /** Runs as this user and group (root only). */
  uid?: number;
  dataDir?: string;
  env?: Record<string, string>;
}

export class AgentProcess {
  readonly child: ChildProcess;
  /** What it wrote to standard error, by lines. */
  readonly log: string[] = [];
  readonly ended: Promise<Exit>;
  address = "";
  stdout = "";
  #exit: Exit | undefined;

  constructor(args: readonly string[], { uid, env = {} }: StartOptions, cwd: string) {
    const user = uid === undefined ? {} : { uid, gid: uid };
    this.child = spawn(process.execPath, [BUNDLE, ...args], {
      ...{ cwd, stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } },
      ...user,
    });
    this.child.stdout!.setEncoding("utf8").on("data", (text: string) => (this.stdout += text));
    createInterface({ input: this.child.stderr! }).on("line", (line) => {
      if (this.log.length < LOG_LINES_MAX) this.log.push(line);
    });
    this.ended = once(this.child, "close").then(([code, signal]) => {
      const { log, stdout } = this;
      this.#exit = { code: code as number | null, signal: signal as string | null, stdout, stderr: log.join("\n") };
      return this.#exit;
    });
  }

  get pid(): number {
    return this.child.pid!;
  }

  get isRunning(): boolean {
    return this.#exit === undefined;
  }

  /** The end of its log, for messages of assertions. */
  tail = (): string => this.log.slice(-30).join("\n");

  signal(name: "SIGTERM" | "SIGINT" | "SIGHUP"): void {
    process.kill(this.pid, name);
  }

  /** Ends it as the kernel does when memory is short. Returns the moment, by the clock of `performance`. */
  async kill(): Promise<number> {
    assert.ok(this.isRunning, `the agent ended by itself\n${this.tail()}`);
    const at = performance.now();
    process.kill(this.pid, "SIGKILL");
    await this.ended;
    return at;
  }

  /** Asks it to end and waits until it has. */
  async stop(ms = 30_000): Promise<Exit> {
    if (this.isRunning) this.signal("SIGTERM");
    return this.end(ms);
  }

  /** Waits until it has ended by itself. */
  async end(ms = RUN_MS_MAX): Promise<Exit> {
    await eventually("its end", () => !this.isRunning, { ms, details: this.tail });
    return this.ended;
  }

  /** Waits for a line in its log, among those from `from` on. */
  logged(pattern: RegExp, { ms = 15_000, from = 0 } = {}): Promise<string> {
    const find = (): string | undefined => this.log.slice(from).find((line) => pattern.test(line));
    return eventually(`a line like ${pattern} in the agent's log`, find, { ms, details: this.tail });
  }

  async get<T>(path: string, init: RequestInit = {}): Promise<T> {
    const response = await fetch(`${this.address}${path}`, { ...init, signal: AbortSignal.timeout(20_000) });
    const text = await response.text();
    assert.ok(response.ok || init.method === "POST", `${path} answered ${response.status}: ${text}`);
    return JSON.parse(text) as T;
  }

  /** The ledger, after adding it up. */
  async ledger(when = "while the agent runs"): Promise<LedgerView> {
    const ledger = await this.get<LedgerView>("/v1/ledger");
    assertBalanced(ledger, when);
    return ledger;
  }

  /** Waits until a ledger is as `holds` wants it; each look adds it up. */
  async ledgerWhen(what: string, holds: (ledger: LedgerView) => boolean, ms = 15_000): Promise<LedgerView> {
    let last: LedgerView | undefined;
    return eventually(
      what,
      async () => {
        last = await this.ledger(`while waiting for ${what}`);
        return holds(last) ? last : undefined;
      },
      { ms, details: () => `${JSON.stringify(last?.total)}\n${this.tail()}` },
    );
  }

  pipelines(): Promise<PipelinesView[]> {
    return this.get("/v1/pipelines");
  }

  /** Resident memory in bytes, now or at most so far, from /proc (Linux). */
  memory(which: "VmRSS" | "VmHWM" = "VmRSS"): number {
    const status = readFileSync(`/proc/${this.pid}/status`, "utf8");
    return Number(new RegExp(`^${which}:\\s+(\\d+) kB`, "m").exec(status)![1]) * 1024;
  }
}

/** A pipeline of every namespace; requests and retries come soon, unless `spec` says otherwise. */
export function logPipeline(
  spec: { dispatcher?: object; sinks: readonly object[]; [field: string]: unknown },
  name = "shop",
): object {
  const dispatcher = { batchTimeout: "50ms", retryBaseDelay: "100ms", retryMaxDelay: "500ms", ...spec.dispatcher };
  return { apiVersion: API_VERSION, kind: "LogPipeline", metadata: { name }, spec: { ...spec, dispatcher } };
}

export function agentConfig(spec: object): object {
  return { apiVersion: API_VERSION, kind: "AgentConfig", metadata: { name: "agent" }, spec };
}

/** A folder with logs, data and configuration for the agents of one test. */
export class Place {
  readonly folder: string;
  readonly logsDir: string;
  readonly dataDir: string;
  readonly configFile: string;
  readonly #agents: AgentProcess[] = [];
  readonly #closing: (() => Promise<void> | void)[] = [];

  constructor(t: TestContext) {
    this.folder = mkdtempSync(join(tmpdir(), "tailrace-trouble-"));
    this.logsDir = join(this.folder, "pods");
    this.dataDir = join(this.folder, "data");
    this.configFile = join(this.folder, "pipeline.yaml");
    chmodSync(this.folder, 0o755); // for agents that run as another user
    mkdirSync(this.logsDir);
    t.after(async () => {
      for (const agent of this.#agents) {
        if (agent.isRunning) process.kill(agent.pid, "SIGKILL");
        await agent.ended;
      }
      for (const close of this.#closing.toReversed()) await close();
      rmSync(this.folder, { recursive: true, force: true });
    });
  }

  /** Runs `close` when the test ends, after the agents and before the folder goes. */
  after(close: () => Promise<void> | void): void {
    this.#closing.push(close);
  }

  /** Writes the configuration file, as JSON, which is YAML. */
  configure(...documents: readonly object[]): void {
    writeFileSync(this.configFile, documents.map((document) => JSON.stringify(document)).join("\n---\n"));
  }

  /** Lets another user write here (root only). */
  giveTo(uid: number): void {
    for (const path of [this.folder, ...readdirSync(this.folder).map((name) => join(this.folder, name))]) {
      chownSync(path, uid, uid);
    }
  }

  #spawn(args: readonly string[], options: StartOptions): AgentProcess {
    const { dataDir = this.dataDir } = options;
    const places = ["--logs-dir", this.logsDir, "--data-dir", dataDir, "--node", "n1"];
    const agent = new AgentProcess(
      ["run", "-f", this.configFile, ...places, ...args, ...(options.args ?? [])],
      options,
      this.folder,
    );
    this.#agents.push(agent);
    return agent;
  }

  /** Starts an agent that runs on, and waits until it listens and reads. */
  async start(options: StartOptions = {}): Promise<AgentProcess> {
    const agent = this.#spawn(["--listen", "127.0.0.1:0"], options);
    const details = agent.tail;
    agent.address = await eventually(
      "the agent's address",
      () => {
        assert.ok(agent.isRunning, `the agent ended at once\n${agent.tail()}`);
        return /listening address=(\S+)/.exec(agent.log.join("\n"))?.[1];
      },
      { ms: 20_000, details },
    );
    const isReady = (): Promise<boolean> => fetch(`${agent.address}/readyz`).then(({ ok }) => ok);
    await eventually("readiness", isReady, { details, ms: 60_000 });
    return agent;
  }

  /** Runs an agent that is to end by itself (`--once`, or one that refuses to start). */
  async run(args: readonly string[] = ["--once"], options: StartOptions = {}): Promise<Exit> {
    return this.#spawn(args, options).end();
  }

  /** As `run`, without waiting for the end. */
  launch(args: readonly string[], options: StartOptions = {}): AgentProcess {
    return this.#spawn(args, options);
  }
}
