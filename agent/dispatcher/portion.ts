/**
 * Rows of one reading that a subscription holds, and what is asked of them: sums, places in the chain, marks. A mark is a
 * linear offset per stream; what of the stream lies below it is settled (or taken, or sent).
 */
import * as columns from "../memory/columns.ts";
import { JOINED, STREAM_MASK } from "../memory/columns.ts";
import { R_BYTES, R_ROWS, RESULT, TALLY } from "../memory/kernels.ts";
import type { Memory } from "../memory/memory.ts";
import type { Records } from "../memory/records.ts";
import type { KeySet } from "./keys.ts";

const STREAMS = 3;
const INT_MAX = 0x7fffffff;

/** Rows [from, to) of records that are not settled. */
export interface Portion {
  readonly records: Records;
  readonly keys: KeySet;
  /** When it was taken, by the monotonic clock. */
  readonly takenAt: number;
  from: number;
  readonly to: number;
  /** Linear offsets of rows that were joined from parts: they begin before rows that come out earlier. */
  joined: { row: number; at: number }[];
}

export type Run = readonly [from: number, to: number];

/** Marks below which nothing lies. */
export function noMarks(): number[] {
  return Array.from({ length: STREAMS }, () => 0);
}

/** Linear offset of a row's first byte. */
export function offsetOf({ words }: Memory, records: Records, row: number): number {
  return records.base + words[(records.block >> 2) + columns.AT * records.cap + row]!;
}

function bitsOf({ words }: Memory, records: Records, row: number): number {
  return words[(records.block >> 2) + columns.BITS * records.cap + row]!;
}

export function isBelow(memory: Memory, marks: readonly number[], records: Records, row: number): boolean {
  return offsetOf(memory, records, row) < marks[bitsOf(memory, records, row) & STREAM_MASK]!;
}

/**
 * Raises marks to behind the last row of each stream in [from, to). A row that was joined counts with its last part: who
 * reads again from the middle of it gets the parts from there on as a line, and must know that one.
 */
export function raise(memory: Memory, marks: number[], records: Records, from: number, to: number): void {
  const present = memory.kernels.classes(records.block, records.cap, 0, from, to);
  for (let stream = 0; stream < STREAMS; stream++) {
    if (!(present & (0x11111111 << stream))) continue;
    let row = to - 1;
    while ((bitsOf(memory, records, row) & STREAM_MASK) !== stream) row--;
    const at = records.lastParts?.get(row) ?? offsetOf(memory, records, row);
    marks[stream] = Math.max(marks[stream]!, at + 1);
  }
}

/** True when some row may begin before the bytes that were read for these records: its parts came in earlier ones. */
export function reachesBack(memory: Memory, records: Records): boolean {
  return records.joined || (records.count > 0 && offsetOf(memory, records, 0) < records.base);
}

/** The runs of rows that lie at or above the marks. */
export function newRuns(memory: Memory, marks: readonly number[], records: Records): Run[] {
  const runs: Run[] = [];
  for (let row = 0; row < records.count;) {
    if (isBelow(memory, marks, records, row)) {
      row++;
      continue;
    }
    const from = row;
    while (row < records.count && !isBelow(memory, marks, records, row)) row++;
    runs.push([from, row]);
  }
  return runs;
}

/** Source lines and bytes of all rows in [from, to). */
export function sumOf(memory: Memory, records: Records, from: number, to: number): { lines: number; bytes: number } {
  const { floats, kernels } = memory;
  kernels.tally(records.block, records.cap, 0, from, to);
  return { lines: floats[TALLY >> 3]!, bytes: floats[(TALLY >> 3) + 1]! };
}

/** Kept rows in [from, to) and their text bytes with overhead. */
export function keptIn(memory: Memory, records: Records, from: number, to: number): { rows: number; bytes: number } {
  const { words, kernels } = memory;
  kernels.cut(records.block, records.cap, records.verdicts, from, to, INT_MAX, INT_MAX);
  return { rows: words[(RESULT >> 2) + R_ROWS]!, bytes: words[(RESULT >> 2) + R_BYTES]! };
}

export function joinedIn(memory: Memory, records: Records, [from, to]: Run): { row: number; at: number }[] {
  const joined = [];
  for (let row = from; records.joined && row < to; row++) {
    if (bitsOf(memory, records, row) & JOINED) joined.push({ row, at: offsetOf(memory, records, row) });
  }
  return joined;
}
