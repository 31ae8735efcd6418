/** A new configuration under load: only what changed restarts, nothing is lost or repeated; a bad one is refused. */
import assert from "node:assert/strict";
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { logPipeline, Place, type AgentProcess } from "../support/agent-process.ts";
import { Load, LoggingContainer } from "../support/log-writer.ts";
import { SinkServer } from "../support/sink-server.ts";
import { eventually } from "../support/wait.ts";

const LINES_PER_SECOND = 2_000;
const BATCHES_MIN = 20;

/** Batches sent so far by each sink; begins at 0 when a sink restarts. */
async function batches(agent: AgentProcess): Promise<Record<string, number>> {
  const pipelines = await agent.pipelines();
  const sinks = pipelines.flatMap((pipeline) => pipeline.sinks);
  return Object.fromEntries(
    sinks.map(({ sink, workers }) => [sink, workers.reduce((sum, worker) => sum + worker.batches, 0)]),
  );
}

interface World {
  place: Place;
  agent: AgentProcess;
  sinks: Record<"steady" | "changing", SinkServer>;
  configure: (batchSize: number) => void;
  finish: () => Promise<void>;
}

/** Two sinks under load; `configure` changes one of them. */
async function underLoad(t: TestContext, args: string[] = []): Promise<World> {
  const place = new Place(t);
  const sinks = { steady: await SinkServer.open(place), changing: await SinkServer.open(place) };
  for (const sink of Object.values(sinks)) sink.delayMs = 10;
  const configure = (batchSize: number): void =>
    place.configure(
      logPipeline({
        sinks: [
          { name: "steady", http: { url: sinks.steady.url } },
          { name: "changing", http: { url: sinks.changing.url }, dispatcher: { batchSize } },
        ],
      }),
    );
  configure(100);
  const options = { splitEvery: 97, rotateBytes: 256 * 1024 };
  const containers = ["a", "b", "c"].map((name) => new LoggingContainer(place.logsDir, name, options));
  const load = new Load(containers, LINES_PER_SECOND);
  place.after(() => load.stop());
  const agent = await place.start({ args });
  const written = (): number => containers.reduce((sum, { lines }) => sum + lines, 0);
  const finish = async (): Promise<void> => {
    load.stop();
    const bytes = containers.reduce((sum, container) => sum + container.bytes, 0);
    const ledger = await agent.ledgerWhen("all", ({ total }) => total.delivered.bytes === 2 * bytes);
    for (const { delivered } of ledger.sinks) assert.deepEqual(delivered, { lines: written(), bytes });
    assert.equal((await agent.stop()).code, 0);
    for (const { set } of Object.values(sinks)) {
      set.assertExact(containers, 0);
      assert.equal(set.repeated, 0);
    }
  };
  await eventually("load", () => sinks.steady.set.lines > 500 && sinks.changing.set.lines > 500);
  return { place, agent, sinks, configure, finish };
}

/** Changes the configuration by `act` and checks that the one sink restarted and the other did not. */
async function assertOnlyChangedRestarts(
  { agent, sinks, configure }: World,
  batchSize: number,
  act: () => unknown,
): Promise<void> {
  const before = await eventually("requests to tell a restart by", async () => {
    const sent = await batches(agent);
    return sent["changing"]! > BATCHES_MIN ? sent : undefined;
  });
  const from = agent.log.length;
  configure(batchSize);
  await act();
  const line = await agent.logged(/the configuration was reloaded/, { from });
  assert.match(line, /untouched=1 restarted=1 removed=0 added=0/);
  const after = await batches(agent);
  assert.ok(after["steady"]! >= before["steady"]!, "the unchanged sink began anew");
  assert.ok(after["changing"]! < before["changing"]!, "the changed sink did not begin anew");
  const lines = sinks.changing.set.lines;
  await eventually("deliveries of the restarted sink", () => sinks.changing.set.lines > lines + 500);
}

