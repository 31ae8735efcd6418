/** The families of /metrics: name, help and labels of each, and where its values are read. See metrics.ts. */
import type { Worker, WorkerState } from "./dispatcher/delivery.ts";
import type { Outlet } from "./dispatcher/outlet.ts";
import { imbalance, type Count, type Ledger, type Totals } from "./ledger.ts";
import type { Agent } from "./main.ts";
import type { StepCounts } from "./process/step.ts";

/** Reasons that alerts are made of: they are there from the start, because an increase from nothing is none. */
const LOST_REASONS = ["RotatedBeforeRead", "TruncatedBeforeRead", "PodDeletedBeforeRead"];
const DROPPED_REASONS = ["Rejected", "RetriesExhausted", "DeadLetterEvicted"];
const TROUBLE_STATES = { backoff: 1, hold: 2 };
const WORKER_STATES: Record<WorkerState, number> = { idle: 0, sending: 1, "dead-lettering": 2 };

type Labels = Partial<Record<"pipeline" | "sink" | "reason" | "worker", string>>;
type Put = (labels: Labels, value: number) => void;

/** What a scrape reads of one sink. */
export interface SinkLook {
  readonly outlet: Outlet;
  readonly labels: { pipeline: string; sink: string };
  readonly ledger: Ledger;
  /** Settled since the process began, dead letters that were evicted since included. */
  readonly settled: Totals;
}

/** What one scrape reads. */
export interface Look {
  readonly agent: Agent;
  /** By the monotonic clock. */
  readonly now: number;
  readonly sinks: readonly SinkLook[];
}

export type Read = (look: Look, put: Put) => void;
export type Family = readonly [name: string, help: string, labels: readonly (keyof Labels)[], read: Read];

/** A family without labels. */
function one(name: string, help: string, read: (look: Look) => number): Family {
  return [`tailrace_${name}`, help, [], (look, put) => put({}, read(look))];
}

/** A family with one value for each sink. */
function perSink(name: string, help: string, read: (sink: SinkLook, now: number) => number | undefined): Family {
  return [
    `tailrace_${name}`,
    help,
    ["pipeline", "sink"],
    ({ sinks, now }, put) => {
      for (const sink of sinks) {
        const value = read(sink, now);
        if (value !== undefined) put(sink.labels, value);
      }
    },
  ];
}

function perReason(name: string, help: string, read: (sink: SinkLook) => Iterable<readonly [string, number]>): Family {
  return [
    `tailrace_${name}`,
    help,
    ["pipeline", "sink", "reason"],
    ({ sinks }, put) => {
      for (const sink of sinks) for (const [reason, value] of read(sink)) put({ ...sink.labels, reason }, value);
    },
  ];
}

/** What each process step of a pipeline did. */
function perStep(name: string, help: string, count: keyof StepCounts): Family {
  return [
    `tailrace_process_${name}`,
    `${help}, by step; what is read again counts again.`,
    ["pipeline", "reason"],
    ({ agent }, put) => {
      for (const { pipeline, process } of agent.running) {
        for (const [index, reason] of process.names.entries()) {
          put({ pipeline: pipeline.id, reason }, process.counts[index]![count]);
        }
      }
    },
  ];
}

function perWorker(name: string, help: string, read: (worker: Worker, now: number) => number): Family {
  return [
    `tailrace_dispatcher_worker_${name}`,
    help,
    ["pipeline", "sink", "worker"],
    ({ sinks, now }, put) => {
      for (const { labels, outlet } of sinks) {
        for (const [index, worker] of outlet.workers.entries()) {
          put({ ...labels, worker: String(index) }, read(worker, now));
        }
      }
    },
  ];
}

/** Lines and bytes of one term of the ledger: two families. */
function settled(name: string, help: string): Family[] {
  const count = ({ settled: totals }: SinkLook, unit: keyof Count): number => totals[name]?.[unit] ?? 0;
  return (["lines", "bytes"] as const).map((unit) =>
    perSink(`ledger_${snake(name)}_${unit}_total`, help.replace("Lines", capital(unit)), (sink) => count(sink, unit)),
  );
}

