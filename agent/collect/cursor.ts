/**
 * A place in a chain at which it is being read, for all takers that stand there. Takers that have no room stay behind
 * on a cursor of their own; cursors that meet become one.
 */
import type { Chain } from "./chain.ts";
import type { Lines } from "./lines.ts";
import type { Segment } from "./segments.ts";
import type { Taker } from "./taker.ts";

export class Cursor {
  readonly chain: Chain;
  readonly lines: Lines;
  readonly takers = new Set<Taker>();
  /** Linear offset up to which the chain was read here. */
  at: number;
  /** Bytes behind `at` that were found to hold no whole line. */
  tail = 0;
  /** Not to be tried before this, by the monotonic clock. */
  waitUntil = 0;
  /** The segment that was last read. */
  segment: Segment | undefined;
  finished = false;

  constructor(chain: Chain, lines: Lines, at: number) {
    this.chain = chain;
    this.lines = lines;
    this.at = at;
  }

  /** Where reading would have to begin to come to the same state: the first open line, or here. */
  get origin(): number {
    return Math.min(this.lines.openAt, this.at);
  }

  advance(bytes: number): void {
    this.at += bytes;
    this.tail = 0;
    for (const taker of this.takers) taker.read = this.at;
  }
}

/** The cursors of one chain. */
export class Cursors {
  readonly chain: Chain;
  readonly all: Cursor[] = [];
  readonly #open: () => Lines;

  constructor(chain: Chain, open: () => Lines) {
    this.chain = chain;
    this.#open = open;
  }

  /** Puts a taker at a linear offset, not on the cursor `but`; its counts are the caller's business. */
  place(taker: Taker, at: number, but?: Cursor): Cursor {
    let cursor = this.all.find((other) => other !== but && other.at === at && other.lines.openAt === Infinity);
    if (!cursor) {
      cursor = new Cursor(this.chain, this.#open(), at);
      this.all.push(cursor);
    }
    cursor.takers.add(taker);
    cursor.finished = false;
    taker.read = at;
    return cursor;
  }

  remove(taker: Taker): void {
    const cursor = this.of(taker);
    cursor?.takers.delete(taker);
    if (cursor) this.#dropEmpty(cursor);
  }

  of(taker: Taker): Cursor | undefined {
    return this.all.find((cursor) => cursor.takers.has(taker));
  }

  /**
   * Takers leave a cursor for a place before it, where its open lines begin; what they have behind that place is ahead of
   * them. Returns their new cursors.
   */
  leave(cursor: Cursor, takers: readonly Taker[], origin = cursor.origin, openRaw = cursor.lines.openRaw): Cursor[] {
    const places = takers.map((taker) => {
      cursor.takers.delete(taker);
      taker.ahead += cursor.at - origin - openRaw;
      taker.rewound(origin);
      return this.place(taker, origin, cursor);
    });
    this.#dropEmpty(cursor);
    return places;
  }

  /** Joins the cursor with another at the same place. */
  meet(cursor: Cursor): void {
    if (cursor.takers.size === 0 || cursor.lines.openAt !== Infinity) return;
    const other = this.all.find((c) => c !== cursor && c.at === cursor.at && c.lines.openAt === Infinity);
    if (!other) return;
    for (const taker of other.takers) cursor.takers.add(taker);
    other.takers.clear();
    this.#dropEmpty(other);
  }

  /** The nearest cursor's place behind `at`, or Infinity. */
  next(at: number): number {
    let next = Infinity;
    for (const cursor of this.all) if (cursor.at > at && cursor.at < next) next = cursor.at;
    return next;
  }

  /** The least linear offset that any taker may read again. */
  oldest(): number {
    let oldest = Infinity;
    for (const cursor of this.all)
      for (const taker of cursor.takers) oldest = Math.min(oldest, taker.oldest(cursor.lines.openAt));
    return oldest;
  }

  /** All that is known of the chain was read at each cursor, but for the beginning of a line at its end. */
  get isRead(): boolean {
    const end = Math.min(this.chain.end, this.chain.limit);
    return this.all.every((cursor) => cursor.at + cursor.tail >= end);
  }

  /** The chain goes on after it had seemed to be over. */
  revive(): void {
    for (const cursor of this.all) cursor.finished = false;
  }

  #dropEmpty(cursor: Cursor): void {
    if (cursor.takers.size > 0) return;
    cursor.lines.drop();
    const index = this.all.indexOf(cursor);
    if (index >= 0) this.all.splice(index, 1);
  }
}
