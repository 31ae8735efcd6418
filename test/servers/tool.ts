// Servers and tools that tests need and npm does not have: Go programs, built once from pinned modules into the user's
// cache folder and started on free loopback ports with a folder of their own.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const buildMinutesMax = 20;
const keepUnusedDays = 14;
const outputBytesMax = 64 * 1024;

/** Where built tools are kept between runs. */
export const cacheFolder = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "tailrace");

/**
 * For the `skip` option of a test that needs Go: false where Go is installed, else the sentence why it is skipped. In CI
 * (CI=true) nothing may be skipped, so there it throws.
 */
export function skipWithoutGo(): string | false {
  try {
    execFileSync("go", ["version"], { stdio: "ignore" });
    return false;
  } catch {
    const sentence = "needs Go 1.26 or later on the PATH (https://go.dev/dl/), which is not installed";
    if (process.env["CI"] === "true") throw new Error(sentence);
    return sentence;
  }
}

/**
 * A Go program: `folder` holds go.mod and go.sum (and sources, if it is ours), `target` is the package to build,
 * `variables` are package variables to set, as in `-X`.
 */
export interface GoTool {
  name: string;
  folder: string;
  target: string;
  variables?: Record<string, string>;
}

/**
 * Builds the program where this version of it is not in the cache yet, and gives the path of the binary. Of several
 * processes that ask at once one builds and the others wait. Throws with what Go said when it does not build.
 */
export async function buildGo(tool: GoTool): Promise<string> {
  const binary = join(cacheFolder, `${tool.name}-${versionOf(tool.folder)}`);
  mkdirSync(cacheFolder, { recursive: true });
  const deadline = Date.now() + buildMinutesMax * 60_000;
  while (!isFile(binary)) {
    if (takeLock(`${binary}.lock`)) {
      try {
        if (!isFile(binary)) await goBuild(tool, binary);
        removeUnused(tool.name, binary);
      } finally {
        rmSync(`${binary}.lock`, { force: true });
      }
    } else if (Date.now() > deadline) {
      throw new Error(`another process has been building ${tool.name} for ${buildMinutesMax} minutes`);
    } else {
      await sleep(300);
    }
  }
  return binary;
}

async function goBuild(tool: GoTool, binary: string): Promise<void> {
  process.stderr.write(`building ${tool.name} (once; kept in ${cacheFolder})\n`);
  const part = `${binary}.${process.pid}`;
  const variables = Object.entries(tool.variables ?? {}).map(([name, value]) => ` -X ${name}=${value}`);
  const link = `-ldflags=-s -w${variables.join("")}`;
  const go = spawn("go", ["build", "-mod=readonly", "-trimpath", "-buildvcs=false", link, "-o", part, tool.target], {
    cwd: tool.folder,
    env: { ...process.env, CGO_ENABLED: "0", GOFLAGS: "", GOWORK: "off" },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: buildMinutesMax * 60_000,
  });
  const output = collectOutput(go);
  const [code] = (await once(go, "close")) as [number | null];
  if (code !== 0) throw new Error(`cannot build ${tool.name}:\n${output()}`);
  renameSync(part, binary);
}

function versionOf(folder: string): string {
  const hash = createHash("sha256");
  for (const name of readdirSync(folder).sort()) {
    if (/\.(go|mod|sum)$/.test(name))
      hash
        .update(`${name}\0`)
        .update(readFileSync(join(folder, name)))
        .update("\0");
  }
  return hash.digest("hex").slice(0, 16);
}

/** True when the lock is ours now; the lock of a process that is gone is taken over. */
function takeLock(path: string): boolean {
  try {
    writeFileSync(path, String(process.pid), { flag: "wx" });
    return true;
  } catch {
    try {
      process.kill(Number(readFileSync(path, "utf8")) || process.pid, 0);
    } catch {
      rmSync(path, { force: true });
    }
    return false;
  }
}

/** Earlier versions of a tool go when nobody has built them for two weeks. */
function removeUnused(name: string, keep: string): void {
  const pattern = new RegExp(`^${name}-[0-9a-f]{16}(\\.[0-9]+)?$`);
  for (const file of readdirSync(cacheFolder).filter((file) => pattern.test(file))) {
    const path = join(cacheFolder, file);
    if (path !== keep && Date.now() - statSync(path).mtimeMs > keepUnusedDays * 86_400_000)
      rmSync(path, { force: true });
  }
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

/** So many different ports on 127.0.0.1 that were free a moment ago. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer().listen(0, "127.0.0.1");
      await once(server, "listening");
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => once(server.close(), "close")));
  return ports;
}

/** A running server; `stop` kills it by its process id (nothing of it is kept) and removes its folder. */
export interface Running {
  folder: string;
  pid: number;
  stop(): Promise<void>;
}

/**
 * Starts a server with a new folder under the system's temporary one and waits until `ready` says so, or the URL answers
 * 200 (at most 60 s). `prepare` gives the arguments, after writing what configuration it needs into the folder. The server and
 * its folder also go when this process exits without stopping it.
 */
export async function startServer(
  name: string,
  binary: string,
  ready: string | (() => Promise<boolean>),
  prepare: (folder: string) => string[],
): Promise<Running> {
  const folder = mkdtempSync(join(tmpdir(), `tailrace-${name}-`));
  const child = spawn(binary, prepare(folder), { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
  const output = collectOutput(child);
  const closed = once(child, "close");
  const onExit = (): void => {
    child.kill("SIGKILL");
    // It may still be writing for a moment.
    rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 20 });
  };
  process.on("exit", onExit);
  const stop = async (): Promise<void> => {
    child.kill("SIGKILL");
    await closed;
    process.off("exit", onExit);
    rmSync(folder, { recursive: true, force: true });
  };
  const isReady = typeof ready === "string" ? () => answers(ready) : ready;
  for (const deadline = Date.now() + 60_000; !(await isReady()); await sleep(50)) {
    if (child.exitCode !== null || child.signalCode !== null || Date.now() > deadline) {
      await stop();
      throw new Error(`${name} did not become ready:\n${output()}`);
    }
  }
  return { folder, pid: child.pid ?? 0, stop };
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2_000) });
    await response.body?.cancel();
    return response.status === 200;
  } catch {
    return false;
  }
}

/** Keeps the end of what a child writes; must be called before it writes anything. */
export function collectOutput(child: ChildProcess): () => string {
  let text = "";
  const keep = (part: Buffer): void => {
    text = (text + part.toString("utf8")).slice(-outputBytesMax);
  };
  child.stdout?.on("data", keep);
  child.stderr?.on("data", keep);
  child.on("error", (error) => keep(Buffer.from(error.message)));
  return () => text.trim();
}
