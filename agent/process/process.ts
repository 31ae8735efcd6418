/**
 * Records -> Records: a pipeline's steps, compiled to one function. Rows are never removed: one that a step filters
 * gets a verdict, so that the dispatcher can account for it, and later steps leave it alone. Texts and fields that
 * change are written anew; where a row lies in its chain, how many lines and bytes it stands for never changes.
 *
 *     columns   shared with other pipelines: copied when the first text or fields change
 *     verdicts  a column of their own, made when the first row is filtered
 *
 * Pure: the same records give the same result, except where redact runs out of processor time and hides more.
 */
import type { Step } from "../../crds/config.ts";
import type { Source } from "../collect/source.ts";
import { STEPS_MAX } from "../memory/columns.ts";
import type { Records } from "../memory/records.ts";
import { addsLevel, fieldsStep } from "./fields.ts";
import { filterStep } from "./filter.ts";
import { redactStep } from "./redact.ts";
import { NoRoom, Rows, type ProcessWorld } from "./rows.ts";
import { noCounts, type StepCounts, type StepRun } from "./step.ts";

export interface Process {
  /** One per step, as the ledger names what it filtered: "0:drop". */
  readonly names: readonly string[];
  /** Levels must have been found (kernels.levels) in the records that run() is given. */
  readonly needsLevel: boolean;
  /** By step. */
  readonly counts: readonly Readonly<StepCounts>[];
  /**
   * The records as the steps leave them. The input is only borrowed and does not change; each chunk of the result is
   * retained for the caller. Undefined: the arena has no room, and nothing was kept of it.
   */
  run(source: Source, records: Records): Records | undefined;
}

/** Throws RangeError for more than STEPS_MAX steps. */
export function compileProcess(steps: readonly Step[], world: ProcessWorld): Process {
  if (steps.length > STEPS_MAX) throw new RangeError(`${steps.length} steps; at most ${STEPS_MAX}`);
  const runs = steps.map(compileStep);
  const counts = steps.map(noCounts);
  return {
    names: steps.map(({ kind }, index) => `${index}:${kind}`),
    needsLevel: steps.some(needsLevel),
    counts,
    run(source, records) {
      const rows = new Rows(world, records);
      // Of this run only: one that finds no room is made again.
      const added = steps.map(noCounts);
      try {
        if (records.count > 0) for (const [index, run] of runs.entries()) run(rows, added[index]!, source);
        const result = rows.finish();
        for (const [index, count] of added.entries()) addCounts(counts[index]!, count);
        return result;
      } catch (error) {
        rows.drop();
        if (error instanceof NoRoom) return undefined;
        throw error;
      }
    },
  };
}

/** The table of steps. */
function compileStep(step: Step, index: number): StepRun {
  switch (step.kind) {
    case "keep":
    case "drop":
      return filterStep(step, index + 1);
    case "redact":
      return redactStep(step);
    case "fields":
      return fieldsStep(step);
  }
}

function needsLevel(step: Step): boolean {
  if (step.kind === "keep" || step.kind === "drop") return step.level !== undefined;
  return step.kind === "fields" && addsLevel(step.add);
}

function addCounts(into: StepCounts, from: StepCounts): void {
  for (const name of Object.keys(into) as (keyof StepCounts)[]) into[name] += from[name];
}
