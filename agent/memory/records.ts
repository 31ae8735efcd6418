/**
 * Records: rows of columns (see columns.ts) together with what keeps their texts alive. Readers for slow paths and
 * tests; the hot path reads the columns in kernels.
 */
import {
  AT,
  BITS,
  END,
  FIELDS_END,
  FIELDS_START,
  INVALID,
  LEVELS,
  LEVEL_SHIFT,
  LINES,
  NANOS,
  RAW,
  SECONDS,
  START,
  STREAM_MASK,
  STREAM_STDERR,
  STREAM_STDOUT,
  TRUNCATED,
  type Level,
} from "./columns.ts";
import type { Chunk } from "./chunk.ts";
import type { Memory } from "./memory.ts";

export interface Records {
  /** Address of the columns, and how many rows they have room for. */
  block: number;
  cap: number;
  /** Rows that are filled. */
  count: number;
  /** Linear offset in the chain that AT is relative to. A double: chains grow beyond 32 bits. */
  base: number;
  /** The chunks that columns and texts lie in, each retained once. */
  chunks: readonly Chunk[];
  /** Address of one verdict byte per row; 0: all are kept. */
  verdicts: number;
  /** Some rows are JOINED. */
  joined: boolean;
  /** By row, where the last part of a JOINED one begins in the chain: there it came out, and no line of its stream before that is new. */
  lastParts?: ReadonlyMap<number, number>;
}

/** A row as an object. */
export interface PlainRecord {
  text: string; // bytes that are no UTF-8 as U+FFFD
  seconds: number; // since 1970
  nanos: number;
  stream: "stdout" | "stderr" | undefined;
  level: Level;
  truncated: boolean;
  invalid: boolean;
  lines: number;
  at: number; // linear offset in the chain
  raw: number; // bytes in the source files
  fields: Record<string, unknown> | undefined;
}

/** The signed word of a column. */
export function wordOf(memory: Memory, records: Records, column: number, row: number): number {
  return memory.words[(records.block >> 2) + column * records.cap + row]!;
}

/** The bytes of a row's text; a view, so valid only while its chunk is. */
export function textOf(memory: Memory, records: Records, row: number): Buffer {
  return memory.buffer.subarray(wordOf(memory, records, START, row), wordOf(memory, records, END, row));
}

export function recordAt(memory: Memory, records: Records, row: number): PlainRecord {
  const word = (column: number): number => wordOf(memory, records, column, row);
  const bits = word(BITS);
  const stream = bits & STREAM_MASK;
  const fields = memory.buffer.subarray(word(FIELDS_START), word(FIELDS_END));
  return {
    text: textOf(memory, records, row).toString(),
    seconds: word(SECONDS) >>> 0,
    nanos: word(NANOS),
    stream: stream === STREAM_STDOUT ? "stdout" : stream === STREAM_STDERR ? "stderr" : undefined,
    level: LEVELS[(bits >> LEVEL_SHIFT) & 7]!,
    truncated: (bits & TRUNCATED) !== 0,
    invalid: (bits & INVALID) !== 0,
    lines: word(LINES),
    at: records.base + word(AT),
    raw: word(RAW),
    fields: word(FIELDS_START) === 0 ? undefined : (JSON.parse(fields.toString()) as Record<string, unknown>),
  };
}
