/** A real agent on real files with a real HTTP destination and a real admin server, each on a free port of its own. */
import assert from "node:assert/strict";
import { appendFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { TestContext } from "node:test";
import { createAdmin, type Admin } from "../../agent/admin.ts";
import { realClock, type Clock } from "../../agent/clock.ts";
import { realWatcher } from "../../agent/collect/watch.ts";
import { realDisk, type Disk } from "../../agent/disk.ts";
import type { Log } from "../../agent/log.ts";
import { Agent } from "../../agent/main.ts";
import { sinks } from "../../agent/sinks/index.ts";
import { readConfig, type Config, type Problem } from "../../crds/config.ts";

/** A destination that answers as it is told, and remembers the records that it took. */
export class Destination {
  url = "";
  /** Answers one request; by default with 204. */
  answer: (body: string, reply: ServerResponse) => void = accept;
  readonly bodies: string[] = [];
  requests = 0;
  #server: Server | undefined;

  get records(): Record<string, unknown>[] {
    return this.bodies.flatMap((body) => body.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line)])));
  }

  async open(t: TestContext): Promise<this> {
    const server = createServer((request, reply) => {
      // A request that ends early is none.
      text(request).then(
        (body) => this.#receive(body, reply),
        () => {},
      );
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    return this;
  }

  #receive(body: string, reply: ServerResponse): void {
    this.requests++;
    reply.on("finish", () => {
      if (reply.statusCode < 300) this.bodies.push(body);
    });
    this.answer(body, reply);
  }

  /** Resets all connections; what waits on them is never answered. */
  drop(): void {
    this.#server!.closeAllConnections();
  }
}

export const accept = (_body: string, reply: ServerResponse): void => void reply.writeHead(204).end();
export const refuse =
  (status: number, text = "", headers: Record<string, string> = {}) =>
  (_body: string, reply: ServerResponse): void =>
    void reply.writeHead(status, headers).end(text);

/** The real clock, which can jump ahead; timers that already run are as long as they were. */
export class JumpClock implements Clock {
  #ahead = 0;

  now(): number {
    return realClock.now() + this.#ahead;
  }
  wall(): number {
    return realClock.wall() + this.#ahead;
  }
  after(ms: number, run: () => void): () => void {
    return realClock.after(ms, run);
  }
  soon(run: () => void): void {
    realClock.soon(run);
  }
  jump(ms: number): void {
    this.#ahead += ms;
  }
}

/** Configuration from YAML, which must be good. */
export function configOf(yaml: string, env: Record<string, string> = {}): Config {
  const world = { env: (name: string) => env[name], readFile: () => assert.fail("no file is to be read") };
  const { config, problems } = readConfig([{ file: "test.yaml", text: yaml }], world);
  assert.deepEqual(problems, []);
  return config!;
}

export interface LiveOptions {
  readonly clock?: Clock;
  readonly disk?: Disk;
  readonly reload?: () => Promise<{ problems: readonly Problem[] }>;
  readonly listen?: string;
  /** A directory of an earlier run. */
  readonly directory?: string;
}

/** An agent that is ready to start, and its admin server. All of it ends with the test. */
export class Live {
  readonly agent: Agent;
  readonly admin: Admin;
  readonly directory: string;
  /** What the agent logged, one line each. */
  readonly lines: string[];
  #stopped = false;

  private constructor(agent: Agent, admin: Admin, directory: string, lines: string[]) {
    this.agent = agent;
    this.admin = admin;
    this.directory = directory;
    this.lines = lines;
  }

  static async open(t: TestContext, config: Config, options: LiveOptions = {}): Promise<Live> {
    const directory = options.directory ?? mkdtempSync(join(tmpdir(), "tailrace-live-"));
    const logsDir = join(directory, "pods");
    const dataDir = join(directory, "data");
    for (const folder of [logsDir, dataDir]) mkdirSync(folder, { recursive: true });
    const lines: string[] = [];
    const say =
      (level: string): Log["info"] =>
      (message, fields) =>
        void lines.push(`${level} ${message} ${JSON.stringify(fields ?? {})}`);
    const log: Log = { info: say("info"), warn: say("warn"), error: say("error") };
    const { clock = realClock, disk = realDisk, listen = "127.0.0.1:0" } = options;
    const world = { clock, disk, log, watcher: realWatcher(log), random: Math.random, sinks };
    const agent = new Agent(config, world, { logsDir, dataDir, node: "n1", once: false });
    const reload = options.reload ?? (() => Promise.resolve({ problems: [] }));
    const admin = await createAdmin({ agent, reload, listen, clock });
    const live = new Live(agent, admin, directory, lines);
    t.after(async () => {
      await live.stop();
      if (options.directory === undefined) rmSync(directory, { recursive: true });
    });
    return live;
  }

  /** Stops the agent and its admin server, once. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    await this.agent.stop();
    await this.admin.close();
  }

  /** The log file of a container of namespace `shop`. */
  file(pod: string, container = "app"): string {
    const folder = join(this.directory, "pods", `shop_${pod}_uid-${pod}`, container);
    mkdirSync(folder, { recursive: true });
    return join(folder, "0.log");
  }

  /** Appends CRI lines of standard output; returns their bytes. */
  write(pod: string, texts: readonly (string | Buffer)[], tag = "F"): number {
    const head = `${new Date().toISOString().replace("Z", "000000Z")} stdout ${tag} `;
    const bytes = Buffer.concat(texts.flatMap((line) => [Buffer.from(head), Buffer.from(line), Buffer.from("\n")]));
    appendFileSync(this.file(pod), bytes);
    return bytes.length;
  }

  get(path: string, init?: RequestInit): Promise<Response> {
    return fetch(`${this.admin.address}${path}`, init);
  }

  async json<T>(path: string): Promise<T> {
    const response = await this.get(path);
    assert.equal(response.status, 200, path);
    return (await response.json()) as T;
  }
}

/** Waits until `holds` returns something, and returns it; fails with `what` after 10 s. */
export async function until<T>(what: string, holds: () => T | Promise<T>): Promise<Exclude<T, false | undefined>> {
  const deadline = performance.now() + 10_000;
  for (;;) {
    const value = await holds();
    if (value) return value as Exclude<T, false | undefined>;
    if (performance.now() > deadline) assert.fail(`waited 10 s, but ${what} did not come`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