test("SIGHUP and POST /v1/reload under load restart only the changed sink; nothing is lost or repeated", async (t) => {
  const world = await underLoad(t);
  const { agent } = world;
  for (const batchSize of [200, 50]) {
    await assertOnlyChangedRestarts(world, batchSize, () => agent.signal("SIGHUP"));
  }
  await assertOnlyChangedRestarts(world, 400, async () => {
    const reply = await agent.get("/v1/reload", { method: "POST" });
    assert.deepEqual(reply, { reloaded: true, problems: [] });
  });
  const before = await batches(agent);
  const from = agent.log.length;
  agent.signal("SIGHUP");
  assert.match(
    await agent.logged(/the configuration was reloaded/, { from }),
    /untouched=2 restarted=0 removed=0 added=0/,
  );
  const after = await batches(agent);
  assert.ok(after["changing"]! >= before["changing"]!, "an unchanged configuration restarted a sink");
  await world.finish();
});

test("with --watch a changed file is taken up by itself, written in place or replaced by rename", async (t) => {
  const world = await underLoad(t, ["--watch"]);
  const { place } = world;
  await assertOnlyChangedRestarts(world, 200, () => {});
  const replaced = `${place.configFile}.new`;
  await assertOnlyChangedRestarts(world, 50, () => {
    renameSync(place.configFile, replaced);
    renameSync(replaced, place.configFile);
  });
  await world.finish();
});

test("with --watch a file in a directory is taken up, also by the swapped link of a mounted ConfigMap", async (t) => {
  const place = new Place(t);
  const sink = await SinkServer.open(place);
  const pipeline = (batchSize: number): string =>
    JSON.stringify(logPipeline({ dispatcher: { batchSize }, sinks: [{ name: "http", http: { url: sink.url } }] }));
  // As a ConfigMap is mounted: pipeline.yaml -> ..data/pipeline.yaml, ..data -> ..1
  mkdirSync(place.configFile);
  const write = (version: number): void => {
    mkdirSync(join(place.configFile, `..${version}`));
    writeFileSync(join(place.configFile, `..${version}`, "pipeline.yaml"), pipeline(100 * version));
    symlinkSync(`..${version}`, join(place.configFile, "..data.new"));
    renameSync(join(place.configFile, "..data.new"), join(place.configFile, "..data"));
  };
  write(1);
  symlinkSync("..data/pipeline.yaml", join(place.configFile, "pipeline.yaml"));
  const agent = await place.start({ args: ["--watch"] });
  write(2);
  assert.match(await agent.logged(/the configuration was reloaded/), /untouched=0 restarted=1 removed=0 added=0/);
  const from = agent.log.length;
  writeFileSync(
    join(place.configFile, "more.yaml"),
    JSON.stringify(logPipeline({ sinks: [{ name: "out", stdout: {} }] }, "more")),
  );
  assert.match(
    await agent.logged(/the configuration was reloaded/, { from }),
    /untouched=1 restarted=0 removed=0 added=1/,
  );
});

test("a bad configuration is refused in one line with file, line and field; the old one keeps running", async (t) => {
  const world = await underLoad(t);
  const { agent, place, sinks } = world;
  const before = await batches(agent);
  const bad = logPipeline({ sinks: [{ name: "steady", http: { url: sinks.steady.url, colour: "red" } }] });
  writeFileSync(place.configFile, JSON.stringify(bad));
  const from = agent.log.length;
  agent.signal("SIGHUP");
  await agent.logged(/the new configuration is refused, the old one keeps running/, { from });
  const said = agent.log.slice(from).filter((line) => !/ (info|warn) /.test(line));
  const known = "known are url, method, format, headers, auth, requestTimeout";
  assert.deepEqual(said, [`${place.configFile}:1: spec.sinks[0].http.colour: is no known field here; ${known}`]);
  const reply = await agent.get<{ reloaded: boolean; problems: { path: string }[] }>("/v1/reload", { method: "POST" });
  assert.deepEqual([reply.reloaded, reply.problems.map(({ path }) => path)], [false, ["spec.sinks[0].http.colour"]]);
  const lines = sinks.changing.set.lines;
  await eventually("deliveries by the old configuration", () => sinks.changing.set.lines > lines + 500);
  const after = await batches(agent);
  for (const name of ["steady", "changing"]) assert.ok(after[name]! >= before[name]!, `${name} began anew`);
  await world.finish();
});
