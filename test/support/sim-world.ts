/**
 * A node in memory: containers that write as a runtime does, destinations, and a real agent between them that can be
 * stopped, killed and reloaded. What every container wrote is known, so what arrived can be checked line by line.
 */
import assert from "node:assert/strict";
import type { Config, DispatcherSettings } from "../../crds/config.ts";
import { imbalance, type Ledger } from "../../agent/ledger.ts";
import type { Log } from "../../agent/log.ts";
import { Agent, type SinkTable } from "../../agent/main.ts";
import { SimClock } from "./sim-clock.ts";
import { SimDisk } from "./sim-disk.ts";
import { Destination, simSink } from "./sim-sink.ts";

const LOGS = "/logs";
const FILES_KEPT = 4;
/** An open line ends before the agent's maxLineBytes, which the schedules set to 16 KiB, would cut it. */
const OPEN_BYTES_MAX = 10_000;

export const DISPATCHER: DispatcherSettings = {
  ...{ queueSize: 2_000, queueBytes: 262_144, workerCount: 3, batchSize: 50, batchBytes: 16_384, batchTimeoutMs: 200 },
  ...{ maxRetries: undefined, retryBaseDelayMs: 100, retryMaxDelayMs: 2_000 },
  ...{ dlqEnabled: true, dlqBytes: 16 * 1024 * 1024, drainTimeoutMs: 2_000 },
};

interface Container {
  readonly directory: string;
  readonly name: string;
  restart: number;
  rotations: number;
  /** Streams with a part whose end is still to come: which line, and how long it is so far. */
  readonly open: Map<string, { line: number; bytes: number }>;
  deleted: boolean;
}

/** Something written: `id` is in the text; `order` says which others it must follow. */
export interface Written {
  readonly id: string;
  readonly order: string;
  readonly kind: "line" | "dropped" | "poison";
  /** Parts of one line share its number. */
  readonly line: number;
  /** Its file may have been removed before it was read. */
  mayBeLost: () => boolean;
  /** Its pod was deleted, perhaps before the agent ever saw it. */
  deleted: () => boolean;
}

export class SimWorld {
  readonly clock = new SimClock();
  readonly disk = new SimDisk(
    () => this.clock.wall(),
    (path) => path.startsWith(LOGS),
  );
  readonly destinations = new Map<string, Destination>();
  readonly containers: Container[] = [];
  readonly written: Written[] = [];
  readonly lines: string[] = [];
  agent: Agent | undefined;
  config: Config;
  /** Ids that may arrive twice. */
  readonly mayRepeat = new Set<string>();
  /** Lines were cut because their end did not come in time. */
  cutLines = false;
  /** The books may be behind what was done: the process died, or could not write. */
  crashed = false;
  powerCut = false;
  readonly #random: () => number;
  readonly #removed = new Set<string>();
  /** Who waits for a change in which directory. */
  readonly #watchers = new Map<string, Set<() => void>>();
  #count = 0;
  /** When the disk was last full. */
  #fullAt = -Infinity;

  constructor(random: () => number, config: Config) {
    this.#random = random;
    this.config = config;
    this.disk.makeDirectory("/data");
    this.disk.makeDirectory(LOGS);
  }

  destination(id: string): Destination {
    let destination = this.destinations.get(id);
    if (!destination) {
      destination = new Destination(this.clock);
      destination.isPoison = (text) => text.includes("poison");
      this.destinations.set(id, destination);
    }
    return destination;
  }

  addContainer(): void {
    const n = this.containers.length;
    const directory = `${LOGS}/ns${n % 2}_pod${n}_uid-${n}/app`;
    this.disk.makeDirectory(directory);
    this.#changed(directory, 3);
    this.containers.push({ directory, name: `c${n}`, restart: 0, rotations: 0, open: new Map(), deleted: false });
  }

