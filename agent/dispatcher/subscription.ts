/**
 * A subscription: one container's chain for one sink. It holds the records it took until the sink has them, in the order
 * in which they were read, and settles them from the front; so its Position is a single place per stream, and it can be
 * dropped to that Position and read again at any time.
 *
 *     chain   |------ settled ------|---- outstanding: portions ----|---- backlog ----|
 *             start              oldest                            read              end
 */
import type { Chain } from "../collect/chain.ts";
import type { Taker } from "../collect/taker.ts";
import { addTo, sumTotals, type Ledger, type Totals } from "../ledger.ts";
import * as columns from "../memory/columns.ts";
import { JOINED, KEPT, STREAM_MASK, VERDICTS } from "../memory/columns.ts";
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

/** A Position as the journal keeps it, with the counts of all that lies before it. */
export interface SavedSubscription {
  readonly start: number;
  /** Linear offset at which reading begins again. */
  readonly from: number;
  /** By stream: lines below this are settled though they lie behind `from`. */
  readonly marks: readonly number[];
  /** By stream: what lies below this was sent at least once. */
  readonly sent: readonly number[];
  /** Records at the front that were tried together, and how often. */
  readonly tried: readonly [rows: number, times: number] | undefined;
  readonly totals: Totals;
}

/** What a subscription needs of its sink's side. */
export interface Host {
  readonly memory: Memory;
  keysOf(subscription: Subscription, records: Records, from: number, to: number): KeySet | undefined;
  dropKeys(keys: KeySet): void;
  /** Names of the process steps, for the ledger. */
  readonly steps: readonly string[];
  room(): number;
  /** Outstanding kept records changed by so many rows and bytes. */
  changed(subscription: Subscription, rows: number, bytes: number): void;
  /** The Position or the counts changed: to be saved by the end of the turn. */
  dirty(subscription: Subscription): void;
  /** The chain is over and settled: the next instance's turn has come. */
  done(subscription: Subscription): void;
  now(): number;
}

export class Subscription implements Taker {
  readonly id: string;
  readonly chain: Chain;
  readonly host: Host;
  /** The instance of the container before this one: its records come first. */
  readonly before: Subscription | undefined;
  readonly start: number;
  read: number;
  ahead = 0;
  /** Kept records outstanding, and their text bytes with overhead. */
  rows = 0;
  bytes = 0;
  /** A request with records from the front is on its way. */
  inFlight = false;
  tried: { rows: number; times: number } | undefined;
  readonly sent: number[];
  readonly totals: Totals;
  readonly #marks: number[];
  readonly #portions: Portion[] = [];
  /** Rows below these marks (by stream) are skipped when they come by again; all rows from #skipTo on are new. */
  #skip: number[];
  #skipTo: number;
  #readLines: number;
  #outstandingLines = 0;
  #outstandingRaw = 0;
  /** The chain has ended and everything in it was read. */
  #finished = false;

  constructor(id: string, chain: Chain, host: Host, start: number, before?: Subscription, saved?: SavedSubscription) {
    this.id = id;
    this.chain = chain;
    this.host = host;
    this.before = before;
    this.start = saved?.start ?? start;
    this.read = saved?.from ?? this.start;
    this.totals = structuredClone(saved?.totals ?? {});
    this.#marks = [...(saved?.marks ?? zeros())];
    this.sent = [...(saved?.sent ?? zeros())];
    if (saved?.tried) this.tried = { rows: saved.tried[0], times: saved.tried[1] };
    const settled = sumTotals(this.totals);
    this.#readLines = settled.lines - lostLines(this.totals);
    this.ahead = settled.bytes - (this.read - this.start);
    this.#skip = [...this.#marks];
    this.#skipTo = Math.max(...this.#skip);
  }

  /** Portions, oldest first. */
  get portions(): readonly Portion[] {
    return this.#portions;
  }

  /** When the oldest outstanding record was taken; Infinity: there is none. */
  get takenAt(): number {
    return this.#portions[0]?.takenAt ?? Infinity;
  }

  /** The chain is over and all of it, and of the instances before it, is settled. */
  get done(): boolean {
    return this.#finished && this.#portions.length === 0 && (this.before?.done ?? true);
  }

  room(): number {
    if (this.before && !this.before.done) return 0;
    return this.host.room();
  }

  finished(): void {
    this.#finished = true;
    this.#passUnkept();
  }

