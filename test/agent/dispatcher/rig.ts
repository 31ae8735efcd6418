/**
 * The dispatcher alone, with everything around it in virtual time: containers whose lines are read as their subscriptions
 * have room, destinations that answer as they are told, a disk in memory. Turns are taken as the agent takes them.
 */
import assert from "node:assert/strict";
import type { DispatcherSettings } from "../../../crds/config.ts";
import { parseTemplate } from "../../../crds/template.ts";
import type { Chain } from "../../../agent/collect/chain.ts";
import { Dispatcher } from "../../../agent/dispatcher/dispatcher.ts";
import { DeadLetters } from "../../../agent/dispatcher/dlq.ts";
import { Keys } from "../../../agent/dispatcher/keys.ts";
import { Outlet, type OutletWorld } from "../../../agent/dispatcher/outlet.ts";
import { Subscription, type SavedSubscription } from "../../../agent/dispatcher/subscription.ts";
import { imbalance, type Ledger } from "../../../agent/ledger.ts";
import type { Log } from "../../../agent/log.ts";
import type { Memory } from "../../../agent/memory/memory.ts";
import { Pool } from "../../../agent/memory/pool.ts";
import { SimClock } from "../../support/sim-clock.ts";
import { SimDisk } from "../../support/sim-disk.ts";
import { Destination, simSink } from "../../support/sim-sink.ts";
import { lay, MEMORY_LIMIT, rawOf, testMemory, testSource, type Row } from "./rows.ts";

const READ_BYTES = 1024 * 1024;
const RESERVE_BYTES = 2.5 * 1024 * 1024;
const POLL_MS = 100;

export const SETTINGS: DispatcherSettings = {
  ...{ queueSize: 100_000, queueBytes: 8 * 1024 * 1024, workerCount: 4 },
  ...{ batchSize: 10_000, batchBytes: 1024 * 1024, batchTimeoutMs: 1_000 },
  ...{ maxRetries: undefined, retryBaseDelayMs: 1_000, retryMaxDelayMs: 60_000 },
  ...{ dlqEnabled: true, dlqBytes: 256 * 1024 * 1024, drainTimeoutMs: 20_000 },
};

export interface SinkSettings extends Partial<DispatcherSettings> {
  /** The order key's template; by default the container is the key. */
  order?: string;
  atomic?: boolean;
  steps?: readonly string[];
}

/** The container's log: rows with their linear offsets. */
class Container {
  readonly source;
  readonly rows: (Row & { at: number })[] = [];
  end = 0;
  ended = false;

  constructor(name: string, restart: number) {
    this.source = testSource(name, restart);
  }

  write(rows: readonly (Row | string)[]): void {
    for (const given of rows) {
      const row = typeof given === "string" ? { text: given } : given;
      this.rows.push({ ...row, at: this.end });
      this.end += rawOf(row);
    }
  }

  /** Rows from a linear offset on that fit, at least one, and where they end. */
  from(at: number, bytesMax: number): { rows: Row[]; to: number } {
    const rows: Row[] = [];
    let to = at;
    let low = 0;
    for (let high = this.rows.length; low < high;) {
      const middle = (low + high) >> 1;
      if (this.rows[middle]!.at < at) low = middle + 1;
      else high = middle;
    }
    for (let i = low; i < this.rows.length; i++) {
      const row = this.rows[i]!;
      if (rows.length > 0 && to + rawOf(row) - at > bytesMax) break;
      rows.push(row);
      to += rawOf(row);
    }
    return { rows, to };
  }
}

interface Options {
  memoryLimit?: number;
  /** The run before this one, of which clock, disk, logs, destinations and Positions go on. */
  before?: Rig;
  /** Which sinks a container's lines go to; by default all. */
  selects?: (container: string, sink: string) => boolean;
}

export class Rig {
  readonly clock: SimClock;
  readonly disk: SimDisk;
  readonly memory: Memory;
  readonly pool: Pool;
  readonly dispatcher: Dispatcher;
  readonly destinations = new Map<string, Destination>();
  readonly containers = new Map<string, Container>();
  /** By sink and chain, as the journal would have them. */
  readonly saved = new Map<string, SavedSubscription>();
  readonly log: string[] = [];
  turns = 0;
  /** The next random numbers; then 0.5. */
  random: number[] = [];
  stopped = false;
  readonly #outlets = new Map<string, Outlet>();
  readonly #dirty = new Set<Subscription>();
  readonly #selects: (container: string, sink: string) => boolean;
  #scheduled: (() => void) | undefined;
  #soon = false;

