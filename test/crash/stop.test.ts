/** SIGTERM under load: the agent sends what it has, waits, saves and ends; its successor neither loses nor repeats. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { logPipeline, Place } from "../support/agent-process.ts";
import { Load, LoggingContainer } from "../support/log-writer.ts";
import { SinkServer } from "../support/sink-server.ts";
import { eventually } from "../support/wait.ts";
import { scaled } from "./scale.ts";

const STOPS = scaled(4, 20);
const LINES_PER_SECOND = scaled(4_000, 10_000);
const BACKLOG_LINES = 20_000;
const LIFE_MS_MAX = 1_200;

test(`${STOPS} times SIGTERM under load: the agent drains and ends with 0, nothing is lost or repeated`, async (t) => {
  const place = new Place(t);
  const http = await SinkServer.open(place);
  const loki = await SinkServer.open(place);
  http.delayMs = loki.delayMs = 20;
  place.configure(
    logPipeline({
      dispatcher: { batchSize: 500 },
      sinks: [
        { name: "http", http: { url: http.url } },
        { name: "loki", loki: { url: loki.url, format: "json" } },
      ],
    }),
  );
  const options = { splitEvery: 97, rotateBytes: 256 * 1024 };
  const containers = ["a", "b", "c"].map((name) => new LoggingContainer(place.logsDir, name, options));
  const load = new Load(containers, LINES_PER_SECOND);
  place.after(() => load.stop());
  let slowest = 0;
  for (let stop = 0; stop < STOPS; stop++) {
    if (stop % 2 === 1) for (const container of containers) container.write(BACKLOG_LINES / containers.length);
    const before = http.set.lines;
    const agent = await place.start();
    await eventually("a delivery", () => http.set.lines > before, { details: agent.tail });
    await sleep(Math.random() * LIFE_MS_MAX);
    const at = performance.now();
    const { code, signal, stderr } = await agent.stop();
    slowest = Math.max(slowest, performance.now() - at);
    assert.deepEqual({ code, signal }, { code: 0, signal: null }, stderr);
    assert.doesNotMatch(stderr, / (warn|error) |BUG/);
  }
  load.stop();
  const agent = await place.start();
  const written = containers.reduce((sum, { lines }) => sum + lines, 0);
  const bytes = containers.reduce((sum, container) => sum + container.bytes, 0);
  const ledger = await agent.ledgerWhen("all", ({ total }) => total.delivered.bytes === 2 * bytes, 60_000);
  for (const { delivered } of ledger.sinks) assert.deepEqual(delivered, { lines: written, bytes });
  await agent.stop();
  for (const { set } of [http, loki]) {
    set.assertExact(containers, 0);
    assert.equal(set.repeated, 0);
  }
  console.log(`${STOPS} stops, ${written} lines: 0 lost, 0 repeated; the slowest took ${Math.round(slowest)} ms`);
});
