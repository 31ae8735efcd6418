/** What /v1/ledger and /v1/pipelines show, as far as tests of the running agent look at it. */
import assert from "node:assert/strict";

export interface Count {
  lines: number;
  bytes: number;
}

/** A ledger as /v1/ledger shows it. */
export interface Terms {
  start: number;
  end: number;
  readLines: number;
  delivered: Count;
  filtered: Record<string, Count>;
  dropped: Record<string, Count>;
  deadLettered: Count;
  lost: Record<string, Count>;
  inFlight: Count;
  backlogBytes: number;
  imbalance: Count;
}

export interface LedgerView {
  total: Terms;
  sinks: (Terms & {
    pipeline: string;
    sink: string;
    containers: (Terms & { pod: string; container: string; restart: number })[];
    departed: Terms;
  })[];
}

export interface PipelinesView {
  pipeline: string;
  sinks: {
    sink: string;
    state: string;
    trouble?: { reason: string; failures: number };
    queue: { lines: number; bytes: number };
    workers: { state: string; batches: number }[];
    counts: { outcomes: Record<string, number>; ambiguous: number; repeated: number; releases: number };
  }[];
}

/** The sum of the bytes that a ledger tells where they are, each term once. */
function bytesOf(terms: Terms): number {
  const { delivered, filtered, dropped, deadLettered, lost, inFlight, backlogBytes } = terms;
  const groups = [...Object.values(filtered), ...Object.values(dropped), ...Object.values(lost)];
  const bytes = groups.reduce((sum, count) => sum + count.bytes, 0);
  return bytes + delivered.bytes + deadLettered.bytes + inFlight.bytes + backlogBytes;
}

function linesOf({ delivered, filtered, dropped, deadLettered, inFlight }: Terms): number {
  const groups = [...Object.values(filtered), ...Object.values(dropped)];
  return groups.reduce((sum, count) => sum + count.lines, 0) + delivered.lines + deadLettered.lines + inFlight.lines;
}

/** Adds a ledger up, for each sink and each container in it, and fails where it is off. */
export function assertBalanced(ledger: LedgerView, when: string): void {
  const check = (terms: Terms, of: string): void => {
    assert.deepEqual(terms.imbalance, { lines: 0, bytes: 0 }, `the ledger of ${of} is off ${when}`);
    assert.equal(bytesOf(terms), terms.end - terms.start, `the bytes of ${of} ${when}`);
    assert.equal(linesOf(terms), terms.readLines, `the lines of ${of} ${when}`);
    assert.ok(terms.backlogBytes >= 0 && terms.inFlight.bytes >= 0, `${of} has less than nothing ${when}`);
  };
  check(ledger.total, "all sinks");
  for (const sink of ledger.sinks) {
    check(sink, sink.sink);
    check(sink.departed, `${sink.sink}, gone containers`);
    for (const container of sink.containers) check(container, `${sink.sink}, ${container.pod} ${container.restart}`);
  }
}
