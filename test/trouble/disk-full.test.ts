/** A full disk under the data directory: the agent goes on, says what a restart would mean, and recovers by itself. */
import assert from "node:assert/strict";
import { closeSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { suite, test, type TestContext } from "node:test";
import { logPipeline, Place } from "../support/agent-process.ts";
import { criLine, LoggingContainer } from "../support/log-writer.ts";
import { mountTmpfs, skipUnlessMounting } from "../support/root.ts";
import { SinkServer } from "../support/sink-server.ts";
import { eventually } from "../support/wait.ts";

const DISK_MIB = 16;
const LINES = 500;

interface World {
  place: Place;
  sink: SinkServer;
  log: LoggingContainer;
  /** Takes all room that is left; `free` gives it back. */
  fill: () => void;
  free: () => void;
}

async function world(t: TestContext): Promise<World> {
  const place = new Place(t);
  const sink = await SinkServer.open(place);
  place.configure(logPipeline({ dispatcher: { batchSize: 100 }, sinks: [{ name: "http", http: { url: sink.url } }] }));
  const log = new LoggingContainer(place.logsDir, "a");
  log.write(LINES);
  mountTmpfs(place, place.dataDir, DISK_MIB);
  const filler = join(place.dataDir, "filler");
  const fill = (): void => {
    const fd = openSync(filler, "a");
    try {
      for (let bytes = 1 << 20; bytes >= 1;) {
        try {
          writeSync(fd, Buffer.alloc(bytes));
        } catch {
          bytes >>= 1;
        }
      }
    } finally {
      closeSync(fd);
    }
  };
  return { place, sink, log, fill, free: () => rmSync(filler) };
}

suite("a full disk under the data directory", { concurrency: 4, skip: skipUnlessMounting() }, () => {
  test("delivery goes on, the log says that a restart would repeat, and with room again nothing does", async (t) => {
    const { place, sink, log, fill, free } = await world(t);
    const agent = await place.start();
    await agent.ledgerWhen("the beginning", ({ total }) => total.delivered.lines === LINES);
    fill();
    // Enough requests that their entries outgrow the page that the journal ends in.
    for (let i = 0; i < 20; i++) log.write(LINES);
    const line = await agent.logged(/error can't write the journal/);
    assert.match(
      line,
      /; going on, but a restart now would repeat what was delivered since path=\S+ reason="ENOSPC: no space left/,
    );
    await agent.ledgerWhen("all, with the disk full", ({ total }) => total.delivered.lines === log.lines);
    free();
    log.write(LINES);
    await agent.logged(/info the journal can be written again/);
    await agent.ledgerWhen("the rest", ({ total }) => total.delivered.lines === log.lines);
    assert.equal((await agent.stop()).code, 0);
    log.write(LINES);
    const again = await place.start();
    await again.ledgerWhen("what came later", ({ total }) => total.delivered.lines === log.lines);
    sink.set.assertExact([log], 0);
    assert.equal(sink.set.repeated, 0);
  });

  test("an agent that ends while the disk is full repeats what was delivered since, and loses nothing", async (t) => {
    const { place, sink, log, fill, free } = await world(t);
    const agent = await place.start();
    await agent.ledgerWhen("the beginning", ({ total }) => total.delivered.lines === LINES);
    fill();
    for (let i = 0; i < 20; i++) log.write(LINES);
    await agent.ledgerWhen("all, with the disk full", ({ total }) => total.delivered.lines === log.lines);
    await agent.kill();
    await sink.killed(-Infinity); // any of what it delivered may come again
    const { code, stderr } = await place.run(["--listen", "off"]);
    assert.equal(code, 2);
    assert.match(stderr, /^tailrace: can't use the data directory: ENOSPC: no space left on device/m);
    free();
    const again = await place.start();
    const { total } = await again.ledgerWhen("all", (ledger) => ledger.total.delivered.lines === log.lines);
    assert.deepEqual([total.delivered.bytes, total.lost], [log.bytes, {}]);
    sink.set.assertExact([log], Infinity);
    assert.ok(sink.set.repeated > 0 && sink.set.repeated <= 20 * LINES, `${sink.set.repeated} lines repeated`);
  });

  test("while dead letters can't be written the sink holds, and goes on once they can", async (t) => {
    const { place, sink, log, fill, free } = await world(t);
    const bad = "refuse me";
    sink.answer = ({ records }) =>
      records.some(({ text }) => text === bad) ? { status: 400, text: "no" } : { status: 204 };
    const agent = await place.start();
    await agent.ledgerWhen("the beginning", ({ total }) => total.delivered.lines === LINES);
    fill();
    log.raw(criLine(bad));
    log.write(LINES);
    const line = await agent.logged(/warn the sink holds: nothing is lost, but nothing is delivered/);
    assert.match(line, /sink=http reason="the dead-letter queue can't be written: ENOSPC: no space left on device/);
    const { total } = await agent.ledger("while the sink holds");
    assert.deepEqual([total.deadLettered.lines, total.lost, total.dropped], [0, {}, {}]);
    assert.ok(total.inFlight.lines + total.backlogBytes > 0, "nothing waits");
    free();
    const after = await agent.ledgerWhen("the rest", (ledger) => ledger.total.delivered.lines === log.lines, 30_000);
    assert.equal(after.total.deadLettered.lines, 1);
    sink.set.assertExact([log], 0);
    assert.equal(sink.set.repeated, 0);
    const letters = readFileSync(join(place.dataDir, "dlq/LogPipeline__shop/http/00000001.ndjson"), "utf8")
      .trimEnd()
      .split("\n");
    assert.deepEqual(
      letters.map((letter) => (JSON.parse(letter) as { text: string }).text),
      [bad],
    );
    await eventually(
      "the sink's good state",
      async () => (await agent.pipelines())[0]!.sinks[0]!.trouble === undefined,
    );
  });

  test("a file sink on a full disk leaves no torn line, and writes each record once when there is room", async (t) => {
    const { place, log, fill, free } = await world(t);
    const out = join(place.dataDir, "out.ndjson"); // the same small disk
    place.configure(logPipeline({ dispatcher: { batchSize: 100 }, sinks: [{ name: "file", file: { path: out } }] }));
    const agent = await place.start();
    await agent.ledgerWhen("the beginning", ({ total }) => total.delivered.lines === LINES);
    fill();
    log.write(LINES);
    const line = await agent.logged(/warn the sink failed, trying again/);
    assert.match(line, /sink=file reason="\S+out\.ndjson: ENOSPC: no space left on device/);
    await agent.ledger("while the disk is full");
    free();
    await agent.ledgerWhen("the rest", ({ total }) => total.delivered.lines === log.lines);
    const numbers = readFileSync(out, "utf8")
      .trimEnd()
      .split("\n")
      .map((record) => Number((JSON.parse(record) as { text: string }).text.split(":")[1]));
    assert.deepEqual(
      numbers,
      Array.from({ length: log.lines }, (_, i) => i),
    );
  });
});
