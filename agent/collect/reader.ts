/**
 * One reading at one cursor: bytes into a chunk, rows out of the decoder, handed to the takers that have room. The
 * reader owns the chunk that small reads of many files share.
 */
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import { openChunk, type Chunk } from "../memory/chunk.ts";
import { NoRoom } from "../memory/pool.ts";
import type { Records } from "../memory/records.ts";
import type { Cursor, Cursors } from "./cursor.ts";
import type { Ending, LinesWorld } from "./lines.ts";
import type { Segment } from "./segments.ts";
import type { Taker } from "./taker.ts";

/** The most bytes of one read. */
export const READ_BYTES = 1024 * 1024;
/** Room for rows behind the text of a full read: 40 bytes for lines of 160 bytes; shorter lines end the chunk early. */
const CHUNK_BYTES = READ_BYTES + READ_BYTES / 4;
const WAIT_MS = 1_000;
/** How far the time of the line before is looked for. */
const BEFORE_BYTES = 16 * 1024;

/**
 * Takes the rows of one reading for each of the takers; returns those that could not (no memory): they will be given
 * them again. `records` is only borrowed: whoever keeps it retains its chunks.
 */
export type Hand = (records: Records, takers: readonly Taker[]) => readonly Taker[];

/** `read`: something came, there may be more. `idle`: nothing to read. `blocked`: nobody has room. `short`: no memory. */
export type Reading = "read" | "idle" | "blocked" | "short";

export interface ReaderWorld {
  readonly lines: LinesWorld;
  readonly clock: Clock;
  readonly log: Log;
  readonly hand: Hand;
  /** Bytes of the arena that reading leaves to requests. */
  readonly reserveBytes: number;
}

export class Reader {
  readonly #world: ReaderWorld;
  #chunk: Chunk | undefined;
  bytesRead = 0;

  constructor(world: ReaderWorld) {
    this.#world = world;
  }

  /** Lets go of the shared chunk, so that an idle agent holds nothing. */
  rest(): void {
    this.#chunk?.release();
    this.#chunk = undefined;
  }

  /** Reads once at a cursor. */
  read(cursors: Cursors, cursor: Cursor): Reading {
    const now = this.#world.clock.now();
    if (now < cursor.waitUntil || cursor.finished) return "idle";
    const { chain, lines } = cursor;
    const willing: Taker[] = [];
    let room = READ_BYTES;
    for (const taker of cursor.takers) {
      const bytes = taker.room();
      if (bytes <= 0) continue;
      willing.push(taker);
      room = Math.min(room, bytes);
    }
    if (willing.length === 0) {
      chain.hold(cursor.at);
      return "blocked";
    }
    const ahead = chain.look(cursor.at, cursor.tail);
    switch (ahead.kind) {
      case "nothing":
        return this.#end(cursors, cursor, ahead.complete, now);
      case "lost":
        // What is open has lost its end.
        return this.#flush(cursors, cursor, now, "all") ?? this.#lose(cursor, ahead.to, ahead.reason);
      case "unreadable":
        return this.#unreadable(cursor, ahead.path, ahead.reason, now);
      case "bytes":
    }
    const { segment } = ahead;
    if (lines.unended && cursor.segment !== segment) {
      const reading = this.#flush(cursors, cursor, now, "unended");
      if (reading) return reading;
    }
    // Up to where another reader stands, unless that is in the middle of a line.
    const next = cursors.next(cursor.at) - cursor.at;
    const until = next > cursor.tail ? next : Infinity;
    // At least one line must fit, whatever the room.
    const { lineBytesMax, rowsRoom } = this.#world.lines;
    let length = Math.min(ahead.bytes, Math.max(Math.min(room, READ_BYTES), lineBytesMax), until);
    const chunk = this.#room(length);
    if (!chunk) return "short";
    length = Math.min(length, chunk.end - chunk.used - rowsRoom);
    if (willing.length < cursor.takers.size) {
      const left = [...cursor.takers].filter((taker) => !willing.includes(taker));
      cursors.leave(cursor, left);
    }
    let n;
    try {
      if (cursor.segment !== segment) this.#enter(cursor, segment, chunk);
      n = chain.read(segment, cursor.at, this.#world.lines.memory.bytes, chunk.used, length);
    } catch (error) {
      return this.#unreadable(cursor, segment.file.path, String(error), now);
    }
    this.bytesRead += n;
    return this.#decode(cursors, cursor, chunk, n, ahead.complete && n === ahead.bytes, now);
  }

  /** The first reading in a segment. When that begins behind lines that nobody remembers, those are looked at for their time. */
  #enter(cursor: Cursor, segment: Segment, chunk: Chunk): void {
    const { chain, lines, at } = cursor;
    lines.nextFile();
    const { bytes } = this.#world.lines.memory;
    const length = Math.min(at - segment.base, BEFORE_BYTES, chunk.end - chunk.used);
    if (!lines.timed && length > 0) {
      const n = chain.read(segment, at - length, bytes, chunk.used, length);
      lines.before(chunk.used, chunk.used + n, length === at - segment.base);
    }
    cursor.segment = segment;
  }

