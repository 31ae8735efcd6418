/**
 * The ledger: for every subscription, where each line went. At any moment, in bytes of the source files,
 *
 *     end - start = delivered + filtered + dropped + dead-lettered + lost + in flight + backlog
 *
 * and in lines, of what was read, read = delivered + filtered + dropped + dead-lettered + in flight. Each term is counted
 * where it is; none is computed from the others. A line is counted when the Position passes it.
 */

export interface Count {
  lines: number;
  bytes: number;
}

/** Where settled lines went: `delivered`, `deadLettered`, `filtered/<step>`, `dropped/<reason>`, `lost/<reason>`. */
export type Totals = Record<string, Count>;

export function addTo(totals: Totals, name: string, lines: number, bytes: number): void {
  const count = (totals[name] ??= { lines: 0, bytes: 0 });
  count.lines += lines;
  count.bytes += bytes;
}

export function addTotals(into: Totals, from: Totals): void {
  for (const [name, count] of Object.entries(from)) addTo(into, name, count.lines, count.bytes);
}

export function sumTotals(totals: Totals): Count {
  const sum = { lines: 0, bytes: 0 };
  for (const count of Object.values(totals)) {
    sum.lines += count.lines;
    sum.bytes += count.bytes;
  }
  return sum;
}

/** Lines that were read and settled; of what was lost, no line was seen. */
export function settledLines(totals: Totals): number {
  let lines = 0;
  for (const [name, count] of Object.entries(totals)) if (!name.startsWith("lost/")) lines += count.lines;
  return lines;
}

/**
 * Dead letters left their queue unsent. A crash may have left more letters in the queue than were counted; what was not counted as
 * dead-lettered is not moved.
 */
export function evict(totals: Totals, lines: number, bytes: number): void {
  const dead = totals["deadLettered"] ?? { lines: 0, bytes: 0 };
  const moved = { lines: Math.min(lines, dead.lines), bytes: Math.min(bytes, dead.bytes) };
  if (moved.lines === 0 && moved.bytes === 0) return;
  addTo(totals, "deadLettered", -moved.lines, -moved.bytes);
  addTo(totals, "dropped/DeadLetterEvicted", moved.lines, moved.bytes);
}

/** One subscription's (or sink's) side of the equation. Bytes are those of the source files. */
export interface Ledger {
  /** Linear offsets between which the lines lie; for a sink, their sums. */
  start: number;
  end: number;
  /** Lines read so far (bytes follow from the other terms). */
  readLines: number;
  settled: Totals;
  /** Read and not settled: queued, in requests, or parts of a line whose end has not come. */
  inFlight: Count;
  /** Not read yet. */
  backlogBytes: number;
}

export function emptyLedger(): Ledger {
  return { start: 0, end: 0, readLines: 0, settled: {}, inFlight: { lines: 0, bytes: 0 }, backlogBytes: 0 };
}

export function addLedger(into: Ledger, from: Ledger): void {
  into.start += from.start;
  into.end += from.end;
  into.readLines += from.readLines;
  addTotals(into.settled, from.settled);
  into.inFlight.lines += from.inFlight.lines;
  into.inFlight.bytes += from.inFlight.bytes;
  into.backlogBytes += from.backlogBytes;
}

/** By how many lines and bytes the equations fail; both are 0 at every look. */
export function imbalance(ledger: Ledger): Count {
  const settled = sumTotals(ledger.settled).bytes;
  return {
    lines: ledger.readLines - settledLines(ledger.settled) - ledger.inFlight.lines,
    bytes: ledger.end - ledger.start - settled - ledger.inFlight.bytes - ledger.backlogBytes,
  };
}
