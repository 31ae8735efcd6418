/** A destination in trouble: each kind leaves a line in the log, and loses nothing that the ledger does not show. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite, test, type TestContext } from "node:test";
import { logPipeline, Place, type AgentProcess } from "../support/agent-process.ts";
import { criLine, Load, LoggingContainer } from "../support/log-writer.ts";
import { SinkServer } from "../support/sink-server.ts";
import type { LedgerView, PipelinesView } from "../support/views.ts";
import { eventually } from "../support/wait.ts";

const LINES = 3_000;

interface World {
  place: Place;
  sink: SinkServer;
  log: LoggingContainer;
  /** Starts the agent once the trouble is set up. */
  start: () => Promise<AgentProcess>;
}

/** A container with some lines, and a sink that they are to go to. */
async function world(t: TestContext, settings: { dispatcher?: object; http?: object } = {}): Promise<World> {
  const place = new Place(t);
  const sink = await SinkServer.open(place);
  place.configure(
    logPipeline({
      dispatcher: { batchSize: 500, ...settings.dispatcher },
      sinks: [{ name: "http", http: { url: sink.url, ...settings.http } }],
    }),
  );
  const log = new LoggingContainer(place.logsDir, "a");
  log.write(LINES);
  return { place, sink, log, start: () => place.start() };
}

/** Waits until every line is delivered; then checks the exact set, the ledger and the end. */
async function assertAllDelivered({ sink, log }: World, agent: AgentProcess): Promise<void> {
  const { total } = await agent.ledgerWhen("all delivered", ({ total }) => total.delivered.bytes === log.bytes, 30_000);
  assert.deepEqual(total.delivered, { lines: log.lines, bytes: log.bytes });
  assert.deepEqual([total.dropped, total.deadLettered.lines, total.lost], [{}, 0, {}]);
  assert.equal((await agent.stop()).code, 0);
  sink.set.assertExact([log], 0);
  assert.equal(sink.set.repeated, 0);
}

async function countsOf(agent: AgentProcess): Promise<PipelinesView["sinks"][number]["counts"]> {
  return (await agent.pipelines())[0]!.sinks[0]!.counts;
}

