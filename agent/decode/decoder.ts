/**
 * Chunk -> Records. A decoder stands at one place of one chain and turns what was read there into rows: framing, partial
 * lines joined per stream, lines over the limit cut. It keeps only what is still open; dropping it and decoding again
 * from the first open line gives the same rows, however the bytes are split into reads, so nothing of it is ever saved.
 */
import type { Decoded, Ending, Lines, LinesWorld } from "../collect/lines.ts";
import type { Chunk } from "../memory/chunk.ts";
import * as columns from "../memory/columns.ts";
import { INVALID, JOINED, NON_ASCII, PARTIAL, ROW_BYTES, STREAM_MASK, TRUNCATED } from "../memory/columns.ts";
import { RESULT, R_BITS, R_CONSUMED, R_INVALID } from "../memory/kernels.ts";
import { NoRoom, type Pool } from "../memory/pool.ts";
import type { Records } from "../memory/records.ts";
import { Framing } from "./framing.ts";
import { OpenLine, type OpenWorld } from "./open.ts";

/**
 * An open partial line ends, marked truncated, when its next part is this much later than its last by their own times (so
 * that where it ends does not depend on where reading began) …
 */
const PARTIAL_SECONDS = 60;
/** … or when no further part was seen for this long. */
const PARTIAL_MS = PARTIAL_SECONDS * 1000;
/** What framing may add to a text of maxLineBytes before a line counts as too long to be taken whole. */
const FRAME_BYTES = 256;
/** Shorter lines are always taken whole: a json-file line is 16 KiB of text at most, of which every byte may take six. */
const LINE_BYTES_MIN = 128 * 1024;
/** An open line ends when it takes, or lies back, more source bytes than this: rows count them in 32 bits. */
const SPAN_BYTES_MAX = 1024 * 1024 * 1024;
/** Room for rows that must be free behind the bytes to decode. */
const ROWS_ROOM = 8 * ROW_BYTES;
/** Streams a line may be of: none, stdout, stderr. One open line each. */
const STREAMS = 3;

/** What the decoders of an agent share. */
export interface DecodeWorld extends OpenWorld {
  readonly pool: Pool;
  readonly counts: DecodeCounts;
}

export interface DecodeCounts {
  /** Lines whose framing did not parse. */
  invalid: number;
  /** Lines cut at maxLineBytes, and lines whose end never came. */
  truncated: number;
  /** Lines joined from parts. */
  joined: number;
}

export class Decoder implements Lines {
  readonly #world: DecodeWorld;
  readonly #framing: Framing;
  /** By stream. */
  readonly #open: (OpenLine | undefined)[] = Array.from({ length: STREAMS }, () => undefined);
  /** A line too long to be taken whole, whose newline has not come: its text is cut, its bytes still counted. */
  #long: OpenLine | undefined;

  constructor(world: DecodeWorld, startSeconds: number) {
    this.#world = world;
    this.#framing = new Framing(world.memory, startSeconds);
  }

  get openAt(): number {
    return this.#opened().reduce((at, open) => Math.min(at, open.at), Infinity);
  }

  get openRaw(): number {
    return this.#opened().reduce((raw, open) => raw + open.raw, 0);
  }

  get unended(): boolean {
    return this.#long !== undefined;
  }

  get timed(): boolean {
    return this.#framing.timed;
  }

  get over(): boolean {
    const opened = this.#opened();
    const bytes = opened.reduce((sum, open) => sum + open.bytes, 0);
    return opened.length > 0 && this.#world.budget.over(opened.length, bytes);
  }

  nextFile(): void {
    this.#framing.nextFile();
  }

