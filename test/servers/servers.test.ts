// The servers themselves: that they start, take a push, and give back exactly what they took.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { type Loki, startLoki } from "./loki.ts";
import { skipWithoutGo } from "./tool.ts";
import { startVictoriaLogs, type VictoriaLogs } from "./victorialogs.ts";

const skip = skipWithoutGo();
const now = Date.now();
const at = (n: number): string => `${now}${String(n).padStart(6, "0")}`;

type Stream = { stream: Record<string, string>; values: (string | Record<string, string>)[][] };

function push(url: string, tenant: string | undefined, ...streams: Stream[]): Promise<Response> {
  return fetch(`${url}/loki/api/v1/push`, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...(tenant === undefined ? {} : { "X-Scope-OrgID": tenant }) },
    body: JSON.stringify({ streams }),
  });
}

describe("Loki", { skip }, () => {
  let loki: Loki;
  before(async () => {
    loki = await startLoki();
  });
  after(async () => {
    await loki.stop();
  });

  test("gives back every entry of two streams, also where a page ends among equal times", async () => {
    const values = (name: string): string[][] =>
      Array.from({ length: 7_000 }, (_, i) => [at(i - (i % 2)), `${name} ${i}`]);
    const streams = ["a", "b"].map((name) => ({ stream: { job: "paging", name }, values: values(name) }));
    assert.equal((await push(loki.url, "t1", ...streams)).status, 204);
    const entries = await loki.queryAll('{job="paging"}', "t1");
    for (const { stream, values } of streams) {
      const got = entries.filter(({ labels }) => labels["name"] === stream.name).map(({ ts, line }) => [ts, line]);
      assert.deepEqual(got, values);
      assert.deepEqual(entries.find(({ labels }) => labels["name"] === stream.name)?.labels, stream);
    }
    assert.deepEqual(await loki.queryAll('{job="paging"}', "t2"), []);
  });

  test("refuses an entry that is older than its stream's newest, an old one, no labels, no tenant", async () => {
    const one = (ts: string, stream: Record<string, string> = { job: "strict" }): Stream => ({
      stream,
      values: [[ts, "x"]],
    });
    const cases: [Stream, string | undefined, number, RegExp][] = [
      [one(at(5)), "t1", 204, /^$/],
      [one(at(4)), "t1", 400, /entry out of order/],
      [one(`${now - 200 * 3_600_000}000000`), "t1", 400, /timestamp too old/],
      [one(at(6), {}), "t1", 400, /label/],
      [one(at(6)), undefined, 401, /no org id/],
    ];
    for (const [stream, tenant, status, text] of cases) {
      const response = await push(loki.url, tenant, stream);
      assert.match(await response.text(), text);
      assert.equal(response.status, status);
    }
  });

  test("answers 429 when a flag lowers its rate limit", async () => {
    const slow = await startLoki([
      "-distributor.ingestion-rate-limit-mb=0.001",
      "-distributor.ingestion-burst-size-mb=0.001",
    ]);
    try {
      assert.equal(
        (await push(slow.url, "t1", { stream: { job: "rate" }, values: [[at(0), "x".repeat(20_000)]] })).status,
        429,
      );
    } finally {
      await slow.stop();
    }
  });
});

describe("VictoriaLogs", { skip }, () => {
  let logs: VictoriaLogs;
  before(async () => {
    logs = await startVictoriaLogs();
  });
  after(async () => {
    await logs.stop();
  });

  test("gives back labels, structured metadata, nanoseconds and lines as they were pushed", async () => {
    const stream = { job: "meta", quoted: 'a"b\\c,d={}' };
    const lines = [' {"json":true} ', "ünï\tcode\n\0end", "third"];
    const values = lines.map((line, i) => [at(i), line, { trace: `t${i}`, "with.dot": "ä" }]);
    assert.equal((await push(logs.url, "7", { stream, values })).status, 204);
    const entries = await logs.queryAll('{job="meta"}', "7");
    const expected = lines.map((line, i) => ({
      labels: stream,
      metadata: { trace: `t${i}`, "with.dot": "ä" },
      ts: at(i),
      line,
    }));
    assert.deepEqual(entries, expected);
    assert.deepEqual(await logs.queryAll('{job="meta"}', "8"), []);
    assert.equal(await logs.rowsDropped(), 0);
  });

  test("leaves neither its process nor its folder behind when it is stopped", async () => {
    const other = await startVictoriaLogs();
    const traces = [other.folder, `/proc/${other.pid}`];
    assert.deepEqual(traces.map(existsSync), [true, true]);
    await other.stop();
    assert.deepEqual(traces.map(existsSync), [false, false]);
  });
});
