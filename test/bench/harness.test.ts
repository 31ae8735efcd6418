// The bench's own instrument: that it sees what it is there to see.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import protobuf from "protobufjs";
import { skipWithoutGo } from "../servers/tool.ts";
import { allowedCpus, generate, Harness, type Result, type ScenarioName, startWriter } from "./harness.ts";

const snappy = createRequire(import.meta.url)("snappyjs") as Record<
  "compress" | "uncompress",
  (bytes: Uint8Array) => Uint8Array<ArrayBuffer>
>; // it brings no types

const { root: schema } = protobuf.parse(`
  syntax = "proto3";
  message PushRequest { repeated Stream streams = 1; }
  message Stream { string labels = 1; repeated Entry entries = 2; }
  message Entry { Timestamp timestamp = 1; string line = 2; repeated Label structuredMetadata = 3; }
  message Timestamp { int64 seconds = 1; int32 nanos = 2; }
  message Label { string name = 1; string value = 2; }
`);
const PushRequest = schema.lookupType("PushRequest");

interface Line {
  pod: string;
  stream: string;
  seconds: number;
  nanos: number;
  line: string;
}

const folder = mkdtempSync(join(tmpdir(), "tailrace-harness-test-"));
const linesEach = 64;
const cpu = allowedCpus()[0] ?? -1;