/** What lies in the dead-letter queue, oldest first. */
function deadLettersOf({ dataDir }: Place): { text: string; deadLetter: { reason: string; attempts: number } }[] {
  const path = join(dataDir, "dlq/LogPipeline__shop/http/00000001.ndjson");
  return readFileSync(path, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

const waiting = ({ total }: LedgerView): number => total.inFlight.bytes + total.backlogBytes;

suite("a sink in trouble", { concurrency: 4 }, () => {
  test("a sink that is down at start is tried again, and gets every line once it is up", async (t) => {
    const its = await world(t);
    const { sink, log, start } = its;
    await sink.close();
    const agent = await start();
    const line = await agent.logged(/the sink failed, trying again/);
    assert.match(line, /pipeline=LogPipeline\/\/shop sink=http reason="127\.0\.0\.1:\d+: .*ECONNREFUSED/);
    log.write(LINES);
    const down = await agent.ledgerWhen("all bytes seen", (ledger) => waiting(ledger) === log.bytes);
    assert.equal(down.total.delivered.lines, 0);
    await sink.listen();
    await agent.logged(/info the sink accepts again/);
    await assertAllDelivered(its, agent);
  });

  test("a sink that goes down under load misses nothing, and gets only unanswered requests again", async (t) => {
    const { place, sink, log, start } = await world(t);
    const load = new Load([log], 2_000);
    place.after(() => load.stop());
    const agent = await start();
    for (let i = 0; i < 3; i++) {
      const { lines } = sink.set;
      await eventually("load", () => sink.set.lines > lines + 1_000);
      await sink.close();
      await eventually("trouble", async () => (await agent.pipelines())[0]!.sinks[0]!.trouble);
      await agent.ledger("while the sink is down");
      await sink.listen();
    }
    load.stop();
    const { total } = await agent.ledgerWhen("all delivered", (ledger) => ledger.total.delivered.bytes === log.bytes);
    assert.deepEqual([total.delivered.lines, total.lost], [log.lines, {}]);
    const { ambiguous } = await countsOf(agent);
    assert.ok(
      sink.set.repeated <= ambiguous * 500,
      `${sink.set.repeated} lines repeated, ${ambiguous} requests without an answer`,
    );
    assert.deepEqual([sink.set.lines, sink.set.reordered, sink.set.damaged], [log.lines, 0, 0]);
    await agent.logged(/the sink failed, trying again/);
  });

  test("500s are retried, and the log says what the sink answered", async (t) => {
    const its = await world(t);
    let refused = 0;
    its.sink.answer = () => (refused++ < 4 ? { status: 500, text: "the disk is on fire" } : { status: 204 });
    const agent = await its.start();
    const line = await agent.logged(/the sink failed, trying again/);
    assert.match(line, /answered 500 Internal Server Error: the disk is on fire"/);
    await assertAllDelivered(its, agent);
    assert.ok(refused > 4);
  });

  test("429 with Retry-After is waited out, though the longest delay of its own is shorter", async (t) => {
    const its = await world(t);
    const { sink } = its;
    let refusedAt = 0;
    const early: number[] = [];
    sink.answer = () => {
      const now = performance.now();
      refusedAt ||= now;
      // Requests that were under way when the first was refused meet the same.
      if (now - refusedAt < 300) return { status: 429, headers: { "retry-after": "2" }, text: "too many" };
      if (now - refusedAt < 1_950) early.push(now - refusedAt);
      return { status: 204 };
    };
    const agent = await its.start();
    assert.match(
      await agent.logged(/the sink failed, trying again/),
      /answered 429 Too Many Requests: too many" inMs=2000/,
    );
    await assertAllDelivered(its, agent);
    assert.deepEqual(early, []);
  });

  test("413 halves a batch until it fits; a record that alone is too large becomes a dead letter", async (t) => {
    const its = await world(t);
    const { place, sink, log } = its;
    sink.answer = ({ body }) => (body.length > 20_000 ? { status: 413 } : { status: 204 });
    const agent = await its.start();
    await agent.ledgerWhen("all delivered", ({ total }) => total.delivered.bytes === log.bytes);
    assert.ok((await countsOf(agent)).outcomes["split"]! > 0);
    sink.set.assertExact([log], 0);
    assert.equal(sink.set.repeated, 0);
    log.raw(criLine("x".repeat(30_000)));
    log.write(10);
    const { total } = await agent.ledgerWhen("the rest", (ledger) => waiting(ledger) === 0);
    assert.deepEqual([total.delivered.lines, total.deadLettered.lines], [log.lines, 1]);
    sink.set.assertExact([log], 0);
    const line = await agent.logged(/error records were dead-lettered/);
    assert.match(line, /sink=http records=1 reason="127\.0\.0\.1:\d+ answered 413 Payload Too Large"/);
    const [letter] = deadLettersOf(place);
    assert.equal(letter!.text, "x".repeat(30_000));
    assert.match(letter!.deadLetter.reason, /answered 413/);
  });

  test("a connection that is reset in the middle of a body costs nothing but a retry", async (t) => {
    const its = await world(t);
    const { sink } = its;
    sink.cutAfterBytes = 1_000;
    const agent = await its.start();
    const line = await agent.logged(/the sink failed, trying again/);
    assert.match(line, /reason="127\.0\.0\.1:\d+: .*(ECONNRESET|EPIPE|UND_ERR_SOCKET)/);
    await eventually("a second try", () => sink.cuts >= 2);
    sink.cutAfterBytes = Infinity;
    const { ambiguous } = await countsOf(agent);
    assert.ok(ambiguous >= 2, `${ambiguous} of ${sink.cuts} cut requests counted as ambiguous`);
    await assertAllDelivered(its, agent);
  });

  test("an answer that never comes is given up after requestTimeout, counted and sent again", async (t) => {
    const its = await world(t, { http: { requestTimeout: "300ms" } });
    let hung = 0;
    its.sink.answer = () => (hung++ < 2 ? "hang" : { status: 204 });
    const agent = await its.start();
    assert.match(await agent.logged(/the sink failed, trying again/), /no answer within 300 ms/);
    await eventually("a request after the timeouts", () => its.sink.set.lines > 0);
    assert.ok((await countsOf(agent)).ambiguous >= 1);
    await assertAllDelivered(its, agent);
  });

  test("401 holds the sink: it is probed after 5 s and not before, and all comes after the repair", async (t) => {
    const its = await world(t, { dispatcher: { maxRetries: 0 } });
    const { sink } = its;
    let isMended = false;
    sink.answer = () => (isMended ? { status: 204 } : { status: 401, text: "who are you" });
    const agent = await its.start();
    const line = await agent.logged(/warn the sink holds: nothing is lost, but nothing is delivered/);
    assert.match(line, /sink=http reason="127\.0\.0\.1:\d+ answered 401 Unauthorized: who are you" inMs=5000/);
    assert.equal((await agent.pipelines())[0]!.sinks[0]!.state, "hold");
    isMended = true;
    await assertAllDelivered(its, agent);
    const times = sink.arrivals.map((at) => at - sink.arrivals[0]!);
    assert.deepEqual(
      times.filter((ms) => ms > 1_000 && ms < 4_900),
      [],
      "it was asked again too early",
    );
  });

  test("with maxRetries a request that failed so often becomes dead letters, in order, with the reason", async (t) => {
    const { place, sink, log, start } = await world(t, { dispatcher: { maxRetries: 2, workerCount: 1 } });
    sink.answer = () => ({ status: 503 });
    const agent = await start();
    const ledger = await agent.ledgerWhen("all given up", (look) => waiting(look) === 0, 30_000);
    assert.deepEqual(ledger.total.deadLettered, { lines: LINES, bytes: log.bytes });
    const letters = deadLettersOf(place);
    assert.deepEqual(
      letters.map(({ text }) => Number(text.split(":")[1])),
      Array.from({ length: LINES }, (_, i) => i),
    );
    assert.ok(
      letters.every(
        ({ deadLetter }) => /answered 503 .*\(3 attempts\)/.test(deadLetter.reason) && deadLetter.attempts === 3,
      ),
    );
    assert.match(await agent.logged(/error records were dead-lettered/), /records=500 /);
    assert.equal(sink.arrivals.length, (LINES / 500) * 3);
  });
});
