import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { realDisk, type Disk } from "../../agent/disk.ts";
import { accept, configOf, Destination, JumpClock, Live, refuse, until } from "./live.ts";

interface Sample {
  labels: Record<string, string>;
  value: number;
}
interface Family {
  type: string;
  help: string;
  samples: Sample[];
}

/** Reads the text format of Prometheus; anything that is none fails. */
function parse(text: string): Map<string, Family> {
  const families = new Map<string, Family>();
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const meta = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line);
    if (meta) {
      const family = families.get(meta[2]!) ?? { type: "", help: "", samples: [] };
      families.set(meta[2]!, family);
      if (meta[1] === "HELP") family.help = meta[3]!;
      else family.type = meta[3]!;
      continue;
    }
    const [, name, labels = "", value] = /^([a-z0-9_]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? assert.fail(line);
    const pairs = [...labels.matchAll(/([a-z]+)="([^"]*)"/g)].map(([, key, text]) => [key, text]);
    const family = families.get(name!) ?? families.get(name!.replace(/_(bucket|sum|count)$/, "")) ?? assert.fail(line);
    family.samples.push({ labels: Object.fromEntries(pairs), value: Number(value) });
  }
  return families;
}

async function scrape(live: Live): Promise<Map<string, Family>> {
  const response = await live.get("/metrics");
  assert.equal(response.status, 200);
  assert.match(response.headers.get("content-type")!, /^text\/plain; version=0\.0\.4/);
  return parse(await response.text());
}

/** The sum of a family's samples that carry these labels. */
function sum(families: Map<string, Family>, name: string, labels: Record<string, string> = {}): number {
  const { samples } = families.get(`tailrace_${name}`) ?? assert.fail(`there is no tailrace_${name}`);
  const carries = (sample: Sample): boolean =>
    Object.entries(labels).every(([key, text]) => sample.labels[key] === text);
  return samples.filter(carries).reduce((total, { value }) => total + value, 0);
}

const PIPELINE = "LogPipeline/shop/checkout";
const yaml = (web: string, loki: string): string => `
apiVersion: tailrace.dev/v1alpha1
kind: AgentConfig
spec: {maxLineBytes: 1Ki, memoryLimit: 16Mi}
---
apiVersion: tailrace.dev/v1alpha1
kind: LogPipeline
metadata: {name: checkout, namespace: shop}
spec:
  process: [{drop: {text: {contains: noise}}}, {redact: {presets: [email]}}]
  dispatcher:
    {batchTimeout: 10ms, batchSize: 20, queueSize: 40, retryBaseDelay: 30s, retryMaxDelay: 30s, drainTimeout: 1s}
  sinks:
    - {name: web, http: {url: "${web}"}, dispatcher: {dlqBytes: 4Ki}}
    - {name: loki, loki: {url: "${loki}"}, dispatcher: {dlqEnabled: false}}
`;

/** The real disk, on which the journal can be broken. */
class BreakableDisk {
  isBroken = false;
  readonly disk: Disk;

  constructor() {
    const journals = new Set<number>();
    this.disk = {
      ...realDisk,
      openAppend: (path) => {
        const fd = realDisk.openAppend(path);
        if (path.includes("/positions.")) journals.add(fd);
        return fd;
      },
      write: (fd, bytes) => {
        if (this.isBroken && journals.has(fd)) throw new Error("the disk is full");
        realDisk.write(fd, bytes);
      },
    };
  }
}

/** What this test can't move, and the tests that do. */
const ELSEWHERE = new Set([
  "tailrace_ledger_imbalance_lines", // always 0
  "tailrace_ledger_imbalance_bytes",
  "tailrace_ledger_lost_lines_total", // what was never read has bytes only
  "tailrace_memory_short_state",
  "tailrace_memory_short_turns_total", // of one turn
  "tailrace_process_masked_texts_total", // the process tests
  "tailrace_process_left_out_fields_total",
]);