  /** Writes `count` lines of one kind on a stream. "parts": parts of one line; with `open` its end is still to come. */
  write(
    index: number,
    stream: string,
    kind: "line" | "dropped" | "poison" | "junk" | "parts",
    count: number,
    open = false,
  ): void {
    const container = this.#container(index);
    if (!container) return;
    for (let i = 0; i < count; i++) {
      const n = this.#count++;
      const id = `<${container.name}.${container.restart}.${n}>`;
      const path = `${container.directory}/${container.restart}.log`;
      const junk = kind === "junk";
      // What ends an open line is a part of it, and nothing else may be said about that.
      const before = junk ? undefined : container.open.get(stream);
      const what = before && (kind === "dropped" || kind === "poison") ? "line" : kind;
      const text = `${id}${what === "dropped" ? " drop-me" : what === "poison" ? " poison" : ""} ${"x".repeat(i % 90)}`;
      const time = new Date(this.clock.wall()).toISOString().replace("Z", "000000Z");
      const { line, bytes } = before ?? { line: n, bytes: 0 };
      const part = kind === "parts" && (open || i < count - 1) && bytes < OPEN_BYTES_MAX;
      if (part) container.open.set(stream, { line, bytes: bytes + text.length });
      else if (!junk) container.open.delete(stream);
      this.disk.append(path, junk ? `junk ${text}\n` : `${time} ${stream} ${part ? "P" : "F"} ${text}\n`);
      const file = `${path} ${container.rotations}`;
      this.written.push({
        ...{ id, line },
        order: junk ? `${container.name}.${container.restart} junk` : `${container.name} ${stream}`,
        kind: what === "dropped" || what === "poison" ? what : "line",
        mayBeLost: () => this.#removed.has(file) || container.deleted,
        deleted: () => container.deleted,
      });
    }
    this.#changed(container.directory, 1);
  }

  /** The agent's next turn after this writes what could not be written. */
  freeDisk(): void {
    if (this.disk.full) this.#fullAt = this.clock.now();
    this.disk.full = false;
  }

  rotate(index: number): void {
    const container = this.#container(index);
    if (!container) return;
    const path = `${container.directory}/${container.restart}.log`;
    if (!this.disk.stat(path)) return;
    const stamp = (n: number): string => `20260101-${String(n).padStart(6, "0")}`;
    this.disk.rename(path, `${path}.${stamp(container.rotations)}`);
    const old = container.rotations - FILES_KEPT + 1;
    if (old >= 0 && this.disk.stat(`${path}.${stamp(old)}`)) {
      this.disk.remove(`${path}.${stamp(old)}`);
      this.#removed.add(`${path} ${old}`);
    }
    container.rotations++;
  }

  restartContainer(index: number): void {
    const container = this.#container(index);
    if (!container) return;
    this.#cut(container);
    container.restart++;
    container.rotations = 0;
    this.disk.append(`${container.directory}/${container.restart}.log`, "");
  }

  deletePod(index: number): void {
    const container = this.#container(index);
    if (!container) return;
    this.#cut(container);
    container.deleted = true;
    this.disk.deleteTree(container.directory.slice(0, container.directory.lastIndexOf("/")));
  }

