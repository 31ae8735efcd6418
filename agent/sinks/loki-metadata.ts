/**
 * Structured metadata: rendered once per source and class where the templates do not vary more, else row by row. Rows
 * that follow each other with the same metadata are one run, which one call of a kernel writes.
 */
import type { Buffer } from "node:buffer";
import { renderTemplate, type Template, type TemplateValues } from "../../crds/template.ts";
import type { Source } from "../collect/source.ts";
import type { Slice } from "../dispatcher/sink.ts";
import { BITS, CLASSES, CLASS_MASK, FIELDS_END, FIELDS_START, SECONDS } from "../memory/columns.ts";
import type { Memory } from "../memory/memory.ts";
import { wordOf, type Records } from "../memory/records.ts";
import { counts } from "./body.ts";
import { levelOf, streamOf, Tails } from "./tails.ts";

/** Half of what Loki takes by default for one entry (max_structured_metadata_size); what does not fit is left out. */
const ENTRY_BYTES_MAX = 32 * 1024;

export interface Run {
  readonly from: number;
  readonly to: number;
  readonly meta: Buffer;
}

type Pairs = readonly (readonly [string, string])[];

export class Metadata {
  readonly #templates: readonly (readonly [string, Template])[];
  readonly #encode: (pairs: Pairs) => Buffer;
  readonly #byClass: boolean;
  readonly #byRow: boolean;
  readonly #byField: boolean;
  readonly #tails: Tails;

  constructor(templates: Readonly<Record<string, Template>>, encode: (pairs: Pairs) => Buffer) {
    this.#templates = Object.entries(templates).sort(([a], [b]) => (a < b ? -1 : 1));
    this.#encode = encode;
    const varies = this.#templates.map(([, template]) => template.varies);
    this.#byField = varies.some(({ fields }) => fields);
    this.#byRow = this.#byField || varies.some(({ time }) => time);
    this.#byClass = varies.some(({ stream, level }) => stream || level);
    this.#tails = new Tails((source, bits) => this.#render(valuesOf(source, bits)));
  }

  get needsLevel(): boolean {
    return this.#templates.some(([, { varies }]) => varies.level);
  }

  /** All rows of the slice, in runs of equal metadata. */
  runs(memory: Memory, slice: Slice): Run[] {
    const { source, from, to } = slice;
    if (!this.#byRow && !this.#byClass) return [{ from, to, meta: this.#tails.of(source, 0) }];
    const runs: { from: number; to: number; meta: Buffer }[] = [];
    const hourly = new Map<number, Buffer>();
    for (let row = from; row < to; row++) {
      if (!counts(memory, slice, row)) continue;
      const meta = this.#ofRow(memory, slice, row, hourly);
      const last = runs.at(-1);
      if (last && (last.meta === meta || last.meta.equals(meta))) last.to = row + 1;
      else runs.push({ from: row, to: row + 1, meta });
    }
    return runs;
  }

  #ofRow(memory: Memory, { source, records }: Slice, row: number, hourly: Map<number, Buffer>): Buffer {
    const bits = wordOf(memory, records, BITS, row) & CLASS_MASK;
    if (!this.#byRow) return this.#tails.of(source, bits);
    const seconds = wordOf(memory, records, SECONDS, row) >>> 0;
    const values = { ...valuesOf(source, bits), seconds };
    if (this.#byField) return this.#render({ ...values, fields: fieldsOf(memory, records, row) });
    // Without fields, rows of one class and hour have the same.
    const short = Math.floor(seconds / 3600) * CLASSES + bits;
    let meta = hourly.get(short);
    if (!meta) hourly.set(short, (meta = this.#render(values)));
    return meta;
  }

  #render(values: TemplateValues): Buffer {
    let room = ENTRY_BYTES_MAX;
    const pairs: [string, string][] = [];
    for (const [name, template] of this.#templates) {
      const value = renderTemplate(template, values);
      const bytes = name.length + value.length * 3;
      if (value === "" || bytes > room) continue;
      room -= bytes;
      pairs.push([name, value]);
    }
    return this.#encode(pairs);
  }
}

function fieldsOf(memory: Memory, records: Records, row: number): Record<string, unknown> | undefined {
  const start = wordOf(memory, records, FIELDS_START, row);
  if (start === 0) return undefined;
  const end = wordOf(memory, records, FIELDS_END, row);
  return JSON.parse(memory.buffer.toString("utf8", start, end)) as Record<string, unknown>;
}

function valuesOf(source: Source, bits: number): TemplateValues {
  const { namespace, pod, container, node } = source;
  return {
    namespace,
    pod,
    container,
    node,
    stream: streamOf(bits),
    level: levelOf(bits),
    seconds: 0,
    fields: undefined,
  };
}
