import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";

const QUICKSTART = fileURLToPath(new URL("../../cli/quickstart.ts", import.meta.url));
const LEDGER = /^2 sinks: read \d+ lines · delivered \d+ · filtered \d+ · dropped 0 · dead-lettered 0 · lost 0 · /m;

/** A quickstart in a directory of its own, as its own process. */
class Quickstart {
  stdout = "";
  stderr = "";
  readonly #child;
  readonly #exited: Promise<unknown[]>;
  readonly #closed: Promise<unknown[]>;
  #waiting: (() => void)[] = [];

  constructor(directory: string, args: string[]) {
    const child = spawn(process.execPath, [QUICKSTART, ...args], { cwd: directory, stdio: ["ignore", "pipe", "pipe"] });
    this.#child = child;
    this.#exited = once(child, "exit");
    this.#closed = once(child, "close");
    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8").on("data", (text: string) => {
        this[name] += text;
        for (const look of this.#waiting) look();
      });
    }
  }

  /** Waits until what it wrote holds something; at most 10 s. */
  async until(what: string, holds: () => boolean): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no ${what} in 10 s:\n${this.stdout}\n${this.stderr}`)), 10_000);
      const look = (): void => {
        if (!holds()) return;
        clearTimeout(timer);
        resolve();
      };
      this.#waiting = [look];
      look();
    });
  }

  signal(signal: "SIGINT" | "SIGTERM"): void {
    this.#child.kill(signal);
  }

  /** Reads its standard output no more. */
  pause(): void {
    this.#child.stdout.pause();
  }

  /** Sends a signal and returns the exit code. */
  async end(signal?: "SIGINT" | "SIGTERM"): Promise<number | null> {
    if (signal) this.signal(signal);
    const [code] = await this.#exited;
    this.#child.stdout.resume();
    await this.#closed;
    return code as number | null;
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }
}

function folder(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "tailrace-quickstart-"));
  t.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

function start(t: TestContext, directory: string, ...args: string[]): Quickstart {
  const quickstart = new Quickstart(directory, args);
  t.after(() => quickstart.kill());
  return quickstart;
}

/** The rows of the final table by sink, as numbers; what the last columns tell in bytes is left out. */
function finalLedger(stderr: string): Record<string, number[]> {
  const rows = [...stderr.matchAll(/^LogPipeline\/\/quickstart\/(\w+) {2,}(.*)$/gm)];
  return Object.fromEntries(
    rows.map(([, sink, cells]) => [sink, cells!.split(/ {2,}/).map((cell) => Number(cell.replaceAll(",", "")))]),
  );
}

const linesOf = (path: string): string[] => readFileSync(path, "utf8").trimEnd().split("\n");

test("without logs a demonstration runs, the ledger balances at the end, and a second run goes on", async (t) => {
  const directory = folder(t);
  const out = (name: string): string => join(directory, "out", name);
  let delivered = 0;
  for (const run of ["first", "second"]) {
    const quickstart = start(t, directory, "--logs-dir", "nothing");
    const shop = /^shop\/(web|orders)-[a-z0-9-]+\/(nginx|orders) {2}(INFO|WARN|ERROR) {2}\S/m;
    await quickstart.until("first line", () => shop.test(quickstart.stdout));
    await quickstart.until("ledger", () => LEDGER.test(quickstart.stderr));
    await quickstart.until("file", () => existsSync(out("shop.ndjson")) && quickstart.stdout.includes("jobs/sync-"));
    assert.equal(await quickstart.end("SIGINT"), 0, quickstart.stderr);
    assert.match(quickstart.stderr, /nothing holds no logs, so a demonstration workload writes some/);
    assert.ok(!quickstart.stdout.includes("level=debug"), "debug lines are dropped");
    assert.ok(!quickstart.stderr.includes("BUG"), quickstart.stderr);
    assert.ok(!/ error /.test(quickstart.stderr), quickstart.stderr);
    const ledger = finalLedger(quickstart.stderr);
    assert.deepEqual(Object.keys(ledger).sort(), ["files", "terminal"]);
    for (const [read, settled, filtered, dropped, dead, lost, inFlight] of Object.values(ledger)) {
      assert.ok(read! > 0 && filtered! > 0, quickstart.stderr);
      assert.deepEqual([dropped, dead, lost], [0, 0, 0]);
      assert.equal(read, settled! + filtered! + inFlight!);
    }
    const files = readdirSync(join(directory, "out")).filter((name) => name.endsWith(".ndjson"));
    assert.deepEqual(files.sort(), ["jobs.ndjson", "shop.ndjson"]);
    const records = files.flatMap((name) => linesOf(out(name)).map((line) => JSON.parse(line) as { text: string }));
    assert.equal(records.length, ledger["files"]![1], `${run} run: as many lines in the files as the ledger says`);
    assert.ok(records.length > delivered);
    assert.ok(records.every(({ text }) => !text.includes("@example.")));
    delivered = records.length;
  }
});

test("where there are logs it tails those, from now on", async (t) => {
  const directory = folder(t);
  const container = join(directory, "pods", "shop_checkout-1_uid-1", "app");
  const log = join(container, "0.log");
  mkdirSync(container, { recursive: true });
  appendFileSync(log, "2026-11-24T10:00:00Z stdout F from before\n");
  const quickstart = start(t, directory, "--logs-dir", "pods");
  await quickstart.until("start", () => quickstart.stderr.includes("listening"));
  // The first line after the start tells that the end was found before it.
  await quickstart.until("ledger", () => LEDGER.test(quickstart.stderr));
  appendFileSync(log, "2026-11-24T10:00:01Z stderr F from now on\n");
  await quickstart.until("line", () => quickstart.stdout.includes("from now on"));
  assert.equal(await quickstart.end("SIGTERM"), 0);
  assert.equal(quickstart.stdout, "shop/checkout-1/app  from now on\n");
  assert.match(quickstart.stderr, /tails .*\/pods from now on/);
  assert.equal(existsSync(join(directory, "out", ".tailrace", "demo")), false);
});

const asRoot = process.getuid?.() === 0 ? "root may read everything" : false;
test("logs that may not be read are said, and the demonstration runs", { skip: asRoot }, async (t) => {
  const directory = folder(t);
  const container = join(directory, "pods", "shop_checkout-1_uid-1", "app");
  mkdirSync(container, { recursive: true });
  appendFileSync(join(container, "0.log"), "x\n");
  chmodSync(join(container, "0.log"), 0);
  const quickstart = start(t, directory, "--logs-dir", "pods");
  await quickstart.until("first line", () => quickstart.stdout.includes("shop/web-"));
  assert.match(
    quickstart.stderr,
    /this user may not read .*\/pods \(root may\), so a demonstration workload writes logs/,
  );
  assert.equal(await quickstart.end("SIGINT"), 0);
});

test("two at once in one place: the second says why it can't run", async (t) => {
  const directory = folder(t);
  const first = start(t, directory, "--logs-dir", "nothing");
  await first.until("start", () => first.stderr.includes("listening"));
  const second = start(t, directory, "--logs-dir", "nothing");
  assert.equal(await second.end(), 2);
  assert.match(second.stderr, /out\/\.tailrace is in use by another agent/);
  assert.equal(await first.end("SIGINT"), 0);
});

test("a Ctrl-C that arrives twice ends in the ledger, a later one ends a drain that takes too long", async (t) => {
  const twice = start(t, folder(t), "--logs-dir", "nothing");
  await twice.until("first line", () => twice.stdout.includes("shop/web-"));
  twice.signal("SIGINT");
  assert.equal(await twice.end("SIGINT"), 0, twice.stderr);
  assert.deepEqual(Object.keys(finalLedger(twice.stderr)).sort(), ["files", "terminal"]);

  const directory = folder(t);
  const container = join(directory, "pods", "shop_checkout-1_uid-1", "app");
  mkdirSync(container, { recursive: true });
  appendFileSync(join(container, "0.log"), "");
  const stuck = start(t, directory, "--logs-dir", "pods");
  await stuck.until("start", () => stuck.stderr.includes("listening"));
  // More than a pipe takes, and nobody reads it.
  stuck.pause();
  appendFileSync(join(container, "0.log"), `2026-11-24T10:00:00Z stdout F ${"x".repeat(1000)}\n`.repeat(4000));
  const file = join(directory, "out", "shop.ndjson");
  await stuck.until("ledger with lines in flight", () => /in flight [1-9]/.test(stuck.stderr) && existsSync(file));
  const pressing = setInterval(() => stuck.signal("SIGINT"), 100);
  t.after(() => clearInterval(pressing));
  assert.equal(await stuck.end(), 130, stuck.stderr);
});

test("help and bad arguments", async (t) => {
  const directory = folder(t);
  const help = start(t, directory, "--help");
  assert.equal(await help.end(), 0);
  assert.match(help.stdout, /^npm start \[-- --logs-dir DIR\]\n/);
  const bad = start(t, directory, "--nonsense");
  assert.equal(await bad.end(), 2);
  assert.match(bad.stderr, /^tailrace: Unknown option '--nonsense'/);
  assert.equal(bad.stderr.split("\n").length, 2, bad.stderr);
  assert.deepEqual(readdirSync(directory), []);
});
