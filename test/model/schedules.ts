/** Random schedules of what can happen to a node, as fast-check arbitraries, and how each act is carried out. */
import fc from "fast-check";
import type { Config, SinkConfig } from "../../crds/config.ts";
import { parseTemplate } from "../../crds/template.ts";
import type { Mode } from "../support/sim-sink.ts";
import { DISPATCHER, type SimWorld } from "../support/sim-world.ts";

export const PIPELINE = "ClusterLogPipeline//all";
export const SINKS = ["a", "b"] as const;

export interface Setup {
  readonly containers: number;
  readonly maxRetries: number | undefined;
  readonly queueSize: number;
  readonly batchSize: number;
  readonly drop: boolean;
  /** The template of the order key; undefined: the container. */
  readonly order: string | undefined;
  readonly dlqEnabled: boolean;
  readonly dlqBytes: number;
  readonly atomic: boolean;
}

export type Act =
  | {
      act: "write";
      container: number;
      stream: "stdout" | "stderr";
      kind: "line" | "dropped" | "poison" | "junk" | "parts";
      count: number;
      open: boolean;
    }
  | { act: "wait"; ms: number }
  | { act: "rotate" | "restart" | "delete"; container: number }
  | { act: "new container" | "stop" | "disk full" | "disk free" }
  | { act: "crash"; power: boolean }
  | { act: "mode"; sink: 0 | 1; mode: Mode; latencyMs: number; anonymous: boolean; rowsMax: number; strict: boolean }
  | { act: "reload"; batchSize: number; second: boolean };

export const setups: fc.Arbitrary<Setup> = fc.record({
  containers: fc.integer({ min: 1, max: 4 }),
  maxRetries: fc.constantFrom(undefined, undefined, 0, 2),
  queueSize: fc.constantFrom(50, 2_000),
  batchSize: fc.constantFrom(3, 50),
  drop: fc.boolean(),
  // Shared by all containers of a namespace, by all of a stream, and by row.
  order: fc.constantFrom(undefined, undefined, "{namespace}", "{stream}", "{namespace} {stream} {hour}"),
  dlqEnabled: fc.constantFrom(true, true, true, false),
  dlqBytes: fc.constantFrom(16 * 1024 * 1024, 16 * 1024 * 1024, 8_192),
  atomic: fc.boolean(),
});

const container = fc.nat(5);
const writes: fc.Arbitrary<Act> = fc.record({
  act: fc.constant("write" as const),
  container,
  stream: fc.constantFrom("stdout" as const, "stdout" as const, "stderr" as const),
  kind: fc.constantFrom("line" as const, "line" as const, "line" as const, "dropped", "poison", "junk", "parts"),
  count: fc.oneof({ weight: 3, arbitrary: fc.integer({ min: 1, max: 5 }) }, fc.integer({ min: 1, max: 400 })),
  open: fc.boolean(),
});

export const acts: fc.Arbitrary<Act[]> = fc.array(
  fc.oneof(
    { weight: 8, arbitrary: writes },
    {
      weight: 6,
      arbitrary: fc.record({ act: fc.constant("wait" as const), ms: fc.constantFrom(1, 40, 150, 700, 3_000, 9_000) }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ act: fc.constantFrom("rotate" as const, "rotate", "restart", "delete"), container }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ act: fc.constantFrom("new container" as const, "stop", "disk full", "disk free") }),
    },
    { weight: 2, arbitrary: fc.record({ act: fc.constant("crash" as const), power: fc.boolean() }) },
    {
      weight: 3,
      arbitrary: fc.record({
        act: fc.constant("mode" as const),
        sink: fc.constantFrom(0 as const, 1 as const),
        mode: fc.constantFrom<Mode[]>("accept", "accept", "retry", "hold", "lost answer", "hang", "reset"),
        latencyMs: fc.constantFrom(0, 5, 300, 4_000),
        anonymous: fc.boolean(),
        rowsMax: fc.constantFrom(Infinity, Infinity, 7),
        strict: fc.boolean(),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        act: fc.constant("reload" as const),
        batchSize: fc.constantFrom(1, 20),
        second: fc.boolean(),
      }),
    },
  ),
  { minLength: 5, maxLength: 30 },
);

/** The simulated sink takes a path or none, whatever its type. */
type SimOptions = Pick<SinkConfig & { type: "file" }, "type" | "options">;

export function configOf(setup: Setup, batchSize = setup.batchSize, sinks = 2): Config {
  const { order, atomic, maxRetries, dlqEnabled, dlqBytes } = setup;
  const options = { format: "text", ...(order === undefined ? {} : { path: parseTemplate(order) }) };
  const queueSize = Math.max(setup.queueSize, batchSize);
  const sink = (name: string): SinkConfig => ({
    name,
    ...({ type: atomic ? "file" : "http", options } as SimOptions),
    dispatcher: { ...DISPATCHER, batchSize, queueSize, maxRetries, dlqEnabled, dlqBytes },
  });
  const all = { include: [], exclude: [] };
  return {
    agent: { memoryLimit: 16 * 1024 * 1024, maxLineBytes: 16_384, maxOpenFiles: 64 },
    pipelines: [
      {
        ...{ id: PIPELINE, kind: "ClusterLogPipeline", namespace: undefined, name: "all", startAt: "Beginning" },
        selection: { namespaces: all, containers: all },
        process: setup.drop ? [{ kind: "drop", text: { contains: "drop-me" } }] : [],
        sinks: SINKS.slice(0, sinks).map(sink),
      },
    ],
  };
}

/** Carries an act out. Acts that make no sense at the moment do nothing. */
export async function perform(world: SimWorld, setup: Setup, act: Act): Promise<void> {
  switch (act.act) {
    case "write": {
      const kind = act.kind === "dropped" && !setup.drop ? "line" : act.kind;
      return world.write(act.container, act.stream, kind, act.count, act.open);
    }
    case "wait":
      await world.clock.run(act.ms);
      return;
    case "rotate":
      return world.rotate(act.container);
    case "restart":
      return world.restartContainer(act.container);
    case "delete":
      return world.deletePod(act.container);
    case "new container":
      return world.addContainer();
    case "stop":
      await world.stop();
      return world.start();
    case "disk full":
      world.disk.full = true;
      return;
    case "disk free":
      return world.freeDisk();
    case "crash":
      world.crash(act.power);
      return world.start();
    case "mode": {
      const destination = world.destination(`${PIPELINE}/${SINKS[act.sink]}`);
      const { mode, latencyMs, anonymous, rowsMax, strict } = act;
      Object.assign(destination, { mode, latencyMs, anonymous, rowsMax, strict });
      return;
    }
    case "reload":
      return world.reload(configOf(setup, act.batchSize, act.second ? 2 : 1));
  }
}