test("under load and in trouble every metric moves, and every scrape adds up to the bytes in the files", async (t) => {
  const [web, loki] = [await new Destination().open(t), await new Destination().open(t)];
  const clock = new JumpClock();
  const breakable = new BreakableDisk();
  const live = await Live.open(t, configOf(yaml(web.url, loki.url)), { clock, disk: breakable.disk });
  const moved = new Set<string>();
  let written = 0;

  const look = async (): Promise<Map<string, Family>> => {
    const families = await scrape(live);
    for (const [name, { samples }] of families) if (samples.some(({ value }) => value !== 0)) moved.add(name);
    for (const sink of ["web", "loki"]) {
      const bytes = (name: string, labels = {}): number => sum(families, `ledger_${name}`, { sink, ...labels });
      const settled = ["delivered", "filtered", "dropped", "dead_lettered", "lost"];
      const all = settled.reduce((total, name) => total + bytes(`${name}_bytes_total`), 0);
      const evicted = bytes("dropped_bytes_total", { reason: "DeadLetterEvicted" });
      assert.equal(
        all - evicted + bytes("in_flight_bytes") + bytes("backlog_bytes"),
        written,
        `${sink} does not add up`,
      );
      assert.deepEqual([bytes("imbalance_lines"), bytes("imbalance_bytes")], [0, 0]);
    }
    return families;
  };
  const come = async (what: string, holds: (families: Map<string, Family>) => boolean): Promise<void> =>
    void (await until(what, async () => holds(await look())));
  const answerAll = (answer: Destination["answer"]): void => void (web.answer = loki.answer = answer);

  for (const pod of ["a", "b"]) live.write(pod, []);
  live.agent.start();
  const first = await look();
  for (const reason of ["RotatedBeforeRead", "TruncatedBeforeRead", "PodDeletedBeforeRead"]) {
    const { samples } = first.get("tailrace_ledger_lost_bytes_total")!;
    assert.equal(
      samples.filter(({ labels }) => labels["reason"] === reason).length,
      2,
      `${reason} is there from the start`,
    );
  }

  written += live.write("a", ["mail to ada@example.com", "noise", Buffer.from([0x66, 0xff]), "x".repeat(2000)]);
  written += live.write("a", ["part one, "], "P") + live.write("a", ["part two"]);
  appendFileSync(live.file("a"), "no framing at all\n");
  written += "no framing at all\n".length;
  await come("all lines", (now) => sum(now, "ledger_delivered_lines_total") === 10);
  let now = await look();
  assert.equal(sum(now, "decode_invalid_lines_total"), 1);
  assert.equal(sum(now, "decode_truncated_lines_total"), 1);
  assert.equal(sum(now, "decode_joined_lines_total"), 1);
  assert.equal(sum(now, "process_filtered_records_total", { pipeline: PIPELINE, reason: "0:drop" }), 1);
  assert.equal(sum(now, "process_redactions_total", { reason: "1:redact" }), 1);
  assert.equal(sum(now, "ledger_filtered_lines_total", { sink: "web", reason: "0:drop" }), 1);
  // At least: what one sink had no room for is read for it again.
  assert.ok(sum(now, "collect_read_bytes_total") >= written);
  assert.equal(sum(now, "dispatcher_worker_batches_total", { sink: "web" }), web.requests);
  assert.equal(sum(now, "dispatcher_request_bytes_total", { sink: "web" }), Buffer.byteLength(web.bodies.join("")));

  // Poison: halved until it is alone, then dead-lettered, dropped where there is no queue, evicted when that is full.
  const poisoned = (body: string, reply: ServerResponse): void =>
    (body.includes("poison") ? refuse(413) : accept)(body, reply);
  answerAll(poisoned);
  const lines = Array.from({ length: 30 }, (_, n) => `${n % 2 ? "poison" : "good"} ${n} ${"y".repeat(200)}`);
  loki.answer = refuse(413);
  written += live.write("a", lines);
  await come("the verdicts", (families) => {
    const dead = sum(families, "ledger_dead_lettered_lines_total", { sink: "web" });
    return dead === 15 && sum(families, "ledger_dropped_lines_total", { sink: "loki", reason: "Rejected" }) === 30;
  });
  now = await look();
  const evicted = sum(now, "ledger_dropped_lines_total", { sink: "web", reason: "DeadLetterEvicted" });
  assert.ok(evicted > 0 && evicted < 15, `${evicted} evicted`);
  assert.ok(sum(now, "dispatcher_outcomes_total", { sink: "web", reason: "split" }) > 0);

  // No answer: workers wait.
  answerAll(() => {});
  written += live.write(
    "a",
    Array.from({ length: 100 }, (_, n) => `waiting ${n}`),
  );
  await come("waiting workers", (families) => sum(families, "dispatcher_worker_waiting_seconds", { sink: "web" }) > 0);
  now = await look();
  assert.ok(sum(now, "dispatcher_worker_state", { sink: "web" }) >= 1);
  assert.ok(sum(now, "dispatcher_queue_lines", { sink: "web" }) >= 40);
  assert.ok(sum(now, "ledger_in_flight_lines", { sink: "web" }) >= 40);
  assert.ok(sum(now, "dispatcher_queue_oldest_seconds", { sink: "web" }) > 0);

  // The answers are lost: ambiguous. Then 503 for so long that the sinks give up what they hold.
  answerAll(refuse(503));
  for (const destination of [web, loki]) destination.drop();
  await come("trouble", (families) => sum(families, "dispatcher_trouble_state", { sink: "web" }) === 1);
  assert.ok(sum(await look(), "dispatcher_ambiguous_requests_total", { sink: "web" }) > 0);
  clock.jump(6_000);
  await come("the release", (families) => sum(families, "dispatcher_releases_total", { sink: "web" }) > 0);
  now = await look();
  assert.ok(sum(now, "dispatcher_trouble_seconds", { sink: "web" }) >= 6);
  assert.equal(sum(now, "dispatcher_queue_lines", { sink: "web" }), 0);

  // The file is truncated before it was read; then all is well again.
  const rest = "2026-11-24T10:00:00Z stdout F after\n";
  writeFileSync(live.file("a"), rest);
  written += rest.length;
  answerAll(accept);
  clock.jump(61_000);
  await come("the end", (families) => {
    const left = sum(families, "ledger_backlog_bytes") + sum(families, "ledger_in_flight_bytes");
    return left === 0 && sum(families, "dispatcher_trouble_state") === 0;
  });
  assert.ok(sum(await look(), "ledger_lost_bytes_total", { sink: "web", reason: "TruncatedBeforeRead" }) > 0);

  answerAll(refuse(401));
  written += live.write("a", ["held"]);
  await come("hold", (families) => sum(families, "dispatcher_trouble_state", { sink: "web" }) === 2);
  breakable.isBroken = true;
  written += live.write("b", ["noise"]);
  await come("journal trouble", (families) => sum(families, "journal_trouble_state") === 1);
  breakable.isBroken = false;

  const ours = [...(await look()).keys()].filter((name) => name.startsWith("tailrace_"));
  assert.deepEqual(
    ours.filter((name) => !moved.has(name) && !ELSEWHERE.has(name)),
    [],
    "metrics that never moved",
  );
});