  #decode(cursors: Cursors, cursor: Cursor, chunk: Chunk, n: number, complete: boolean, now: number): Reading {
    const { origin, lines } = cursor;
    const { openRaw } = lines;
    const from = chunk.used;
    const { invalid, truncated } = this.#world.lines.counts;
    let decoded;
    try {
      decoded = lines.decode(chunk, from, from + n, cursor.at, complete, now);
    } catch (error) {
      if (!(error instanceof NoRoom)) throw error;
      chunk.used = from;
      this.#leave(cursors, cursor, [...cursor.takers], now, origin, openRaw);
      return "short";
    }
    this.#warn(cursor, invalid, truncated);
    if (decoded.consumed === 0) {
      cursor.tail = n;
      return "idle";
    }
    if (decoded.records && !this.#hand(cursors, cursor, decoded.records, now, origin, openRaw)) return "short";
    cursor.advance(decoded.consumed);
    if (lines.over) {
      // Go back to where the open lines begin, and let others have theirs first.
      this.#leave(cursors, cursor, [...cursor.takers], now);
      return "idle";
    }
    cursors.meet(cursor);
    return "read";
  }

  /** Says what was wrong with lines, given the counts from before they were decoded. */
  #warn({ chain }: Cursor, invalid: number, truncated: number): void {
    const { log, lines } = this.#world;
    const container = chain.source.id;
    if (lines.counts.invalid > invalid) {
      const hint = "they are passed on whole; normal where something else writes into the container's log";
      log.warn("lines could not be parsed as CRI or json-file", {
        container,
        lines: lines.counts.invalid - invalid,
        hint,
      });
    }
    if (lines.counts.truncated > truncated) {
      const hint = "raise maxLineBytes if they should be whole";
      log.warn("lines were cut: longer than maxLineBytes, or without an end", {
        ...{ container, lines: lines.counts.truncated - truncated, hint },
      });
    }
  }

  /** Nothing lies ahead: open lines may have waited long enough, and a chain that is over ends here. */
  #end(cursors: Cursors, cursor: Cursor, complete: boolean, now: number): Reading {
    const reading =
      complete || cursor.lines.stale(now) ? this.#flush(cursors, cursor, now, complete ? "all" : "stale") : undefined;
    if (reading) return reading;
    if (complete) {
      cursor.finished = true;
      for (const taker of cursor.takers) taker.finished();
    }
    return "idle";
  }

  /** Ends open lines; undefined: there were none to end. */
  #flush(cursors: Cursors, cursor: Cursor, now: number, ending: Ending): Reading | undefined {
    const { lines, origin, at } = cursor;
    const { openAt, openRaw } = lines;
    if (openAt === Infinity) return undefined;
    const chunk = this.#room(this.#world.lines.rowsRoom);
    if (!chunk) return "short";
    let records;
    try {
      records = lines.flush(chunk, at, now, ending);
    } catch (error) {
      if (!(error instanceof NoRoom)) throw error;
      this.#leave(cursors, cursor, [...cursor.takers], now, origin, openRaw);
      return "short";
    }
    if (!records) return undefined;
    return this.#hand(cursors, cursor, records, now, origin, openRaw) ? "read" : "short";
  }

  /** Hands records to the takers and lets them go; takers that have no memory for them go back to `origin`. False: all had to. */
  #hand(cursors: Cursors, cursor: Cursor, records: Records, now: number, origin: number, openRaw: number): boolean {
    const refused = this.#world.hand(records, [...cursor.takers]);
    for (const held of records.chunks) held.release();
    this.#leave(cursors, cursor, refused, now, origin, openRaw);
    return cursor.takers.size > 0;
  }

  /** Takers go back and try again after a while. */
  #leave(
    cursors: Cursors,
    cursor: Cursor,
    takers: readonly Taker[],
    now: number,
    origin?: number,
    openRaw?: number,
  ): void {
    for (const back of cursors.leave(cursor, takers, origin, openRaw)) back.waitUntil = now + WAIT_MS;
  }

  #lose(cursor: Cursor, to: number, reason: string): Reading {
    const bytes = to - cursor.at;
    for (const taker of cursor.takers) taker.lost(cursor.at, to, reason);
    this.#world.log.error("log bytes were gone before they could be read", {
      ...{ container: cursor.chain.source.id, reason, bytes },
      hint: "the backlog was longer than the runtime keeps; keep more rotated files, or a faster sink",
    });
    cursor.advance(bytes);
    return "read";
  }

  #unreadable(cursor: Cursor, path: string, reason: string, now: number): Reading {
    cursor.waitUntil = now + WAIT_MS;
    this.#world.log.warn("can't read a log file, trying again", { path, reason });
    return "idle";
  }

  /** The shared chunk when it has room for `length` bytes of text and their rows, else a new one; undefined: no memory. */
  #room(length: number): Chunk | undefined {
    const { memory, lineBytesMax, rowsRoom } = this.#world.lines;
    const need = length + Math.ceil(length / 4) + rowsRoom;
    if (this.#chunk && this.#chunk.end - this.#chunk.used >= need) return this.#chunk;
    const least = Math.min(need, lineBytesMax + rowsRoom);
    for (const bytes of [Math.max(need, CHUNK_BYTES), need, least]) {
      if (memory.arena.freeBytes - bytes < this.#world.reserveBytes) continue;
      const chunk = openChunk(memory, bytes);
      if (!chunk) continue;
      this.#chunk?.release();
      this.#chunk = chunk;
      return chunk;
    }
    return undefined;
  }
}
