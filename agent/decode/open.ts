/**
 * A line whose end has not come: parts of one stream that wait for the last one, or a line without a newline so far. Its
 * text lies on the heap, at most maxLineBytes of it, counted in a budget that all open lines share.
 */
import { TRUNCATED } from "../memory/columns.ts";
import type { Memory } from "../memory/memory.ts";

/**
 * What all open lines of the agent may hold. Over it, readers whose open lines hold more than an equal share go back to
 * where those begin; so small ones get on whatever others hold, and all together hold less than twice the budget.
 */
export class OpenBudget {
  readonly bytesMax: number;
  bytes = 0;
  /** How many lines are open. */
  lines = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /** True when one who has `lines` open lines with together `bytes` is to go back. */
  over(lines: number, bytes: number): boolean {
    return this.bytes > this.bytesMax && bytes * this.lines > this.bytesMax * lines;
  }
}

/** What open lines need. */
export interface OpenWorld {
  readonly memory: Memory;
  readonly budget: OpenBudget;
  readonly maxLineBytes: number;
}

export class OpenLine {
  /** Linear offset of its first byte. */
  readonly at: number;
  readonly seconds: number;
  readonly nanos: number;
  /** BITS of its parts; TRUNCATED once text was cut. */
  bits = 0;
  /** Linear offset and time of its last part so far. */
  lastAt: number;
  lastSeconds: number;
  /** Source bytes so far. */
  raw = 0;
  /** Text bytes kept so far. */
  bytes = 0;
  /** When the last part was seen, by the monotonic clock. */
  seenAt = 0;
  readonly #world: OpenWorld;
  #parts: Uint8Array[] = [];

  constructor(world: OpenWorld, at: number, seconds: number, nanos: number) {
    this.#world = world;
    this.at = this.lastAt = at;
    this.seconds = this.lastSeconds = seconds;
    this.nanos = nanos;
    world.budget.lines++;
  }

  /** Adds the text at [start, end) of the memory, which stood in `raw` source bytes. */
  add(start: number, end: number, raw: number, bits: number, now: number): void {
    const { memory, budget, maxLineBytes } = this.#world;
    const room = Math.min(end - start, maxLineBytes - this.bytes);
    if (room < end - start) this.bits |= TRUNCATED;
    if (room > 0) this.#parts.push(memory.bytes.slice(start, start + room));
    this.bits |= bits;
    this.bytes += room;
    budget.bytes += room;
    this.raw += raw;
    this.seenAt = now;
  }

  /** Copies the text to an address with room for `bytes`. */
  copyTo(address: number): void {
    for (const part of this.#parts) {
      this.#world.memory.bytes.set(part, address);
      address += part.length;
    }
  }

  /** Gives back what it holds; once. */
  drop(): void {
    this.#world.budget.bytes -= this.bytes;
    this.#world.budget.lines--;
    this.#parts = [];
    this.bytes = 0;
  }
}
