/**
 * kill -9 under load, again and again on the same data directory: nothing is lost or reordered, and at most the
 * requests that the agent could not know the answer of are sent again.
 */
import assert from "node:assert/strict";
import { appendFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { logPipeline, Place, type AgentProcess } from "../support/agent-process.ts";
import { Load, LoggingContainer } from "../support/log-writer.ts";
import { SinkServer } from "../support/sink-server.ts";
import type { LedgerView } from "../support/views.ts";
import { eventually } from "../support/wait.ts";
import { FileLives } from "./file-lives.ts";
import { scaled } from "./scale.ts";

const KILLS = scaled(5, 20);
const LINES_PER_SECOND = scaled(4_000, 10_000);
const BURST_LINES = scaled(20_000, 60_000);
const CONTAINERS = 6;
const WORKERS = 4;
const BATCH_LINES = 500;
/** A life lasts at most so long after its first delivery; shorter when it has a burst to deliver. */
const LIFE_MS_MAX = 1_500;
const LIFE_BURST_MS_MAX = 400;
const JOURNALLED_MS = 1_000;
const PULSE_MS = 20;
const STALL_MS_MAX = 5_000;

/** Adds the ledger up every 100 ms until told to stop, and shows it to `look`. Returns how often. */
async function watchLedger(
  agent: AgentProcess,
  isOver: () => boolean,
  look: (ledger: LedgerView) => void,
): Promise<number> {
  let looks = 0;
  for (; !isOver(); await sleep(100)) {
    try {
      look(await agent.ledger("under load"));
    } catch (error) {
      if (isOver() && !(error instanceof assert.AssertionError)) return looks;
      throw error;
    }
    looks++;
  }
  return looks;
}

/**
 * When the agent's loop was last seen to turn. On a crowded machine it may get no processor, or wait for the disk, for
 * longer than it takes to write an answer down: what counts is what it had before it stood still, not before it was killed.
 */
class Pulse {
  at = performance.now();

  async watch(agent: AgentProcess, isOver: () => boolean): Promise<void> {
    for (; !isOver(); await sleep(PULSE_MS)) {
      const sentAt = performance.now();
      try {
        await agent.get("/healthz");
      } catch (error) {
        if (isOver()) return;
        throw error;
      }
      this.at = sentAt;
    }
  }
}

/** Removes rotated files, as the kubelet does, once every sink has settled them and the journal has it. */
class Pruning {
  readonly #settled: { at: number; lines: Map<string, number> }[] = [];

  /** Notes how many lines of each container all sinks have settled. */
  look({ sinks }: LedgerView): void {
    const lines = new Map<string, number>();
    for (const { containers } of sinks) {
      for (const { pod, delivered } of containers)
        lines.set(pod, Math.min(lines.get(pod) ?? Infinity, delivered.lines));
    }
    this.#settled.push({ at: performance.now(), lines });
  }

  prune(containers: readonly LoggingContainer[]): void {
    const settled = this.#settled.findLast(({ at }) => performance.now() - at > JOURNALLED_MS);
    for (const container of containers) container.prune(settled?.lines.get(container.name) ?? 0, 1);
  }
}

/** So that every life finds a torn last line: the end of a write that the kill interrupted. */
function tear(folder: string, name: string): void {
  appendFileSync(join(folder, name), '{"time":"2026-11-23T10:00:00.0000');
}

test(`${KILLS} times kill -9 under load lose and reorder nothing, and repeat only unanswered requests`, async (t) => {
  const place = new Place(t);
  const [http, loki] = [await SinkServer.open(place), await SinkServer.open(place)];
  http.delayMs = loki.delayMs = 20; // so that a kill finds requests without an answer
  const out = join(place.folder, "out");
  mkdirSync(out);
  const files = new FileLives(out);
  place.configure(
    logPipeline({
      dispatcher: { batchTimeout: "100ms", batchSize: BATCH_LINES, workerCount: WORKERS },
      sinks: [
        { name: "http", http: { url: http.url } },
        { name: "loki", loki: { url: loki.url, format: "json" } },
        { name: "files", file: { path: `${out}/{pod}.ndjson` } },
      ],
    }),
  );
  const containers = Array.from(
    { length: CONTAINERS },
    (_, i) => new LoggingContainer(place.logsDir, `c${i}`, { splitEvery: 97, rotateBytes: 128 * 1024 }),
  );
  const pruning = new Pruning();
  const load = new Load(containers, LINES_PER_SECOND, () => pruning.prune(containers));
  place.after(() => load.stop());
  const written = (): number => containers.reduce((sum, { lines }) => sum + lines, 0);
  const stalls: number[] = [];
  let looks = 0;
  for (let kill = 0; kill < KILLS; kill++) {
    const isBurst = kill % 2 === 1;
    if (isBurst) for (const container of containers) container.write(Math.floor(BURST_LINES / CONTAINERS));
    const before = [http.set.lines, loki.set.lines, files.bytes()] as const;
    const agent = await place.start();
    await eventually(
      "a delivery to each sink",
      () => http.set.lines > before[0] && loki.set.lines > before[1] && files.bytes() > before[2],
      { ms: 30_000, details: agent.tail },
    );
    let isOver = false;
    const pulse = new Pulse();
    const beating = pulse.watch(agent, () => isOver);
    const watching = watchLedger(
      agent,
      () => isOver,
      (ledger) => pruning.look(ledger),
    );
    await Promise.race([watching, beating, sleep(Math.random() * (isBurst ? LIFE_BURST_MS_MAX : LIFE_MS_MAX))]);
    isOver = true;
    const at = await agent.kill();
    looks += await watching;
    await beating;
    const stallMs = at - pulse.at;
    assert.ok(stallMs < STALL_MS_MAX, `the agent's loop stood still for ${Math.round(stallMs)} ms`);
    stalls.push(stallMs);
    await Promise.all([http.killed(pulse.at), loki.killed(pulse.at)]);
    files.killed();
    tear(out, `c${kill % CONTAINERS}.ndjson`);
  }
  const agent = await place.start();
  await sleep(500);
  load.stop();
  const isThere = (): boolean => http.set.lines === written() && loki.set.lines === written();
  await eventually("every line", isThere, {
    ms: 60_000,
    details: () => `${http.set.lines}, ${loki.set.lines} of ${written()}\n${agent.tail()}`,
  });
  const bytes = containers.reduce((sum, container) => sum + container.bytes, 0);
  const ledger = await agent.ledgerWhen(
    "nothing in flight",
    ({ total }) => total.delivered.bytes === 3 * bytes,
    30_000,
  );
  for (const { sink, delivered, lost } of ledger.sinks) {
    assert.deepEqual({ sink, delivered, lost }, { sink, delivered: { lines: written(), bytes }, lost: {} });
  }
  const { code } = await agent.stop();
  assert.equal(code, 0);
  for (const { set } of [http, loki]) set.assertExact(containers, WORKERS);
  files.assertExact(containers, BATCH_LINES, WORKERS);
  const requests = (sink: SinkServer): string => {
    const again = [...sink.set.repeatedRequests.values()].map(({ size }) => size);
    const all = again.reduce((a, b) => a + b, 0);
    return `${sink.set.repeated} lines in ${all} requests (at most ${Math.max(0, ...again)} a kill)`;
  };
  const rotations = containers.reduce((sum, container) => sum + container.rotations, 0);
  const pruned = rotations - containers.reduce((sum, { rotated }) => sum + rotated.length, 0);
  console.log(
    `${KILLS} kills, ${written()} lines, ${rotations} rotations (${pruned} rotated files removed): ` +
      `0 lost, 0 reordered; repeated, all allowed: http ${requests(http)}, loki ${requests(loki)}, ` +
      `file ${files.repeated} lines; ${KILLS} torn last lines cut; ledger added up ${looks} times under load; ` +
      `the loop was last seen ${Math.round(Math.max(...stalls))} ms before a kill at most`,
  );
});
