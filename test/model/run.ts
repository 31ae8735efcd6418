/** One schedule of the model check, from an empty node to the final count. */
import { SimWorld } from "../support/sim-world.ts";
import { configOf, perform, PIPELINE, SINKS, type Act, type Setup } from "./schedules.ts";

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
