/**
 * redact: replaces what must not leave the machine, in all of the text and in the string values of fields. Rows in
 * which no rule can find anything are told by byte searches and are never looked at; the others become strings.
 */
import type { Step } from "../../crds/config.ts";
import { END, FIELDS_END, FIELDS_START, START, TRUNCATED } from "../memory/columns.ts";
import { findCards, mayHoldCard } from "./card.ts";
import { EMAIL_LITERALS, findEmails } from "./email.ts";
import { formatFields, isNested, parseFields } from "./json.ts";
import { compilePattern, MASK, parseReplacement, type Allowance } from "./pattern.ts";
import type { Rows } from "./rows.ts";
import { searchHits } from "./search.ts";
import type { StepCounts, StepRun } from "./step.ts";
import { cutText, textBytes } from "./text.ts";

type RedactStep = Extract<Step, { kind: "redact" }>;

/** A text, or all fields of a record, may grow by this much; encoders have room for a line of maxLineBytes and this. */
const GROWTH_MAX = 64 * 1024;
/** Processor time for one run (for which a chunk of 1 MiB takes some milliseconds); what is left then is masked. */
const RUN_MS_MAX = 2000;
const ALL_BYTES = 0x7fffffff;

interface Rule {
  /** A text without any of these has nothing to replace. */
  readonly needles?: readonly Uint8Array[] | undefined;
  /** Likewise a text for whose bytes this is false. */
  readonly may?: (bytes: Uint8Array, start: number, end: number) => boolean;
  readonly replace: (text: string, allowance: Allowance) => string;
}

export function redactStep(step: RedactStep): StepRun {
  const rules = [
    ...step.presets.map((preset) => PRESETS[preset]),
    ...step.patterns.map(({ matches, replacement }): Rule => {
      const pattern = compilePattern(matches);
      const parts = parseReplacement(replacement, matches);
      const needles = pattern.literals?.map((literal) => Buffer.from(literal));
      return { needles, replace: (text, allowance) => pattern.replace(text, parts, allowance) };
    }),
  ];
  return (rows, counts) => {
    const allowance = { deadline: rows.deadline(RUN_MS_MAX), charsMax: 0, replaced: 0, masked: 0 };
    redactTexts(rows, rules, allowance, counts);
    redactFields(rows, rules, allowance, counts);
    counts.redactions += allowance.replaced;
    counts.masked += allowance.masked;
  };
}

const PRESETS: Record<RedactStep["presets"][number], Rule> = {
  email: {
    needles: EMAIL_LITERALS.map((literal) => Buffer.from(literal)),
    replace: (text, allowance) => maskRanges(text, findEmails(text), allowance),
  },
  creditCard: {
    may: mayHoldCard,
    replace: (text, allowance) => maskRanges(text, findCards(text), allowance),
  },
};

function maskRanges(text: string, ranges: readonly number[], allowance: Allowance): string {
  if (ranges.length === 0) return text;
  let out = "";
  let at = 0;
  for (let i = 0; i < ranges.length; i += 2) {
    out += text.slice(at, ranges[i]) + MASK;
    at = ranges[i + 1]!;
    allowance.replaced++;
  }
  return out + text.slice(at);
}

function applyAll(rules: readonly Rule[], text: string, allowance: Allowance): string {
  for (const rule of rules) text = rule.replace(text, allowance);
  return text;
}

function redactTexts(rows: Rows, rules: readonly Rule[], allowance: Allowance, counts: StepCounts): void {
  markCandidates(rows, rules);
  const { bytes } = rows.memory;
  for (let row = 0; row < rows.count; row++) {
    if (bytes[rows.marks + row] !== 0) continue;
    counts.strings++;
    const before = rows.text(row);
    allowance.charsMax = before.length + GROWTH_MAX;
    const text = applyAll(rules, before, allowance);
    if (text === before) continue;
    const bytesMax = rows.word(END, row) - rows.word(START, row) + GROWTH_MAX;
    const fits = textBytes(text) <= bytesMax;
    rows.setText(row, fits ? text : cutText(text, bytesMax), fits ? 0 : TRUNCATED);
  }
}

/** Marks 0 the kept rows in which some rule may find something. */
function markCandidates(rows: Rows, rules: readonly Rule[]): void {
  rows.markKept();
  if (rules.some((rule) => !rule.needles && !rule.may)) return;
  const { count, marks, hits } = rows;
  const { bytes } = rows.memory;
  // 2: a candidate, which the searches that follow need not look at.
  for (const { needles = [], may } of rules) {
    for (const needle of needles) {
      searchHits(rows, needle, ALL_BYTES);
      for (let row = 0; row < count; row++) if (bytes[hits + row]) bytes[marks + row] = 2;
    }
    if (!may) continue;
    for (let row = 0; row < count; row++) {
      if (bytes[marks + row] === 0 && may(bytes, rows.word(START, row), rows.word(END, row))) bytes[marks + row] = 2;
    }
  }
  for (let row = 0; row < count; row++) bytes[marks + row] = bytes[marks + row] === 2 ? 0 : 1;
}

function redactFields(rows: Rows, rules: readonly Rule[], allowance: Allowance, counts: StepCounts): void {
  const { buffer } = rows.memory;
  // Rows of one class mostly share their fields.
  const known = new Map<number, { start: number; end: number }>();
  for (let row = 0; row < rows.count; row++) {
    const start = rows.word(FIELDS_START, row);
    if (start === 0 || !rows.kept(row)) continue;
    let range = known.get(start);
    if (!range) {
      counts.strings++;
      const before = buffer.toString("utf8", start, rows.word(FIELDS_END, row));
      const after = redactJson(before, rules, allowance);
      range = after === before ? { start, end: rows.word(FIELDS_END, row) } : putFields(rows, after);
      known.set(start, range);
    }
    if (range.start !== start) rows.setFields(row, range.start, range.end);
  }
}

function putFields(rows: Rows, json: string | undefined): { start: number; end: number } {
  if (json === undefined) return { start: 0, end: 0 };
  const bytes = Buffer.byteLength(json);
  const start = rows.take(bytes);
  rows.memory.buffer.write(json, start, "utf8");
  return { start, end: start + bytes };
}

/** The same text when nothing was found; undefined for fields that cannot be looked through, which must not go on. */
function redactJson(json: string, rules: readonly Rule[], allowance: Allowance): string | undefined {
  const fields = parseFields(json);
  const walk = new Walk(rules, allowance);
  try {
    if (fields) walk.redact(fields);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    walk.overflowed = true;
  }
  const changed = fields && !walk.overflowed ? formatFields(fields) : undefined;
  if (changed === undefined) allowance.masked++;
  return walk.changed || changed === undefined ? changed : json;
}

/** Replaces in all string values, as deep as they lie. */
class Walk {
  readonly #rules: readonly Rule[];
  readonly #allowance: Allowance;
  #grown = 0;
  changed = false;
  /** Nested too deeply. */
  overflowed = false;

  constructor(rules: readonly Rule[], allowance: Allowance) {
    this.#rules = rules;
    this.#allowance = allowance;
  }

  redact(values: Record<string, unknown> | unknown[]): void {
    for (const [key, value] of Object.entries(values)) {
      if (isNested(value)) this.redact(value);
      if (typeof value !== "string") continue;
      this.#allowance.charsMax = value.length + GROWTH_MAX;
      let text = applyAll(this.#rules, value, this.#allowance);
      if (text === value) continue;
      this.#grown += Math.max(text.length - value.length, 0);
      if (this.#grown > GROWTH_MAX) text = MASK;
      (values as Record<string, unknown>)[key] = text;
      this.changed = true;
    }
  }
}