  start(): void {
    const log: Log = {
      info: (message) => this.lines.push(`info ${message}`),
      warn: (message, fields) => this.lines.push(`warn ${message} ${JSON.stringify(fields ?? {})}`),
      error: (message, fields) => this.lines.push(`error ${message} ${JSON.stringify(fields ?? {})}`),
    };
    const [atomic, parts] = [true, false].map((whole) => simSink((id) => this.destination(id), whole));
    const sinks: SinkTable = { loki: parts!, http: parts!, file: atomic!, stdout: atomic! };
    const watcher = { once: (directory: string, changed: () => void) => this.#watch(directory, changed) };
    const { clock, disk } = this;
    const places = { logsDir: LOGS, dataDir: "/data", node: "n1", once: false };
    this.agent = new Agent(this.config, { clock, disk, log, watcher, random: this.#random, sinks }, places);
    this.agent.start();
  }

  /** The process dies; with `power` the machine does. */
  crash(power: boolean): void {
    const { agent } = this;
    if (!agent) return;
    this.crashed = true;
    this.powerCut ||= power;
    if (agent.decode.counts.truncated > 0) this.cutLines = true;
    const since = this.clock.now() - (power ? 2_500 : 200);
    for (const destination of this.destinations.values()) {
      for (const sent of destination.sent) {
        // What the journal could not take is repeated.
        const unsaved = this.disk.full || this.clock.now() - this.#fullAt < 1_500;
        if (sent.answeredAt === undefined || sent.answeredAt >= since || unsaved) this.#mayRepeat(sent.texts);
      }
    }
    this.agent = undefined;
    this.clock.clear();
    this.#watchers.clear();
    this.disk.crash(power);
  }

  async stop(): Promise<void> {
    const { agent } = this;
    if (!agent) return;
    await this.during(agent.stop());
    if (this.disk.full) this.#allMayRepeat();
    this.disk.full = false;
    assert.equal(agent.memory.arena.usedBytes, 0, "a stopped agent holds no memory");
    assert.equal(this.disk.openCount, 0, "a stopped agent holds no file open");
    this.agent = undefined;
    this.clock.clear();
    this.#watchers.clear();
  }

  async reload(config: Config): Promise<void> {
    this.config = config;
    // A sink that closes while its dead letters can't be kept gives back what was stored beside them.
    if (this.disk.full) this.#allMayRepeat();
    if (this.agent) await this.during(this.agent.reload(config));
    if (this.disk.full) this.#allMayRepeat();
  }

  /** Lets time pass until a promise is settled. */
  async during<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const done = promise.finally(() => (settled = true));
    done.catch(() => undefined);
    for (let i = 0; !settled && i < 1_000; i++) await this.clock.run(100);
    assert.ok(settled, "what was waited for never came");
    return done;
  }

  /** The ledger balances for every subscription, and the memory bound holds. */
  check(): void {
    const { agent } = this;
    if (!agent) return;
    agent.collector.measure();
    for (const outlet of agent.dispatcher.outlets.values()) {
      for (const [chain, subscription] of outlet.subscriptions) {
        const ledger = agent.subscriptionLedger(subscription);
        const off = imbalance(ledger);
        assert.deepEqual(off, { lines: 0, bytes: 0 }, `${outlet.id} ${chain} is off: ${JSON.stringify(ledger)}`);
        assert.ok(ledger.backlogBytes >= 0 && ledger.inFlight.bytes >= 0, `${chain}: ${JSON.stringify(ledger)}`);
      }
    }
  }

  /** Everything comes to rest: destinations accept, open lines end, time passes. */
  async settle(): Promise<void> {
    for (const [index, container] of this.containers.entries()) {
      for (const stream of [...container.open.keys()]) this.write(index, stream, "line", 1);
    }
    for (const destination of this.destinations.values()) {
      destination.mode = "accept";
      destination.latencyMs = 5;
    }
    this.freeDisk();
    if (!this.agent) this.start();
    for (let i = 0; i < 40; i++) {
      await this.clock.run(i < 20 ? 500 : 20_000);
      this.check();
      if (i > 21 && this.ledger().every(({ backlogBytes, inFlight }) => backlogBytes === 0 && inFlight.bytes === 0))
        return;
    }
    assert.fail(`nothing moves any more: ${JSON.stringify(this.ledger())}\n${this.lines.slice(-20).join("\n")}`);
  }

  ledger(): Ledger[] {
    return this.agent!.ledgers().map(({ ledger }) => ledger);
  }

  /** What arrived at a sink against what was written: nothing lost, nothing repeated without a reason, order kept. */
  verify(id: string): void {
    const destination = this.destination(id);
    for (const sent of destination.sent) if (sent.ambiguous) this.#mayRepeat(sent.texts);
    if (this.agent!.decode.counts.truncated > 0) this.cutLines = true;
    const times = new Map<string, number>();
    const arrived: string[] = [];
    for (const text of destination.stored) {
      for (const [found] of text.matchAll(/<[^>]+>/g)) {
        if (!times.has(found)) arrived.push(found);
        times.set(found, (times.get(found) ?? 0) + 1);
      }
    }
    const dead = this.#deadLetters(id);
    const ledger = this.agent!.ledgers().find(({ sink }) => sink === id)!.ledger;
    const lost = Object.keys(ledger.settled).some((name) => name.startsWith("lost/"));
    /** Neither arrived nor dead-lettered nor lost: their count is in the books as dropped. */
    const missing = new Map<number, string>();
    for (const { id: token, line, kind, mayBeLost, deleted } of this.written) {
      if (deleted() && !times.has(token)) continue;
      const count = times.get(token) ?? 0;
      if (kind === "dropped" && !this.cutLines) assert.equal(count, 0, `${token} was to be dropped`);
      if (kind === "dropped") continue;
      if (count === 0 && !dead.includes(token) && !(lost && mayBeLost())) missing.set(line, token);
      if (count > 0 && dead.includes(token))
        assert.ok(this.mayRepeat.has(token), `${token} arrived and is a dead letter`);
      if (count > 1) assert.ok(this.mayRepeat.has(token), `${token} arrived ${count} times at ${id}`);
    }
    const dropped = linesOf(ledger, /^dropped\//);
    // A power cut takes the last second's books with it, but not what was evicted.
    const isHidden = this.powerCut && this.lines.some((line) => line.includes("dead letters were evicted"));
    const unseen = `${[...missing.values()].join()} were lost at ${id}, ${dropped} lines were dropped`;
    assert.ok(missing.size <= dropped || isHidden, unseen);
    const letters = dead.split("\n").length - 1;
    if (!this.crashed) assert.equal(linesOf(ledger, /^deadLettered$/), letters, "dead letters are counted");
    const place = new Map(arrived.map((token, index) => [token, index]));
    const last = new Map<string, { token: string; index: number }>();
    for (const { id: token, order, kind } of this.written) {
      const index = place.get(token);
      if (index === undefined || kind !== "line") continue;
      const before = last.get(order);
      if (before) assert.ok(before.index < index, `${token} arrived before ${before.token} at ${id}`);
      last.set(order, { token, index });
    }
  }

  /** The lines of a sink's dead-letter queue. */
  #deadLetters(id: string): string {
    const at = id.lastIndexOf("/");
    const directory = `/data/dlq/${id.slice(0, at).replaceAll("/", "_")}/${id.slice(at + 1)}/`;
    const names = this.disk.names().filter((name) => name.startsWith(directory));
    return names.map((name) => this.disk.content(name)).join("");
  }

  #watch(directory: string, changed: () => void): () => void {
    const watchers = this.#watchers.get(directory) ?? new Set();
    this.#watchers.set(directory, watchers.add(changed));
    return () => watchers.delete(changed);
  }

  /** Something changed in a directory and in those above it. */
  #changed(directory: string, levels: number): void {
    for (let at = directory; levels > 0; levels--, at = at.slice(0, at.lastIndexOf("/"))) {
      const watchers = [...(this.#watchers.get(at) ?? [])];
      this.#watchers.delete(at);
      for (const changed of watchers) this.clock.soon(changed);
    }
  }

  #allMayRepeat(): void {
    for (const { sent } of this.destinations.values()) for (const { texts } of sent) this.#mayRepeat(texts);
  }

  #mayRepeat(texts: readonly string[]): void {
    for (const text of texts) for (const [found] of text.matchAll(/<[^>]+>/g)) this.mayRepeat.add(found);
  }

  /** A container that ends with an open part leaves a cut line behind. */
  #cut(container: Container): void {
    if (container.open.size > 0) this.cutLines = true;
    container.open.clear();
  }

  #container(index: number): Container | undefined {
    const container = this.containers[index % Math.max(1, this.containers.length)];
    return container?.deleted ? undefined : container;
  }
}

/** Settled lines under names that match. */
function linesOf({ settled }: Ledger, name: RegExp): number {
  return Object.entries(settled).reduce((sum, [key, { lines }]) => sum + (name.test(key) ? lines : 0), 0);
}
