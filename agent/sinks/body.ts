/**
 * How sinks turn records into bytes: kernels write into the encode area, which every encoder may use within its
 * synchronous call, and what they wrote moves to a block of the arena, where it lies until its request is freed.
 */
import { BITS, CLASSES, CLASS_MASK } from "../memory/columns.ts";
import { openChunk, type Chunk } from "../memory/chunk.ts";
import { RESULT, R_OUT, R_REPLACED } from "../memory/kernels.ts";
import type { Memory } from "../memory/memory.ts";
import { wordOf } from "../memory/records.ts";
import type { Slice } from "../dispatcher/sink.ts";
import type { Tails } from "./tails.ts";

/** Separators of ndjson(). */
export const NEWLINE = 10;
export const COMMA = 44;
const BYTES_OF_PAIR = 8;

/** Bytes of a request in a block of the arena. */
export interface Block {
  readonly bytes: Buffer;
  /** Released by the request's free(); whoever still reads when that may come retains it. */
  readonly chunk: Chunk;
}

/** What an encoder writes to; made anew for each request. */
export class Body {
  readonly memory: Memory;
  /** The next free address, and where writing must end. */
  out: number;
  readonly end: number;
  /** Records in which bytes that are no UTF-8 were replaced. */
  replaced = 0;
  /** Something did not fit. */
  full = false;

  /** Leaves `headBytes` free for what is only known at the end. */
  constructor(memory: Memory, headBytes = 0) {
    this.memory = memory;
    this.out = memory.encode + headBytes;
    this.end = memory.encodeEnd;
  }

  put(bytes: Uint8Array): void {
    if (this.full || this.out + bytes.length > this.end) {
      this.full = true;
      return;
    }
    this.memory.bytes.set(bytes, this.out);
    this.out += bytes.length;
  }

  /** One JSON object per record and `separator` behind each. */
  ndjson(slice: Slice, tails: Tails, separator: typeof NEWLINE | typeof COMMA = NEWLINE): void {
    const { kernels } = this.memory;
    const { records, keys, key, mask, from, to } = slice;
    const { block, cap, verdicts } = records;
    const table = this.#tails(slice, tails);
    if (this.full) return;
    this.#took(
      kernels.ndjson(this.out, this.end, block, cap, verdicts, keys, key, mask, from, to, table, separator),
      to,
    );
    this.replaced += this.#result(R_REPLACED);
  }

  /** The texts, each with its class's head before it and a newline behind. */
  text(slice: Slice, heads: Tails | undefined): void {
    const { kernels } = this.memory;
    const { records, keys, key, mask, from, to } = slice;
    const table = heads ? this.#tails(slice, heads) : 0;
    if (this.full) return;
    const { block, cap, verdicts } = records;
    this.#took(kernels.text(this.out, this.end, block, cap, verdicts, keys, key, mask, from, to, table), to);
  }

  /** Entries of Loki's JSON, for rows [from, to) of the slice, a comma behind each; `tail` behind each text. */
  lokiJson(slice: Slice, from: number, to: number, tail: Uint8Array): void {
    const { kernels, bytes, constants } = this.memory;
    if (this.full) return;
    const { records, keys, key, mask } = slice;
    const { block, cap, verdicts } = records;
    bytes.set(tail, constants);
    const rest = [from, to, constants, tail.length] as const;
    this.#took(kernels.lokiJson(this.out, this.end, block, cap, verdicts, keys, key, mask, ...rest), to);
    this.replaced += this.#result(R_REPLACED);
  }

  /** Bytes that lokiWrite() will write. */
  lokiSize(slice: Slice, from: number, to: number, metaLength: number): number {
    const { records, keys, key, mask } = slice;
    const { block, cap, verdicts } = records;
    return this.memory.kernels.lokiSize(block, cap, verdicts, keys, key, mask, from, to, metaLength);
  }

  /** Entries of Loki's protobuf, for rows [from, to) of the slice; whoever calls has seen that they fit. */
  lokiWrite(slice: Slice, from: number, to: number, meta: Uint8Array): void {
    const { kernels, bytes, constants } = this.memory;
    const { records, keys, key, mask } = slice;
    const { block, cap, verdicts } = records;
    bytes.set(meta, constants);
    const rest = [from, to, constants, meta.length] as const;
    this.out = kernels.lokiWrite(this.out, block, cap, verdicts, keys, key, mask, ...rest);
    this.replaced += this.#result(R_REPLACED);
  }

  /** A block with the bytes [from, to) of the encode area. */
  toBlock(from: number, to: number): Block | "no room" {
    const chunk = openChunk(this.memory, to - from);
    if (!chunk) return "no room";
    this.memory.bytes.copyWithin(chunk.address, from, to);
    return { chunk, bytes: this.memory.buffer.subarray(chunk.address, chunk.address + to - from) };
  }

  #took(next: number, to: number): void {
    this.out = this.#result(R_OUT);
    if (next < to) this.full = true;
  }

  #result(word: number): number {
    return this.memory.words[(RESULT >> 2) + word]!;
  }

  /** Lays the texts of the classes that occur into the constants, behind a table of CLASSES pairs (address, length). */
  #tails(slice: Slice, tails: Tails): number {
    const { memory } = this;
    const { block, cap, verdicts } = slice.records;
    const present = memory.kernels.classes(block, cap, verdicts, slice.from, slice.to);
    let at = memory.constants + CLASSES * BYTES_OF_PAIR;
    for (let bits = 0; bits < CLASSES; bits++) {
      if (!((present >>> bits) & 1)) continue;
      const bytes = tails.of(slice.source, bits);
      if (at + bytes.length > memory.constantsEnd) {
        this.full = true;
        break;
      }
      memory.bytes.set(bytes, at);
      memory.words[(memory.constants >> 2) + bits * 2] = at;
      memory.words[(memory.constants >> 2) + bits * 2 + 1] = bytes.length;
      at += bytes.length;
    }
    return memory.constants;
  }
}

/** Whether a row of the slice is in the request, as the kernels decide it. */
export function counts(memory: Memory, { records, keys, key, mask }: Slice, row: number): boolean {
  if (records.verdicts && memory.bytes[records.verdicts + row] !== 0) return false;
  if (keys) return memory.words[(keys >> 2) + row] === key;
  return ((mask >>> (wordOf(memory, records, BITS, row) & CLASS_MASK)) & 1) !== 0;
}
