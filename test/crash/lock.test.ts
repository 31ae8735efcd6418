/** One agent for each data directory, also when many start at once where one was killed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { logPipeline, Place } from "../support/agent-process.ts";
import { LoggingContainer } from "../support/log-writer.ts";
import { SinkServer } from "../support/sink-server.ts";
import { eventually } from "../support/wait.ts";
import { scaled } from "./scale.ts";

const ROUNDS = scaled(4, 20);
const AGENTS = 6;
const LINES = 100;

test(`of ${AGENTS} agents that start at once where one was killed one runs and the others end with 2`, async (t) => {
  const place = new Place(t);
  const sink = await SinkServer.open(place);
  place.configure(logPipeline({ sinks: [{ name: "http", http: { url: sink.url } }] }));
  const log = new LoggingContainer(place.logsDir, "a");
  await (await place.start()).kill();
  for (let round = 0; round < ROUNDS; round++) {
    log.write(LINES);
    const agents = Array.from({ length: AGENTS }, () => place.launch(["--listen", "off"]));
    const ended = () => agents.filter((agent) => !agent.isRunning);
    await eventually("the end of all but one", () => ended().length >= AGENTS - 1, { ms: 30_000 });
    for (const agent of ended()) {
      const { code, stderr } = await agent.ended;
      assert.equal(code, 2, stderr);
      assert.match(stderr, /is in use by another agent/);
    }
    const winner = agents.find((agent) => agent.isRunning);
    assert.ok(winner, "none of them runs");
    await eventually("what the one delivers", () => sink.set.lines === log.lines, { details: winner.tail });
    await winner.kill();
    await sink.killed(-Infinity); // whatever it delivered may come again
  }
  assert.equal(sink.set.reordered, 0);
});
