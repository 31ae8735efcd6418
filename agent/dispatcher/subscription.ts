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
import { addTo, evict, settledLines, sumTotals, type Ledger, type Totals } from "../ledger.ts";
import { KEPT, VERDICTS } from "../memory/columns.ts";
import { TALLY } from "../memory/kernels.ts";
import type { Memory } from "../memory/memory.ts";
import type { Records } from "../memory/records.ts";
import type { KeySet } from "./keys.ts";
import { isBelow, joinedIn, keptIn, newRuns, noMarks, offsetOf, raise, reachesBack, sumOf } from "./portion.ts";
import type { Portion, Run } from "./portion.ts";

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
  /** Source bytes that this subscription may take now. */
  room(subscription: Subscription): number;
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
  readonly start: number;
  read: number;
  ahead = 0;
  /** Kept records outstanding, and their text bytes with overhead. */
  rows = 0;
  bytes = 0;
  /** A request with records from the front is on its way. */
  inFlight = false;
  tried: { rows: number; times: number } | undefined;
  readonly totals: Totals;
  /** The instance of the container before this one, until it is done: its records come first. */
  #before: Subscription | undefined;
  #sent: number[];
  readonly #marks: number[];
  readonly #portions: Portion[] = [];
  /** Rows below these marks (by stream) are skipped when they come by again; of rows that begin at #skipTo or later none is. */
  #skip: number[];
  #skipTo: number;
  #readLines: number;
  #outstandingLines = 0;
  #outstandingRaw = 0;
  /** Under which name bytes were last lost. */
  #lostReason: string | undefined;
  /** The chain has ended and everything in it was read. */
  #finished = false;

  constructor(id: string, chain: Chain, host: Host, start: number, before?: Subscription, saved?: SavedSubscription) {
    this.id = id;
    this.chain = chain;
    this.host = host;
    this.#before = before;
    this.start = saved?.start ?? start;
    this.read = saved?.from ?? this.start;
    this.totals = structuredClone(saved?.totals ?? {});
    this.#marks = [...(saved?.marks ?? noMarks())];
    this.#sent = [...(saved?.sent ?? noMarks())];
    if (saved?.tried) this.tried = { rows: saved.tried[0], times: saved.tried[1] };
    this.#lostReason = Object.keys(this.totals).find((name) => name.startsWith("lost/"));
    this.#readLines = settledLines(this.totals);
    this.ahead = sumTotals(this.totals).bytes - (this.read - this.start);
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
    return this.#finished && this.#portions.length === 0 && !this.#waitsForInstance();
  }

  room(): number {
    return this.#waitsForInstance() ? 0 : this.host.room(this);
  }

  finished(): void {
    this.#finished = true;
    this.#passUnkept();
  }

  /** Takes all rows of `records` that are new to it; false: no room, and then nothing was taken. */
  take(records: Records): boolean {
    const { memory } = this.host;
    const again = records.base < this.#skipTo || reachesBack(memory, records);
    const runs = again ? newRuns(memory, this.#skip, records) : [[0, records.count] as const];
    const portions: Portion[] = [];
    for (const run of runs) {
      const [from, to] = run;
      const keys = this.host.keysOf(this, records, from, to);
      if (!keys) {
        for (const portion of portions) this.host.dropKeys(portion.keys);
        return false;
      }
      const joined = joinedIn(memory, records, run);
      portions.push({ records, keys, takenAt: this.host.now(), from, to, joined });
    }
    if (again) this.#passKnown(records, runs);
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
  sending(ranges: readonly { portion: Portion; from: number; to: number }[]): readonly number[] {
    const before = this.#sent;
    this.#sent = [...before];
    for (const { portion, from, to } of ranges) raise(this.host.memory, this.#sent, portion.records, from, to);
    return before;
  }

  /** What `sending` noted was certainly not stored: only what lies below `marks`, as it returned them, may have been. */
  notSent(marks: readonly number[]): void {
    this.#sent = [...marks];
    this.host.dirty(this);
  }

  /** True when the row lies below the marks, as `sending` returns them. */
  wasSent(marks: readonly number[], records: Records, row: number): boolean {
    return isBelow(this.host.memory, marks, records, row);
  }

  /** Linear offset of a row's first byte. */
  at(records: Records, row: number): number {
    return offsetOf(this.host.memory, records, row);
  }

  /** Everything outstanding is forgotten and will be read again from the Position. Returns the linear offset to read from. */
  release(open: { at: number; raw: number }): number {
    const from = this.oldest(open.at);
    this.ahead += this.read - from - this.#outstandingRaw - open.raw;
    this.read = from;
    this.#readLines -= this.#outstandingLines;
    for (const portion of this.#portions.splice(0)) this.#letGo(portion);
    const { rows, bytes } = this;
    this.rows = this.bytes = 0;
    this.host.changed(this, -rows, -bytes);
    this.#outstandingLines = this.#outstandingRaw = 0;
    this.#finished = false;
    this.#skip = [...this.#marks];
    this.#skipTo = Math.max(...this.#skip);
    return from;
  }

  rewound(to: number): void {
    this.#finished = false;
    // What was taken is skipped as what is settled.
    const taken = this.#marks.map((mark, stream) => Math.max(mark, this.#skip[stream]!));
    for (const { records, from, to } of this.#portions) raise(this.host.memory, taken, records, from, to);
    this.#skip = taken;
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
    this.#lostReason = `lost/${reason}`;
    addTo(this.totals, this.#lostReason, 0, to - from - known);
    this.host.dirty(this);
  }

  /** Dead letters of it left the queue unsent. */
  evicted(lines: number, bytes: number): void {
    evict(this.totals, lines, bytes);
    this.host.dirty(this);
  }

  saved(openAt: number): SavedSubscription {
    const tried = this.tried ? ([this.tried.rows, this.tried.times] as const) : undefined;
    return {
      ...{ start: this.start, from: this.oldest(openAt), marks: this.#marks, sent: this.#sent },
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

  #waitsForInstance(): boolean {
    if (this.#before?.done) this.#before = undefined;
    return this.#before !== undefined;
  }

  /** Rows outside of `runs` come by again: they are not ahead any more. */
  #passKnown(records: Records, runs: readonly Run[]): void {
    const { memory } = this.host;
    let known = sumOf(memory, records, 0, records.count).bytes;
    for (const [from, to] of runs) known -= sumOf(memory, records, from, to).bytes;
    this.ahead -= known;
    if (this.ahead >= 0 || this.#lostReason === undefined) return;
    // More was known than `lost` left over: what it took for known lies here, so that much more was lost there.
    addTo(this.totals, this.#lostReason, 0, -this.ahead);
    this.ahead = 0;
    this.host.dirty(this);
  }

  #push(portion: Portion): void {
    const { records, from, to } = portion;
    for (const chunk of records.chunks) chunk.retain();
    this.#portions.push(portion);
    const sum = sumOf(this.host.memory, records, from, to);
    this.#readLines += sum.lines;
    this.#outstandingLines += sum.lines;
    this.#outstandingRaw += sum.bytes;
    const { rows, bytes } = keptIn(this.host.memory, records, from, to);
    this.rows += rows;
    this.bytes += bytes;
    this.host.changed(this, rows, bytes);
  }

  /** Rows at the front that a step filtered are settled as soon as nothing is outstanding before them. */
  #passUnkept(): void {
    const { bytes } = this.host.memory;
    for (let portion; (portion = this.#portions[0]);) {
      const { records } = portion;
      let to = portion.from;
      if (records.verdicts) while (to < portion.to && bytes[records.verdicts + to] !== KEPT) to++;
      if (to > portion.from) this.#count(portion, to, "");
      if (portion.from < portion.to) return;
      this.#portions.shift();
      this.#letGo(portion);
    }
    this.host.changed(this, 0, 0);
    if (this.done) this.host.done(this);
  }

  #count(portion: Portion, to: number, name: string): void {
    const { records, from } = portion;
    const { memory, steps } = this.host;
    const { floats, kernels } = memory;
    const { rows, bytes } = keptIn(memory, records, from, to);
    kernels.tally(records.block, records.cap, records.verdicts, from, to);
    for (let verdict = 0; verdict < VERDICTS; verdict++) {
      const lines = floats[(TALLY >> 3) + verdict * 2]!;
      const raw = floats[(TALLY >> 3) + verdict * 2 + 1]!;
      if (raw === 0 && lines === 0) continue;
      addTo(this.totals, verdict === KEPT ? name : `filtered/${steps[verdict - 1] ?? verdict}`, lines, raw);
      this.#outstandingLines -= lines;
      this.#outstandingRaw -= raw;
    }
    raise(memory, this.#marks, records, from, to);
    portion.from = to;
    if (portion.joined.length > 0) portion.joined = portion.joined.filter(({ row }) => row >= to);
    this.rows -= rows;
    this.bytes -= bytes;
    this.host.changed(this, -rows, -bytes);
    this.host.dirty(this);
  }

  #letGo(portion: Portion): void {
    for (const chunk of portion.records.chunks) chunk.release();
    this.host.dropKeys(portion.keys);
  }
}
