/**
 * The agent: the only file that knows the order.
 *
 *     collect -> decode -> process -> dispatcher -> sinks
 *     files      Chunk     Records    Batch         the wire
 *     Position <------------------------ Outcome <-----'
 *
 * One loop drives it: a turn reads and decodes what the sinks have room for, starts the requests that are due, and saves
 * what was settled. Everything outside (clock, disk, randomness, watches) comes in from the caller.
 */
import { isDeepStrictEqual } from "node:util";
import type { Config, SinkConfig } from "../crds/config.ts";
import type { Clock } from "./clock.ts";
import { Collector, POLL_MS } from "./collect/collector.ts";
import { Journal } from "./collect/journal.ts";
import type { Watcher } from "./collect/watch.ts";
import { decoding, type DecodeWorld } from "./decode/decoder.ts";
import { OpenBudget } from "./decode/open.ts";
import type { Disk } from "./disk.ts";
import { Dispatcher } from "./dispatcher/dispatcher.ts";
import type { Outlet } from "./dispatcher/outlet.ts";
import type { SinkRow } from "./dispatcher/sink.ts";
import type { Subscription } from "./dispatcher/subscription.ts";
import { addLedger, type Ledger } from "./ledger.ts";
import type { Log } from "./log.ts";
import { createMemory, type Memory } from "./memory/memory.ts";
import { Pool } from "./memory/pool.ts";
import { Pipelines, type Running } from "./pipelines.ts";
import { Positions } from "./positions.ts";

/** The encode area: room for a batch in its largest encoding. */
const ENCODE_BYTES = 4 * 1024 * 1024;
/** Part of the memory that open lines may take. */
const OPEN_SHARE = 1 / 16;
/** Part of the arena that reading leaves to requests, and at least this. */
const RESERVE_SHARE = 1 / 8;
const RESERVE_BYTES_MIN = 2.5 * 1024 * 1024;
const SYNC_MS = 1_000;
/** While a sink is in trouble the loop looks at it this often. */
const TROUBLE_MS = 1_000;

/** The sink table, by type; options of a row are those of its type. */
export type SinkTable = Readonly<Record<SinkConfig["type"], SinkRow<never>>>;

export interface World {
  readonly clock: Clock;
  readonly disk: Disk;
  readonly log: Log;
  readonly watcher: Watcher;
  /** In [0, 1). */
  readonly random: () => number;
  readonly sinks: SinkTable;
}

export interface Places {
  readonly logsDir: string;
  readonly dataDir: string;
  /** This machine's name, for `{node}`. */
  readonly node: string;
  /** Read each file up to its size at start, then be done. */
  readonly once: boolean;
}

export interface SinkLedger {
  /** `<pipeline>/<sink>` */
  readonly sink: string;
  readonly ledger: Ledger;
}

export class Agent {
  readonly memory: Memory;
  readonly collector: Collector;
  readonly dispatcher: Dispatcher;
  readonly positions: Positions;
  readonly decode: DecodeWorld;
  readonly pipelines: Pipelines;
  readonly startedAt: number;
  /** When the loop last took a turn, by the monotonic clock. */
  turnedAt: number;
  turns = 0;
  /** Turns that could not read for want of memory. */
  shortTurns = 0;
  readonly #world: World;
  readonly #places: Places;
  readonly #pool: Pool;
  #config: Config;
  #scheduled: (() => void) | undefined;
  #turnSoon = false;
  #syncedAt = -Infinity;
  #stopped = false;
  #started = false;
  #reloading: Promise<void> = Promise.resolve();
  #stopping: Promise<void> | undefined;
  /** The ledgers as they stood when everything had ended. */
  #final: SinkLedger[] | undefined;

