/**
 * Room for what is made while records are on their way: joined texts, rewritten texts, columns, kept lines copied out
 * of a chunk. Small pieces share one chunk, which lives as long as somebody retains it.
 */
import { openChunk, type Chunk } from "./chunk.ts";
import type { Memory } from "./memory.ts";

const SHARED_BYTES = 256 * 1024;

/** The arena has no room: whoever can goes back and tries again later. */
export class NoRoom extends Error {}

export interface Piece {
  readonly chunk: Chunk;
  readonly address: number;
}

export class Pool {
  readonly #memory: Memory;
  #current: Chunk | undefined;

  constructor(memory: Memory) {
    this.#memory = memory;
  }

  /**
   * `bytes` of room, aligned to 4. The caller retains the piece's chunk before the next call; undefined when the arena
   * has no room.
   */
  take(bytes: number): Piece | undefined {
    const address = this.#current?.take(bytes) ?? 0;
    if (address) return { chunk: this.#current!, address };
    const chunk = openChunk(this.#memory, Math.max(bytes, SHARED_BYTES)) ?? openChunk(this.#memory, bytes);
    if (!chunk) return undefined;
    this.#current?.release();
    this.#current = chunk;
    return { chunk, address: chunk.take(bytes) };
  }

  /** Lets go of the open chunk, so that an idle agent holds nothing. */
  rest(): void {
    this.#current?.release();
    this.#current = undefined;
  }
}
