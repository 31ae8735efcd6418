/**
 * The records of one run while the steps work on them. The input belongs to others too: what changes is written to
 * copies, made when the first thing changes, and none of it is seen by anybody before finish().
 */
import * as columns from "../memory/columns.ts";
import { BITS, BROKEN_UTF8, END, NON_ASCII, ROW_BYTES, START } from "../memory/columns.ts";
import type { Chunk } from "../memory/chunk.ts";
import type { Memory } from "../memory/memory.ts";
import type { Pool } from "../memory/pool.ts";
import type { Records } from "../memory/records.ts";
import { Deadline } from "./deadline.ts";
import { readText, textBytes, writeText } from "./text.ts";

export interface ProcessWorld {
  readonly memory: Memory;
  readonly pool: Pool;
  /** Milliseconds of processor time, for tests; without it that of this thread. */
  readonly processorTime?: () => number;
}

/** The arena has no room: the run is over, and nothing of it remains. */
export class NoRoom extends Error {}

/** Flags for one byte of a row each: scratch of the run, gone with it. */
const SCRATCH_COLUMNS = 3;

export class Rows {
  readonly memory: Memory;
  readonly count: number;
  /** Address of one byte per row, in which a step notes which rows meet what it looks for. Not kept between steps. */
  readonly marks: number;
  /** Likewise: what kernels write. */
  readonly hits: number;
  readonly #world: ProcessWorld;
  readonly #input: Records;
  readonly #chunks: Chunk[] = [];
  readonly #scratch: number;
  #block: number;
  #cap: number;
  #verdicts: number;

  constructor(world: ProcessWorld, records: Records) {
    const { memory } = world;
    const { count } = records;
    if (count * SCRATCH_COLUMNS > memory.rowsMax * ROW_BYTES) throw new Error(`BUG: ${count} rows in one run`);
    this.memory = memory;
    this.count = count;
    this.#world = world;
    this.#input = records;
    this.#scratch = memory.rows;
    this.marks = memory.rows + count;
    this.hits = memory.rows + count * 2;
    this.#block = records.block;
    this.#cap = records.cap;
    this.#verdicts = records.verdicts;
  }

  /** The columns as they are now; own() may move them. */
  get block(): number {
    return this.#block;
  }

  get cap(): number {
    return this.#cap;
  }

  /** Address of one byte per row, 0 in it: kept. Address 0: all rows are kept. filter() may move them. */
  get verdicts(): number {
    return this.#verdicts;
  }

  kept(row: number): boolean {
    return this.#verdicts === 0 || this.memory.bytes[this.#verdicts + row] === columns.KEPT;
  }

  word(column: number, row: number): number {
    return this.memory.words[(this.#block >> 2) + column * this.#cap + row]!;
  }

  /** Marks kept rows with 0 and others with 1. */
  markKept(): void {
    const { bytes } = this.memory;
    if (this.#verdicts === 0) bytes.fill(0, this.marks, this.marks + this.count);
    else for (let row = 0; row < this.count; row++) bytes[this.marks + row] = bytes[this.#verdicts + row] ? 1 : 0;
  }

  filter(row: number, verdict: number): void {
    const { bytes } = this.memory;
    if (this.#verdicts !== this.#scratch) {
      if (this.#verdicts === 0) bytes.fill(0, this.#scratch, this.#scratch + this.count);
      else bytes.copyWithin(this.#scratch, this.#verdicts, this.#verdicts + this.count);
      this.#verdicts = this.#scratch;
    }
    bytes[this.#verdicts + row] = verdict;
  }

  /** The text, each byte of it (see text.ts). */
  text(row: number): string {
    return readText(this.memory, this.word(START, row), this.word(END, row), this.word(BITS, row));
  }

  /** `flags` are set in BITS. */
  setText(row: number, text: string, flags: number): void {
    const bytes = textBytes(text);
    const address = this.take(bytes);
    const found = writeText(this.memory, address, text, bytes);
    this.#set(START, row, address);
    this.#set(END, row, address + bytes);
    this.#set(BITS, row, (this.word(BITS, row) & ~(NON_ASCII | BROKEN_UTF8)) | found | flags);
  }

  /** Fields lie at [start, end) from now on; 0, 0: it has none. */
  setFields(row: number, start: number, end: number): void {
    this.#set(columns.FIELDS_START, row, start);
    this.#set(columns.FIELDS_END, row, end);
  }

  /** `milliseconds` from now on, for what a step may take. */
  deadline(milliseconds: number): Deadline {
    return new Deadline(milliseconds, this.#world.processorTime);
  }

  /** Address of `bytes` of room that lives as long as the result. Throws NoRoom. */
  take(bytes: number): number {
    const piece = this.#world.pool.take(bytes);
    if (!piece) throw new NoRoom("no room for what the steps make");
    const { chunk, address } = piece;
    if (!this.#chunks.includes(chunk) && !this.#input.chunks.includes(chunk)) this.#chunks.push(chunk.retain());
    return address;
  }

  /** The result, its chunks retained for the caller. Throws NoRoom. */
  finish(): Records {
    const { bytes } = this.memory;
    let verdicts = this.#verdicts;
    if (verdicts === this.#scratch) {
      verdicts = this.take(this.count);
      bytes.copyWithin(verdicts, this.#scratch, this.#scratch + this.count);
    }
    for (const chunk of this.#input.chunks) chunk.retain();
    const chunks = [...this.#input.chunks, ...this.#chunks];
    return { ...this.#input, block: this.#block, cap: this.#cap, chunks, verdicts };
  }

  /** Gives back all that was taken; for a run that does not finish. */
  drop(): void {
    for (const chunk of this.#chunks.splice(0)) chunk.release();
  }

  #set(column: number, row: number, value: number): void {
    if (this.#block === this.#input.block) {
      const block = this.take(this.count * ROW_BYTES);
      this.memory.kernels.copyColumns(this.#block, this.#cap, this.count, block, this.count);
      this.#block = block;
      this.#cap = this.count;
    }
    this.memory.words[(this.#block >> 2) + column * this.#cap + row] = value;
  }
}
