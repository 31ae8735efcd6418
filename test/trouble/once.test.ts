/** `--once`: what the files hold now is delivered, and the exit code says whether all of it was. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { suite, test, type TestContext } from "node:test";
import { logPipeline, Place } from "../support/agent-process.ts";
import { criLine, Load, LoggingContainer } from "../support/log-writer.ts";
import { SinkServer } from "../support/sink-server.ts";
import { assertBalanced, type Terms } from "../support/views.ts";
import { eventually } from "../support/wait.ts";

const LINES = 2_000;

interface World {
  place: Place;
  sink: SinkServer;
  log: LoggingContainer;
}

async function world(t: TestContext, spec: { dispatcher?: object; [field: string]: unknown } = {}): Promise<World> {
  const place = new Place(t);
  const sink = await SinkServer.open(place);
  place.configure(logPipeline({ ...spec, sinks: [{ name: "http", http: { url: sink.url } }] }));
  const log = new LoggingContainer(place.logsDir, "a", { splitEvery: 97 });
  log.write(LINES);
  log.finish();
  return { place, sink, log };
}

/** The total of `-o json`, with the settled terms by their full names. */
interface Printed {
  total: Pick<Terms, "start" | "end" | "readLines" | "inFlight" | "backlogBytes"> & {
    settled: Record<string, { lines: number; bytes: number }>;
  };
}

