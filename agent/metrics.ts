/**
 * /metrics: what the agent counts, in the text format of Prometheus. Nothing is counted here: each scrape takes one
 * look at the agent between two turns and every family reads from that look, so no line is in two places of one scrape.
 *
 *     tailrace_<stage>_<what>_<unit>[_total]      labels pipeline, sink, reason, worker
 *
 * Counters begin at 0 with the process, as Prometheus expects, though the ledger goes on from the last run: what the
 * journal held when the Metrics were made is subtracted. So they are made before the agent starts.
 */
import { collectDefaultMetrics, Counter, Gauge, Registry } from "prom-client";
import { realClock, type Clock } from "./clock.ts";
import type { Outlet } from "./dispatcher/outlet.ts";
import { addTotals, type Count, type Ledger, type Totals } from "./ledger.ts";
import type { Agent } from "./main.ts";
import { FAMILIES, type Look, type Read, type SinkLook } from "./metric-families.ts";

/** How often the lag of the event loop is sampled: at the library's 10 ms that costs 0.4 % of a core, at this 0.02 %. */
const LAG_SAMPLE_MS = 500;

/** The metrics of one agent, in a registry of their own. */
export class Metrics {
  readonly contentType = Registry.PROMETHEUS_CONTENT_TYPE;
  readonly #registry = new Registry();
  readonly #agent: Agent;
  readonly #clock: Clock;
  /** By sink id: what was settled before this process. */
  readonly #before: ReadonlyMap<string, Totals>;
  #look: Look;

  constructor(agent: Agent, clock: Clock = realClock) {
    this.#agent = agent;
    this.#clock = clock;
    this.#before = settledBefore(agent);
    this.#look = { agent, now: 0, sinks: [] };
    for (const [name, help, labels, read] of FAMILIES) this.#define(name, help, labels, read);
    collectDefaultMetrics({ register: this.#registry, eventLoopMonitoringPrecision: LAG_SAMPLE_MS });
  }

  /** The text of one scrape. */
  scrape(): Promise<string> {
    this.#agent.collector.measure();
    const outlets = [...this.#agent.dispatcher.outlets.values()];
    this.#look = { agent: this.#agent, now: this.#clock.now(), sinks: outlets.map((outlet) => this.#lookAt(outlet)) };
    // The registry asks every family before it first waits, so all of them see this look.
    return this.#registry.metrics();
  }

  #lookAt(outlet: Outlet): SinkLook {
    const ledger = this.#agent.ledger(outlet);
    const labels = { pipeline: outlet.settings.pipeline, sink: outlet.settings.name };
    return {
      outlet,
      labels,
      ledger,
      settled: since(this.#before.get(outlet.id) ?? {}, everDeadLettered(ledger.settled)),
    };
  }

  #define(name: string, help: string, labelNames: readonly string[], read: Read): void {
    const look = (): Look => this.#look;
    const config = { name, help, labelNames, registers: [this.#registry] };
    if (name.endsWith("_total")) {
      new Counter({
        ...config,
        collect() {
          this.reset();
          read(look(), (labels, value) => this.inc(labels, value));
        },
      });
    } else {
      new Gauge({
        ...config,
        collect() {
          this.reset();
          read(look(), (labels, value) => this.set(labels, value));
        },
      });
    }
  }
}

/** What the journal knows as settled, by sink: of containers and of those that were forgotten. */
function settledBefore({ positions: { journal } }: Agent): Map<string, Totals> {
  const before = new Map<string, Totals>();
  const add = (sink: string, totals: Totals): void => {
    const sum = before.get(sink) ?? {};
    before.set(sink, sum);
    addTotals(sum, everDeadLettered(totals));
  };
  for (const key of journal.keys("at/")) {
    const saved = journal.get<{ totals: Totals }>(key);
    if (saved) add(key.slice("at/".length, key.indexOf(" ")), saved.totals);
  }
  for (const key of journal.keys("departed/")) {
    const saved = journal.get<Ledger>(key);
    if (saved) add(key.slice("departed/".length), saved.settled);
  }
  return before;
}

/** `deadLettered` is what lies there now; with what was evicted it never decreases. */
function everDeadLettered(totals: Totals): Totals {
  const evicted = totals["dropped/DeadLetterEvicted"];
  if (!evicted) return totals;
  const { lines, bytes } = totals["deadLettered"] ?? { lines: 0, bytes: 0 };
  return { ...totals, deadLettered: { lines: lines + evicted.lines, bytes: bytes + evicted.bytes } };
}

/** A sink that was removed and forgotten begins at 0 when it comes back; then there is nothing to subtract. */
function since(before: Totals, now: Totals): Totals {
  const counts = Object.entries(now).map(([name, count]): [string, Count] => {
    const old = before[name];
    if (!old || old.bytes > count.bytes) return [name, count];
    return [name, { lines: count.lines - old.lines, bytes: count.bytes - old.bytes }];
  });
  return Object.fromEntries(counts);
}
