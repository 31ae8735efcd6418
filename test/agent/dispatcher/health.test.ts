import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { Health } from "../../../agent/dispatcher/health.ts";
import { SimClock } from "../../support/sim-clock.ts";

let clock: SimClock;
let health: Health;
let said: string[];
let random: number;

beforeEach(() => {
  clock = new SimClock();
  said = [];
  random = 0.5;
  const log = {
    info: (message: string) => said.push(`info ${message}`),
    warn: (message: string) => said.push(`warn ${message}`),
    error: (message: string) => said.push(`error ${message}`),
  };
  const settings = { retryBaseDelayMs: 1_000, retryMaxDelayMs: 60_000 };
  health = new Health(settings, { pipeline: "p", sink: "s" }, { clock, log, random: () => random });
});

const wait = (): number => health.until - clock.now();

test("each failure in a row doubles the wait", () => {
  const waits = [0, 1, 2].map(() => {
    health.failed("backoff", "503", clock.now());
    return wait();
  });
  assert.deepEqual(waits, [500, 1_000, 2_000]);
  assert.equal(health.trouble!.failures, 3);
});

test("requests that were under way together fail once", async () => {
  const sentAt = clock.now();
  await clock.run(20);
  for (let i = 0; i < 4; i++) {
    health.failed("hold", "401", sentAt);
    await clock.run(1);
  }
  assert.equal(health.trouble!.failures, 1);
  assert.equal(wait(), 4_996);
  await clock.run(5_000);
  health.failed("hold", "401", clock.now());
  assert.equal(health.trouble!.failures, 2);
  assert.equal(wait(), 10_000);
});

test("a Retry-After holds though another request fails without one, or comes through", async () => {
  const sentAt = clock.now();
  await clock.run(10);
  health.failed("backoff", "429", sentAt, 30_000);
  await clock.run(10);
  health.failed("backoff", "503", sentAt);
  health.recovered(sentAt);
  assert.equal(wait(), 29_990);
  health.failed("backoff", "429", sentAt, 60_000);
  assert.equal(wait(), 60_000, "and a longer one prolongs it");
});

test("only a request that left after the failure ends the trouble", async () => {
  const before = clock.now();
  await clock.run(10);
  health.failed("backoff", "reset", before);
  health.released = true;
  await clock.run(1_000);
  health.recovered(before);
  assert.ok(health.trouble);
  health.recovered(clock.now());
  assert.deepEqual([health.trouble, health.until, health.released], [undefined, 0, false]);
});

test("trouble of another kind begins its own count, at the time when the sink began to fail", async () => {
  const since = clock.now();
  health.failed("backoff", "503", clock.now());
  await clock.run(1_000);
  health.failed("backoff", "503", clock.now());
  await clock.run(2_000);
  health.failed("hold", "401", clock.now());
  assert.deepEqual(health.trouble, { kind: "hold", reason: "401", since, failures: 1 });
});

test("a sink that comes and goes does not fill the log with its recoveries", async () => {
  for (let i = 0; i < 100; i++) {
    health.failed("backoff", "503", clock.now());
    await clock.run(50);
    health.recovered(clock.now());
    await clock.run(50);
  }
  assert.equal(said.filter((line) => line.startsWith("info")).length, 1);
});