suite("--once", { concurrency: 4 }, () => {
  test("ends with 0 when every line was delivered, prints the ledger, and a second run sends nothing", async (t) => {
    const { place, sink, log } = await world(t);
    const first = await place.run(["--once", "-o", "json"]);
    assert.equal(first.code, 0, first.stderr);
    const { total } = JSON.parse(first.stdout) as Printed;
    assert.deepEqual(total.settled, { delivered: { lines: LINES, bytes: log.bytes } });
    assert.deepEqual([total.end - total.start, total.readLines, total.backlogBytes], [log.bytes, LINES, 0]);
    sink.set.assertExact([log], 0);
    const { length } = sink.arrivals;
    const second = await place.run();
    assert.equal(second.code, 0, second.stderr);
    assert.equal(sink.arrivals.length, length);
    log.write(LINES);
    log.finish();
    assert.equal((await place.run()).code, 0);
    sink.set.assertExact([log], 0);
    assert.equal(sink.set.repeated, 0);
  });

  test("takes each file's size at start as its end, while the container goes on writing", async (t) => {
    const { place, sink, log } = await world(t);
    const load = new Load([log], 5_000);
    place.after(() => load.stop());
    const { code, stderr } = await place.run();
    assert.equal(code, 0, stderr);
    load.stop();
    assert.ok(sink.set.lines >= LINES && sink.set.lines < log.lines, `${sink.set.lines} of ${log.lines}`);
    assert.equal((await place.run()).code, 0);
    sink.set.assertExact([log], 0);
    assert.equal(sink.set.repeated, 0);
  });

  test("leaves an unterminated last line and an open partial and says so; the next run delivers them", async (t) => {
    const { place, sink, log } = await world(t);
    sink.keep = true;
    const open = new LoggingContainer(place.logsDir, "open");
    open.raw(criLine("first half, ", { tag: "P" }));
    const torn = new LoggingContainer(place.logsDir, "torn");
    const line = criLine("a last line");
    torn.raw(line.slice(0, 50));
    const first = await place.run();
    assert.equal(first.code, 0, first.stderr);
    const left = 50 + open.bytes;
    assert.match(
      first.stderr,
      new RegExp(`^tailrace: ${left} bytes at the ends of files are no whole lines yet and are left there$`, "m"),
    );
    assert.deepEqual(new Set(sink.kept.map(({ pod }) => pod)), new Set(["a"]));
    open.raw(criLine("second half"));
    torn.raw(line.slice(50));
    const second = await place.run();
    assert.equal(second.code, 0, second.stderr);
    assert.doesNotMatch(second.stderr, /no whole lines/);
    assert.deepEqual(sink.texts().slice(LINES).sort(), ["a last line", "first half, second half"]);
    assert.equal(sink.kept.length, log.lines + 2);
  });

  test("ends with 3 when something became a dead letter, and only in the run in which it did", async (t) => {
    const { place, sink } = await world(t, { dispatcher: { maxRetries: 0 } });
    let refused = 0;
    sink.answer = () => (refused++ < 1 ? { status: 500 } : { status: 204 });
    const first = await place.run();
    assert.equal(first.code, 3, first.stderr);
    assert.match(first.stderr, / error records were dead-lettered /);
    assert.equal((await place.run()).code, 0);
  });

  test("ends with 3 when something was dropped", async (t) => {
    const { place, sink, log } = await world(t, { dispatcher: { maxRetries: 0, dlqEnabled: false } });
    sink.answer = () => ({ status: 500 });
    const { code, stderr } = await place.run();
    assert.equal(code, 3, stderr);
    assert.match(stderr, new RegExp(`dropped/RetriesExhausted 2,000 lines`));
    sink.answer = () => ({ status: 204 });
    log.write(10);
    assert.equal((await place.run()).code, 0);
  });

  test("ends with 3 when something was lost since the last run, and only once", async (t) => {
    const { place, sink, log } = await world(t);
    sink.answer = () => ({ status: 503 });
    assert.equal((await place.run(["--once", "--timeout", "1s"])).code, 4);
    sink.answer = () => ({ status: 204 });
    rmSync(join(log.folder, ".."), { recursive: true });
    const other = new LoggingContainer(place.logsDir, "b");
    other.write(10);
    const { code, stderr } = await place.run();
    assert.match(
      stderr,
      new RegExp(`error a container was deleted before its log was read container=uid-a/app/0 bytes=${log.bytes} `),
    );
    assert.equal(code, 3, stderr);
    assert.equal(sink.set.lines, 10);
    assert.equal((await place.run()).code, 0);
  });

  test("ends with 4 when time is up, says how much remains, and the next run delivers exactly that", async (t) => {
    const { place, sink, log } = await world(t);
    sink.answer = () => ({ status: 503 });
    const { code, stderr } = await place.run(["--once", "--timeout", "1s"]);
    assert.equal(code, 4, stderr);
    const said = `^tailrace: the time of --timeout 1s is up: ${log.bytes} bytes not delivered, run again to continue$`;
    assert.match(stderr, new RegExp(said, "m"));
    sink.answer = () => ({ status: 204 });
    assert.equal((await place.run()).code, 0);
    sink.set.assertExact([log], 0);
    assert.equal(sink.set.repeated, 0);
  });

  test("ends with 4 at Ctrl-C, having waited for the answers under way", async (t) => {
    const { place, sink, log } = await world(t, { dispatcher: { batchSize: 100, workerCount: 1 } });
    sink.delayMs = 150;
    const agent = place.launch(["--once"]);
    await eventually("three requests", () => sink.arrivals.length >= 3);
    agent.signal("SIGINT");
    const { code, stderr } = await agent.end();
    assert.equal(code, 4, stderr);
    assert.match(stderr, /^tailrace: stopped: \d+ bytes not delivered, run again to continue$/m);
    sink.delayMs = 0;
    assert.equal((await place.run()).code, 0);
    sink.set.assertExact([log], 0);
    assert.equal(sink.set.repeated, 0);
  });

  test("bad configuration and bad arguments end with 2 before anything is read", async (t) => {
    const { place, sink } = await world(t);
    for (const args of [
      ["--once", "--timeout", "soon"],
      ["--once", "--frobnicate"],
    ]) {
      const { code } = await place.run(args);
      assert.equal(code, 2, args.join(" "));
    }
    place.configure({ kind: "LogPipeline" });
    assert.equal((await place.run()).code, 2);
    assert.equal(sink.arrivals.length, 0);
  });
});

