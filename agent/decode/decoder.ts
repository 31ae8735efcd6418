/**
 * Chunk -> Records. A decoder stands at one place of one chain and turns what was read there into rows: framing, partial
 * lines joined per stream, lines over the limit cut. It keeps only what is still open; dropping it and decoding again
 * from the first open line gives the same rows, so nothing of it is ever saved.
 */
import * as columns from "../memory/columns.ts";
import { INVALID, JOINED, NON_ASCII, PARTIAL, ROW_BYTES, STREAM_MASK, TRUNCATED } from "../memory/columns.ts";
import type { Chunk } from "../memory/chunk.ts";
import { RESULT, R_BITS, R_CONSUMED, R_INVALID, R_NANOS, R_SECONDS } from "../memory/kernels.ts";
import type { Memory } from "../memory/memory.ts";
import { NoRoom, type Pool } from "../memory/pool.ts";
import type { Records } from "../memory/records.ts";
import type { Decoded, Lines, LinesWorld } from "../collect/lines.ts";
import { OpenLine, type OpenBudget } from "./open.ts";

/** An open partial line ends, marked truncated, when its next part is this much later by the lines' own times … */
const PARTIAL_SECONDS = 60;
/** … or when no further part was seen for this long. */
const PARTIAL_MS = PARTIAL_SECONDS * 1000;
/** What framing may add to a text of maxLineBytes before a line without an end counts as too long. */
const FRAME_BYTES = 256;
/** Room for rows that must be free behind the bytes to decode. */
const ROWS_ROOM = 8 * ROW_BYTES;
/** Streams a line may be of: none, stdout, stderr. One open line each. */
const STREAMS = 3;

/** What the decoders of an agent share. */
export interface DecodeWorld {
  readonly memory: Memory;
  readonly pool: Pool;
  readonly maxLineBytes: number;
  readonly budget: OpenBudget;
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
  #format: "cri" | "json-file" | undefined;
  /** The time of the line before, for lines that do not parse. */
  #seconds: number;
  #nanos = 0;
  /** By stream. */
  readonly #open: (OpenLine | undefined)[] = Array.from({ length: STREAMS }, () => undefined);
  /** A line whose newline has not come within maxLineBytes: its text is cut, its bytes still counted. */
  #long: OpenLine | undefined;

  /** `startSeconds` (since 1970) is the time of lines that do not parse when no line before them had one. */
  constructor(world: DecodeWorld, startSeconds: number) {
    this.#world = world;
    this.#seconds = startSeconds;
  }

