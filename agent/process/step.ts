/** What a step is to process.ts: a new one is a file that makes a StepRun and a line in its table. */
import type { Source } from "../collect/source.ts";
import type { Rows } from "./rows.ts";

/** What a step did, for metrics. All only grow. */
export interface StepCounts {
  /** Records that it filtered. */
  filtered: number;
  /** Texts and fields that a pattern was too slow to look at: their records stayed. */
  undecided: number;
  /** Pieces of texts and fields that it replaced. */
  redactions: number;
  /** Texts and fields whose rest was hidden as a whole: replacing each piece took too long or grew too much. */
  masked: number;
  /** Added fields left out because the record's fields had grown too much. */
  leftOut: number;
  /** Texts and fields that became strings: the slow path. */
  strings: number;
}

export function noCounts(): StepCounts {
  return { filtered: 0, undecided: 0, redactions: 0, masked: 0, leftOut: 0, strings: 0 };
}

/** Runs a step over the kept rows. Throws NoRoom. */
export type StepRun = (rows: Rows, counts: StepCounts, source: Source) => void;
