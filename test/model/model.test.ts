/**
 * The model check: real collect, decode, process and dispatcher under a virtual clock, an in-memory disk and destinations
 * that answer as the schedule says. After every act the ledger balances; at the end everything that was written arrived,
 * in order, once, or there is a reason in the books.
 *
 * A failure prints its seed and path: MODEL_SEED=… MODEL_PATH=… runs that schedule alone. SCALE=full runs ten times as many.
 */
import { test } from "node:test";
import fc from "fast-check";
import { SimWorld } from "../support/sim-world.ts";
import { acts, configOf, perform, PIPELINE, setups, SINKS, type Act, type Setup } from "./schedules.ts";

const RUNS = process.env["SCALE"] === "full" ? 10_000 : 1_000;

/** A small random generator, so that a schedule is the same each time. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 0x1_0000_0000;
  };
}

export async function runSchedule(setup: Setup, schedule: readonly Act[], seed: number): Promise<void> {
  const world = new SimWorld(generator(seed), configOf(setup));
  for (let i = 0; i < setup.containers; i++) world.addContainer();
  world.start();
  for (const act of schedule) {
    await perform(world, setup, act);
    world.check();
  }
  await world.reload(configOf(setup));
  await world.settle();
  for (const sink of SINKS) world.verify(`${PIPELINE}/${sink}`);
  await world.stop();
}

test("whatever happens to a node, every line is accounted for and arrives in order", { timeout: 120_000 }, async () => {
  const { MODEL_SEED: seed, MODEL_PATH: path } = process.env;
  await fc.assert(
    fc.asyncProperty(setups, acts, fc.nat(), runSchedule),
    { numRuns: RUNS, ...(seed ? { seed: Number(seed) } : {}), ...(path ? { path } : {}) },
  );
});
