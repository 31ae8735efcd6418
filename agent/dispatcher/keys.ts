/**
 * Order keys of one sink: what its templates make of a record. Most templates vary only with the container, the stream
 * and the level, that is with a row's class: then a key is a set of classes and no row is looked at. Where they vary with
 * time or fields, each row gets the number of its key in a column.
 */
import { renderTemplate, type Template, type TemplateValues } from "../../crds/template.ts";
import type { Source } from "../collect/source.ts";
import * as columns from "../memory/columns.ts";
import { CLASSES, CLASS_MASK, KEPT, LEVELS, LEVEL_SHIFT } from "../memory/columns.ts";
import { STREAM_MASK, STREAM_STDERR, STREAM_STDOUT } from "../memory/columns.ts";
import type { Chunk } from "../memory/chunk.ts";
import type { Memory } from "../memory/memory.ts";
import type { Pool } from "../memory/pool.ts";
import type { Records } from "../memory/records.ts";
import type { OrderKey } from "./sink.ts";

/** Keys that a sink keeps; over it, those that no record needs go, the longest unused first. */
const KEYS_MAX = 10_000;
/** Combinations of classes whose keys are remembered, by container. */
const SETS_MAX = 64;

export interface LiveKey extends OrderKey {
  readonly id: number;
  readonly name: string;
  /** A request with records of this key is on its way. */
  inFlight: boolean;
  /** Portions that carry it. */
  uses: number;
  /** It was let go of: records with these values have another one. */
  gone: boolean;
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
  /** All rows of a container have one key. */
  readonly #constant: boolean;
  readonly #keys = new Map<string, LiveKey>();
  /** Keys of `#keys` that no portion carries, the longest unused first. */
  readonly #unused = new Set<LiveKey>();
  /** What was worked out already: by container, then by the classes present. */
  readonly #sets = new Map<string, Map<number, KeySet>>();
  #nextId = 1;

  constructor(memory: Memory, pool: Pool, templates: readonly Template[] | undefined) {
    this.#memory = memory;
    this.#pool = pool;
    this.#templates = templates;
    this.#byRow = templates?.some(({ varies }) => varies.time || varies.fields) ?? false;
    this.#constant = !templates?.some(({ varies }) => varies.stream || varies.level);
  }

  /** True when a key varies with the level, so that levels must have been found. */
  get needsLevel(): boolean {
    return this.#templates?.some((template) => template.varies.level) ?? false;
  }

  get size(): number {
    return this.#keys.size;
  }

  /** The keys of rows [from, to); undefined: no room for the column. Each key's `uses` is raised; `drop` lowers it. */
  of(source: Source, records: Records, from: number, to: number): KeySet | undefined {
    return this.#byRow ? this.#rows(source, records, from, to) : this.#classes(source, records, from, to);
  }

  drop(set: KeySet): void {
    for (const { key } of set.entries) if (--key.uses === 0) this.#unused.add(key);
    set.chunk?.release();
    while (this.#keys.size > KEYS_MAX && this.#evict());
  }

  /** A container is gone: nothing of it is kept. */
  forget(source: Source): void {
    this.#sets.delete(source.id);
  }

  #classes(source: Source, records: Records, from: number, to: number): KeySet {
    const { kernels } = this.#memory;
    const present = this.#constant ? -1 : kernels.classes(records.block, records.cap, records.verdicts, from, to);
    const known = this.#sets.get(source.id)?.get(present);
    if (known?.entries.every(({ key }) => !key.gone)) {
      for (const { key } of known.entries) this.#use(key);
      return known;
    }
    const masks = new Map<LiveKey, number>();
    if (!this.#templates) masks.set(this.#key([], source.id), -1);
    else if (this.#constant) masks.set(this.#key(this.#render(this.#templates, classValues(source, 0))), -1);
    else {
      for (let bits = 0; bits < CLASSES; bits++) {
        if (!((present >>> bits) & 1)) continue;
        const key = this.#key(this.#render(this.#templates, classValues(source, bits)));
        // Two classes may have one key.
        if (masks.has(key)) key.uses--;
        masks.set(key, (masks.get(key) ?? 0) | (1 << bits));
      }
    }
    const set = { entries: [...masks].map(([key, mask]) => ({ key, mask })), column: 0, chunk: undefined };
    this.#remember(source.id, present, set);
    return set;
  }

  #remember(source: string, present: number, set: KeySet): void {
    let sets = this.#sets.get(source);
    if (!sets) {
      if (this.#sets.size >= KEYS_MAX) this.#sets.delete(this.#sets.keys().next().value!);
      this.#sets.set(source, (sets = new Map()));
    }
    if (sets.size >= SETS_MAX) sets.clear();
    sets.set(present, set);
  }

  #rows(source: Source, records: Records, from: number, to: number): KeySet | undefined {
    const { words, buffer, bytes } = this.#memory;
    const piece = this.#pool.take(records.count * 4);
    if (!piece) return undefined;
    piece.chunk.retain();
    const column = (index: number, row: number): number => words[(records.block >> 2) + index * records.cap + row]!;
    const hourly = new Map<number, LiveKey>();
    const found = new Set<LiveKey>();
    const fields = this.#templates!.some((template) => template.varies.fields);
    for (let row = from; row < to; row++) {
      if (records.verdicts && bytes[records.verdicts + row] !== KEPT) continue;
      const bits = column(columns.BITS, row);
      const hour = Math.floor((column(columns.SECONDS, row) >>> 0) / 3600);
      // Without fields, rows of one class and hour have one key.
      const short = hour * CLASSES + (bits & CLASS_MASK);
      let key = fields ? undefined : hourly.get(short);
      if (!key) {
        const values = classValues(source, bits);
        values.seconds = hour * 3600;
        const start = column(columns.FIELDS_START, row);
        if (fields && start)
          values.fields = parseFields(buffer.toString("utf8", start, column(columns.FIELDS_END, row)));
        key = this.#key(this.#render(this.#templates!, values));
        if (found.has(key)) key.uses--;
        hourly.set(short, key);
      }
      found.add(key);
      words[(piece.address >> 2) + row] = key.id;
    }
    const entries = [...found].map((key) => ({ key, mask: -1 }));
    return { entries, column: piece.address, chunk: piece.chunk };
  }

  #render(templates: readonly Template[], values: TemplateValues): string[] {
    return templates.map((template) => renderTemplate(template, values));
  }

  /** The key with these values, in use: the caller's set carries it. */
  #key(values: readonly string[], name = values.join("\0")): LiveKey {
    let key = this.#keys.get(name);
    if (!key) {
      if (this.#keys.size >= KEYS_MAX) this.#evict();
      key = { id: this.#nextId, name, values, prepared: undefined, inFlight: false, uses: 0, gone: false };
      // Kernels compare it as a signed word.
      this.#nextId = (this.#nextId + 1) & 0x7fffffff;
      this.#keys.set(name, key);
    }
    this.#use(key);
    return key;
  }

  #use(key: LiveKey): void {
    if (key.uses++ === 0) this.#unused.delete(key);
  }

  /** Lets go of the key that was unused longest; false: all are in use. */
  #evict(): boolean {
    for (const key of this.#unused) {
      if (key.inFlight) continue;
      this.#unused.delete(key);
      this.#keys.delete(key.name);
      key.gone = true;
      return true;
    }
    return false;
  }
}

function parseFields(text: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}