/** Likewise for a term that is told apart by reasons; `known` are there from the start. */
function settledBy(name: string, help: string, known: (sink: SinkLook) => readonly string[]): Family[] {
  const prefix = `${name}/`;
  const reasons = (sink: SinkLook): Set<string> => {
    const seen = Object.keys(sink.settled).flatMap((key) => (key.startsWith(prefix) ? key.slice(prefix.length) : []));
    return new Set([...known(sink), ...seen]);
  };
  return (["lines", "bytes"] as const).map((unit) =>
    perReason(`ledger_${name}_${unit}_total`, help.replace("Lines", capital(unit)), (sink) =>
      [...reasons(sink)].map((reason) => [reason, sink.settled[prefix + reason]?.[unit] ?? 0] as const),
    ),
  );
}

const snake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const capital = (unit: string): string => unit[0]!.toUpperCase() + unit.slice(1);
const seconds = (ms: number): number => Math.max(0, ms) / 1000;

/** Age of the oldest record that waits or is being sent; 0: there is none. */
function oldestSeconds({ outlet }: SinkLook, now: number): number {
  let oldest = now;
  for (const { takenAt } of outlet.subscriptions.values()) oldest = Math.min(oldest, takenAt);
  return seconds(now - oldest);
}

const COLLECT: Family[] = [
  one(
    "collect_read_bytes_total",
    "Bytes read from log files; what was read again counts again.",
    ({ agent }) => agent.collector.reader.bytesRead,
  ),
  one("collect_chains", "Container instances that are followed.", ({ agent }) => agent.collector.chains.length),
  one(
    "collect_active_chains",
    "Container instances that are read in turns; the others are watched.",
    ({ agent }) => agent.collector.activeCount,
  ),
  one("collect_open_files", "Log files that are open.", ({ agent }) => agent.collector.descriptors.count),
];

const DECODE: Family[] = [
  one(
    "decode_invalid_lines_total",
    "Lines whose framing did not parse; they are passed on whole.",
    ({ agent }) => agent.decode.counts.invalid,
  ),
  one(
    "decode_truncated_lines_total",
    "Lines cut at maxLineBytes, and lines whose end never came.",
    ({ agent }) => agent.decode.counts.truncated,
  ),
  one("decode_joined_lines_total", "Lines joined from partial ones.", ({ agent }) => agent.decode.counts.joined),
];

const PROCESS: Family[] = [
  perStep("filtered_records_total", "Records filtered", "filtered"),
  perStep("redactions_total", "Pieces of texts and fields replaced", "redactions"),
  perStep(
    "masked_texts_total",
    "Texts and fields whose rest was hidden as a whole, to keep within time and room",
    "masked",
  ),
  perStep("left_out_fields_total", "Added fields left out because a record's fields had grown too much", "leftOut"),
  perStep("slow_texts_total", "Texts and fields that were looked at one by one, the slow path", "strings"),
];

const DISPATCHER: Family[] = [
  perSink("dispatcher_queue_lines", "Records in the queue, those in requests included.", ({ outlet }) => outlet.rows),
  perSink(
    "dispatcher_queue_bytes",
    "Bytes of the records in the queue, with what a record costs besides its text.",
    ({ outlet }) => outlet.bytes,
  ),
  perSink("dispatcher_queue_oldest_seconds", "How long the oldest record has been in the queue.", oldestSeconds),
  perReason("dispatcher_outcomes_total", "Answers to requests, by what they meant.", ({ outlet }) =>
    Object.entries(outlet.counts.outcomes),
  ),
  perSink(
    "dispatcher_ambiguous_requests_total",
    "Requests that were sent and never answered; they are sent again.",
    ({ outlet }) => outlet.counts.ambiguous,
  ),
  perSink(
    "dispatcher_repeated_records_total",
    "Records of refused requests that may be stored already and are sent again.",
    ({ outlet }) => outlet.counts.repeated,
  ),
  perSink(
    "dispatcher_request_bytes_total",
    "Bytes of the requests that were sent.",
    ({ outlet }) => outlet.counts.requestBytes,
  ),
  perSink(
    "dispatcher_replaced_records_total",
    "Records in which bytes that are no UTF-8 were replaced.",
    ({ outlet }) => outlet.counts.replaced,
  ),
  perSink(
    "dispatcher_releases_total",
    "Times the sink gave up what it held, to be read again.",
    ({ outlet }) => outlet.counts.releases,
  ),
  perSink("dispatcher_trouble_state", "Why nothing is accepted: 0 it is, 1 backing off, 2 holding.", ({ outlet }) =>
    outlet.trouble ? TROUBLE_STATES[outlet.trouble.kind] : 0,
  ),
  perSink("dispatcher_trouble_seconds", "How long nothing has been accepted.", ({ outlet }, now) =>
    outlet.trouble ? seconds(now - outlet.trouble.since) : 0,
  ),
  perSink("dispatcher_trouble_failures", "Failed attempts in a row.", ({ outlet }) => outlet.trouble?.failures ?? 0),
  perSink("dispatcher_dead_letter_bytes", "Bytes in the dead-letter queue.", ({ outlet }) => outlet.deadLetters?.bytes),
  perWorker(
    "state",
    "What the worker does: 0 nothing, 1 sending, 2 writing dead letters.",
    (worker) => WORKER_STATES[worker.state],
  ),
  perWorker("batches_total", "Requests the worker sent.", (worker) => worker.batches),
  perWorker("records_total", "Records in the requests that the worker sent.", (worker) => worker.records),
  perWorker("busy_seconds_total", "Time the worker was busy, counted when it is done.", (worker) =>
    seconds(worker.busyMs),
  ),
  perWorker("last_latency_seconds", "How long the worker's last answer took.", (worker) =>
    seconds(worker.lastLatencyMs),
  ),
  perWorker("waiting_seconds", "How long the worker has waited for an answer.", (worker, now) =>
    worker.state === "sending" ? seconds(now - worker.sentAt) : 0,
  ),
];

