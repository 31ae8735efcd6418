/** Batches over a real Memory, grouped by order keys as the dispatcher does it. */
import { renderTemplate, type Template, type TemplateValues } from "../../crds/template.ts";
import type { Source } from "../../agent/collect/source.ts";
import type { Batch, OrderKey, Slice } from "../../agent/dispatcher/sink.ts";
import * as columns from "../../agent/memory/columns.ts";
import { openChunk } from "../../agent/memory/chunk.ts";
import type { Memory } from "../../agent/memory/memory.ts";
import type { Records } from "../../agent/memory/records.ts";

export interface Line {
  text: string | Uint8Array;
  seconds?: number;
  nanos?: number;
  stream?: "stdout" | "stderr" | undefined;
  level?: columns.Level;
  truncated?: boolean;
  fields?: Record<string, unknown>;
  /** 0 or left out: kept. */
  verdict?: number;
}

/** Lines of one container, in order. */
export interface Part {
  source: Source;
  lines: readonly Line[];
}

export interface MadeBatch {
  batch: Batch;
  /** Gives its memory back. */
  release(): void;
}

const STREAMS = { stdout: columns.STREAM_STDOUT, stderr: columns.STREAM_STDERR };

export function source(container = "app", over: Partial<Source> = {}): Source {
  const pod = over.pod ?? "web-1";
  return {
    ...{
      id: `${pod}-uid/${container}/0`,
      namespace: "shop",
      pod,
      uid: `${pod}-uid`,
      container,
      restart: 0,
      node: "n1",
    },
    ...over,
  };
}

/** Makes batches for one sink; its order keys live as long as this. */
export class Batches {
  readonly #memory: Memory;
  readonly #order: readonly Template[] | undefined;
  readonly #keys = new Map<string, OrderKey & { id: number }>();

  constructor(memory: Memory, order: readonly Template[] | undefined) {
    this.#memory = memory;
    this.#order = order;
  }

  make(parts: readonly Part[]): MadeBatch {
    const groups = new Map<OrderKey, Slice[]>();
    const releases: (() => void)[] = [];
    let rows = 0;
    let bytes = 0;
    for (const part of parts) {
      const { records, keys, keyColumn, release } = this.#write(part);
      releases.push(release);
      for (const { key, mask } of keys) {
        const slice = {
          source: part.source,
          records,
          from: 0,
          to: part.lines.length,
          keys: keyColumn,
          key: key.id,
          mask,
        };
        const slices = groups.get(key);
        if (slices) slices.push(slice);
        else groups.set(key, [slice]);
      }
      for (const line of part.lines) {
        if (line.verdict) continue;
        rows++;
        bytes += bytesOf(line.text).length + columns.RECORD_OVERHEAD;
      }
    }
    return {
      batch: { groups: [...groups].map(([key, slices]) => ({ key, slices })), rows, bytes },
      release: () => releases.forEach((release) => release()),
    };
  }

  #write({ source, lines }: Part): Written {
    const { words, bytes, kernels } = this.#memory;
    const cap = lines.length + 3; // columns are seldom full
    const texts = lines.map(({ text }) => bytesOf(text));
    const fields = lines.map((line) => Buffer.from(line.fields ? JSON.stringify(line.fields) : ""));
    const room = [...texts, ...fields].reduce((sum, { length }) => sum + length, 0);
    const chunk = openChunk(this.#memory, cap * (columns.ROW_BYTES + 4) + lines.length + room + 64);
    if (!chunk) throw new Error("the test's memory has no room for its batch");
    const block = chunk.take(cap * columns.ROW_BYTES);
    const verdicts = lines.some(({ verdict }) => verdict) ? chunk.take(lines.length, 1) : 0;
    const records: Records = { block, cap, count: lines.length, base: 0, chunks: [chunk], verdicts, joined: false };
    const keyed = new Map<OrderKey & { id: number }, number>();
    const byRow = this.#order?.some(({ varies }) => varies.time || varies.fields) ?? false;
    const keyColumn = byRow ? chunk.take(cap * 4) : 0;
    const lay = (content: Uint8Array): number => {
      const address = chunk.take(content.length, 1);
      bytes.set(content, address);
      return address;
    };
    for (const [row, line] of lines.entries()) {
      const set = (column: number, value: number): void => {
        words[(block >> 2) + column * cap + row] = value;
      };
      const text = texts[row]!;
      const bits = classOf(line);
      const start = lay(text);
      set(columns.START, start);
      set(columns.END, start + text.length);
      set(columns.SECONDS, line.seconds ?? 0);
      set(columns.NANOS, line.nanos ?? 0);
      const nonAscii = text.some((byte) => byte >= 0x80) ? columns.NON_ASCII : 0;
      set(columns.BITS, bits | nonAscii | (line.truncated ? columns.TRUNCATED : 0));
      set(columns.LINES, 1);
      set(columns.AT, row);
      set(columns.RAW, text.length + 40);
      const fieldsAt = line.fields ? lay(fields[row]!) : 0;
      set(columns.FIELDS_START, fieldsAt);
      set(columns.FIELDS_END, fieldsAt + (line.fields ? fields[row]!.length : 0));
      if (verdicts) bytes[verdicts + row] = line.verdict ?? 0;
      const key = this.#key(source, line);
      if (keyColumn) words[(keyColumn >> 2) + row] = key.id;
      keyed.set(key, (keyed.get(key) ?? 0) | (1 << bits));
    }
    kernels.utf8(block, cap, 0, lines.length);
    const keys = [...keyed].map(([key, mask]) => ({ key, mask: this.#order ? mask : -1 }));
    return { records, keys, keyColumn, release: () => chunk.release() };
  }

  #key(source: Source, line: Line): OrderKey & { id: number } {
    const { namespace, pod, container, node } = source;
    const { stream = "", level = "unknown", seconds = 0, fields } = line;
    const values: TemplateValues = { namespace, pod, container, node, stream, level, seconds, fields };
    const rendered = this.#order?.map((template) => renderTemplate(template, values)) ?? [];
    const name = this.#order ? rendered.join("\0") : source.id;
    let key = this.#keys.get(name);
    if (!key) this.#keys.set(name, (key = { id: this.#keys.size + 1, values: rendered, prepared: undefined }));
    return key;
  }
}

interface Written {
  records: Records;
  keys: { key: OrderKey & { id: number }; mask: number }[];
  keyColumn: number;
  release(): void;
}

function bytesOf(text: string | Uint8Array): Uint8Array {
  return typeof text === "string" ? Buffer.from(text, "utf8") : text;
}

function classOf({ stream, level = "unknown" }: Line): number {
  const streamBits = stream === undefined ? columns.STREAM_NONE : STREAMS[stream];
  return streamBits | (columns.LEVELS.indexOf(level) << columns.LEVEL_SHIFT);
}
