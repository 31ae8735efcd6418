/** A file's bytes on their way through a decoder, read in pieces as collect reads them, and what a plain reading of them gives. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { Lines } from "../../../agent/collect/lines.ts";
import { decoding, type DecodeWorld } from "../../../agent/decode/decoder.ts";
import { OpenBudget } from "../../../agent/decode/open.ts";
import { openChunk } from "../../../agent/memory/chunk.ts";
import { createMemory } from "../../../agent/memory/memory.ts";
import { Pool } from "../../../agent/memory/pool.ts";
import { recordAt, textOf, type Records } from "../../../agent/memory/records.ts";

const MiB = 1024 * 1024;
const memory = createMemory({ memoryLimit: 16 * MiB, encodeBytes: MiB });
const pool = new Pool(memory);
/** The time of lines when no line has one. */
export const START_SECONDS = 1_000_000;

/** A row as these tests look at it; text in Latin-1. */
export interface Row {
  text: string;
  seconds: number;
  stream: "stdout" | "stderr" | undefined;
  truncated: boolean;
  invalid: boolean;
  at: number;
  /** Where its last part begins. */
  last: number;
  raw: number;
}

export function worldOf(maxLineBytes: number, budgetBytes = MiB): DecodeWorld {
  const counts = { invalid: 0, truncated: 0, joined: 0 };
  return { memory, pool, maxLineBytes, budget: new OpenBudget(budgetBytes), counts };
}

export class Stream {
  readonly world: DecodeWorld;
  readonly content: Buffer;
  /** Offset up to which it was read. */
  at = 0;
  now = 0;
  readonly rows: Row[] = [];
  lines: Lines;

  constructor(content: Buffer, world: DecodeWorld) {
    this.content = content;
    this.world = world;
    this.lines = this.#open();
  }

  #open(): Lines {
    return decoding(this.world).open(START_SECONDS);
  }

  /** Reads at most `length` bytes (but enough for a line) at once; `to`: up to where the file goes now. Returns the rows. */
  read(length: number, to = this.content.length, complete = to === this.content.length): Row[] {
    const { rowsRoom } = decoding(this.world);
    const n = Math.min(length, to - this.at);
    const chunk = openChunk(memory, n + (n >> 2) + rowsRoom)!;
    const from = chunk.used;
    chunk.used = from + memory.buffer.set(this.content.subarray(this.at, this.at + n), from)! || from;
    let decoded;
    try {
      decoded = this.lines.decode(chunk, from, from + n, this.at, complete && this.at + n === to, this.now);
    } finally {
      chunk.release();
    }
    this.at += decoded.consumed;
    return this.#take(decoded.records);
  }

  /** Reads on in pieces until nothing more is taken; what is read never exceeds `length` unless a line does. */
  readAll(pieces: () => number, complete = true): Row[] {
    const before = this.rows.length;
    for (let least = 1; this.at < this.content.length;) {
      const { at } = this;
      this.read(Math.max(least, pieces()), this.content.length, complete);
      // Nothing whole was in it: the next read sees more, as when a file has grown.
      if (this.at > at) least = 1;
      else if (this.at + least >= this.content.length) break;
      else least *= 2;
    }
    return this.rows.slice(before);
  }

  flush(ending: "stale" | "unended" | "all"): Row[] {
    const chunk = openChunk(memory, decoding(this.world).rowsRoom)!;
    try {
      return this.#take(this.lines.flush(chunk, this.at, this.now, ending));
    } finally {
      chunk.release();
    }
  }

  /** Forgets what is open and goes back to where it began, as a reader does that ran out of memory. */
  goBack(): void {
    const { openAt } = this.lines;
    this.lines.drop();
    this.lines = this.#open();
    this.at = Math.min(this.at, openAt);
    const length = Math.min(this.at, 16 * 1024);
    const chunk = openChunk(memory, length + 64)!;
    memory.buffer.set(this.content.subarray(this.at - length, this.at), chunk.used);
    if (length > 0) this.lines.before(chunk.used, chunk.used + length, length === this.at);
    chunk.release();
  }

  /** Nothing is held any more. */
  close(): void {
    this.lines.drop();
    pool.rest();
    assert.deepEqual([this.world.budget.bytes, this.world.budget.lines], [0, 0]);
    assert.equal(memory.arena.usedBytes, 0);
  }

  #take(records: Records | undefined): Row[] {
    if (!records) return [];
    const rows: Row[] = [];
    for (let row = 0; row < records.count; row++) {
      const { seconds, stream, truncated, invalid, at, raw, lines } = recordAt(memory, records, row);
      assert.equal(lines, 1);
      const text = textOf(memory, records, row).toString("latin1");
      rows.push({ text, seconds, stream, truncated, invalid, at, last: records.lastParts?.get(row) ?? at, raw });
    }
    for (const held of records.chunks) held.release();
    this.rows.push(...rows);
    return rows;
  }
}

