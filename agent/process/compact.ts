/**
 * Memory is counted in what is pinned: one kept line would hold a whole chunk. Where little is kept, it moves to room
 * of its own and the chunk is free again.
 */
import { END, FIELDS_END, FIELDS_START, KEPT, ROW_BYTES, START } from "../memory/columns.ts";
import type { Chunk } from "../memory/chunk.ts";
import { TALLY } from "../memory/kernels.ts";
import type { Memory } from "../memory/memory.ts";
import { wordOf, type Records } from "../memory/records.ts";
import type { ProcessWorld } from "./rows.ts";

/**
 * Records with the same kept rows that pin less, if it is worth it: when columns, kept texts and fields are under half
 * of `pinnedBytes`, they are copied together. Else chunks in which nothing of a kept row lies are left out. Each chunk
 * of the result is retained for the caller; the input is only borrowed. Texts of rows that are not kept are not there
 * any more. Never undefined: without room to copy, the input is good enough.
 *
 * `pinnedBytes`: what the rows hold of their chunks; by default the bytes they take in the source files (that is how
 * they were read) and their columns.
 */
export function compact(
  world: ProcessWorld,
  records: Records,
  pinnedBytes: number = sourceBytes(world.memory, records) + records.count * ROW_BYTES,
): Records {
  const { kernels } = world.memory;
  const { block, cap, verdicts, count } = records;
  const texts = kernels.textBytes(block, cap, verdicts, 0, count);
  const copied = texts + count * (ROW_BYTES + (verdicts ? 1 : 0));
  const result = (copied * 2 < pinnedBytes && copy(world, records, copied)) || {
    ...records,
    chunks: chunksInUse(world.memory, records),
  };
  for (const chunk of result.chunks) chunk.retain();
  return result;
}

function sourceBytes({ kernels, floats }: Memory, { block, cap, count }: Records): number {
  kernels.tally(block, cap, 0, 0, count);
  return floats[(TALLY >> 3) + KEPT * 2 + 1]!;
}

/** Columns, verdicts and texts in one piece; undefined: no room. */
function copy({ memory, pool }: ProcessWorld, records: Records, bytes: number): Records | undefined {
  const { kernels } = memory;
  const { count } = records;
  const piece = pool.take(bytes);
  if (!piece) return undefined;
  const block = piece.address;
  kernels.copyColumns(records.block, records.cap, count, block, count);
  let verdicts = 0;
  let texts = block + count * ROW_BYTES;
  if (records.verdicts) {
    verdicts = texts;
    texts += count;
    memory.bytes.copyWithin(verdicts, records.verdicts, records.verdicts + count);
  }
  kernels.copyTexts(block, count, verdicts, 0, count, texts);
  return { ...records, block, cap: count, verdicts, chunks: [piece.chunk] };
}

/** The chunks that columns, verdicts, or a kept row's text or fields lie in. */
function chunksInUse(memory: Memory, records: Records): Chunk[] {
  const unseen = new Set(records.chunks);
  const chunks: Chunk[] = [];
  let last: Chunk | undefined;
  const see = (address: number): void => {
    if (last && holds(last, address)) return;
    for (const chunk of unseen) {
      if (!holds(chunk, address)) continue;
      last = chunk;
      chunks.push(chunk);
      unseen.delete(chunk);
    }
  };
  if (unseen.size === 1) return [...unseen];
  see(records.block);
  if (records.verdicts) see(records.verdicts);
  for (let row = 0; row < records.count && unseen.size > 0; row++) {
    if (records.verdicts && memory.bytes[records.verdicts + row] !== KEPT) continue;
    const start = wordOf(memory, records, START, row);
    if (wordOf(memory, records, END, row) > start) see(start);
    const fields = wordOf(memory, records, FIELDS_START, row);
    if (wordOf(memory, records, FIELDS_END, row) > fields) see(fields);
  }
  return chunks;
}

function holds(chunk: Chunk, address: number): boolean {
  return address >= chunk.address && address < chunk.end;
}
