/**
 * keep and drop: rows that do not stay get a verdict, the columns stay as they are. Conditions are met in rising order
 * of cost, each only by the rows that met those before it; a row becomes a string only for a pattern, and only when it
 * holds a literal of that pattern.
 */
import type { Step } from "../../crds/config.ts";
import {
  BITS,
  CLASSES,
  CLASS_MASK,
  END,
  FIELDS_END,
  FIELDS_START,
  LEVELS,
  LEVEL_SHIFT,
  NON_ASCII,
  START,
} from "../memory/columns.ts";
import { fieldAt, fieldText, parseFields } from "./json.ts";
import { compilePattern, type Pattern } from "./pattern.ts";
import type { Rows } from "./rows.ts";
import { markHits } from "./search.ts";
import type { StepCounts, StepRun } from "./step.ts";

type FilterStep = Extract<Step, { kind: "keep" | "drop" }>;

/** keep and drop look at this much of a text. */
const HEAD_BYTES = 64 * 1024;
/** Processor time for one pattern in one run (for which a chunk of 1 MiB takes some milliseconds). */
const RUN_MS_MAX = 1000;

export function filterStep(step: FilterStep, verdict: number): StepRun {
  const conditions = conditionsOf(step);
  return (rows, counts) => {
    // From here on, mark 0: all conditions held so far.
    rows.markKept();
    for (const condition of conditions) condition(rows, counts);
    const { bytes } = rows.memory;
    const drop = step.kind === "drop";
    for (let row = 0; row < rows.count; row++) {
      const met = bytes[rows.marks + row] === 0;
      if (met !== drop || !(drop || rows.kept(row))) continue;
      rows.filter(row, verdict);
      counts.filtered++;
    }
  };
}

/** Marks with 1 what it does not hold for, among the rows marked 0. */
type Condition = (rows: Rows, counts: StepCounts) => void;

function conditionsOf(step: FilterStep): Condition[] {
  const { level, text, field } = step;
  // The mark of rows that a slow pattern did not come to: none of them is filtered for it.
  const undecided = step.kind === "keep" ? 0 : 1;
  const conditions: Condition[] = [];
  if (level) conditions.push(levelCondition(level));
  if (text?.contains !== undefined) conditions.push(containsCondition(text.contains));
  if (text?.matches !== undefined) conditions.push(matchesCondition(compilePattern(text.matches), undecided));
  if (field) conditions.push(fieldCondition(field, undecided));
  return conditions;
}

function levelCondition(levels: readonly string[]): Condition {
  let wanted = 0;
  for (let bits = 0; bits < CLASSES; bits++) {
    if (levels.includes(LEVELS[bits >> LEVEL_SHIFT] ?? "")) wanted |= 1 << bits;
  }
  return ({ memory, block, cap, marks, count }) => {
    const { bytes, words } = memory;
    const column = (block >> 2) + BITS * cap;
    for (let row = 0; row < count; row++) {
      if (!((wanted >>> (words[column + row]! & CLASS_MASK)) & 1)) bytes[marks + row] = 1;
    }
  };
}

function containsCondition(text: string): Condition {
  const needles = [Buffer.from(text.toWellFormed())];
  return (rows) => markHits(rows, needles, HEAD_BYTES);
}

function matchesCondition(pattern: Pattern, undecided: number): Condition {
  const needles = pattern.literals?.map((literal) => Buffer.from(literal));
  return (rows, counts) => {
    if (needles) markHits(rows, needles, HEAD_BYTES);
    const { bytes } = rows.memory;
    const deadline = rows.deadline(RUN_MS_MAX);
    for (let row = 0; row < rows.count; row++) {
      if (bytes[rows.marks + row] !== 0) continue;
      const head = headOf(rows, row);
      counts.strings++;
      if (deadline.passed(head.length)) {
        counts.undecided++;
        bytes[rows.marks + row] = undecided;
      } else if (!pattern.test(head)) bytes[rows.marks + row] = 1;
    }
  };
}

/** The text's first HEAD_BYTES, cut between characters; bytes that are no UTF-8 read as U+FFFD. */
function headOf(rows: Rows, row: number): string {
  const { buffer } = rows.memory;
  const start = rows.word(START, row);
  const whole = rows.word(END, row);
  let end = Math.min(whole, start + HEAD_BYTES);
  if (!(rows.word(BITS, row) & NON_ASCII)) return buffer.toString("latin1", start, end);
  // At most three bytes of a character that goes on behind the cut.
  for (let back = 0; back < 3 && end < whole && (buffer[end]! & 0xc0) === 0x80; back++) end--;
  return buffer.toString("utf8", start, end);
}

function fieldCondition(field: NonNullable<FilterStep["field"]>, undecided: number): Condition {
  const pattern = field.matches === undefined ? undefined : compilePattern(field.matches);
  return (rows, counts) => {
    const { bytes, buffer } = rows.memory;
    const deadline = rows.deadline(RUN_MS_MAX);
    const markOf = (start: number, end: number): number => {
      counts.strings++;
      const fields = parseFields(buffer.toString("utf8", start, end));
      const text = fields && fieldText(fieldAt(fields, field.name));
      if (text === undefined) return 1;
      if (!pattern) return text === field.equals ? 0 : 1;
      const head = text.slice(0, HEAD_BYTES);
      if (!deadline.passed(head.length)) return pattern.test(head) ? 0 : 1;
      counts.undecided++;
      return undecided;
    };
    // Rows of one class mostly share their fields.
    const known = new Map<number, number>();
    for (let row = 0; row < rows.count; row++) {
      if (bytes[rows.marks + row] !== 0) continue;
      const start = rows.word(FIELDS_START, row);
      let mark = start === 0 ? 1 : known.get(start);
      if (mark === undefined) known.set(start, (mark = markOf(start, rows.word(FIELDS_END, row))));
      bytes[rows.marks + row] = mark;
    }
  };
}
