/**
 * The pipelines that run: each with its compiled steps and one outlet per sink, and each outlet with a subscription per
 * container that the pipeline selects. Starting, ending and going over to another configuration are done here.
 */
import type { Config, Pipeline, SinkConfig } from "../crds/config.ts";
import type { Chain } from "./collect/chain.ts";
import type { Collector } from "./collect/collector.ts";
import type { Taker } from "./collect/taker.ts";
import { selects, sinkFingerprint } from "./config.ts";
import type { Dispatcher } from "./dispatcher/dispatcher.ts";
import { DeadLetters } from "./dispatcher/dlq.ts";
import { Keys } from "./dispatcher/keys.ts";
import { Outlet, type OutletWorld } from "./dispatcher/outlet.ts";
import { Subscription } from "./dispatcher/subscription.ts";
import type { Places, World } from "./main.ts";
import type { Memory } from "./memory/memory.ts";
import type { Pool } from "./memory/pool.ts";
import type { Records } from "./memory/records.ts";
import type { Positions } from "./positions.ts";
import { compact } from "./process/compact.ts";
import { compileProcess, type Process } from "./process/process.ts";

/** One pipeline as it runs. */
export interface Running {
  readonly pipeline: Pipeline;
  readonly process: Process;
  readonly outlets: Map<string, Outlet>;
}

/** What of the agent the pipelines work on. */
export interface Parts {
  readonly world: World;
  readonly places: Places;
  readonly memory: Memory;
  readonly pool: Pool;
  readonly collector: Collector;
  readonly dispatcher: Dispatcher;
  readonly positions: Positions;
  /** A turn is due. */
  wake(): void;
}

export class Pipelines {
  readonly #parts: Parts;
  readonly #running = new Map<string, Running>();
  readonly #runningOf = new Map<Outlet, Running>();
  /** By sink id, what it runs on. */
  readonly #fingerprints = new Map<string, string>();
  /** Sinks that never ran before, until the first scan: `startAt: End` holds for what that finds. */
  readonly #newSinks = new Set<string>();
  #scanned = false;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  get running(): Running[] {
    return [...this.#running.values()];
  }