const LEDGER: Family[] = [
  ...settled("delivered", "Lines that the sink has."),
  ...settled(
    "deadLettered",
    "Lines that went to the dead-letter queue; those evicted from it later are dropped as well.",
  ),
  ...settledBy("filtered", "Lines that a process step filtered, by step.", ({ outlet }) => outlet.steps),
  ...settledBy("dropped", "Lines given up after they were read, by reason.", () => DROPPED_REASONS),
  ...settledBy(
    "lost",
    "Lines gone before they were read, by reason; often only their bytes are known.",
    () => LOST_REASONS,
  ),
  perSink("ledger_in_flight_lines", "Lines read and not settled.", ({ ledger }) => ledger.inFlight.lines),
  perSink("ledger_in_flight_bytes", "Bytes read and not settled.", ({ ledger }) => ledger.inFlight.bytes),
  perSink("ledger_backlog_bytes", "Bytes in log files that were not read yet.", ({ ledger }) => ledger.backlogBytes),
  perSink(
    "ledger_imbalance_lines",
    "By how many lines the ledger fails to add up; always 0.",
    ({ ledger }) => imbalance(ledger).lines,
  ),
  perSink(
    "ledger_imbalance_bytes",
    "By how many bytes the ledger fails to add up; always 0.",
    ({ ledger }) => imbalance(ledger).bytes,
  ),
];

const AGENT: Family[] = [
  one(
    "memory_limit_bytes",
    "The memory that chunks, queues and requests share.",
    ({ agent }) => agent.memory.bytes.byteLength,
  ),
  one(
    "memory_arena_bytes",
    "The part of the memory that chunks and requests are made in.",
    ({ agent }) => agent.memory.arena.usedBytes + agent.memory.arena.freeBytes,
  ),
  one("memory_used_bytes", "What of the arena is in use.", ({ agent }) => agent.memory.arena.usedBytes),
  one("memory_short_state", "1: the last turn could not read for want of memory.", ({ agent }) =>
    Number(agent.collector.short),
  ),
  one("memory_short_turns_total", "Turns that could not read for want of memory.", ({ agent }) => agent.shortTurns),
  one(
    "journal_trouble_state",
    "1: the journal can't be written, and a restart would repeat what was delivered since.",
    ({ agent }) => Number(agent.positions.journal.trouble !== undefined),
  ),
  one("loop_turns_total", "Turns of the agent's loop.", ({ agent }) => agent.turns),
  one("loop_turn_age_seconds", "How long ago the last turn began.", ({ agent, now }) => seconds(now - agent.turnedAt)),
];

export const FAMILIES: readonly Family[] = [...COLLECT, ...DECODE, ...PROCESS, ...DISPATCHER, ...LEDGER, ...AGENT];