  constructor(sinks: Record<string, SinkSettings>, options: Options = {}) {
    const { memoryLimit = MEMORY_LIMIT, before, selects = () => true } = options;
    this.#selects = selects;
    this.clock = before?.clock ?? new SimClock();
    this.disk =
      before?.disk ??
      new SimDisk(
        () => this.clock.wall(),
        () => false,
      );
    this.memory = testMemory(memoryLimit);
    this.pool = new Pool(this.memory);
    this.dispatcher = new Dispatcher(this.memory, this.clock, RESERVE_BYTES);
    for (const [name, destination] of before?.destinations ?? []) this.destinations.set(name, destination);
    for (const [key, saved] of before?.saved ?? []) this.saved.set(key, structuredClone(saved));
    for (const [name, settings] of Object.entries(sinks)) this.addSink(name, settings);
    for (const [key, container] of before?.containers ?? []) {
      this.containers.set(key, container);
      this.#subscribe(container);
    }
    this.wake();
  }

  addSink(name: string, settings: SinkSettings = {}): Outlet {
    const { order, atomic = true, steps = [], ...given } = settings;
    const dispatcher = { ...SETTINGS, ...given };
    const { clock, disk, memory, pool } = this;
    const destination = this.destination(name);
    const row = simSink(() => destination, atomic);
    const log = this.#log();
    const keys = new Keys(memory, pool, order === undefined ? undefined : [parseTemplate(order)]);
    const outlet = new Outlet(
      {
        ...{ pipeline: "p", name, type: "http", dispatcher, atomic, steps, needsLevel: false },
        batchBytesMax: row.batchBytesMax,
      },
      row.open({} as never, { memory, clock, log, pipeline: "p", name }),
      keys,
      dispatcher.dlqEnabled ? new DeadLetters(disk, `/data/dlq/p/${name}`, dispatcher.dlqBytes, log) : undefined,
      this.#world(log),
    );
    this.#outlets.set(name, outlet);
    this.dispatcher.outlets.set(outlet.id, outlet);
    return outlet;
  }

  outlet(name = "a"): Outlet {
    return this.#outlets.get(name)!;
  }

  destination(name = "a"): Destination {
    let destination = this.destinations.get(name);
    if (!destination) this.destinations.set(name, (destination = new Destination(this.clock)));
    return destination;
  }

  subscription(container: string, sink = "a", restart = 0): Subscription {
    return this.outlet(sink).subscriptions.get(testSource(container, restart).id)!;
  }

  /** Writes lines to a container's log; it appears with the first. */
  write(name: string, rows: readonly (Row | string)[], restart = 0): void {
    const key = `${name} ${restart}`;
    let container = this.containers.get(key);
    if (!container) {
      container = new Container(name, restart);
      this.containers.set(key, container);
      this.#subscribe(container);
    }
    container.write(rows);
    this.wake();
  }

  /** Lets time pass; fails when the loop does not rest. */
  run(ms: number): Promise<number> {
    return this.clock.run(ms);
  }

  /** Ends this run at once: what was not saved is lost. */
  crash(): void {
    this.stopped = true;
    this.clock.clear();
    this.disk.crash(false);
  }

  ledger(container: string, sink = "a"): Ledger {
    return this.subscription(container, sink).ledger(0);
  }

  /** Every subscription's ledger adds up. */
  check(): void {
    for (const outlet of this.#outlets.values()) {
      let rows = 0;
      for (const subscription of outlet.subscriptions.values()) {
        const ledger = subscription.ledger(0);
        assert.deepEqual(imbalance(ledger), { lines: 0, bytes: 0 }, JSON.stringify(ledger));
        assert.ok(ledger.backlogBytes >= 0, JSON.stringify(ledger));
        rows += subscription.rows;
      }
      assert.equal(outlet.rows, rows, "the queue counts what its subscriptions hold");
    }
  }

