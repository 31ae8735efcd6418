/** Log files in trouble: each kind leaves a clear line in the agent's log, and loses nothing that the ledger does not show. */
import assert from "node:assert/strict";
import { chmodSync, rmSync, truncateSync, writeFileSync, copyFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { suite, test, type TestContext } from "node:test";
import { agentConfig, logPipeline, Place } from "../support/agent-process.ts";
import { criLine, LoggingContainer } from "../support/log-writer.ts";
import { NOBODY, skipUnlessRoot } from "../support/root.ts";
import { SinkServer } from "../support/sink-server.ts";
import { eventually } from "../support/wait.ts";

const LINES = 500;

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

suite("log files in trouble", { concurrency: 4 }, () => {
  test("a file that can't be read is said once, waits in the backlog and is delivered when it can", { skip: skipUnlessRoot() }, async (t) => {
    const { place, sink, log } = await world(t);
    const other = new LoggingContainer(place.logsDir, "b");
    other.write(LINES);
    chmodSync(log.path, 0o600);
    place.giveTo(NOBODY);
    const agent = await place.start({ uid: NOBODY });
    const line = await agent.logged(/warn can't read a log file, trying again/);
    assert.match(line, new RegExp(`path=${log.path} reason="EACCES: permission denied`));
    const { total } = await agent.ledgerWhen("the other file", (ledger) => ledger.total.delivered.lines === LINES);
    assert.equal(total.backlogBytes, log.bytes);
    await eventually("more tries", async () => (await agent.ledger()).total.backlogBytes === log.bytes);
    chmodSync(log.path, 0o644);
    await agent.ledgerWhen("all", (ledger) => ledger.total.delivered.lines === 2 * LINES);
    sink.set.assertExact([log, other], 0);
    assert.equal(agent.log.filter((said) => said.includes("can't read")).length, 1, "it was said too often");
  });

  test("a file that is deleted while it is held open is still delivered to its end, and so is what is yet written to it", async (t) => {
    const { place, sink, log } = await world(t);
    const agent = await place.start();
    await agent.ledgerWhen("its beginning", ({ total }) => total.delivered.lines === LINES);
    await sink.close();
    log.write(LINES);
    await agent.ledgerWhen("its end", ({ total }) => total.end === log.bytes);
    rmSync(join(log.folder, ".."), { recursive: true });
    log.write(LINES);
    await eventually("the failing sink", async () => (await agent.pipelines())[0]!.sinks[0]!.trouble);
    await sink.listen();
    const { total } = await agent.ledgerWhen("all", (ledger) => ledger.total.delivered.lines === 3 * LINES);
    assert.deepEqual([total.delivered.bytes, total.lost], [log.bytes, {}]);
    sink.set.assertExact([log], 0);
  });

  test("what was deleted unread while the agent was down is lost: in the ledger with its bytes, and in the log", async (t) => {
    const { place, sink, log } = await world(t);
    const first = await place.start();
    await first.ledgerWhen("its beginning", ({ total }) => total.delivered.lines === LINES);
    // The agent knows of these bytes and can't deliver them.
    await sink.close();
    const before = log.bytes;
    log.write(LINES);
    await first.ledgerWhen("its end", ({ total }) => total.end === log.bytes);
    assert.equal((await first.stop()).code, 0);
    rmSync(join(log.folder, ".."), { recursive: true });
    await sink.listen();
    const second = await place.start();
    const line = await second.logged(/error a container was deleted before its log was read/);
    assert.match(line, new RegExp(`container=uid-a/app/0 bytes=${log.bytes - before} sink=LogPipeline//shop/http hint=`));
    const { total } = await second.ledger();
    assert.deepEqual(total.delivered, { lines: LINES, bytes: before });
    assert.deepEqual(total.lost, { PodDeletedBeforeRead: { lines: 0, bytes: log.bytes - before } });
    assert.equal((await second.stop()).code, 0);
    const third = await place.start();
    assert.deepEqual((await third.ledger()).total.lost, total.lost);
  });

  test("a rotated file that is deleted unread is lost with its bytes, and what comes after it is delivered", async (t) => {
    const { place, sink, log } = await world(t);
    const first = await place.start();
    await first.ledgerWhen("its beginning", ({ total }) => total.delivered.lines === LINES);
    await sink.close();
    const before = log.bytes;
    log.write(LINES);
    log.rotate();
    const rotatedAt = log.bytes;
    log.write(LINES);
    await first.ledgerWhen("its end", ({ total }) => total.end === log.bytes);
    await first.stop();
    rmSync(log.rotated[0]!.path);
    await sink.listen();
    const second = await place.start();
    const line = await second.logged(/error log bytes were gone before they could be read/);
    assert.match(line, new RegExp(`container=uid-a/app/0 reason=RotatedBeforeRead bytes=${rotatedAt - before} hint=`));
    const { total } = await second.ledgerWhen("the rest", (ledger) => ledger.total.delivered.lines === 2 * LINES);
    assert.deepEqual(total.lost, { RotatedBeforeRead: { lines: 0, bytes: rotatedAt - before } });
    assert.equal(total.delivered.bytes, log.bytes - (rotatedAt - before));
  });

  test("of a backlog that is rotated away while the sink is down, all that is still there is delivered, and lost is only what is gone", async (t) => {
    const { place, sink, log } = await world(t);
    const agent = await place.start();
    await agent.ledgerWhen("its beginning", ({ total }) => total.delivered.lines === LINES);
    await sink.close();
    log.write(LINES);
    await eventually("the failing sink", async () => (await agent.pipelines())[0]!.sinks[0]!.trouble);
    // Every file is as large as the one before, and on ext4 gets the inode of the one that was just removed.
    for (let i = 0; i < 20; i++) {
      log.rotate();
      log.prune(Infinity, 3);
      log.write(LINES);
      if (i % 5 === 4) await agent.ledger("between rotations");
    }
    const firstKept = log.rotated[0]!.after;
    await sink.listen();
    await eventually("the rest", () => sink.set.lastOf("a") === log.lines - 1, { ms: 40_000, details: agent.tail });
    const missing = sink.set.missing(log);
    assert.ok(missing.every((number) => number < firstKept), `missing: ${missing.filter((number) => number >= firstKept).slice(0, 20)}`);
    assert.deepEqual([sink.set.reordered, sink.set.repeated, sink.set.damaged], [0, 0, 0]);
    const { total } = await agent.ledgerWhen("the rest", (ledger) => ledger.total.delivered.lines === sink.set.lines);
    assert.ok(total.lost["RotatedBeforeRead"]!.bytes > 0, "nothing was lost");
    await agent.logged(/error log bytes were gone before they could be read/);
  });

  test("after copytruncate what the copy holds is read from it, and then the file from its new beginning", async (t) => {
    const { place, sink, log } = await world(t);
    const agent = await place.start();
    await agent.ledgerWhen("its beginning", ({ total }) => total.delivered.lines === LINES);
    await sink.close();
    log.write(LINES);
    await agent.ledgerWhen("its end", ({ total }) => total.end === log.bytes);
    copyFileSync(log.path, `${log.path}.20261124-100000`);
    truncateSync(log.path);
    log.write(10);
    await sink.listen();
    const { total } = await agent.ledgerWhen("all", (ledger) => ledger.total.delivered.lines === log.lines);
    assert.deepEqual(total.lost, {});
    sink.set.assertExact([log], 0);
    assert.equal(sink.set.repeated, 0);
  });

  test("a file that is renamed away and back for a moment is read as one", async (t) => {
    const { place, sink, log } = await world(t);
    const agent = await place.start();
    await agent.ledgerWhen("its beginning", ({ total }) => total.delivered.lines === LINES);
    renameSync(log.path, `${log.path}.away`);
    log.write(LINES);
    renameSync(`${log.path}.away`, log.path);
    log.write(LINES);
    await agent.ledgerWhen("all", ({ total }) => total.delivered.lines === log.lines);
    sink.set.assertExact([log], 0);
    assert.equal(sink.set.repeated, 0);
  });

  test("binary junk is delivered as text line by line, counted as invalid, and stops nothing", async (t) => {
    const { place, sink, log } = await world(t);
    sink.keep = true;
    const junk = new LoggingContainer(place.logsDir, "junk");
    const bytes = Buffer.alloc(200_000, 0);
    for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 7919 + (i >> 3)) & 0xff;
    const lines = [...bytes, 10].filter((byte) => byte === 10).length;
    junk.raw(Buffer.concat([bytes, Buffer.from("\n")]));
    junk.write(LINES);
    junk.raw(Buffer.from([0xff, 0xfe, 0x00, 0x0a]));
    const agent = await place.start();
    const all = lines + 1 + 2 * LINES;
    const { total } = await agent.ledgerWhen("all", (ledger) => ledger.total.delivered.lines === all);
    assert.equal(total.delivered.bytes, log.bytes + junk.bytes);
    assert.equal(sink.kept.length, all);
    assert.equal(sink.kept.filter(({ stream }) => stream === undefined).length, lines + 1);
    const metrics = await (await fetch(`${agent.address}/metrics`)).text();
    assert.match(metrics, new RegExp(`^tailrace_decode_invalid_lines_total ${lines + 1}$`, "m"));
  });

  test("a line longer than maxLineBytes is cut, marked and counted, and the next one is whole", async (t) => {
    const place = new Place(t);
    const sink = await SinkServer.open(place);
    sink.keep = true;
    place.configure(logPipeline({ sinks: [{ name: "http", http: { url: sink.url } }] }), agentConfig({ maxLineBytes: "4Ki" }));
    const log = new LoggingContainer(place.logsDir, "a");
    log.raw(criLine("a".repeat(10_000)));
    log.raw(criLine("next"));
    const agent = await place.start();
    const { total } = await agent.ledgerWhen("both", (ledger) => ledger.total.delivered.lines === 2);
    assert.equal(total.delivered.bytes, log.bytes);
    const [cut, next] = sink.kept as { text: string; truncated?: boolean }[];
    assert.deepEqual([cut!.text, cut!.truncated], ["a".repeat(4096), true]);
    assert.deepEqual([next!.text, next!.truncated], ["next", undefined]);
    const metrics = await (await fetch(`${agent.address}/metrics`)).text();
    assert.match(metrics, /^tailrace_decode_truncated_lines_total 1$/m);
  });

  test("what is no container's directory is left alone: loose files, odd names, links to nowhere", async (t) => {
    const { place, sink, log } = await world(t);
    writeFileSync(join(place.logsDir, "README"), "no log\n");
    writeFileSync(join(log.folder, "0.log.gz.tmp"), "no log\n");
    writeFileSync(join(log.folder, "notes.log"), "no log\n");
    const agent = await place.start();
    const { total } = await agent.ledgerWhen("all", (ledger) => ledger.total.delivered.lines === LINES);
    assert.equal(total.end, log.bytes);
    sink.set.assertExact([log], 0);
  });
});
