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
import type { Config, Pipeline, SinkConfig } from "../crds/config.ts";
import type { Clock } from "./clock.ts";
import type { Chain } from "./collect/chain.ts";
import { Collector, POLL_MS } from "./collect/collector.ts";
import { Journal } from "./collect/journal.ts";
import type { Taker } from "./collect/taker.ts";
import type { Watcher } from "./collect/watch.ts";
import { selects, sinkFingerprint } from "./config.ts";
import type { DecodeWorld } from "./decode/decoder.ts";
import { OpenBudget } from "./decode/open.ts";
import type { Disk } from "./disk.ts";
import { Dispatcher } from "./dispatcher/dispatcher.ts";
import { DeadLetters } from "./dispatcher/dlq.ts";
import { Keys } from "./dispatcher/keys.ts";
import { Outlet, type OutletWorld } from "./dispatcher/outlet.ts";
import type { SinkRow } from "./dispatcher/sink.ts";
import { Subscription } from "./dispatcher/subscription.ts";
import { addLedger, type Ledger } from "./ledger.ts";
import type { Log } from "./log.ts";
import { createMemory, type Memory } from "./memory/memory.ts";
import { Pool } from "./memory/pool.ts";
import type { Records } from "./memory/records.ts";
import { Positions } from "./positions.ts";
import { compact } from "./process/compact.ts";
import { compileProcess, type Process } from "./process/process.ts";

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

