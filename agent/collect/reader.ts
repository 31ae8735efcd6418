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
import type { LinesWorld } from "./lines.ts";
import type { Taker } from "./taker.ts";

/** The most bytes of one read. */
export const READ_BYTES = 1024 * 1024;
/** Room for rows behind the text of a full read: 40 bytes for lines of 160 bytes; shorter lines end the chunk early. */
const CHUNK_BYTES = READ_BYTES + READ_BYTES / 4;
const WAIT_MS = 1_000;

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
    const { clock, log } = this.#world;
    const now = clock.now();
    if (now < cursor.waitUntil || cursor.finished) return "idle";
    const willing: Taker[] = [];
    let room = READ_BYTES;
    for (const taker of cursor.takers) {
      const bytes = taker.room();
      if (bytes <= 0) continue;
      willing.push(taker);
      room = Math.min(room, bytes);
    }
    if (willing.length === 0) return "blocked";
    const { chain } = cursor;
    const ahead = chain.look(cursor.at, cursor.tail);
    switch (ahead.kind) {
      case "nothing":
        return this.#end(cursors, cursor, ahead.complete, now);
      case "lost": {
        for (const taker of cursor.takers) taker.lost(cursor.at, ahead.to, ahead.reason);
        const bytes = ahead.to - cursor.at;
        log.error("log bytes were gone before they could be read", {
          ...{ container: chain.source.id, reason: ahead.reason, bytes },
          hint: "the backlog was longer than the runtime keeps; keep more rotated files, or a faster sink",
        });
        cursor.advance(bytes);
        return "read";
      }
      case "unreadable":
        cursor.waitUntil = now + WAIT_MS;
        log.warn("can't read a log file, trying again", { path: ahead.file.path, reason: ahead.reason });
        return "idle";
      case "bytes":
    }
    // At least one line must fit, whatever the room.
    const least = this.#world.lines.lineBytesMax;
    const until = cursors.next(cursor.at) - cursor.at;
    let length = Math.min(ahead.bytes, Math.max(room, least), READ_BYTES, until);
    const chunk = this.#room(length);
    if (!chunk) return "short";
    length = Math.min(length, chunk.end - chunk.used - this.#world.lines.rowsRoom);
    if (willing.length < cursor.takers.size) {
      const left = [...cursor.takers].filter((taker) => !willing.includes(taker));
      cursors.leave(cursor, left);
    }
    if (cursor.file !== ahead.file) {
      cursor.lines.nextFile();
      cursor.file = ahead.file;
    }
    const from = chunk.used;
    let n;
    try {
      n = chain.read(ahead.file, cursor.at, this.#world.lines.memory.bytes, from, length);
    } catch (error) {
      cursor.waitUntil = now + WAIT_MS;
      log.warn("can't read a log file, trying again", { path: ahead.file.path, reason: String(error) });
      return "idle";
    }
    this.bytesRead += n;
    return this.#decode(cursors, cursor, chunk, from, n, ahead.complete && n === ahead.bytes, now);
  }

  #decode(
    cursors: Cursors,
    cursor: Cursor,
    chunk: Chunk,
    from: number,
    n: number,
    complete: boolean,
    now: number,
  ): Reading {
    const { origin } = cursor;
    const openRaw = cursor.lines.openRaw;
    let decoded;
    try {
      decoded = cursor.lines.decode(chunk, from, from + n, cursor.at, complete, now);
    } catch (error) {
      if (!(error instanceof NoRoom)) throw error;
      chunk.used = from;
      for (const back of cursors.leave(cursor, [...cursor.takers], origin, openRaw)) back.waitUntil = now + WAIT_MS;
      return "short";
    }
    if (decoded.consumed === 0) {
      cursor.tail = n;
      return "idle";
    }
    if (decoded.records) {
      const refused = this.#world.hand(decoded.records, [...cursor.takers]);
      for (const held of decoded.records.chunks) held.release();
      if (refused.length > 0) cursors.leave(cursor, refused, origin, openRaw);
    }
    cursor.advance(decoded.consumed);
    if (this.#world.lines.over() && cursor.lines.openAt < Infinity) {
      // Open lines outgrew their memory: go back to where they begin, and let others have theirs first.
      for (const back of cursors.leave(cursor, [...cursor.takers])) back.waitUntil = now + WAIT_MS;
      return "idle";
    }
    cursors.meet(cursor);
    return "read";
  }

  /** Nothing lies ahead: open lines may have waited long enough, and a chain that is over ends here. */
  #end(cursors: Cursors, cursor: Cursor, complete: boolean, now: number): Reading {
    const { lines } = cursor;
    if (lines.openAt < Infinity && (complete || lines.stale(now))) {
      const chunk = this.#room(this.#world.lines.rowsRoom);
      if (!chunk) return "short";
      const { origin, openRaw } = { origin: cursor.origin, openRaw: lines.openRaw };
      let records;
      try {
        records = lines.flush(chunk, cursor.at, now, complete);
      } catch (error) {
        if (!(error instanceof NoRoom)) throw error;
        cursors.leave(cursor, [...cursor.takers], origin, openRaw);
        return "short";
      }
      if (records) {
        const refused = this.#world.hand(records, [...cursor.takers]);
        for (const held of records.chunks) held.release();
        if (refused.length > 0) cursors.leave(cursor, refused, origin, openRaw);
        return "read";
      }
    }
    if (complete && !cursor.finished) {
      cursor.finished = true;
      for (const taker of cursor.takers) taker.finished();
    }
    return "idle";
  }

  /** The shared chunk, when it has room for `length` bytes of text and their rows, else a new one; undefined: no memory. */
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
