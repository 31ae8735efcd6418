/**
 * Structured metadata: rendered once per source and class where the templates do not vary more, else row by row. Rows
 * that follow each other with the same metadata are one run, which one call of a kernel writes.
 */
import type { Buffer } from "node:buffer";
import { renderTemplate, type Template, type TemplateValues } from "../../crds/template.ts";
import type { Source } from "../collect/source.ts";
import type { Slice } from "../dispatcher/sink.ts";
import { BITS, CLASS_MASK } from "../memory/columns.ts";
import type { Memory } from "../memory/memory.ts";
import { recordAt, wordOf } from "../memory/records.ts";
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
  readonly #tails: Tails;

  constructor(templates: Readonly<Record<string, Template>>, encode: (pairs: Pairs) => Buffer) {
    this.#templates = Object.entries(templates).sort(([a], [b]) => (a < b ? -1 : 1));
    this.#encode = encode;
    const varies = this.#templates.map(([, template]) => template.varies);
    this.#byRow = varies.some(({ time, fields }) => time || fields);
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
    for (let row = from; row < to; row++) {
      if (!counts(memory, slice, row)) continue;
      const meta = this.#byRow ? this.#ofRow(memory, slice, row) : this.#tails.of(source, classOf(memory, slice, row));
      const last = runs.at(-1);
      if (last && (last.meta === meta || last.meta.equals(meta))) last.to = row + 1;
      else runs.push({ from: row, to: row + 1, meta });
    }
    return runs;
  }

  #ofRow(memory: Memory, { source, records }: Slice, row: number): Buffer {
    const { seconds, fields } = recordAt(memory, records, row);
    const bits = wordOf(memory, records, BITS, row) & CLASS_MASK;
    return this.#render({ ...valuesOf(source, bits), seconds, fields });
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

function classOf(memory: Memory, { records }: Slice, row: number): number {
  return wordOf(memory, records, BITS, row) & CLASS_MASK;
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