describe("the harness", { skip: skipWithoutGo() }, () => {
  let harness: Harness;
  /** By file, then by line number. */
  let written: Line[][] = [];

  before(async () => {
    harness = await Harness.start();
    await generate(join(folder, "logs"), { files: 2, lines: linesEach });
    written = readdirSync(join(folder, "logs", "pods"))
      .sort()
      .map((pod) => readLog(pod.split("_")[1] ?? "", join(folder, "logs", "pods", pod, "main", "0.log")));
  });
  beforeEach(async () => {
    await harness.reset();
  });
  after(async () => {
    await harness.stop();
    rmSync(folder, { recursive: true });
  });

  const file = (n: number): Line[] => written[n] ?? [];
  const lines = (n: number, from: number, to: number): Line[] => file(n).slice(from, to);

  function push(entries: Line[], signal?: AbortSignal): Promise<Response> {
    return pushBytes(encode(entries), signal);
  }

  function pushBytes(body: Uint8Array<ArrayBuffer>, signal: AbortSignal | null = null): Promise<Response> {
    // A connection for each push: the sink tells the agent before a kill from the one after it by its connections.
    const headers = { "Content-Type": "application/x-protobuf", Connection: "close" };
    return fetch(`${harness.sinkUrl}/loki/api/v1/push`, { method: "POST", headers, body, signal });
  }

  test("finds nothing wrong with an exact set in Loki protobuf, streams apart, and in plain text", async () => {
    assert.equal((await push([...file(0), ...file(1)])).status, 204);
    const loki = await harness.stats();
    assert.equal(loki.lines, 2 * linesEach);
    for (const what of ["duplicated", "reordered", "damaged", "unknown", "undecodable"] as const)
      assert.equal(loki[what], 0, what);
    assert.deepEqual(
      loki.containers.map(({ file, lines, missing }) => ({ file, lines, missing })),
      [0, 1].map((file) => ({ file, lines: linesEach, missing: 0 })),
    );
    await harness.reset();
    const body = file(0)
      .map(({ line }) => `${line}\n`)
      .join("");
    await fetch(`${harness.sinkUrl}/x`, { method: "POST", body });
    const text = await harness.stats();
    assert.deepEqual([text.lines, text.duplicated, text.reordered], [linesEach, 0, 0]);
  });

  test("counts lost, repeated and reordered lines for the container that they belong to", async () => {
    await push([...lines(0, 0, 10), ...lines(0, 20, 30)]);
    await push(lines(1, 8, 12));
    await push(lines(1, 0, 9)); // 0 to 6 come late; 7 is the only one on its stream, stderr
    const { containers } = await harness.stats();
    assert.deepEqual(containers, [
      { file: 0, lines: 20, highest: 29, missing: 10, duplicated: 0, reordered: 0, damaged: 0 },
      { file: 1, lines: 12, highest: 11, missing: 0, duplicated: 1, reordered: 7, damaged: 0 },
    ]);
  });

  test("calls a line damaged when its text, its time or its pod is not what was written", async () => {
    const [good, text, time, pod] = lines(0, 0, 4) as [Line, Line, Line, Line];
    await push([
      good,
      { ...text, line: text.line.replace("took_us", "took_ms") },
      { ...time, nanos: time.nanos + 1 },
      { ...pod, pod: file(1)[0]?.pod ?? "" },
      { ...good, line: "nobody wrote this" },
    ]);
    const { lines: count, damaged, unknown } = await harness.stats();
    assert.deepEqual([count, damaged, unknown], [4, 3, 1]);
  });

  test("answers 400 to what is no push request and takes nothing of it", async () => {
    const whole = snappy.uncompress(encode(lines(0, 0, 8)));
    const bodies = [whole, encode([]).map((byte) => byte ^ 0xff), new Uint8Array(snappy.compress(whole.slice(0, -1)))];
    for (const body of bodies) assert.equal((await pushBytes(new Uint8Array(body))).status, 400);
    const { lines: count, undecodable } = await harness.stats();
    assert.deepEqual([count, undecodable], [0, 3]);
  });

  test("fails as often as it is told, with a Retry-After, and takes nothing meanwhile", async () => {
    await harness.fail(429, 2, "7");
    const answers = [];
    for (let i = 0; i < 3; i++) answers.push(await push(lines(0, 0, 5)));
    assert.deepEqual(
      answers.map(({ status, headers }) => [status, headers.get("retry-after")]),
      [[429, "7"], [429, "7"], [204, null]], // prettier-ignore
    );
    const { lines: count, refused, duplicated } = await harness.stats();
    assert.deepEqual([count, refused, duplicated], [5, 2, 0]);
  });

  test("hangs and refuses without taking anything, and is back on the same port", async () => {
    await harness.hang(true);
    const cut = assert.rejects(push(lines(0, 0, 5)));
    while ((await harness.stats()).hung === 0) await sleep(5);
    await harness.hang(false);
    await cut;
    await harness.refuse(true);
    await assert.rejects(push(lines(0, 5, 10)));
    await harness.refuse(false);
    assert.equal((await push(lines(0, 10, 15))).status, 204);
    assert.equal((await harness.stats()).lines, 5);
  });

  test("lets a successor repeat what was unanswered at a kill, once, and nothing else", async () => {
    await push(lines(0, 0, 10));
    await sleep(300); // an answer counts as written down 200 ms after it went out
    await harness.delay(60_000);
    const gone = new AbortController();
    const unanswered = push(lines(0, 10, 20), gone.signal).catch(() => {});
    while ((await harness.stats()).lines < 20) await sleep(5);
    gone.abort();
    await unanswered;
    await harness.killed();
    await harness.delay(0);

    await push(lines(0, 10, 20));
    assert.deepEqual(await duplicates(), [10, 10]);
    await push(lines(0, 0, 3));
    assert.deepEqual(await duplicates(), [13, 10]);
    await sleep(300);
    await harness.killed();
    await push(lines(0, 10, 20)); // answered by now: a second repeat is one too many
    assert.deepEqual(await duplicates(), [23, 10]);
    await push(lines(0, 20, 30));
    await harness.killed(); // at once: the answer is fresh
    await push(lines(0, 20, 30));
    assert.deepEqual(await duplicates(), [33, 20]);
    assert.equal((await harness.stats()).repeatedRequests, 2);
  });

  async function duplicates(): Promise<[number, number]> {
    const { duplicated, duplicatedAllowed } = await harness.stats();
    return [duplicated, duplicatedAllowed];
  }

  function run(scenario: ScenarioName, script: string): Promise<Result> {
    const place = mkdtempSync(join(folder, "run-"));
    const folders = { root: join(place, "logs"), logFile: join(place, "agent.log"), env: [] };
    const load = { files: 2, textBytes: 200, rateLines: 1_000, warmSeconds: 0, seconds: 1, kills: 1, burstMiB: 1 };
    const bounds = { cpu, stallSeconds: 1, limitSeconds: 20 };
    return harness.run({ scenario, command: ["sh", "-c", script], ...folders, ...load, ...bounds });
  }

  test("writes at a steady rate until it is stopped, and says exactly what it wrote", async () => {
    const writer = await startWriter(join(folder, "steady"), { files: 3, rate: 2_000 });
    await sleep(500);
    const { lines: count, bytes } = await writer.stop();
    const pods = readdirSync(join(folder, "steady", "pods"));
    const logs = pods.map((pod) => readFileSync(join(folder, "steady", "pods", pod, "main", "0.log"), "latin1"));
    assert.equal(logs.join("").length, bytes);
    assert.equal(logs.join("").split("\n").length - 1, count);
    assert.ok(count > 200 && count < 20_000, `${count} lines`);
  });

  test("measures the CPU time of an agent and its children, and pins them", async () => {
    const busy = await run(
      "rest",
      "grep Cpus_allowed_list /proc/self/status; (while :; do :; done) & while :; do :; done",
    );
    const cores = busy.cpuSeconds / busy.wallSeconds;
    assert.ok(cores > 0.2 && cores < 1.1, `${cores} cores`); // two busy loops on the one CPU
    assert.ok(busy.peakRssMiB > 0.5 && busy.peakRssMiB < 50, `${busy.peakRssMiB} MiB`);
    const silent = await run("rest", "grep Cpus_allowed_list /proc/self/status; exit 3");
    assert.match(silent.notes.join(), /ended by itself: exit status 3/);
    assert.equal(silent.logTail, `Cpus_allowed_list:\t${cpu}`);
  });

  test("says that lines are lost, and why it stopped waiting, when an agent delivers nothing", async () => {
    const lazy = await run("steady", "sleep 60");
    assert.equal(lazy.lost, lazy.writtenLines);
    assert.ok(lazy.writtenLines > 500);
    assert.match(lazy.notes.join(), /nothing came for 1 s/);
  });
});

function readLog(pod: string, path: string): Line[] {
  const rows = readFileSync(path, "utf8").trimEnd().split("\n");
  return rows.map((row) => {
    const [, time = "", fraction = "0", stream = "", line = ""] = /^(\S+)\.(\d{9})Z (\w+) F (.*)$/.exec(row) ?? [];
    return { pod, stream, seconds: Date.parse(`${time}Z`) / 1000, nanos: Number(fraction), line };
  });
}

/** A push request with one stream for each pod and stream, as the default labels make it. */
function encode(entries: Line[]): Uint8Array<ArrayBuffer> {
  const streams = new Map<string, { labels: string; entries: object[] }>();
  for (const { pod, stream, seconds, nanos, line } of entries) {
    const labels = `{container="main", namespace="bench", pod="${pod}", stream="${stream}"}`;
    if (!streams.has(labels)) streams.set(labels, { labels, entries: [] });
    streams.get(labels)?.entries.push({ timestamp: { seconds, nanos }, line });
  }
  return new Uint8Array(snappy.compress(PushRequest.encode({ streams: [...streams.values()] }).finish()));
}
