/**
 * Order keys of one sink: what its templates make of a record. Most templates vary only with the container, the stream
 * and the level, that is with a row's class: then a key is a set of classes and no row is looked at. Where they vary with
 * time or fields, each row gets the number of its key in a column.
 */
import { renderTemplate, type Template, type TemplateValues } from "../../crds/template.ts";
import type { Source } from "../collect/source.ts";
import * as columns from "../memory/columns.ts";
import { CLASSES, CLASS_MASK, LEVELS, LEVEL_SHIFT, STREAM_MASK, STREAM_STDERR, STREAM_STDOUT } from "../memory/columns.ts";
import type { Chunk } from "../memory/chunk.ts";
import type { Memory } from "../memory/memory.ts";
import type { Pool } from "../memory/pool.ts";
import type { Records } from "../memory/records.ts";
import type { OrderKey } from "./sink.ts";

/** Keys that a sink keeps; over it, those that are not in use go, oldest first. */
const KEYS_MAX = 10_000;

export interface LiveKey extends OrderKey {
  readonly id: number;
  /** A request with records of this key is on its way. */
  inFlight: boolean;
  /** Portions that carry it. */
  uses: number;
}

/** The keys of some rows: each with the row filter that selects its rows. */
export interface KeySet {
  readonly entries: readonly { key: LiveKey; mask: number }[];
  /** Address of a column with the key's id for each row; 0: the masks decide. */
  readonly column: number;
  readonly chunk: Chunk | undefined;
}

export const STREAM_NAMES = { 0: "", [STREAM_STDOUT]: "stdout", [STREAM_STDERR]: "stderr" } as Record<number, string>;

/** Values of templates for one class of rows of a source. */
export function classValues(source: Source, bits: number): TemplateValues {
  const level = (bits & CLASS_MASK) >> LEVEL_SHIFT;
  return {
    namespace: source.namespace,
    pod: source.pod,
    container: source.container,
    node: source.node,
    stream: STREAM_NAMES[bits & STREAM_MASK] ?? "",
    level: LEVELS[level] ?? "unknown",
    seconds: 0,
    fields: undefined,
  };
}

export class Keys {
  readonly #memory: Memory;
  readonly #pool: Pool;
  readonly #templates: readonly Template[] | undefined;
  readonly #byRow: boolean;
  readonly #keys = new Map<string, LiveKey>();
  /** Class masks already worked out: by source id and the classes present. */
  readonly #byClass = new Map<string, KeySet>();
  #nextId = 1;

  constructor(memory: Memory, pool: Pool, templates: readonly Template[] | undefined) {
    this.#memory = memory;
    this.#pool = pool;
    this.#templates = templates;
    this.#byRow = templates?.some((template) => template.varies.time || template.varies.fields) ?? false;
  }

  /** True when a key varies with the level, so that levels must have been found. */
  get needsLevel(): boolean {
    return this.#templates?.some((template) => template.varies.level) ?? false;
  }

  /** The keys of rows [from, to); undefined: no room for the column. Each key's `uses` is raised; `drop` lowers it. */
  of(source: Source, records: Records, from: number, to: number): KeySet | undefined {
    const set = this.#byRow ? this.#rows(source, records, from, to) : this.#classes(source, records, from, to);
    if (set) for (const { key } of set.entries) key.uses++;
    return set;
  }

  drop(set: KeySet): void {
    for (const { key } of set.entries) key.uses--;
    set.chunk?.release();
  }

  /** A container is gone: nothing of it is kept. */
  forget(source: Source): void {
    for (const name of this.#byClass.keys()) if (name.startsWith(`${source.id} `)) this.#byClass.delete(name);
  }

  #classes(source: Source, records: Records, from: number, to: number): KeySet {
    const { kernels } = this.#memory;
    const present = this.#templates
      ? kernels.classes(records.block, records.cap, records.verdicts, from, to)
      : -1;
    const name = `${source.id} ${present}`;
    const known = this.#byClass.get(name);
    if (known) return known;
    const masks = new Map<LiveKey, number>();
    if (!this.#templates) masks.set(this.#key([], source.id), -1);
    else {
      for (let bits = 0; bits < CLASSES; bits++) {
        if (!((present >>> bits) & 1)) continue;
        const values = classValues(source, bits);
        const key = this.#key(this.#templates.map((template) => renderTemplate(template, values)));
        masks.set(key, (masks.get(key) ?? 0) | (1 << bits));
      }
    }
    const set = { entries: [...masks].map(([key, mask]) => ({ key, mask })), column: 0, chunk: undefined };
    if (this.#byClass.size >= KEYS_MAX) this.#byClass.delete(this.#byClass.keys().next().value!);
    this.#byClass.set(name, set);
    return set;
  }

  #rows(source: Source, records: Records, from: number, to: number): KeySet | undefined {
    const { words, buffer, bytes } = this.#memory;
    const piece = this.#pool.take(records.count * 4);
    if (!piece) return undefined;
    const column = (index: number, row: number): number => words[(records.block >> 2) + index * records.cap + row]!;
    const hourly = new Map<number, LiveKey>();
    const found = new Set<LiveKey>();
    const fields = this.#templates!.some((template) => template.varies.fields);
    for (let row = from; row < to; row++) {
      if (records.verdicts && bytes[records.verdicts + row] !== 0) continue;
      const bits = column(columns.BITS, row);
      const hour = Math.floor((column(columns.SECONDS, row) >>> 0) / 3600);
      // Without fields, rows of one class and hour have one key.
      const short = hour * CLASSES + (bits & CLASS_MASK);
      let key = fields ? undefined : hourly.get(short);
      if (!key) {
        const values = classValues(source, bits);
        values.seconds = hour * 3600;
        const start = column(columns.FIELDS_START, row);
        if (fields && start) values.fields = parseFields(buffer.toString("utf8", start, column(columns.FIELDS_END, row)));
        key = this.#key(this.#templates!.map((template) => renderTemplate(template, values)));
        hourly.set(short, key);
      }
      found.add(key);
      words[(piece.address >> 2) + row] = key.id;
    }
    const entries = [...found].map((key) => ({ key, mask: -1 }));
    return { entries, column: piece.address, chunk: piece.chunk.retain() };
  }

  #key(values: readonly string[], name = values.join("\0")): LiveKey {
    let key = this.#keys.get(name);
    if (key) return key;
    if (this.#keys.size >= KEYS_MAX) this.#evict();
    key = { id: this.#nextId++, values, prepared: undefined, inFlight: false, uses: 0 };
    this.#keys.set(name, key);
    return key;
  }


  #evict(): void {
    for (const [name, key] of this.#keys) {
      if (key.uses > 0 || key.inFlight) continue;
      this.#keys.delete(name);
      for (const [short, set] of this.#byClass)
        if (set.entries.some((entry) => entry.key === key)) this.#byClass.delete(short);
      return;
    }
  }
}

function parseFields(text: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}