  drop(): void {
    for (const open of this.#opened()) open.drop();
    this.#long = undefined;
    this.#open.fill(undefined);
  }

  before(from: number, to: number, isWhole: boolean): void {
    this.#framing.before(from, to, isWhole);
  }

  decode(chunk: Chunk, from: number, to: number, base: number, complete: boolean, now: number): Decoded {
    const { memory, counts } = this.#world;
    const { words, kernels } = memory;
    chunk.used = from;
    if (this.#long) return this.#continueLong(chunk, from, to, base, complete, now);
    const long = this.#firstLong(from, to);
    if (long === from) return this.#beginLong(chunk, from, base, now);
    const end = long || to;
    let rows = this.#framing.run(from, end, chunk.end - STREAMS * ROW_BYTES);
    let consumed = rows > 0 ? words[(RESULT >> 2) + R_CONSUMED]! : 0;
    let isCut = false;
    if (rows === 0) {
      const whole = kernels.lineLength(from, end);
      if (whole > 0) throw new Error(`BUG: a line of ${whole} bytes found no room in a chunk of ${chunk.end - from}`);
      if (!complete || to === from) return { records: undefined, consumed: 0 };
      // The last line of a finished file has no newline. Framing is read as if it had.
      memory.bytes[to] = 10;
      rows = this.#framing.run(from, to + 1, chunk.end);
      consumed = to - from;
      this.#framing.set(0, columns.RAW, consumed);
      this.#framing.set(0, columns.BITS, this.#framing.get(0, columns.BITS) | TRUNCATED);
      isCut = true;
    }
    const bits = words[(RESULT >> 2) + R_BITS]!;
    counts.invalid += words[(RESULT >> 2) + R_INVALID]!;
    if (consumed > this.#world.maxLineBytes && this.#clamp(rows)) isCut = true;
    chunk.used = from + consumed;
    return { records: this.#lay(chunk, rows, base, isCut ? bits | TRUNCATED : bits, now), consumed };
  }

  flush(chunk: Chunk, base: number, now: number, ending: Ending): Records | undefined {
    const long = ending === "stale" ? undefined : this.#long;
    const parts = this.#open.filter((open): open is OpenLine => {
      if (!open) return false;
      if (ending === "stale") return now - open.seenAt >= PARTIAL_MS;
      return ending === "all" || ((open.bits ^ long!.bits) & STREAM_MASK) === 0;
    });
    const lines = long ? [...parts, long] : parts;
    const address = lines.length > 0 ? chunk.take((STREAMS + 1) * ROW_BYTES) : 0;
    if (!address) return undefined;
    return holding([chunk], (chunks) => {
      const cap = STREAMS + 1;
      const out = { block: address, cap, base, chunks, lastParts: new Map<number, number>() };
      for (const [row, open] of lines.entries()) {
        this.#emit(open, out, row, TRUNCATED | JOINED);
        if (open === long) this.#long = undefined;
        else this.#open[this.#open.indexOf(open)] = undefined;
      }
      this.#world.counts.truncated += lines.length;
      this.#world.memory.kernels.utf8(address, cap, 0, lines.length);
      return { ...out, count: lines.length, verdicts: 0, joined: true };
    });
  }

  stale(now: number): boolean {
    return this.#open.some((open) => open && now - open.seenAt >= PARTIAL_MS);
  }

  #opened(): OpenLine[] {
    return [...this.#open, this.#long].filter((open) => open !== undefined);
  }

  /** Address of the first line in [from, to) that is too long to be taken whole; 0: there is none. */
  #firstLong(from: number, to: number): number {
    const max = lineBytesMax(this.#world.maxLineBytes);
    const { kernels } = this.#world.memory;
    // A line of that length covers one of the blocks of half of it.
    const half = max >> 1;
    let block = from;
    while (block + half <= to && kernels.lineLength(block, block + half) > 0) block += half;
    if (block + half > to) return 0;
    for (let at = from; to - at >= max;) {
      const length = kernels.lineLength(at, to);
      if (length === 0 || length > max) return at;
      at += length;
    }
    return 0;
  }

  /** Cuts texts over maxLineBytes; true: there were any. */
  #clamp(rows: number): boolean {
    const { memory, maxLineBytes } = this.#world;
    const { words, rowsMax } = memory;
    const starts = (memory.rows >> 2) + columns.START * rowsMax;
    const ends = (memory.rows >> 2) + columns.END * rowsMax;
    let isCut = false;
    for (let row = 0; row < rows; row++) {
      if (words[ends + row]! - words[starts + row]! <= maxLineBytes) continue;
      words[ends + row] = words[starts + row]! + maxLineBytes;
      this.#framing.set(row, columns.BITS, this.#framing.get(row, columns.BITS) | TRUNCATED);
      isCut = true;
    }
    return isCut;
  }

  /**
   * Moves the scratch rows behind the text in the chunk, joining parts where there are any. `bits`: the OR of theirs;
   * `also`: chunks that texts lie in.
   */
  #lay(chunk: Chunk, rows: number, base: number, bits: number, now: number, also: Chunk[] = []): Records | undefined {
    const { memory, counts } = this.#world;
    const joining = (bits & PARTIAL) !== 0 || this.#open.some((open) => open);
    const room = joining ? rows + STREAMS : rows;
    const block = chunk.take(room * ROW_BYTES);
    if (!block) throw new Error(`BUG: no room for ${room} rows behind their text`);
    return holding([chunk, ...also], (chunks) => {
      const out = { block, cap: room, base, chunks, lastParts: new Map<number, number>() };
      let count = rows;
      if (joining) count = this.#join(rows, out, now);
      else memory.kernels.copyColumns(memory.rows, memory.rowsMax, rows, block, rows);
      if (joining || bits & NON_ASCII) memory.kernels.utf8(block, room, 0, count);
      if (joining || bits & TRUNCATED) {
        const column = (block >> 2) + columns.BITS * room;
        for (let row = 0; row < count; row++) if (memory.words[column + row]! & TRUNCATED) counts.truncated++;
      }
      if (count > 0) return { ...out, count, verdicts: 0, joined: joining };
      chunk.used = block;
      return undefined;
    });
  }

