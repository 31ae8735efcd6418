/** Log files in trouble: each kind leaves a line in the log, and loses nothing that the ledger does not show. */
import assert from "node:assert/strict";
import { chmodSync, rmSync, truncateSync, writeFileSync, copyFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { suite, test, type TestContext } from "node:test";
import { agentConfig, logPipeline, Place, type AgentProcess } from "../support/agent-process.ts";
import type { Delivered } from "../support/exact-set.ts";
import { criLine, LoggingContainer } from "../support/log-writer.ts";
import { NOBODY, skipUnlessRoot } from "../support/root.ts";
import { SinkServer } from "../support/sink-server.ts";
import type { LedgerView } from "../support/views.ts";
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

/** An agent with a low limit on lines, and a container that has written nothing yet. */
async function shortLines(
  t: TestContext,
): Promise<Pick<World, "sink" | "log"> & { start: () => Promise<AgentProcess> }> {
  const place = new Place(t);
  const sink = await SinkServer.open(place);
  sink.keep = true;
  const pipeline = logPipeline({ sinks: [{ name: "http", http: { url: sink.url } }] });
  place.configure(pipeline, agentConfig({ maxLineBytes: "4Ki" }));
  return { sink, log: new LoggingContainer(place.logsDir, "a"), start: () => place.start() };
}

function brief(record: Delivered & { truncated?: boolean }): { text: string; truncated?: boolean } {
  const { text, truncated } = record;
  return truncated === undefined ? { text } : { text, truncated };
}

const waiting = ({ total }: LedgerView): number => total.inFlight.bytes + total.backlogBytes;

suite("log files in trouble", { concurrency: 4 }, () => {
  test(
    "a file that can't be read is said once, waits in the backlog and is delivered when it can",
    { skip: skipUnlessRoot() },
    async (t) => {
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
    },
  );

  test("a file deleted while it is held open is still delivered, and so is what is written to it later", async (t) => {
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

  test("what was deleted unread while no agent ran is lost, in the ledger with its bytes and in the log", async (t) => {
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
    assert.match(
      line,
      new RegExp(`container=uid-a/app/0 bytes=${log.bytes - before} sink=LogPipeline//shop/http hint=`),
    );
    const { total } = await second.ledger();
    assert.deepEqual(total.delivered, { lines: LINES, bytes: before });
    assert.deepEqual(total.lost, { PodDeletedBeforeRead: { lines: 0, bytes: log.bytes - before } });
    assert.equal((await second.stop()).code, 0);
    const third = await place.start();
    assert.deepEqual((await third.ledger()).total.lost, total.lost);
  });

  test("a rotated file that is deleted unread is lost with its bytes, and what follows is delivered", async (t) => {
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

  test("of a backlog that rotates away what is left is delivered, and the rest lost to the byte", async (t) => {
    const { place, sink, log } = await world(t);
    const agent = await place.start();
    await agent.ledgerWhen("its beginning", ({ total }) => total.delivered.lines === LINES);
    await sink.close();
    log.write(LINES);
    await eventually("the failing sink", async () => (await agent.pipelines())[0]!.sinks[0]!.trouble);
    // All files are of about one size, and on ext4 each gets the inode of the one that was removed just before.
    for (let i = 0; i < 20; i++) {
      log.prune(Infinity, 3);
      log.rotate();
      log.write(LINES);
      await eventually("a look at the new file", async () => (await agent.ledger()).total.end === log.bytes);
    }
    const firstKept = log.rotated[0]!.after;
    await sink.listen();
    const isThere = (): boolean => sink.set.lastOf("a") === log.lines - 1;
    await eventually("the last line", isThere, {
      details: () => `${sink.set.lastOf("a")} of ${log.lines}\n${agent.tail()}`,
    });
    const { total } = await agent.ledgerWhen("the rest", (ledger) => waiting(ledger) === 0);
    const lost = Object.values(total.lost).reduce((sum, { bytes }) => sum + bytes, 0);
    assert.deepEqual([total.delivered.lines, total.delivered.bytes + lost], [sink.set.lines, log.bytes]);
    const missing = sink.set.missing(log).filter((number) => number >= firstKept);
    assert.equal(missing.length, 0, `missing of what is there: ${missing[0]} to ${missing.at(-1)}`);
    assert.deepEqual([sink.set.reordered, sink.set.repeated, sink.set.damaged], [0, 0, 0]);
    if (lost > 0) await agent.logged(/error log bytes were gone before they could be read/);
  });

  test("after copytruncate the rest is read from the copy, and then the file from its new beginning", async (t) => {
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
    await agent.logged(/warn .*(framing|invalid|parse).*container=uid-junk\/app\/0/, { ms: 3_000 });
  });

  test("a line longer than maxLineBytes is cut, marked and counted, and the next one is whole", async (t) => {
    const { sink, log, start } = await shortLines(t);
    log.raw(criLine("a".repeat(10_000)) + criLine("next"));
    const agent = await start();
    const { total } = await agent.ledgerWhen("both", (ledger) => ledger.total.delivered.lines === 2);
    assert.equal(total.delivered.bytes, log.bytes);
    assert.deepEqual(sink.kept.map(brief), [{ text: "a".repeat(4096), truncated: true }, { text: "next" }]);
    const metrics = await (await fetch(`${agent.address}/metrics`)).text();
    assert.match(metrics, /^tailrace_decode_truncated_lines_total 1$/m);
    await agent.logged(/warn .*maxLineBytes.*container=uid-a\/app\/0/, { ms: 3_000 });
  });

  for (const { what, next } of [
    { what: "file", next: (log: LoggingContainer) => log.rotate() },
    { what: "instance", next: (log: LoggingContainer) => log.startAgain() },
  ]) {
    test(`a line that its ${what} ends without ending it is delivered cut, and the next ${what}'s whole`, async (t) => {
      for (const bytes of [100, 10_000]) {
        const { sink, log, start } = await shortLines(t);
        log.raw(criLine("whole"));
        const agent = await start();
        await agent.ledgerWhen("the first line", ({ total }) => total.delivered.lines === 1);
        log.raw(criLine("b".repeat(bytes)).slice(0, -1));
        await agent.ledgerWhen("a look at the open line", ({ total }) => total.end === log.bytes);
        next(log);
        log.raw(criLine("first of the next") + criLine("second"));
        const { total } = await agent.ledgerWhen("all", (ledger) => ledger.total.delivered.bytes === log.bytes);
        assert.equal(total.delivered.lines, 4);
        const cut = { text: "b".repeat(Math.min(bytes, 4096)), truncated: true };
        assert.deepEqual(sink.kept.map(brief), [
          { text: "whole" },
          cut,
          { text: "first of the next" },
          { text: "second" },
        ]);
        await agent.stop();
      }
    });
  }

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
