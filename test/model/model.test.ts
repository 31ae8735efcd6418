/**
 * The model check: real collect, decode, process and dispatcher under a virtual clock, an in-memory disk and destinations
 * that answer as the schedule says. After every act the ledger balances; at the end everything that was written arrived,
 * in order, once, or there is a reason in the books.
 *
 * A failure prints its seed and path: MODEL_SEED=… MODEL_PATH=… runs that schedule alone. SCALE=full runs ten times as many.
 */
import { test } from "node:test";
import fc from "fast-check";
import { runSchedule } from "./run.ts";
import { acts, setups } from "./schedules.ts";

const RUNS = process.env["SCALE"] === "full" ? 10_000 : 1_000;

test("whatever happens to a node, every line is accounted for and arrives in order", { timeout: 120_000 }, async () => {
  const { MODEL_SEED: seed, MODEL_PATH: path } = process.env;
  await fc.assert(fc.asyncProperty(setups, acts, fc.nat(), runSchedule), {
    numRuns: RUNS,
    ...(seed ? { seed: Number(seed) } : {}),
    ...(path ? { path } : {}),
  });
});