/** One pipeline as it runs. */
export interface Running {
  readonly pipeline: Pipeline;
  readonly process: Process;
  readonly outlets: Map<string, Outlet>;
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
  readonly startedAt: number;
  /** When the loop last took a turn, by the monotonic clock. */
  turnedAt: number;
  turns = 0;
  readonly #world: World;
  readonly #places: Places;
  readonly #pool: Pool;
  #config: Config;
  /** By the process steps they share: pipeline id. */
  #running = new Map<string, Running>();
  /** By sink id, what it runs on. */
  readonly #fingerprints = new Map<string, string>();
  readonly #runningOf = new Map<Outlet, Running>();
  /** Sinks that never ran before, until the first scan: `startAt: End` holds for what that finds. */
  readonly #newSinks = new Set<string>();
  #scheduled: (() => void) | undefined;
  #turnSoon = false;
  #syncedAt = -Infinity;
  #stopped = false;
  #scanned = false;
  #reloading: Promise<void> = Promise.resolve();
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
      { ...world, decode: this.decode, reserveBytes, hand: (records, takers) => this.#hand(records, takers) },
      { ...places, maxOpenFiles },
      {
        saved: (source) => this.positions.files(source.id),
        found: (chain, fresh) => this.#found(chain, fresh),
        gone: (chain) => this.#gone(chain),
        wake: () => this.#wake(),
      },
    );
    this.startedAt = this.turnedAt = world.clock.now();
  }

  get config(): Config {
    return this.#config;
  }

  get running(): Running[] {
    return [...this.#running.values()];
  }

  /** Starts the sinks, finds the containers and begins to turn. */
  start(): void {
    for (const pipeline of this.#config.pipelines) this.#startPipeline(pipeline);
    this.collector.scan();
    this.#scanned = true;
    this.#newSinks.clear();
    this.#settleVanished();
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
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#scheduled?.();
    await this.#reloading;
    const outlets = [...this.dispatcher.outlets.values()];
    await this.#endOutlets(outlets);
    this.#final = outlets.map((outlet) => ({ sink: outlet.id, ledger: this.ledger(outlet) }));
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
    const wanted = new Map<string, string>();
    for (const pipeline of config.pipelines) {
      for (const sink of pipeline.sinks) wanted.set(`${pipeline.id}/${sink.name}`, sinkFingerprint(pipeline, sink));
    }
    const ending = [...this.dispatcher.outlets.values()].filter(
      (outlet) => wanted.get(outlet.id) !== this.#fingerprints.get(outlet.id),
    );
    await this.#endOutlets(ending);
    for (const { id } of ending) if (!wanted.has(id)) this.positions.removed(id);
    this.#config = { agent: this.#config.agent, pipelines: config.pipelines };
    for (const pipeline of config.pipelines) this.#startPipeline(pipeline);
    this.#settleVanished();
    this.positions.save();
    const started = [...wanted.keys()].filter((id) => !ending.every((outlet) => outlet.id !== id)).length;
    const { log } = this.#world;
    log.info("the configuration was reloaded", { ended: ending.length, restarted: started, sinks: wanted.size });
    if (JSON.stringify(config.agent) !== JSON.stringify(this.#config.agent)) {
      log.warn("the AgentConfig has changed: its settings take effect at the next start");
    }
    this.#wake();
  }

  async #endOutlets(outlets: readonly Outlet[]): Promise<void> {
    await this.dispatcher.drain(outlets);
    for (const outlet of outlets) {
      for (const subscription of outlet.subscriptions.values()) {
        subscription.release(this.collector.open(subscription));
        this.collector.remove(subscription);
        this.positions.drop(subscription);
      }
      this.dispatcher.outlets.delete(outlet.id);
      this.#fingerprints.delete(outlet.id);
      const running = this.#runningOf.get(outlet)!;
      this.#runningOf.delete(outlet);
      running.outlets.delete(outlet.settings.name);
      if (running.outlets.size === 0) this.#running.delete(running.pipeline.id);
    }
    this.positions.save();
  }

  /** Starts the sinks of a pipeline that do not run yet. */
  #startPipeline(pipeline: Pipeline): void {
    const before = this.#running.get(pipeline.id);
    const process = before?.process ?? compileProcess(pipeline.process, { memory: this.memory, pool: this.#pool });
    const running = { pipeline, process, outlets: before?.outlets ?? new Map<string, Outlet>() };
    this.#running.set(pipeline.id, running);
    for (const sink of pipeline.sinks) {
      if (!this.dispatcher.outlets.has(`${pipeline.id}/${sink.name}`)) this.#startOutlet(running, sink);
    }
    for (const outlet of running.outlets.values()) this.#runningOf.set(outlet, running);
  }

  #startOutlet(running: Running, config: SinkConfig): void {
    const { pipeline, process } = running;
    const { clock, disk, log } = this.#world;
    const row = this.#world.sinks[config.type];
    const context = { memory: this.memory, clock, log, pipeline: pipeline.id, name: config.name };
    const keys = new Keys(this.memory, this.#pool, row.order(config.options as never));
    const id = `${pipeline.id}/${config.name}`;
    const { dlqEnabled, dlqBytes } = config.dispatcher;
    const directory = `${this.#places.dataDir}/dlq/${pipeline.id.replaceAll("/", "_")}/${config.name}`;
    const outlet = new Outlet(
      {
        ...{ pipeline: pipeline.id, name: config.name, type: config.type, dispatcher: config.dispatcher },
        ...{ atomic: row.atomic, steps: process.names },
        batchBytesMax: Math.min(row.batchBytesMax, (this.memory.encodeEnd - this.memory.encode) / 2),
        needsLevel: process.needsLevel || keys.needsLevel || row.needsLevel(config.options as never),
      },
      row.open(config.options as never, context),
      keys,
      dlqEnabled ? new DeadLetters(disk, directory, dlqBytes, log) : undefined,
      this.#outletWorld(),
    );
    outlet.flushing = this.#places.once;
    running.outlets.set(config.name, outlet);
    this.dispatcher.outlets.set(id, outlet);
    this.#fingerprints.set(id, sinkFingerprint(pipeline, config));
    this.#runningOf.set(outlet, running);
    const isNew = this.positions.start(id);
    if (isNew && !this.#scanned) this.#newSinks.add(id);
    for (const chain of this.collector.chains) this.#subscribe(running, outlet, chain, isNew);
  }

  #outletWorld(): OutletWorld {
    return {
      ...this.#world,
      memory: this.memory,
      pool: this.#pool,
      share: () => this.dispatcher.share(),
      open: (subscription) => this.collector.open(subscription),
      move: (subscription, to) => this.collector.move(subscription, to),
      wake: () => this.#wake(),
      dirty: (subscription) => this.positions.dirty(subscription),
      done: () => this.#wake(),
      save: (subscriptions) => this.positions.save(subscriptions),
      evicted: (outlet, { chain, lines, bytes }) => {
        const subscription = outlet.subscriptions.get(chain);
        if (subscription) subscription.evicted(lines, bytes);
        else this.positions.evicted(outlet.id, chain, lines, bytes);
      },
    };
  }

  #found(chain: Chain, fresh: boolean): void {
    if (fresh && this.#places.once) return;
    for (const running of this.#running.values()) {
      for (const outlet of running.outlets.values()) {
        this.#subscribe(running, outlet, chain, this.#newSinks.has(outlet.id));
      }
    }
  }

  /** Subscribes a sink to a chain that its pipeline selects. `isNew`: the sink never ran before, and the chain was there first. */
  #subscribe(running: Running, outlet: Outlet, chain: Chain, isNew: boolean): void {
    const { source } = chain;
    if (!selects(running.pipeline, source) || outlet.subscriptions.has(source.id)) return;
    const saved = this.positions.find(outlet.id, source.id);
    if (saved && this.#scanned) this.positions.returned(outlet.id, source.id);
    let start = chain.start;
    if (!saved && isNew && running.pipeline.startAt === "End") start = this.#lastLine(chain);
    const before = this.#instanceBefore(outlet, chain);
    const subscription = new Subscription(outlet.id, chain, outlet, start, before, saved);
    outlet.subscriptions.set(source.id, subscription);
    this.collector.add(subscription, subscription.read);
    this.positions.dirty(subscription);
  }

  #lastLine(chain: Chain): number {
    try {
      return chain.lastLine();
    } catch (error) {
      const { log } = this.#world;
      log.warn("can't find the end of a log, reading it from the beginning", {
        ...{ path: `${chain.directory}/${chain.name}`, reason: String(error) },
      });
      return chain.start;
    }
  }

  /** The subscription of the container's latest earlier instance. */
  #instanceBefore(outlet: Outlet, { source }: Chain): Subscription | undefined {
    let before: Subscription | undefined;
    for (const other of outlet.subscriptions.values()) {
      const { uid, container, restart } = other.chain.source;
      if (uid !== source.uid || container !== source.container || restart >= source.restart) continue;
      if (!before || restart > before.chain.source.restart) before = other;
    }
    return before;
  }

  #gone(chain: Chain): void {
    const ended: { outlet: string; subscription: Subscription }[] = [];
    for (const outlet of this.dispatcher.outlets.values()) {
      const subscription = outlet.subscriptions.get(chain.source.id);
      if (!subscription) continue;
      ended.push({ outlet: outlet.id, subscription });
      outlet.subscriptions.delete(chain.source.id);
      outlet.forget(chain.source);
    }
    this.positions.gone(chain, ended);
  }

  #settleVanished(): void {
    const followed = new Set(this.collector.chains.map((chain) => chain.source.id));
    for (const outlet of this.dispatcher.outlets.values()) this.positions.settleVanished(outlet, followed);
  }

  /** Records of one reading, through each pipeline once, to the takers. Returns those that had no room. */
  #hand(records: Records, takers: readonly Taker[]): Taker[] {
    const groups = new Map<Running, Subscription[]>();
    let needsLevel = false;
    for (const taker of takers as readonly Subscription[]) {
      const outlet = this.dispatcher.outlets.get(taker.id)!;
      needsLevel ||= outlet.settings.needsLevel;
      const running = this.#runningOf.get(outlet)!;
      const group = groups.get(running);
      if (group) group.push(taker);
      else groups.set(running, [taker]);
    }
    if (needsLevel) this.memory.kernels.levels(records.block, records.cap, 0, records.count);
    const refused: Taker[] = [];
    for (const [{ process, pipeline }, group] of groups) {
      const processed = this.#process(process, pipeline, group[0]!.chain, records);
      if (!processed) {
        refused.push(...group);
        continue;
      }
      refused.push(...this.dispatcher.handle(processed, group));
      for (const chunk of processed.chunks) chunk.release();
    }
    return refused;
  }

  #process(process: Process, pipeline: Pipeline, chain: Chain, records: Records): Records | undefined {
    const processed = process.run(chain.source, records);
    if (!processed || pipeline.process.length === 0) return processed;
    const compacted = compact({ memory: this.memory, pool: this.#pool }, processed);
    for (const chunk of processed.chunks) chunk.release();
    return compacted;
  }

  /** A turn is due now. */
  #wake(): void {
    if (this.#turnSoon || this.#stopped || !this.#scanned) return;
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
    if (this.collector.short) this.dispatcher.relieve();
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
