/** Records over a real Memory, laid out as decode does, for tests of what the dispatcher does with them. */
import type { Source } from "../../../agent/collect/source.ts";
import { openChunk } from "../../../agent/memory/chunk.ts";
import * as columns from "../../../agent/memory/columns.ts";
import { createMemory, type Memory } from "../../../agent/memory/memory.ts";
import type { Pool } from "../../../agent/memory/pool.ts";
import type { Records } from "../../../agent/memory/records.ts";

export interface Row {
  text: string;
  stream?: "stdout" | "stderr";
  level?: columns.Level;
  /** Since 1970. */
  seconds?: number;
  fields?: Record<string, unknown>;
  /** Source bytes; by default those of a CRI line. */
  raw?: number;
  /** Linear offset; by default behind the row before. */
  at?: number;
  joined?: boolean;
  /** Linear offset of the last part of a joined one. */
  lastAt?: number;
  verdict?: number;
}

export const MEMORY_LIMIT = 16 * 1024 * 1024;

export function testMemory(memoryLimit = MEMORY_LIMIT): Memory {
  return createMemory({ memoryLimit, encodeBytes: memoryLimit / 8 });
}

export function testSource(name: string, restart = 0): Source {
  const uid = `uid-${name}`;
  return { id: `${uid}/app/${restart}`, namespace: "shop", pod: name, uid, container: "app", restart, node: "n1" };
}

/** What a row takes in its file. */
export function rawOf({ text, raw }: Row): number {
  return raw ?? Buffer.byteLength(text) + 46;
}

/**
 * Lays rows that begin at linear offset `base`, in a chunk of their own or a pool's; the caller releases `chunks`. undefined: no room.
 */
export function lay(memory: Memory, base: number, rows: readonly Row[], pool?: Pool): Records | undefined {
  const cap = Math.max(1, rows.length);
  const texts = rows.map(({ text }) => Buffer.from(text));
  const fields = rows.map((row) => (row.fields ? Buffer.from(JSON.stringify(row.fields)) : undefined));
  const room = [...texts, ...fields].reduce((sum, part) => sum + (part?.length ?? 0), 0);
  const size = cap * (columns.ROW_BYTES + 1) + room;
  const piece = pool?.take(size);
  const chunk = pool ? piece?.chunk.retain() : openChunk(memory, size);
  if (!chunk) return undefined;
  const block = piece?.address ?? chunk.address;
  let next = block + cap * columns.ROW_BYTES;
  const put = (bytes: Uint8Array): number => {
    memory.bytes.set(bytes, next);
    next += bytes.length;
    return next - bytes.length;
  };
  const filtered = rows.some(({ verdict }) => verdict);
  const verdicts = filtered ? put(Uint8Array.from(rows, ({ verdict }) => verdict ?? 0)) : 0;
  let at = base;
  for (const [row, given] of rows.entries()) {
    at = given.at ?? at;
    const raw = rawOf(given);
    const start = put(texts[row]!);
    const fieldsAt = fields[row] ? put(fields[row]) : 0;
    const stream = given.stream === "stderr" ? columns.STREAM_STDERR : columns.STREAM_STDOUT;
    const level = columns.LEVELS.indexOf(given.level ?? "unknown") << columns.LEVEL_SHIFT;
    const values = [
      ...[start, start + texts[row]!.length, given.seconds ?? 1_700_000_000, 0],
      ...[stream | level | (given.joined ? columns.JOINED : 0), 1, at - base, raw],
      ...[fieldsAt, fieldsAt + (fields[row]?.length ?? 0)],
    ];
    values.forEach((value, column) => (memory.words[(block >> 2) + column * cap + row] = value));
    at += raw;
  }
  const joined = rows.some((row) => row.joined);
  const lastParts = new Map(rows.flatMap(({ lastAt }, row) => (lastAt === undefined ? [] : [[row, lastAt]])));
  return { block, cap, count: rows.length, base, chunks: [chunk], verdicts, joined, lastParts };
}