  /** Takes all rows of `records` that are new to it; false: no room, and then nothing was taken. */
  take(records: Records): boolean {
    const runs = records.base < this.#skipTo ? this.#newRuns(records) : [[0, records.count] as const];
    const portions: Portion[] = [];
    for (const [from, to] of runs) {
      const keys = this.host.keysOf(this, records, from, to);
      if (!keys) {
        for (const portion of portions) this.host.dropKeys(portion.keys);
        return false;
      }
      const joined = this.#joinedRows(records, from, to);
      portions.push({ records, keys, takenAt: this.host.now(), from, to, joined });
    }
    if (records.base < this.#skipTo) this.ahead -= this.#skippedRaw(records, runs);
    for (const portion of portions) this.#push(portion);
    this.#finished = false;
    this.#passUnkept();
    return true;
  }

  /**
   * Settles the rows of the first portion before `to` as `name` (a key of Totals); filtered rows among them are counted as such. Rows of a
   * portion that is settled already (none of it was kept) are passed over.
   */
  settle(portion: Portion, to: number, name: string): void {
    if (this.#portions[0] !== portion || portion.from >= to) return;
    this.#count(portion, to, name);
    this.tried = undefined;
    this.#passUnkept();
  }

  /** Rows of the first portions are about to be sent; returns up to where each stream had been sent before. */
  sending(ranges: readonly { portion: Portion; from: number; to: number }[]): number[] {
    const before = [...this.sent];
    for (const { portion, from, to } of ranges) this.#advance(this.sent, portion.records, from, to);
    return before;
  }

  /** True when the row lies below the marks, as `sending` returns them. */
  wasSent(marks: readonly number[], records: Records, row: number): boolean {
    const bits = this.host.memory.words[(records.block >> 2) + columns.BITS * records.cap + row]!;
    return this.at(records, row) < marks[bits & STREAM_MASK]!;
  }

  /** Everything outstanding is forgotten and will be read again from the Position. Returns the linear offset to read from. */
  release(open: { at: number; raw: number }): number {
    const from = this.oldest(open.at);
    this.ahead += this.read - from - this.#outstandingRaw - open.raw;
    this.read = from;
    this.#readLines -= this.#outstandingLines;
    for (const portion of this.#portions.splice(0)) this.#letGo(portion);
    this.host.changed(this, -this.rows, -this.bytes);
    this.rows = this.bytes = 0;
    this.#outstandingLines = this.#outstandingRaw = 0;
    this.#finished = false;
    this.#skip = [...this.#marks];
    this.#skipTo = Math.max(...this.#skip);
    return from;
  }

  rewound(to: number): void {
    this.#finished = false;
    this.#skip = this.#takenMarks();
    this.#skipTo = Math.max(...this.#skip, to);
  }

  oldest(openAt: number): number {
    let oldest = Math.min(openAt, this.read);
    const first = this.#portions[0];
    if (first) oldest = Math.min(oldest, this.at(first.records, first.from));
    for (const { joined } of this.#portions) for (const { at } of joined) oldest = Math.min(oldest, at);
    return oldest;
  }

  lost(from: number, to: number, reason: string): void {
    // What lies between and was settled or taken by an earlier reading is not lost.
    const known = Math.min(this.ahead, to - from);
    this.ahead -= known;
    addTo(this.totals, `lost/${reason}`, 0, to - from - known);
    this.host.dirty(this);
  }

  /** Dead letters of it left the queue unsent. */
  evicted(lines: number, bytes: number): void {
    addTo(this.totals, "deadLettered", -lines, -bytes);
    addTo(this.totals, "dropped/DeadLetterEvicted", lines, bytes);
    this.host.dirty(this);
  }

  saved(openAt: number): SavedSubscription {
    const tried = this.tried ? ([this.tried.rows, this.tried.times] as const) : undefined;
    return {
      ...{ start: this.start, from: this.oldest(openAt), marks: this.#marks, sent: this.sent },
      ...{ tried, totals: this.totals },
    };
  }

  ledger(openRaw: number): Ledger {
    const { end } = this.chain;
    return {
      start: this.start,
      end,
      readLines: this.#readLines,
      settled: structuredClone(this.totals),
      inFlight: { lines: this.#outstandingLines, bytes: this.#outstandingRaw + openRaw },
      backlogBytes: end - this.read - this.ahead,
    };
  }

  #push(portion: Portion): void {
    const { records, from, to } = portion;
    const { kernels, words } = this.host.memory;
    for (const chunk of records.chunks) chunk.retain();
    this.#portions.push(portion);
    const sum = this.#sum(records, from, to);
    this.#readLines += sum.lines;
    this.#outstandingLines += sum.lines;
    this.#outstandingRaw += sum.bytes;
    kernels.cut(records.block, records.cap, records.verdicts, from, to, INT_MAX, INT_MAX);
    const rows = words[(RESULT >> 2) + R_ROWS]!;
    const bytes = words[(RESULT >> 2) + R_BYTES]!;
    this.rows += rows;
    this.bytes += bytes;
    this.host.changed(this, rows, bytes);
  }

  /** Rows at the front that a step filtered are settled as soon as nothing is outstanding before them. */
  #passUnkept(): void {
    const { bytes } = this.host.memory;
    for (let portion; (portion = this.#portions[0]); ) {
      const { records } = portion;
      let to = portion.from;
      if (records.verdicts) while (to < portion.to && bytes[records.verdicts + to] !== KEPT) to++;
      if (to > portion.from) this.#count(portion, to, "");
      if (portion.from < portion.to) return;
      this.#portions.shift();
      this.#letGo(portion);
    }
    if (this.done) this.host.done(this);
  }

  #count(portion: Portion, to: number, name: string): void {
    const { records, from } = portion;
    const { floats, kernels, words } = this.host.memory;
    kernels.cut(records.block, records.cap, records.verdicts, from, to, INT_MAX, INT_MAX);
    const rows = words[(RESULT >> 2) + R_ROWS]!;
    const bytes = words[(RESULT >> 2) + R_BYTES]!;
    kernels.tally(records.block, records.cap, records.verdicts, from, to);
    for (let verdict = 0; verdict < VERDICTS; verdict++) {
      const lines = floats[(TALLY >> 3) + verdict * 2]!;
      const raw = floats[(TALLY >> 3) + verdict * 2 + 1]!;
      if (raw === 0 && lines === 0) continue;
      addTo(this.totals, verdict === KEPT ? name : `filtered/${this.host.steps[verdict - 1] ?? verdict}`, lines, raw);
      this.#outstandingLines -= lines;
      this.#outstandingRaw -= raw;
    }
    this.#advance(this.#marks, records, from, to);
    portion.from = to;
    portion.joined = portion.joined.filter(({ row }) => row >= to);
    this.rows -= rows;
    this.bytes -= bytes;
    this.host.changed(this, -rows, -bytes);
    this.host.dirty(this);
  }

  /** Raises marks to behind the last row of each stream in [from, to). */
  #advance(marks: number[], records: Records, from: number, to: number): void {
    const { kernels, words } = this.host.memory;
    const present = kernels.classes(records.block, records.cap, 0, from, to);
    const bits = (records.block >> 2) + columns.BITS * records.cap;
    for (let stream = 0; stream < STREAMS; stream++) {
      if (!(present & (0x11111111 << stream))) continue;
      let row = to - 1;
      while ((words[bits + row]! & STREAM_MASK) !== stream) row--;
      marks[stream] = Math.max(marks[stream]!, this.at(records, row) + 1);
    }
  }

  /** By stream, behind the last row taken. */
  #takenMarks(): number[] {
    const marks = this.#marks.map((mark, stream) => Math.max(mark, this.#skip[stream]!));
    for (const { records, from, to } of this.#portions) this.#advance(marks, records, from, to);
    return marks;
  }

  /** Linear offset of a row's first byte. */
  at(records: Records, row: number): number {
    return records.base + this.host.memory.words[(records.block >> 2) + columns.AT * records.cap + row]!;
  }

  #isNew(records: Records, row: number): boolean {
    const bits = this.host.memory.words[(records.block >> 2) + columns.BITS * records.cap + row]!;
    return this.at(records, row) >= this.#skip[bits & STREAM_MASK]!;
  }

  #newRuns(records: Records): (readonly [number, number])[] {
    const runs: (readonly [number, number])[] = [];
    for (let row = 0; row < records.count; ) {
      if (!this.#isNew(records, row)) {
        row++;
        continue;
      }
      const from = row;
      while (row < records.count && this.#isNew(records, row)) row++;
      runs.push([from, row]);
    }
    return runs;
  }

  #skippedRaw(records: Records, runs: readonly (readonly [number, number])[]): number {
    let skipped = this.#sum(records, 0, records.count).bytes;
    for (const [from, to] of runs) skipped -= this.#sum(records, from, to).bytes;
    return skipped;
  }

  #sum(records: Records, from: number, to: number): { lines: number; bytes: number } {
    const { floats, kernels } = this.host.memory;
    kernels.tally(records.block, records.cap, 0, from, to);
    return { lines: floats[TALLY >> 3]!, bytes: floats[(TALLY >> 3) + 1]! };
  }

  #joinedRows(records: Records, from: number, to: number): { row: number; at: number }[] {
    if (!records.joined) return [];
    const joined = [];
    const bits = (records.block >> 2) + columns.BITS * records.cap;
    for (let row = from; row < to; row++) {
      if (this.host.memory.words[bits + row]! & JOINED) joined.push({ row, at: this.at(records, row) });
    }
    return joined;
  }

  #letGo(portion: Portion): void {
    for (const chunk of portion.records.chunks) chunk.release();
    this.host.dropKeys(portion.keys);
  }
}

function zeros(): number[] {
  return Array.from({ length: STREAMS }, () => 0);
}

function lostLines(totals: Totals): number {
  return Object.entries(totals).reduce((sum, [name, { lines }]) => sum + (name.startsWith("lost/") ? lines : 0), 0);
}
