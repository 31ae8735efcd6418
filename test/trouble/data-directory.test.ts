/** The data directory in trouble: who may not have it is told why and ends with 2; what lies in it is not harmed. */
import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { suite, test, type TestContext } from "node:test";
import { logPipeline, Place } from "../support/agent-process.ts";
import { LoggingContainer } from "../support/log-writer.ts";
import { SinkServer } from "../support/sink-server.ts";
import { NOBODY, skipUnlessRoot } from "../support/root.ts";

const LINES = 200;

interface World {
  place: Place;
  sink: SinkServer;
  log: LoggingContainer;
}

async function world(t: TestContext): Promise<World> {
  const place = new Place(t);
  const sink = await SinkServer.open(place);
  place.configure(logPipeline({ sinks: [{ name: "http", http: { url: sink.url } }] }));
  const log = new LoggingContainer(place.logsDir, "a");
  log.write(LINES);
  return { place, sink, log };
}

/** The newest journal file. */
function journalOf({ dataDir }: Place): string {
  const names = readdirSync(dataDir).filter((name) => name.startsWith("positions."));
  const newest = Math.max(...names.map((name) => Number(name.slice("positions.".length))));
  return join(dataDir, `positions.${newest}`);
}

/** Runs until all is delivered, so that there is a journal. */
async function runOnce(place: Place): Promise<string> {
  const { code, stderr } = await place.run();
  assert.equal(code, 0, stderr);
  return stderr;
}

const oneLine = (stderr: string): string => {
  assert.equal(stderr.split("\n").length, 1, stderr);
  return stderr;
};

suite("a data directory in trouble", { concurrency: 4 }, () => {
  test("the directory is made for the agent alone, and so is what lies in it", async (t) => {
    const { place } = await world(t);
    await runOnce(place);
    assert.equal(statSync(place.dataDir).mode & 0o777, 0o700);
    assert.equal(statSync(journalOf(place)).mode & 0o777, 0o600);
  });

  test(
    "one that can't be written ends the start with 2 and a line that names it",
    { skip: skipUnlessRoot() },
    async (t) => {
      const { place } = await world(t);
      mkdirSync(place.dataDir);
      chmodSync(place.dataDir, 0o755);
      const { code, stderr } = await place.run(["--listen", "off"], { uid: NOBODY });
      assert.equal(code, 2);
      assert.match(oneLine(stderr), /^tailrace: can't use the data directory: .*EACCES: permission denied/);
      assert.ok(stderr.includes(place.dataDir), stderr);
    },
  );

  test("a file where the directory should be ends the start with 2", async (t) => {
    const { place } = await world(t);
    writeFileSync(place.dataDir, "mine");
    const { code, stderr } = await place.run(["--listen", "off"]);
    assert.equal(code, 2);
    assert.match(oneLine(stderr), /^tailrace: can't use the data directory: EEXIST: .*\/data/);
    assert.equal(readFileSync(place.dataDir, "utf8"), "mine");
  });

  test("a second agent on it ends with 2 and the first one's process id, and the first goes on", async (t) => {
    const { place, sink, log } = await world(t);
    const first = await place.start();
    const { code, stderr } = await place.run(["--listen", "off"]);
    assert.equal(code, 2);
    assert.match(oneLine(stderr), new RegExp(`data is in use by another agent \\(process ${first.pid}\\)`));
    log.write(LINES);
    await first.ledgerWhen("all", ({ total }) => total.delivered.lines === 2 * LINES);
    sink.set.assertExact([log], 0);
  });

  test("the lock of an agent that was killed is taken over at once", async (t) => {
    const { place } = await world(t);
    const first = await place.start();
    await first.kill();
    assert.ok(existsSync(join(place.dataDir, "lock.1")));
    const second = await place.start();
    assert.equal((await second.stop()).code, 0);
  });

  test("a journal of a format that this release does not know ends the start with 2 and stays as it is", async (t) => {
    const { place } = await world(t);
    await runOnce(place);
    const path = journalOf(place);
    const content = readFileSync(path, "utf8").replace("tailrace journal 1", "tailrace journal 7");
    writeFileSync(path, content);
    const { code, stderr } = await place.run(["--listen", "off"]);
    assert.equal(code, 2);
    assert.match(
      oneLine(stderr),
      /has the format "tailrace journal 7", which this release does not read: run the release that wrote it/,
    );
    assert.equal(journalOf(place), path);
    assert.equal(readFileSync(path, "utf8"), content);
  });

  test("a journal whose end was torn is cut there, which is said, and what is before it counts", async (t) => {
    const { place, sink, log } = await world(t);
    await runOnce(place);
    const path = journalOf(place);
    const content = readFileSync(path);
    writeFileSync(
      path,
      Buffer.concat([content, Buffer.from('deadbeef ["at/LogPipeline//shop/http uid-a/app/0",{"sta')]),
    );
    log.write(LINES);
    const stderr = await runOnce(place);
    assert.match(stderr, / warn the end of the journal was torn by a crash and is cut off path=\S+ bytes=\d+ hint=/);
    sink.set.assertExact([log], 0);
    assert.equal(sink.set.repeated, 0);
  });

  test("torn in its last entry, the journal repeats what that entry knew and loses nothing", async (t) => {
    const { place, sink, log } = await world(t);
    await runOnce(place);
    const before = readFileSync(journalOf(place)).length;
    log.write(LINES);
    const agent = await place.start();
    await agent.ledgerWhen("all", ({ total }) => total.delivered.lines === 2 * LINES);
    await agent.kill();
    await sink.killed(-Infinity); // whatever it had answered may come again
    const path = journalOf(place);
    const content = readFileSync(path);
    assert.ok(content.length > before);
    writeFileSync(path, content.subarray(0, content.length - 5));
    const stderr = await runOnce(place);
    assert.match(stderr, / warn the end of the journal was torn by a crash and is cut off /);
    sink.set.assertExact([log], 4);
  });

  test("an HTTP port that is taken ends the start with 2 and says which option changes it", async (t) => {
    const { place } = await world(t);
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    place.after(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const { code, stderr } = await place.run(["--listen", `127.0.0.1:${port}`]);
    assert.equal(code, 2);
    assert.match(
      oneLine(stderr),
      new RegExp(`^tailrace: can't listen on 127.0.0.1:${port}: .*EADDRINUSE.*; choose another with --listen$`),
    );
    await runOnce(place);
  });
});
