/** What the HTTP interface shows of a running agent, as JSON. Each view is one look, taken between two turns. */
import { renderConfig } from "../crds/render.ts";
import type { Chain } from "./collect/chain.ts";
import type { Worker } from "./dispatcher/delivery.ts";
import type { Outlet } from "./dispatcher/outlet.ts";
import { addLedger, emptyLedger, imbalance, type Count, type Ledger, type Totals } from "./ledger.ts";
import type { Agent } from "./main.ts";

type Json = Record<string, unknown>;

const NONE: Count = { lines: 0, bytes: 0 };

/** A ledger with its terms told apart, and by how much they fail to add up (0). */
function terms(ledger: Ledger): Json {
  const { start, end, readLines, settled, inFlight, backlogBytes } = ledger;
  return {
    ...{ start, end, readLines, delivered: settled["delivered"] ?? NONE },
    ...{ filtered: by(settled, "filtered/"), dropped: by(settled, "dropped/") },
    ...{ deadLettered: settled["deadLettered"] ?? NONE, lost: by(settled, "lost/") },
    ...{ inFlight, backlogBytes, imbalance: imbalance(ledger) },
  };
}

/** The totals whose names begin with `prefix`, by the rest of their names. */
function by(totals: Totals, prefix: string): Totals {
  const found = Object.entries(totals).filter(([name]) => name.startsWith(prefix));
  return Object.fromEntries(found.map(([name, count]) => [name.slice(prefix.length), count]));
}

function containerView({ source: { namespace, pod, uid, container, restart } }: Chain): Json {
  return { namespace, pod, uid, container, restart };
}

/** The ledger: of each sink, of each container in it, of those that are gone, and the sum over all sinks. */
export function ledgerView(agent: Agent, takenAt: string): Json {
  agent.collector.measure();
  const sum = emptyLedger();
  const sinks = [...agent.dispatcher.outlets.values()].map((outlet) => {
    const ledger = agent.ledger(outlet);
    addLedger(sum, ledger);
    const containers = [...outlet.subscriptions.values()].map((subscription) => ({
      ...containerView(subscription.chain),
      ...terms(agent.subscriptionLedger(subscription)),
    }));
    const departed = terms(agent.positions.departed(outlet.id));
    return { ...nameOf(outlet), ...terms(ledger), containers, departed };
  });
  return { takenAt, total: terms(sum), sinks };
}

function nameOf({ settings: { pipeline, name, type } }: Outlet): Json {
  return { pipeline, sink: name, type };
}

/** How each sink fares. `wall` and `now` are the same moment by both clocks. */
export function pipelinesView(agent: Agent, now: number, wall: number): Json[] {
  const at = (ms: number): string => new Date(wall + ms - now).toISOString();
  return agent.running.map(({ pipeline, outlets }) => ({
    pipeline: pipeline.id,
    sinks: [...outlets.values()].map((outlet) => ({
      ...{ sink: outlet.settings.name, type: outlet.settings.type, state: stateOf(outlet) },
      trouble: outlet.trouble && {
        ...{ reason: outlet.trouble.reason, httpStatus: httpStatusOf(outlet.trouble.reason) },
        ...{ failures: outlet.trouble.failures, since: at(outlet.trouble.since), until: at(outlet.until) },
      },
      queue: { lines: outlet.rows, bytes: outlet.bytes, oldestMs: oldestMs(outlet, now) },
      containers: outlet.subscriptions.size,
      workers: outlet.workers.map((worker) => workerView(worker, now)),
      counts: outlet.counts,
      deadLetters: outlet.deadLetters && { bytes: outlet.deadLetters.bytes },
    })),
  }));
}

function stateOf(outlet: Outlet): string {
  if (outlet.stopping) return "draining";
  if (outlet.trouble) return outlet.trouble.kind;
  return outlet.rows > 0 ? "delivering" : "idle";
}

/** The status in `<host> answered <status> …`, as sinks word what an HTTP server said. */
function httpStatusOf(reason: string): number | undefined {
  const status = / answered (\d{3})\b/.exec(reason)?.[1];
  return status === undefined ? undefined : Number(status);
}

function oldestMs(outlet: Outlet, now: number): number {
  let oldest = now;
  for (const { takenAt } of outlet.subscriptions.values()) oldest = Math.min(oldest, takenAt);
  return Math.round(now - oldest);
}

function workerView({ state, batches, records, busyMs, lastLatencyMs, sentAt }: Worker, now: number): Json {
  return {
    ...{ state, batches, records, busyMs: Math.round(busyMs), lastLatencyMs: Math.round(lastLatencyMs) },
    waitingMs: state === "sending" ? Math.round(now - sentAt) : 0,
  };
}

/** The effective configuration as documents, secrets masked. */
export function configView(agent: Agent): Json[] {
  return renderConfig(agent.config);
}

/** Where each sink stands in each container's files, as the journal keeps it. Offsets are bytes from the first file's. */
export function positionsView(agent: Agent): Json {
  const chains = new Map<string, Json>();
  const sinks = [...agent.dispatcher.outlets.values()].map((outlet) => ({
    ...nameOf(outlet),
    positions: [...outlet.subscriptions.values()].map((subscription) => {
      const { chain } = subscription;
      chains.set(chain.source.id, { ...containerView(chain), files: chain.saved(), end: chain.end });
      const { from, marks, sent, tried } = subscription.saved(agent.collector.open(subscription).at);
      return { chain: chain.source.id, from, marks, sent, read: subscription.read, tried };
    }),
  }));
  return { chains: Object.fromEntries(chains), sinks };
}