  /** The slow path: parts are collected and come out as one row where their end stands. Returns the rows in the block. */
  #join(rows: number, into: Laid, now: number): number {
    const { memory, counts } = this.#world;
    const { block, cap, base } = into;
    const get = (row: number, column: number): number => this.#framing.get(row, column);
    let out = 0;
    for (let row = 0; row < rows; row++) {
      const bits = get(row, columns.BITS);
      const stream = bits & STREAM_MASK;
      const at = base + get(row, columns.AT);
      const seconds = get(row, columns.SECONDS) >>> 0;
      const framed = (bits & INVALID) === 0;
      let open = framed ? this.#open[stream] : undefined;
      if (open && (seconds - open.lastSeconds > PARTIAL_SECONDS || at - open.at > SPAN_BYTES_MAX)) {
        this.#emit(open, into, out++, TRUNCATED | JOINED);
        open = this.#open[stream] = undefined;
      }
      if (!framed || (!open && !(bits & PARTIAL))) {
        for (let c = 0; c < columns.COLUMNS; c++) memory.words[(block >> 2) + c * cap + out] = get(row, c);
        out++;
        continue;
      }
      open ??= new OpenLine(this.#world, at, seconds, get(row, columns.NANOS));
      this.#open[stream] = open;
      open.add(get(row, columns.START), get(row, columns.END), get(row, columns.RAW), bits, now);
      open.lastAt = at;
      open.lastSeconds = seconds;
      if (bits & PARTIAL) continue;
      counts.joined++;
      this.#emit(open, into, out++, JOINED);
      this.#open[stream] = undefined;
    }
    return out;
  }