/** A line as its framing has it. */
interface Framed {
  seconds: number;
  stream: "stdout" | "stderr";
  partial: boolean;
  text: string;
}

export function parseCri(line: string): Framed | undefined {
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,9})?Z (stdout|stderr) ([PF])(?::\S*)? ([^]*)$/.exec(line);
  if (!match) return undefined;
  const [, time, stream, tag, text] = match;
  return {
    ...{ seconds: Date.parse(`${time}Z`) / 1000, stream: stream as "stdout", partial: tag === "P", text: text! },
  };
}

export function parseJsonFile(line: string): Framed | undefined {
  let parsed: { log: string; stream: "stdout"; time: string };
  try {
    parsed = JSON.parse(Buffer.from(line, "latin1").toString()) as typeof parsed;
  } catch {
    return undefined;
  }
  if (typeof parsed !== "object" || typeof parsed.log !== "string") return undefined;
  const partial = !parsed.log.endsWith("\n");
  const text = Buffer.from(partial ? parsed.log : parsed.log.slice(0, -1)).toString("latin1");
  return { seconds: Math.floor(Date.parse(parsed.time) / 1000), stream: parsed.stream, partial, text };
}

/** Rows as the words of the promise say, line by line; `longMax`: source bytes over which a line is long. */
export function plainRows(
  content: Buffer,
  { maxLineBytes, longMax = 131_072, json = false }: { maxLineBytes: number; longMax?: number; json?: boolean },
): Row[] {
  const rows: Row[] = [];
  const open = new Map<string, Row>();
  const lastSeconds = new Map<string, number>();
  const source = content.toString("latin1");
  let last: number | undefined;
  const leading: Row[] = [];
  for (let at = 0; at < source.length;) {
    const newline = source.indexOf("\n", at);
    const next = newline < 0 ? source.length : newline + 1;
    const line = source.slice(at, newline < 0 ? next : newline);
    const framed = json ? (next - at > longMax ? undefined : parseJsonFile(line)) : parseCri(line);
    const cut = (text: string): { text: string; truncated: boolean } => ({
      ...{ text: text.slice(0, maxLineBytes), truncated: text.length > maxLineBytes },
    });
    const part: Row = {
      ...{
        seconds: framed?.seconds ?? last ?? START_SECONDS,
        stream: framed?.stream,
        invalid: !framed,
        at,
        last: at,
        raw: next - at,
      },
      ...cut(framed?.text ?? line),
    };
    if (newline < 0) part.truncated = true;
    if (!framed) {
      if (last === undefined) leading.push(part);
      rows.push(part);
    } else {
      last = framed.seconds;
      for (const row of leading.splice(0)) row.seconds = last;
      let joined = open.get(framed.stream);
      if (joined && framed.seconds - lastSeconds.get(framed.stream)! > 60) {
        rows.push({ ...joined, truncated: true });
        joined = undefined;
        open.delete(framed.stream);
      }
      if (joined) {
        const all = joined.text + part.text;
        joined.truncated ||= part.truncated || all.length > maxLineBytes;
        joined.text = all.slice(0, maxLineBytes);
        joined.raw += part.raw;
        joined.last = at;
      }
      lastSeconds.set(framed.stream, framed.seconds);
      if (framed.partial) open.set(framed.stream, joined ?? part);
      else {
        rows.push(joined ?? part);
        open.delete(framed.stream);
      }
    }
    at = next;
  }
  return rows;
}
