/**
 * A chunk is a run of the arena that fills up from its beginning: bytes read from a file, with the columns of their
 * rows behind them, or texts that were made on the way. It lives until the last of those who retained it has released
 * it; the agent has one thread, so a counter is enough.
 */
import { PAGE_BYTES } from "./arena.ts";
import type { Memory } from "./memory.ts";

export class Chunk {
  readonly #memory: Memory;
  readonly address: number;
  /** Address after its last byte. */
  readonly end: number;
  /** The next free address. Whoever filled room in without take(), as reading from a file does, moves it. */
  used: number;
  #refs = 1;

  constructor(memory: Memory, address: number, bytes: number) {
    this.#memory = memory;
    this.address = address;
    this.end = address + bytes;
    this.used = address;
  }

  get refs(): number {
    return this.#refs;
  }

  retain(): this {
    if (this.#refs === 0) throw new Error(`BUG: chunk at ${this.address} retained after its end`);
    this.#refs++;
    return this;
  }

  /** The last release gives the room back to the arena. */
  release(): void {
    if (this.#refs === 0) throw new Error(`BUG: chunk at ${this.address} released too often`);
    if (--this.#refs === 0) this.#memory.arena.free(this.address);
  }

  /** Address of `bytes` of room, a multiple of `align`, or 0 when the chunk is full. */
  take(bytes: number, align = 4): number {
    const address = Math.ceil(this.used / align) * align;
    if (address + bytes > this.end) return 0;
    this.used = address + bytes;
    return address;
  }
}

/** A chunk of at least `bytes` (up to whole pages, all of them usable), with one reference, or undefined: no room. */
export function openChunk(memory: Memory, bytes: number): Chunk | undefined {
  const address = memory.arena.allocate(bytes);
  return address === 0 ? undefined : new Chunk(memory, address, Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES);
}