  /** The dead letters on disk, parsed. */
  deadLetters(sink = "a"): { text: string; deadLetter: Record<string, unknown> }[] {
    const names = this.disk.names().filter((name) => name.startsWith(`/data/dlq/p/${sink}/`));
    const lines = names.flatMap((name) => this.disk.content(name).split("\n").slice(0, -1));
    return lines.map((line) => JSON.parse(line) as { text: string; deadLetter: Record<string, unknown> });
  }

  wake(): void {
    if (this.#soon || this.stopped) return;
    this.#soon = true;
    this.#scheduled?.();
    this.#scheduled = undefined;
    this.clock.soon(() => {
      this.#soon = false;
      this.#turn();
    });
  }

  #turn(): void {
    if (this.stopped) return;
    this.turns++;
    let more = false;
    let short = false;
    for (const container of this.containers.values()) {
      for (const outlet of this.#outlets.values()) {
        const subscription = outlet.subscriptions.get(container.source.id);
        const reading = subscription && this.#read(container, subscription);
        more ||= reading === "read";
        short ||= reading === "short";
      }
    }
    this.pool.rest();
    if (short) this.dispatcher.relieve();
    this.dispatcher.pump();
    this.save(this.#dirty);
    this.#dirty.clear();
    if (more) return this.wake();
    const due = Math.min(this.dispatcher.dueAt() - this.clock.now(), POLL_MS);
    this.#scheduled?.();
    this.#scheduled = this.clock.after(Math.max(1, due), () => this.#turn());
  }

  #read(container: Container, subscription: Subscription): "read" | "idle" | "short" {
    const room = subscription.room();
    if (room <= 0) return "idle";
    if (subscription.read >= container.end) {
      if (container.ended && !subscription.done) subscription.finished();
      return "idle";
    }
    const { rows, to } = container.from(subscription.read, Math.min(room, READ_BYTES));
    const bytes = (to - subscription.read) * 1.25;
    if (this.memory.arena.freeBytes - bytes < RESERVE_BYTES) return "short";
    const records = lay(this.memory, subscription.read, rows, this.pool);
    if (!records) return "short";
    const refused = this.dispatcher.handle(records, [subscription]);
    for (const chunk of records.chunks) chunk.release();
    if (refused.length > 0) return "short";
    subscription.read = to;
    return "read";
  }

  save(subscriptions: Iterable<Subscription>): void {
    for (const subscription of subscriptions) {
      this.saved.set(
        `${subscription.id} ${subscription.chain.source.id}`,
        structuredClone(subscription.saved(Infinity)),
      );
    }
  }

  #subscribe(container: Container): void {
    const { source } = container;
    for (const outlet of this.#outlets.values()) {
      if (!this.#selects(source.pod, outlet.settings.name)) continue;
      const saved = this.saved.get(`${outlet.id} ${source.id}`);
      const earlier = testSource(source.pod, source.restart - 1).id;
      const before = outlet.subscriptions.get(earlier);
      const chain = container as unknown as Chain;
      outlet.subscriptions.set(source.id, new Subscription(outlet.id, chain, outlet, 0, before, saved));
    }
  }

  #log(): Log {
    return {
      info: (message) => this.log.push(`info ${message}`),
      warn: (message, fields) => this.log.push(`warn ${message} ${JSON.stringify(fields ?? {})}`),
      error: (message, fields) => this.log.push(`error ${message} ${JSON.stringify(fields ?? {})}`),
    };
  }

  #world(log: Log): OutletWorld {
    const { memory, pool, clock } = this;
    return {
      ...{ memory, pool, clock, log },
      random: () => this.random.shift() ?? 0.5,
      share: () => this.dispatcher.share(),
      open: () => ({ at: Infinity, raw: 0 }),
      move: (subscription, to) => {
        subscription.read = to;
        this.wake();
      },
      wake: () => this.wake(),
      dirty: (subscription) => this.#dirty.add(subscription),
      done: () => this.wake(),
      save: (subscriptions) => {
        this.save(subscriptions);
        return !this.disk.full;
      },
      evicted: (outlet, { chain, lines, bytes }) => outlet.subscriptions.get(chain)?.evicted(lines, bytes),
    };
  }
}

/** `count` lines whose texts begin with `name` and tell them apart. */
export function lines(name: string, count: number, length = 0): string[] {
  return Array.from({ length: count }, (_, i) => `${name}-${i} `.padEnd(length, "x"));
}