suite("what is read", { concurrency: 4 }, () => {
  test("links as in /var/log/containers are read as the files that they lead to, rotated ones included", async (t) => {
    const { place, sink, log } = await world(t);
    log.rotate();
    log.write(100);
    log.finish();
    const links = join(place.folder, "containers");
    mkdirSync(links);
    symlinkSync(log.path, join(links, `a_shop_app-${"0".repeat(64)}.log`));
    symlinkSync(join(place.folder, "nowhere.log"), join(links, `b_shop_app-${"1".repeat(64)}.log`));
    const { code, stderr } = await place.run(["--once", "--logs-dir", links]);
    assert.equal(code, 0, stderr);
    sink.set.assertExact([log], 0);
  });

  test("startAt End leaves what was there before and delivers what comes after, also over a restart", async (t) => {
    const { place, sink, log } = await world(t, { source: { startAt: "End" } });
    const before = log.bytes;
    const first = await place.start();
    const ledger = await first.ledger();
    assert.deepEqual([ledger.total.start, ledger.total.end], [before, before]);
    sink.keep = true;
    log.write(50);
    log.finish();
    const late = new LoggingContainer(place.logsDir, "late");
    late.write(50);
    await first.ledgerWhen("what came after", ({ total }) => total.delivered.lines === 100);
    await first.stop();
    log.write(50);
    log.finish();
    const second = await place.start();
    await second.ledgerWhen("what came while it was down", ({ total }) => total.delivered.lines === 150);
    const numbers = (pod: string): number[] =>
      sink.texts().flatMap((text) => (text.startsWith(`${pod}:`) ? Number(text.split(":")[1]) : []));
    assert.deepEqual(
      numbers("a"),
      Array.from({ length: 100 }, (_, i) => LINES + i),
    );
    assert.deepEqual(
      numbers("late"),
      Array.from({ length: 50 }, (_, i) => i),
    );
  });

  test("the instances of a container that restarts are delivered in their order", async (t) => {
    const { place, sink, log } = await world(t, { dispatcher: { batchSize: 100 } });
    for (let i = 0; i < 3; i++) {
      log.startAgain();
      log.write(LINES);
      log.finish();
    }
    const agent = await place.start();
    await agent.ledgerWhen("half", ({ total }) => total.delivered.lines > LINES);
    log.startAgain();
    log.write(LINES);
    log.finish();
    const ledger = await agent.ledgerWhen("all", ({ total }) => total.delivered.lines === log.lines);
    assert.deepEqual([ledger.total.delivered.bytes, ledger.sinks[0]!.containers.length], [log.bytes, 5]);
    sink.set.assertExact([log], 0);
    assert.equal(sink.set.repeated, 0);
  });

  test("drop, keep, redact and fields show in the records, and what they filtered in the ledger by step", async (t) => {
    const { place, sink } = await world(t, {
      source: { containers: { include: ["web"] } },
      process: [
        { drop: { level: ["debug"] } },
        { keep: { text: { matches: "^(level|user)=" } } },
        { redact: { presets: ["email"], patterns: [{ matches: "token=\\w+", replacement: "token=***" }] } },
        { fields: { add: { where: "{namespace}/{pod}" } } },
      ],
    });
    sink.keep = true;
    const log = new LoggingContainer(place.logsDir, "w", { container: "web" });
    const dropped = criLine("level=debug msg=hidden");
    const unkept = criLine("hello");
    log.raw(dropped.repeat(3) + unkept.repeat(5));
    log.raw(criLine("level=info token=abc123 done") + criLine("user=jo@example.org level=warn"));
    const { code, stdout } = await place.run(["--once", "-o", "json"]);
    assert.equal(code, 0);
    const { total } = JSON.parse(stdout) as Printed;
    const delivered = log.bytes - 3 * dropped.length - 5 * unkept.length;
    assert.deepEqual(total.settled, {
      delivered: { lines: 2, bytes: delivered },
      "filtered/0:drop": { lines: 3, bytes: 3 * dropped.length },
      "filtered/1:keep": { lines: 5, bytes: 5 * unkept.length },
    });
    const records = sink.kept as unknown as { text: string; level: string; fields: object }[];
    assert.deepEqual(
      records.map(({ text, level, fields }) => ({ text, level, fields })),
      [
        { text: "level=info token=*** done", level: "info", fields: { where: "shop/w" } },
        { text: "user=*** level=warn", level: "warn", fields: { where: "shop/w" } },
      ],
    );
  });

  test("two pipelines of the same container each get every line, filtered as each says", async (t) => {
    const { place, log } = await world(t);
    const out = (name: string): string => join(place.folder, `${name}.ndjson`);
    const pipelineOf = (name: string, process: object[]): object =>
      logPipeline({ process, sinks: [{ name: "file", file: { path: out(name) } }] }, name);
    place.configure(pipelineOf("all", []), pipelineOf("odd", [{ keep: { text: { matches: "^a:\\d*[13579]:" } } }]));
    const agent = await place.start();
    const ledger = await agent.ledgerWhen("all", ({ total }) => total.inFlight.bytes + total.backlogBytes === 0);
    assertBalanced(ledger, "at the end");
    const lines = (name: string): string[] => readFileSync(out(name), "utf8").trimEnd().split("\n");
    assert.deepEqual([lines("all").length, lines("odd").length], [log.lines, log.lines / 2]);
    const [all, odd] = ledger.sinks;
    assert.deepEqual([all!.delivered.bytes, all!.filtered], [log.bytes, {}]);
    assert.deepEqual([odd!.delivered.lines, odd!.filtered["0:keep"]!.lines], [log.lines / 2, log.lines / 2]);
  });
});