  /** Writes an open line as row `row` and drops it. */
  #emit(open: OpenLine, { block, cap, base, chunks, lastParts }: Laid, row: number, flags: number): void {
    const { memory, pool } = this.#world;
    const piece = pool.take(open.bytes + 4);
    if (!piece) throw new NoRoom("no room for the text of a line");
    if (!chunks.includes(piece.chunk)) chunks.push(piece.chunk.retain());
    open.copyTo(piece.address);
    const values = columnsOf(open, piece.address, base, (open.bits & ~PARTIAL) | flags);
    for (const [column, value] of values) memory.words[(block >> 2) + column * cap + row] = value;
    lastParts.set(row, open.lastAt);
    open.drop();
  }

  /** The first lineBytesMax bytes of a line that is longer: its text is kept, the rest only counted until its newline comes. */
  #beginLong(chunk: Chunk, from: number, base: number, now: number): Decoded {
    const { memory, counts, maxLineBytes } = this.#world;
    const consumed = lineBytesMax(maxLineBytes);
    const after = memory.bytes[from + consumed]!;
    memory.bytes[from + consumed] = 10;
    this.#framing.run(from, from + consumed + 1, chunk.end);
    memory.bytes[from + consumed] = after;
    const get = (column: number): number => this.#framing.get(0, column);
    this.#long = new OpenLine(this.#world, base, get(columns.SECONDS) >>> 0, get(columns.NANOS));
    this.#long.add(get(columns.START), get(columns.END), consumed, get(columns.BITS), now);
    if (get(columns.BITS) & INVALID) counts.invalid++;
    return { records: undefined, consumed };
  }

  #continueLong(chunk: Chunk, from: number, to: number, base: number, complete: boolean, now: number): Decoded {
    const { memory, pool } = this.#world;
    const long = this.#long!;
    const rest = memory.kernels.lineLength(from, to);
    const consumed = rest || to - from;
    long.add(from, from + consumed - (rest && 1), consumed, 0, now);
    if (!rest && !complete && long.raw < SPAN_BYTES_MAX) return { records: undefined, consumed };
    const piece = pool.take(long.bytes + 4);
    if (!piece) throw new NoRoom("no room for a long line");
    long.copyTo(piece.address);
    const bits = rest ? long.bits : long.bits | TRUNCATED;
    for (const [column, value] of columnsOf(long, piece.address, base, bits)) this.#framing.set(0, column, value);
    long.drop();
    this.#long = undefined;
    return { records: this.#lay(chunk, 1, base, bits | NON_ASCII, now, [piece.chunk]), consumed };
  }
}

/** Records as they are being laid. */
interface Laid {
  readonly block: number;
  readonly cap: number;
  readonly base: number;
  readonly chunks: Chunk[];
  readonly lastParts: Map<number, number>;
}

/** The row of an open line whose text was copied to `start`. */
function columnsOf(
  { at, seconds, nanos, bytes, raw }: OpenLine,
  start: number,
  base: number,
  bits: number,
): [number, number][] {
  return [
    [columns.START, start],
    [columns.END, start + bytes],
    [columns.SECONDS, seconds],
    [columns.NANOS, nanos],
    [columns.BITS, bits],
    [columns.LINES, 1],
    [columns.AT, at - base],
    [columns.RAW, raw],
    [columns.FIELDS_START, 0],
    [columns.FIELDS_END, 0],
  ];
}

/** Source bytes of the longest line that is taken whole. */
function lineBytesMax(maxLineBytes: number): number {
  return Math.max(maxLineBytes + FRAME_BYTES, LINE_BYTES_MIN);
}

/** The decoders of an agent, as collect makes them. */
export function decoding(world: DecodeWorld): LinesWorld {
  return {
    memory: world.memory,
    lineBytesMax: lineBytesMax(world.maxLineBytes),
    rowsRoom: ROWS_ROOM,
    counts: world.counts,
    open: (startSeconds) => new Decoder(world, startSeconds),
  };
}

/** Runs `make` with the chunks retained; when it makes no records, or throws, all that it gathered is let go again. */
function holding(chunks: Chunk[], make: (chunks: Chunk[]) => Records | undefined): Records | undefined {
  for (const chunk of chunks) chunk.retain();
  let records: Records | undefined;
  try {
    records = make(chunks);
  } finally {
    if (!records) for (const chunk of chunks) chunk.release();
  }
  return records;
}