  get openAt(): number {
    let at = this.#long?.at ?? Infinity;
    for (const open of this.#open) if (open && open.at < at) at = open.at;
    return at;
  }

  get openRaw(): number {
    let raw = this.#long?.raw ?? 0;
    for (const open of this.#open) raw += open?.raw ?? 0;
    return raw;
  }

  nextFile(): void {
    this.#format = undefined;
  }

  drop(): void {
    this.#long?.drop();
    for (const open of this.#open) open?.drop();
    this.#long = undefined;
    this.#open.fill(undefined);
  }

  decode(chunk: Chunk, from: number, to: number, base: number, complete: boolean, now: number): Decoded {
    const { memory, maxLineBytes, counts } = this.#world;
    const { words, kernels } = memory;
    const cap = memory.rowsMax;
    if (this.#long) return this.#continueLong(chunk, from, to, base, cap, complete, now);
    let rows = this.#frame(from, to, cap, chunk.end - STREAMS * ROW_BYTES);
    let consumed = rows > 0 ? words[(RESULT >> 2) + R_CONSUMED]! : 0;
    if (rows === 0 && to > from) {
      const whole = kernels.lineLength(from, to);
      if (whole > 0) throw new Error(`BUG: a line of ${whole} bytes found no room in a chunk of ${chunk.end - from}`);
      if (!complete && to - from < maxLineBytes + FRAME_BYTES) {
        chunk.used = from;
        return { records: undefined, consumed: 0 };
      }
      // No newline: the last line of a finished file, or one over the limit. Framing is read as if it ended here.
      memory.bytes[to] = 10;
      rows = this.#frame(from, to + 1, cap, chunk.end);
      consumed = to - from;
      this.#set(cap, 0, columns.RAW, consumed);
      this.#set(cap, 0, columns.BITS, this.#get(cap, 0, columns.BITS) | TRUNCATED);
      if (!complete) return this.#beginLong(chunk, from, base, cap, consumed, now);
      counts.truncated++;
    }
    if (consumed > maxLineBytes) this.#clamp(cap, rows);
    const bits = rows > 0 ? words[(RESULT >> 2) + R_BITS]! : 0;
    if (rows > 0) counts.invalid += words[(RESULT >> 2) + R_INVALID]!;
    chunk.used = from + consumed;
    return { records: this.#lay(chunk, cap, rows, base, bits, now), consumed };
  }

  flush(chunk: Chunk, base: number, now: number, force: boolean): Records | undefined {
    const ending = this.#open.filter((open) => open && (force || now - open.seenAt >= PARTIAL_MS)) as OpenLine[];
    const address = ending.length > 0 ? chunk.take(STREAMS * ROW_BYTES) : 0;
    if (!address) return undefined;
    return holding([chunk], (chunks) => {
      let count = 0;
      for (const open of ending) {
        this.#emit(open, address, STREAMS, count++, base, TRUNCATED, chunks);
        this.#world.counts.truncated++;
        this.#open[this.#open.indexOf(open)] = undefined;
      }
      this.#world.memory.kernels.utf8(address, STREAMS, 0, count);
      return { block: address, cap: STREAMS, count, base, chunks, verdicts: 0, joined: true };
    });
  }

  stale(now: number): boolean {
    return this.#open.some((open) => open && now - open.seenAt >= PARTIAL_MS);
  }

  /** Runs the framing kernel over [from, to) into the scratch rows; finds out the format by the first lines that parse. */
  #frame(from: number, to: number, cap: number, limit: number): number {
    const { words, kernels, rows } = this.#world.memory;
    const result = RESULT >> 2;
    const run = (format: "cri" | "json-file"): number => {
      words[result + R_SECONDS] = this.#seconds;
      words[result + R_NANOS] = this.#nanos;
      return format === "cri"
        ? kernels.decodeCri(from, to, rows, cap, limit)
        : kernels.decodeJsonFile(from, to, rows, cap, limit);
    };
    let n = run(this.#format ?? "cri");
    if (this.#format === undefined && n > 0) {
      if (words[result + R_INVALID]! < n) this.#format = "cri";
      else {
        n = run("json-file");
        if (words[result + R_INVALID]! < n) this.#format = "json-file";
      }
    }
    if (n > 0) {
      this.#seconds = words[result + R_SECONDS]! >>> 0;
      this.#nanos = words[result + R_NANOS]!;
    }
    return n;
  }

  #get(cap: number, row: number, column: number): number {
    const { words, rows } = this.#world.memory;
    return words[(rows >> 2) + column * cap + row]!;
  }

  #set(cap: number, row: number, column: number, value: number): void {
    const { words, rows } = this.#world.memory;
    words[(rows >> 2) + column * cap + row] = value;
  }

  /** Cuts texts over maxLineBytes. */
  #clamp(cap: number, rows: number): void {
    const { memory, maxLineBytes, counts } = this.#world;
    const { words } = memory;
    const starts = (memory.rows >> 2) + columns.START * cap;
    const ends = (memory.rows >> 2) + columns.END * cap;
    for (let row = 0; row < rows; row++) {
      if (words[ends + row]! - words[starts + row]! <= maxLineBytes) continue;
      words[ends + row] = words[starts + row]! + maxLineBytes;
      this.#set(cap, row, columns.BITS, this.#get(cap, row, columns.BITS) | TRUNCATED);
      counts.truncated++;
    }
  }

  /** Moves the scratch rows behind the text in the chunk, joining parts where there are any. `also`: chunks that texts lie in. */
  #lay(chunk: Chunk, cap: number, rows: number, base: number, bits: number, now: number, also: Chunk[] = []): Records | undefined {
    if (rows === 0) return undefined;
    const { memory } = this.#world;
    const joining = (bits & PARTIAL) !== 0 || this.#open.some((open) => open);
    const room = joining ? rows + STREAMS : rows;
    const block = chunk.take(room * ROW_BYTES);
    if (!block) throw new Error(`BUG: no room for ${room} rows behind their text`);
    return holding([chunk, ...also], (chunks) => {
      let count = rows;
      if (joining) count = this.#join(cap, rows, block, room, base, chunks, now);
      else memory.kernels.copyColumns(memory.rows, cap, rows, block, rows);
      if (joining || bits & NON_ASCII) memory.kernels.utf8(block, room, 0, count);
      if (count > 0) return { block, cap: room, count, base, chunks, verdicts: 0, joined: joining };
      chunk.used = block;
      return undefined;
    });
  }

  /** The slow path: parts are collected and come out as one row where their end stands. Returns the rows in the block. */
  #join(
    cap: number,
    rows: number,
    block: number,
    room: number,
    base: number,
    chunks: Chunk[],
    now: number,
  ): number {
    const { memory, counts } = this.#world;
    let out = 0;
    for (let row = 0; row < rows; row++) {
      const bits = this.#get(cap, row, columns.BITS);
      const stream = bits & STREAM_MASK;
      const seconds = this.#get(cap, row, columns.SECONDS) >>> 0;
      const framed = (bits & INVALID) === 0;
      let open = framed ? this.#open[stream] : undefined;
      if (open && seconds - open.seconds > PARTIAL_SECONDS) {
        this.#emit(open, block, room, out++, base, TRUNCATED, chunks);
        counts.truncated++;
        open = this.#open[stream] = undefined;
      }
      if (!framed || (!open && !(bits & PARTIAL))) {
        for (let c = 0; c < columns.COLUMNS; c++) {
          memory.words[(block >> 2) + c * room + out] = this.#get(cap, row, c);
        }
        out++;
        continue;
      }
      open ??= this.#opened(base + this.#get(cap, row, columns.AT), seconds, this.#get(cap, row, columns.NANOS), now);
      this.#open[stream] = open;
      const start = this.#get(cap, row, columns.START);
      open.add(start, this.#get(cap, row, columns.END), this.#get(cap, row, columns.RAW), bits, now);
      if (bits & PARTIAL) continue;
      if (open.bits & TRUNCATED) counts.truncated++;
      counts.joined++;
      this.#emit(open, block, room, out++, base, 0, chunks);
      this.#open[stream] = undefined;
    }
    return out;
  }

  #opened(at: number, seconds: number, nanos: number, now: number): OpenLine {
    const { memory, budget, maxLineBytes } = this.#world;
    return new OpenLine({ memory, budget, bytesMax: maxLineBytes }, { at, seconds, nanos, bits: 0 }, now);
  }