  /** Opens the journal of the data directory. Throws JournalError or the disk's errors. */
  constructor(config: Config, world: World, places: Places) {
    this.#world = world;
    this.#places = places;
    this.#config = config;
    const { memoryLimit, maxLineBytes, maxOpenFiles } = config.agent;
    const encodeBytes = Math.max(Math.min(ENCODE_BYTES, memoryLimit / 8), maxLineBytes * 6 + 64 * 1024);
    this.memory = createMemory({ memoryLimit, encodeBytes });
    this.#pool = new Pool(this.memory);
    this.decode = {
      ...{ memory: this.memory, pool: this.#pool, maxLineBytes },
      budget: new OpenBudget(memoryLimit * OPEN_SHARE),
      counts: { invalid: 0, truncated: 0, joined: 0 },
    };
    const reserveBytes = Math.max(RESERVE_BYTES_MIN, this.memory.arena.freeBytes * RESERVE_SHARE);
    this.dispatcher = new Dispatcher(this.memory, world.clock, reserveBytes);
    const journal = new Journal(world.disk, places.dataDir, world.log);
    this.positions = new Positions(world, journal, (subscription) => this.collector.open(subscription).at);
    this.collector = new Collector(
      {
        ...world,
        lines: decoding(this.decode),
        reserveBytes,
        hand: (records, takers) => this.pipelines.hand(records, takers),
      },
      { ...places, maxOpenFiles },
      {
        saved: (source) => this.positions.files(source.id),
        // What appears later is for the next run.
        found: (chain, fresh) => (fresh && places.once) || this.pipelines.found(chain),
        gone: (chain) => this.pipelines.gone(chain),
        wake: () => this.#wake(),
      },
    );
    this.pipelines = new Pipelines({
      ...{ world, places, memory: this.memory, pool: this.#pool, collector: this.collector },
      ...{ dispatcher: this.dispatcher, positions: this.positions, wake: () => this.#wake() },
    });
    this.startedAt = this.turnedAt = world.clock.now();
  }

  get config(): Config {
    return this.#config;
  }

  get running(): Running[] {
    return this.pipelines.running;
  }

  /** Starts the sinks, finds the containers and begins to turn. */
  start(): void {
    this.pipelines.start(this.#config.pipelines);
    this.collector.scan();
    this.pipelines.scanned();
    this.#started = true;
    if (this.#places.once) for (const chain of this.collector.chains) chain.limit = chain.end;
    this.positions.save();
    this.#wake();
  }

  /** True when all that `once` set out to read was read and everything read is settled. */
  get finished(): boolean {
    return this.collector.exhausted && [...this.dispatcher.outlets.values()].every((outlet) => outlet.rows === 0);
  }

  /** Sends what is queued without waiting for full batches, from now on. */
  flush(): void {
    for (const outlet of this.dispatcher.outlets.values()) outlet.flushing = true;
    this.#wake();
  }

  /**
   * Goes over to another configuration: what is the same in both goes on untouched, what is gone or changed is drained and closed first.
   * Calls are taken one after the other. Agent-wide settings stay as they are until a restart.
   */
  reload(config: Config): Promise<void> {
    this.#reloading = this.#reloading.then(() => this.#reload(config));
    return this.#reloading;
  }

  /** Stops reading, waits for answers within each sink's drainTimeout, saves the Positions and lets go of everything. */
  stop(): Promise<void> {
    return (this.#stopping ??= this.#stop());
  }

  async #stop(): Promise<void> {
    this.#stopped = true;
    this.#scheduled?.();
    await this.#reloading;
    const outlets = [...this.dispatcher.outlets.values()];
    await this.pipelines.end(outlets);
    this.#final = outlets.map((outlet) => ({ sink: outlet.id, ledger: this.ledger(outlet) }));
    this.positions.saveSizes(this.collector.chains);
    this.collector.close();
    this.#pool.rest();
    this.positions.save();
    await this.positions.journal.close();
  }

  /** All sinks' ledgers, now or (after `stop`) as they ended. The sizes of all files are looked at. */
  ledgers(): SinkLedger[] {
    if (this.#final) return this.#final;
    this.collector.measure();
    return [...this.dispatcher.outlets.values()].map((outlet) => ({ sink: outlet.id, ledger: this.ledger(outlet) }));
  }

  /** The ledger of one sink: its containers', those that are gone included. */
  ledger(outlet: Outlet): Ledger {
    const sum = structuredClone(this.positions.departed(outlet.id));
    for (const subscription of outlet.subscriptions.values()) addLedger(sum, this.subscriptionLedger(subscription));
    return sum;
  }

  subscriptionLedger(subscription: Subscription): Ledger {
    return subscription.ledger(this.collector.open(subscription).raw);
  }

  async #reload(config: Config): Promise<void> {
    const { agent } = this.#config;
    if (!isDeepStrictEqual(config.agent, agent)) {
      this.#world.log.warn("the AgentConfig has changed: its settings take effect at the next start");
    }
    await this.pipelines.change(config);
    this.#config = { agent, pipelines: config.pipelines };
    this.positions.save();
    this.#wake();
  }

  /** A turn is due now. */
  #wake(): void {
    if (this.#turnSoon || this.#stopped || !this.#started) return;
    this.#turnSoon = true;
    this.#scheduled?.();
    this.#scheduled = undefined;
    this.#world.clock.soon(() => {
      this.#turnSoon = false;
      if (!this.#stopped) this.#turn();
    });
  }

  #turn(): void {
    const { clock } = this.#world;
    this.turns++;
    this.turnedAt = clock.now();
    const more = this.collector.turn() === "more";
    if (this.collector.short) {
      this.shortTurns++;
      this.dispatcher.relieve();
    }
    this.dispatcher.pump();
    this.positions.sweep();
    this.positions.save();
    const now = clock.now();
    const { journal } = this.positions;
    if (journal.unsynced && now - this.#syncedAt >= SYNC_MS) {
      this.#syncedAt = now;
      void journal.sync();
    }
    if (more) return this.#wake();
    const due = [this.dispatcher.dueAt() - now, this.collector.dueIn(now)];
    if (this.collector.activeCount > 0) due.push(POLL_MS);
    if (journal.unsynced) due.push(SYNC_MS);
    if ([...this.dispatcher.outlets.values()].some((outlet) => outlet.trouble)) due.push(TROUBLE_MS);
    this.#scheduled?.();
    this.#scheduled = clock.after(Math.max(1, Math.min(...due)), () => {
      this.#scheduled = undefined;
      this.#turn();
    });
  }
}
