/**
 * fields: removes, renames and adds fields, in that order. What comes out depends on the fields that were there and, by
 * the templates, on the record's class and hour; so it is made once for all rows that share these, and they share one
 * JSON text.
 */
import type { Step } from "../../crds/config.ts";
import { renderTemplate, type Template } from "../../crds/template.ts";
import type { Source } from "../collect/source.ts";
import {
  BITS,
  CLASSES,
  CLASS_MASK,
  FIELDS_END,
  FIELDS_START,
  LEVELS,
  LEVEL_SHIFT,
  SECONDS,
  STREAM_MASK,
  STREAM_STDERR,
  STREAM_STDOUT,
} from "../memory/columns.ts";
import { fieldAt, formatFields, parseFields, removeField, setField, type Fields } from "./json.ts";
import type { Rows } from "./rows.ts";
import type { StepCounts, StepRun } from "./step.ts";

type FieldsStep = Extract<Step, { kind: "fields" }>;

/** A record's fields grow to this; what would be added beyond it is left out. */
const FIELDS_CHARS_MAX = 64 * 1024;

export function fieldsStep(step: FieldsStep): StepRun {
  const timed = Object.values(step.add).some((template) => template.varies.time);
  return (rows, counts, source) => {
    const maker = new Maker(step, rows, counts, source);
    for (let row = 0; row < rows.count; row++) {
      if (!rows.kept(row)) continue;
      const hour = timed ? Math.floor((rows.word(SECONDS, row) >>> 0) / 3600) : 0;
      const start = rows.word(FIELDS_START, row);
      const made = maker.of(start, rows.word(FIELDS_END, row), rows.word(BITS, row) & CLASS_MASK, hour);
      if (made.start !== start) rows.setFields(row, made.start, made.end);
    }
  };
}

/** Addresses of a JSON text; 0, 0: none. */
interface Range {
  readonly start: number;
  readonly end: number;
}

class Maker {
  readonly #step: FieldsStep;
  readonly #rows: Rows;
  readonly #counts: StepCounts;
  readonly #source: Source;
  /** By hour, then by the address of the fields before and the class. */
  readonly #known = new Map<number, Map<number, Range>>();

  constructor(step: FieldsStep, rows: Rows, counts: StepCounts, source: Source) {
    this.#step = step;
    this.#rows = rows;
    this.#counts = counts;
    this.#source = source;
  }

  of(start: number, end: number, bits: number, hour: number): Range {
    let known = this.#known.get(hour);
    if (!known) this.#known.set(hour, (known = new Map()));
    const key = start * CLASSES + bits;
    let made = known.get(key);
    if (!made) known.set(key, (made = this.#make(start, end, bits, hour)));
    return made;
  }

  #make(start: number, end: number, bits: number, hour: number): Range {
    const { buffer } = this.#rows.memory;
    const text = start === 0 ? "{}" : buffer.toString("utf8", start, end);
    const fields = parseFields(text);
    // Fields that cannot be read stay as they are.
    if (!fields) return { start, end };
    this.#counts.strings++;
    this.#change(fields, text.length, bits, hour);
    if (Object.keys(fields).length === 0) return { start: 0, end: 0 };
    const changed = formatFields(fields);
    if (changed === undefined || changed === text) return { start, end };
    const bytes = Buffer.byteLength(changed);
    const address = this.#rows.take(bytes);
    buffer.write(changed, address, "utf8");
    return { start: address, end: address + bytes };
  }

  #change(fields: Fields, chars: number, bits: number, hour: number): void {
    const { remove, rename, add } = this.#step;
    for (const name of remove) removeField(fields, name);
    // All are taken out before any is put in: fields may swap names.
    const renamed = Object.entries(rename).map(([from, to]) => ({ to, value: fieldAt(fields, from) }));
    for (const from of Object.keys(rename)) removeField(fields, from);
    for (const { to, value } of renamed) if (value !== undefined) setField(fields, to, value);
    const values = { ...this.#valuesOf(bits), seconds: hour * 3600, fields };
    // All are rendered before any is put in: templates see the fields as they were.
    const added = Object.entries(add).map(([name, template]) => ({ name, value: renderTemplate(template, values) }));
    for (const { name, value } of added) {
      if (value === "") continue;
      if (chars + name.length + value.length > FIELDS_CHARS_MAX) {
        this.#counts.leftOut++;
        continue;
      }
      chars += name.length + value.length;
      setField(fields, name, value.toWellFormed());
    }
  }

  #valuesOf(bits: number): Omit<Parameters<typeof renderTemplate>[1], "seconds" | "fields"> {
    const { namespace, pod, container, node } = this.#source;
    const stream = bits & STREAM_MASK;
    return {
      ...{ namespace, pod, container, node },
      stream: stream === STREAM_STDOUT ? "stdout" : stream === STREAM_STDERR ? "stderr" : "",
      level: LEVELS[bits >> LEVEL_SHIFT] ?? "unknown",
    };
  }
}

/** Whether what is added differs by level. */
export function addsLevel(add: Readonly<Record<string, Template>>): boolean {
  return Object.values(add).some((template) => template.varies.level);
}
