/** A real memory with the WebAssembly kernels, and records in it as plain objects. */
import assert from "node:assert/strict";
import type { Source } from "../../../agent/collect/source.ts";
import { openChunk } from "../../../agent/memory/chunk.ts";
import * as columns from "../../../agent/memory/columns.ts";
import { COLUMNS, LEVELS, LEVEL_SHIFT, NON_ASCII, ROW_BYTES } from "../../../agent/memory/columns.ts";
import { createMemory, type Memory } from "../../../agent/memory/memory.ts";
import { Pool } from "../../../agent/memory/pool.ts";
import { threadMilliseconds } from "../../../agent/process/deadline.ts";
import { compileProcess } from "../../../agent/process/process.ts";
import type { Step } from "../../../crds/config.ts";
import { textOf, wordOf, type Records } from "../../../agent/memory/records.ts";

export const MiB = 1024 * 1024;

export const source: Source = {
  id: "uid-1/app/0",
  namespace: "shop",
  pod: "checkout-1",
  uid: "uid-1",
  container: "app",
  restart: 0,
  node: "n1",
};

export interface Line {
  text: string | Uint8Array;
  stream?: number;
  level?: (typeof LEVELS)[number];
  seconds?: number;
  fields?: string | undefined;
}

/** A row after a step. */
export interface Outcome {
  text: Buffer;
  fields: string | undefined;
  verdict: number;
}

export class World {
  readonly memory: Memory;
  readonly pool: Pool;
  /** What each look at the processor time adds to it; undefined: it is the real one. */
  tickMs: number | undefined;
  #time = 0;
  readonly processorTime = (): number =>
    this.tickMs === undefined ? threadMilliseconds() : (this.#time += this.tickMs);

  constructor(memoryLimit = 16 * MiB) {
    this.memory = createMemory({ memoryLimit, encodeBytes: 64 * 1024 });
    this.pool = new Pool(this.memory);
  }

  /** Records in a chunk of their own, which is retained once for the caller. Equal neighbouring fields are shared. */
  records(lines: readonly Line[], verdicts?: readonly number[]): Records {
    const texts = lines.map(({ text }) => Buffer.from(text as Uint8Array));
    const bytes = texts.reduce((sum, text) => sum + text.length, 0);
    const fieldsBytes = lines.reduce((sum, { fields }) => sum + Buffer.byteLength(fields ?? ""), 0);
    const chunk = openChunk(this.memory, bytes + fieldsBytes + lines.length * (ROW_BYTES + 1) + 16);
    assert.ok(chunk, "no room for the test's own records");
    const cap = lines.length + 2;
    const put = (content: Uint8Array): number => {
      const at = chunk.take(content.length, 1);
      this.memory.bytes.set(content, at);
      return at;
    };
    let shared = { json: "", at: 0 };
    const rows = lines.map(({ stream = columns.STREAM_STDOUT, level = "unknown", seconds = 0, fields }, row) => {
      const text = texts[row]!;
      const start = put(text);
      if (fields !== undefined && (fields !== shared.json || !shared.at)) {
        shared = { json: fields, at: put(Buffer.from(fields)) };
      }
      const fieldsAt = fields === undefined ? 0 : shared.at;
      const nonAscii = text.some((byte) => byte > 127) ? NON_ASCII : 0;
      const bits = stream | (LEVELS.indexOf(level) << LEVEL_SHIFT) | nonAscii;
      const raw = text.length + 45;
      const fieldsEnd = fieldsAt + Buffer.byteLength(fields ?? "");
      return [start, start + text.length, seconds, row, bits, 1, row * 100, raw, fieldsAt, fieldsAt ? fieldsEnd : 0];
    });
    const block = chunk.take(cap * ROW_BYTES);
    rows.forEach((words, row) => {
      words.forEach((word, column) => (this.memory.words[(block >> 2) + column * cap + row] = word));
    });
    this.memory.kernels.utf8(block, cap, 0, lines.length);
    const records = { block, cap, count: lines.length, base: 1e12, chunks: [chunk], verdicts: 0, joined: false };
    if (verdicts) records.verdicts = put(Uint8Array.from(verdicts));
    return records;
  }

  outcomes(records: Records): Outcome[] {
    return Array.from({ length: records.count }, (_, row) => {
      const [start, end] = [columns.FIELDS_START, columns.FIELDS_END].map((c) => wordOf(this.memory, records, c, row));
      return {
        text: Buffer.from(textOf(this.memory, records, row)),
        fields: start ? this.memory.buffer.toString("utf8", start, end) : undefined,
        verdict: records.verdicts ? this.memory.bytes[records.verdicts + row]! : 0,
      };
    });
  }

  /** All words and verdicts of the records. */
  image(records: Records): { words: number[][]; outcomes: Outcome[] } {
    const words = Array.from({ length: COLUMNS }, (_, column) =>
      Array.from({ length: records.count }, (_, row) => wordOf(this.memory, records, column, row)),
    );
    return { words, outcomes: this.outcomes(records) };
  }

  /** What the steps make of the lines; they leave nothing behind and the input as it was. */
  run(steps: readonly Step[], lines: readonly Line[], verdicts?: readonly number[]): Outcome[] {
    const records = this.records(lines, verdicts);
    const before = this.image(records);
    const result = compileProcess(steps, this).run(source, records);
    assert.ok(result);
    const outcomes = this.outcomes(result);
    assert.deepEqual(this.image(records), before, "the input changed");
    this.release(records);
    this.release(result);
    this.assertEmpty();
    return outcomes;
  }

  release(records: Records): void {
    for (const chunk of records.chunks) chunk.release();
  }

  /** Nothing is retained any more. */
  assertEmpty(): void {
    this.pool.rest();
    assert.equal(this.memory.arena.usedBytes, 0);
  }
}