  /** Starts the sinks of all pipelines that do not run yet. */
  start(pipelines: readonly Pipeline[]): void {
    for (const pipeline of pipelines) this.#startPipeline(pipeline);
    if (this.#scanned) this.#settleVanished();
  }

  /** The first scan is over: what is found from now on has started after the pipelines. */
  scanned(): void {
    this.#scanned = true;
    this.#newSinks.clear();
    this.#settleVanished();
  }

  /** Ends what is gone or changed, then starts what is new or changed; the rest goes on untouched. */
  async change(config: Config): Promise<void> {
    const { dispatcher, positions, world } = this.#parts;
    const wanted = new Map<string, string>();
    for (const pipeline of config.pipelines) {
      for (const sink of pipeline.sinks) wanted.set(`${pipeline.id}/${sink.name}`, sinkFingerprint(pipeline, sink));
    }
    const outlets = [...dispatcher.outlets.values()];
    const ending = outlets.filter(({ id }) => wanted.get(id) !== this.#fingerprints.get(id));
    await this.end(ending);
    const removed = ending.filter(({ id }) => !wanted.has(id));
    for (const { id } of removed) positions.removed(id);
    this.start(config.pipelines);
    world.log.info("the configuration was reloaded", {
      ...{ untouched: outlets.length - ending.length, restarted: ending.length - removed.length },
      ...{ removed: removed.length, added: wanted.size - outlets.length + removed.length },
    });
  }

  /** Drains and closes sinks; their Positions are saved. */
  async end(outlets: readonly Outlet[]): Promise<void> {
    const { collector, dispatcher, positions } = this.#parts;
    await dispatcher.drain(outlets);
    for (const outlet of outlets) {
      for (const subscription of outlet.subscriptions.values()) {
        subscription.release(collector.open(subscription));
        collector.remove(subscription);
        positions.drop(subscription);
      }
      dispatcher.outlets.delete(outlet.id);
      this.#fingerprints.delete(outlet.id);
      const running = this.#runningOf.get(outlet)!;
      this.#runningOf.delete(outlet);
      running.outlets.delete(outlet.settings.name);
      if (running.outlets.size === 0) this.#running.delete(running.pipeline.id);
    }
    positions.save();
  }

  /** A container's chain was found. */
  found(chain: Chain): void {
    for (const running of this.#running.values()) {
      for (const outlet of running.outlets.values()) {
        this.#subscribe(running, outlet, chain, this.#newSinks.has(outlet.id));
      }
    }
  }

  /** A chain is over, settled, and its files are gone. */
  gone(chain: Chain): void {
    const ended: { outlet: string; subscription: Subscription }[] = [];
    for (const outlet of this.#parts.dispatcher.outlets.values()) {
      const subscription = outlet.subscriptions.get(chain.source.id);
      if (!subscription) continue;
      ended.push({ outlet: outlet.id, subscription });
      outlet.subscriptions.delete(chain.source.id);
      outlet.forget(chain.source);
    }
    this.#parts.positions.gone(chain, ended);
  }

  /** Records of one reading, through each pipeline once, to the takers. Returns those that had no room. */
  hand(records: Records, takers: readonly Taker[]): Taker[] {
    const { dispatcher, memory } = this.#parts;
    const groups = new Map<Running, Subscription[]>();
    let needsLevel = false;
    for (const taker of takers as readonly Subscription[]) {
      const outlet = dispatcher.outlets.get(taker.id)!;
      needsLevel ||= outlet.settings.needsLevel;
      const running = this.#runningOf.get(outlet)!;
      const group = groups.get(running);
      if (group) group.push(taker);
      else groups.set(running, [taker]);
    }
    if (needsLevel) memory.kernels.levels(records.block, records.cap, 0, records.count);
    const refused: Taker[] = [];
    for (const [running, group] of groups) {
      const processed = this.#process(running, group[0]!.chain, records);
      if (!processed) {
        refused.push(...group);
        continue;
      }
      refused.push(...dispatcher.handle(processed, group));
      for (const chunk of processed.chunks) chunk.release();
    }
    return refused;
  }

  #process({ pipeline, process }: Running, chain: Chain, records: Records): Records | undefined {
    const processed = process.run(chain.source, records);
    if (!processed || pipeline.process.length === 0) return processed;
    const compacted = compact(this.#parts, processed);
    for (const chunk of processed.chunks) chunk.release();
    return compacted;
  }

  #startPipeline(pipeline: Pipeline): void {
    const before = this.#running.get(pipeline.id);
    const process = before?.process ?? compileProcess(pipeline.process, this.#parts);
    const running = { pipeline, process, outlets: before?.outlets ?? new Map<string, Outlet>() };
    this.#running.set(pipeline.id, running);
    for (const outlet of running.outlets.values()) this.#runningOf.set(outlet, running);
    for (const sink of pipeline.sinks) if (!running.outlets.has(sink.name)) this.#startOutlet(running, sink);
  }

  #startOutlet(running: Running, config: SinkConfig): void {
    const { pipeline, process } = running;
    const { world, places, memory, pool, dispatcher, positions, collector } = this.#parts;
    const { clock, disk, log } = world;
    const row = world.sinks[config.type];
    const context = { memory, clock, log, pipeline: pipeline.id, name: config.name };
    const keys = new Keys(memory, pool, row.order(config.options as never));
    const { dlqEnabled, dlqBytes } = config.dispatcher;
    const directory = `${places.dataDir}/dlq/${pipeline.id.replaceAll("/", "_")}/${config.name}`;
    const outlet = new Outlet(
      {
        ...{ pipeline: pipeline.id, name: config.name, type: config.type, dispatcher: config.dispatcher },
        ...{ atomic: row.atomic, steps: process.names },
        batchBytesMax: Math.min(row.batchBytesMax, (memory.encodeEnd - memory.encode) / 2),
        needsLevel: process.needsLevel || keys.needsLevel || row.needsLevel(config.options as never),
      },
      row.open(config.options as never, context),
      keys,
      dlqEnabled ? new DeadLetters(disk, directory, dlqBytes, log) : undefined,
      this.#outletWorld(),
    );
    outlet.flushing = places.once;
    running.outlets.set(config.name, outlet);
    dispatcher.outlets.set(outlet.id, outlet);
    this.#runningOf.set(outlet, running);
    this.#fingerprints.set(outlet.id, sinkFingerprint(pipeline, config));
    const isNew = positions.start(outlet.id);
    if (isNew && !this.#scanned) this.#newSinks.add(outlet.id);
    for (const chain of collector.chains) this.#subscribe(running, outlet, chain, isNew);
  }

  #outletWorld(): OutletWorld {
    const { world, memory, pool, dispatcher, collector, positions } = this.#parts;
    const wake = (): void => this.#parts.wake();
    return {
      ...world,
      ...{ memory, pool, wake, done: wake },
      share: () => dispatcher.share(),
      open: (subscription) => collector.open(subscription),
      move: (subscription, to) => collector.move(subscription, to),
      dirty: (subscription) => positions.dirty(subscription),
      save: (subscriptions) => positions.save(subscriptions),
      evicted: (outlet, { chain, lines, bytes }) => {
        const subscription = outlet.subscriptions.get(chain);
        if (subscription) subscription.evicted(lines, bytes);
        else positions.evicted(outlet.id, chain, lines, bytes);
      },
    };
  }

  /** Subscribes a sink to a chain that its pipeline selects. `isNew`: the sink never ran before, and the chain was there first. */
  #subscribe(running: Running, outlet: Outlet, chain: Chain, isNew: boolean): void {
    const { positions, collector } = this.#parts;
    const { source } = chain;
    if (!selects(running.pipeline, source) || outlet.subscriptions.has(source.id)) return;
    const saved = positions.find(outlet.id, source.id);
    if (saved && this.#scanned) positions.returned(outlet.id, source.id);
    let start = chain.start;
    if (!saved && isNew && running.pipeline.startAt === "End") start = this.#lastLine(chain);
    const subscription = new Subscription(outlet.id, chain, outlet, start, instanceBefore(outlet, chain), saved);
    outlet.subscriptions.set(source.id, subscription);
    collector.add(subscription, subscription.read);
    positions.dirty(subscription);
  }

  #lastLine(chain: Chain): number {
    try {
      return chain.lastLine();
    } catch (error) {
      this.#parts.world.log.warn("can't find the end of a log, reading it from the beginning", {
        ...{ path: `${chain.directory}/${chain.name}`, reason: String(error) },
      });
      return chain.start;
    }
  }

  #settleVanished(): void {
    const { collector, dispatcher, positions } = this.#parts;
    const followed = new Set(collector.chains.map((chain) => chain.source.id));
    for (const outlet of dispatcher.outlets.values()) positions.settleVanished(outlet, followed);
  }
}

/** The subscription of the container's latest earlier instance. */
function instanceBefore(outlet: Outlet, { source }: Chain): Subscription | undefined {
  let before: Subscription | undefined;
  for (const other of outlet.subscriptions.values()) {
    const { uid, container, restart } = other.chain.source;
    if (uid !== source.uid || container !== source.container || restart >= source.restart) continue;
    if (!before || restart > before.chain.source.restart) before = other;
  }
  return before;
}