  /** Writes an open line as row `row` of a block and drops it. */
  #emit(
    open: OpenLine,
    block: number,
    cap: number,
    row: number,
    base: number,
    flags: number,
    chunks: Chunk[],
  ): void {
    const { memory, pool } = this.#world;
    const piece = pool.take(open.bytes + 4);
    if (!piece) throw new NoRoom("no room for a joined line");
    if (!chunks.includes(piece.chunk)) chunks.push(piece.chunk.retain());
    open.copyTo(piece.address);
    const values: [number, number][] = [
      [columns.START, piece.address],
      [columns.END, piece.address + open.bytes],
      [columns.SECONDS, open.seconds],
      [columns.NANOS, open.nanos],
      [columns.BITS, (open.bits & ~PARTIAL) | flags | JOINED],
      [columns.LINES, 1],
      [columns.AT, open.at - base],
      [columns.RAW, open.raw],
      [columns.FIELDS_START, 0],
      [columns.FIELDS_END, 0],
    ];
    for (const [column, value] of values) memory.words[(block >> 2) + column * cap + row] = value;
    open.drop();
  }

  /** Scratch row 0 is the head of a line over the limit: keep its text, count its bytes until the newline comes. */
  #beginLong(chunk: Chunk, from: number, base: number, cap: number, consumed: number, now: number): Decoded {
    const seconds = this.#get(cap, 0, columns.SECONDS) >>> 0;
    this.#long = this.#opened(base, seconds, this.#get(cap, 0, columns.NANOS), now);
    const bits = this.#get(cap, 0, columns.BITS);
    this.#long.add(this.#get(cap, 0, columns.START), this.#get(cap, 0, columns.END), consumed, bits, now);
    this.#world.counts.truncated++;
    if (bits & INVALID) this.#world.counts.invalid++;
    chunk.used = from;
    return { records: undefined, consumed };
  }

  #continueLong(
    chunk: Chunk,
    from: number,
    to: number,
    base: number,
    cap: number,
    complete: boolean,
    now: number,
  ): Decoded {
    const { memory, pool } = this.#world;
    const long = this.#long!;
    const rest = memory.kernels.lineLength(from, to);
    const consumed = rest || to - from;
    chunk.used = from;
    long.raw += consumed;
    long.seenAt = now;
    if (!rest && !complete) return { records: undefined, consumed };
    const piece = pool.take(long.bytes + 4);
    if (!piece) throw new NoRoom("no room for a long line");
    long.copyTo(piece.address);
    const bits = long.bits | TRUNCATED;
    this.#set(cap, 0, columns.START, piece.address);
    this.#set(cap, 0, columns.END, piece.address + long.bytes);
    this.#set(cap, 0, columns.SECONDS, long.seconds);
    this.#set(cap, 0, columns.NANOS, long.nanos);
    this.#set(cap, 0, columns.BITS, bits);
    this.#set(cap, 0, columns.LINES, 1);
    this.#set(cap, 0, columns.AT, long.at - base);
    this.#set(cap, 0, columns.RAW, long.raw);
    this.#set(cap, 0, columns.FIELDS_START, 0);
    this.#set(cap, 0, columns.FIELDS_END, 0);
    long.drop();
    this.#long = undefined;
    return { records: this.#lay(chunk, cap, 1, base, bits | NON_ASCII, now, [piece.chunk]), consumed };
  }
}

/** The decoders of an agent, as collect makes them. */
export function decoding(world: DecodeWorld): LinesWorld {
  return {
    memory: world.memory,
    lineBytesMax: world.maxLineBytes + FRAME_BYTES,
    rowsRoom: ROWS_ROOM,
    over: () => world.budget.over,
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
