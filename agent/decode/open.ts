/**
 * A line whose end has not come: parts of one stream that wait for the last one, or a line without a newline so far. Its
 * text lies on the heap, at most maxLineBytes of it, counted in a budget that all open lines share.
 */
import { TRUNCATED } from "../memory/columns.ts";
import type { Memory } from "../memory/memory.ts";

/** What all open lines of the agent may hold; over it, readers go back to where their open lines begin and wait. */
export class OpenBudget {
  readonly bytesMax: number;
  bytes = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  get over(): boolean {
    return this.bytes > this.bytesMax;
  }
}

export class OpenLine {
  /** Linear offset of its first byte. */
  readonly at: number;
  readonly seconds: number;
  readonly nanos: number;
  /** BITS of the first part; TRUNCATED once text was cut. */
  bits: number;
  /** Source bytes so far. */
  raw = 0;
  /** Text bytes kept so far. */
  bytes = 0;
  /** When the last part was seen, by the monotonic clock. */
  seenAt: number;
  readonly #memory: Memory;
  readonly #budget: OpenBudget;
  readonly #bytesMax: number;
  #parts: Uint8Array[] = [];

  constructor(
    world: { memory: Memory; budget: OpenBudget; bytesMax: number },
    first: { at: number; seconds: number; nanos: number; bits: number },
    now: number,
  ) {
    this.#memory = world.memory;
    this.#budget = world.budget;
    this.#bytesMax = world.bytesMax;
    this.at = first.at;
    this.seconds = first.seconds;
    this.nanos = first.nanos;
    this.bits = first.bits;
    this.seenAt = now;
  }

  /** Adds the text at [start, end) of the memory, which stood in `raw` source bytes. */
  add(start: number, end: number, raw: number, bits: number, now: number): void {
    const room = Math.min(end - start, this.#bytesMax - this.bytes);
    if (room < end - start) this.bits |= TRUNCATED;
    if (room > 0) this.#parts.push(this.#memory.bytes.slice(start, start + room));
    this.bits |= bits;
    this.bytes += room;
    this.#budget.bytes += room;
    this.raw += raw;
    this.seenAt = now;
  }

  /** Copies the text to an address with room for `bytes`. */
  copyTo(address: number): void {
    for (const part of this.#parts) {
      this.#memory.bytes.set(part, address);
      address += part.length;
    }
  }

  drop(): void {
    this.#budget.bytes -= this.bytes;
    this.#parts = [];
    this.bytes = 0;
  }
}