test("counters begin at 0 with the process, though the ledger goes on", async (t) => {
  const [web, loki] = [await new Destination().open(t), await new Destination().open(t)];
  const directory = mkdtempSync(join(tmpdir(), "tailrace-live-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const config = configOf(yaml(web.url, loki.url));
  const lines = ["one", "noise", "poison", "two"];
  web.answer = (body, reply) => (body.includes("poison") ? refuse(413) : accept)(body, reply);
  const names = ["delivered", "filtered", "dead_lettered"];
  const counts = (families: Map<string, Family>): number[] =>
    names.map((name) => sum(families, `ledger_${name}_lines_total`, { sink: "web" }));
  for (const [run, pod] of ["a", "b"].entries()) {
    const live = await Live.open(t, config, { directory });
    live.agent.start();
    assert.deepEqual(counts(await scrape(live)), [0, 0, 0], `run ${run}`);
    live.write(pod, lines);
    await until("the lines", async () => counts(await scrape(live)).join() === "2,1,1");
    const { ledger } = live.agent.ledgers().find(({ sink }) => sink === `${PIPELINE}/web`)!;
    assert.deepEqual([ledger.readLines, ledger.settled["deadLettered"]?.lines], [4 * (run + 1), run + 1]);
    await live.stop();
  }
});

test("what is lost while the agent is down is counted when it comes back", async (t) => {
  const [web, loki] = [await new Destination().open(t), await new Destination().open(t)];
  const directory = mkdtempSync(join(tmpdir(), "tailrace-live-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const config = configOf(yaml(web.url, loki.url));
  const first = await Live.open(t, config, { directory });
  web.answer = refuse(401);
  const bytes = first.write("a", ["one"]);
  first.agent.start();
  await until("the request", () => web.requests > 0);
  await first.stop();
  rmSync(join(directory, "pods"), { recursive: true });
  const second = await Live.open(t, config, { directory });
  second.agent.start();
  const lost = { sink: "web", reason: "PodDeletedBeforeRead" };
  assert.equal(sum(await scrape(second), "ledger_lost_bytes_total", lost), bytes);
});

test("names, types, help and labels keep to the rules", async (t) => {
  const [web, loki] = [await new Destination().open(t), await new Destination().open(t)];
  const live = await Live.open(t, configOf(yaml(web.url, loki.url)));
  live.agent.start();
  const families = await scrape(live);
  const stages = "collect|decode|process|dispatcher|ledger|memory|journal|loop";
  for (const [name, { type, help, samples }] of families) {
    if (!name.startsWith("tailrace_")) continue;
    assert.match(name, new RegExp(`^tailrace_(${stages})_[a-z]+(_[a-z]+)*$`));
    assert.equal(type, name.endsWith("_total") ? "counter" : "gauge", name);
    assert.match(help, /^[A-Z1].*\.$/, name);
    assert.ok(samples.length > 0, `${name} has no sample`);
    for (const label of samples.flatMap(({ labels }) => Object.keys(labels))) {
      assert.ok(["pipeline", "sink", "reason", "worker"].includes(label), `${name} has a label ${label}`);
    }
  }
  assert.ok(families.has("process_cpu_seconds_total") && families.has("nodejs_eventloop_lag_p99_seconds"));
});
