import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { holdDelay, retryDelay } from "../../../agent/dispatcher/retry.ts";

const settings = fc
  .record({ base: fc.integer({ min: 10, max: 3_600_000 }), times: fc.integer({ min: 1, max: 1_000 }) })
  .map(({ base, times }) => ({ retryBaseDelayMs: base, retryMaxDelayMs: base * times }));
const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

test("a backoff is a random part of base * 2^failures, never more than the maximum", () => {
  fc.assert(
    fc.property(settings, fc.nat(10_000), random, (given, failures, part) => {
      const most = Math.min(given.retryMaxDelayMs, given.retryBaseDelayMs * 2 ** Math.min(failures, 40));
      const delay = retryDelay(given, failures, undefined, part);
      assert.ok(delay >= 0 && delay <= most, `${delay} is not within 0 and ${most}`);
      assert.ok(Math.abs(delay - part * most) < 1e-6 * most, "the jitter is full");
    }),
  );
});

test("what the destination asks for is waited out, jitter or not, but for no more than ten minutes", () => {
  fc.assert(
    fc.property(
      settings,
      fc.nat(100),
      random,
      fc.integer({ min: 0, max: 10_000_000 }),
      (given, failures, part, after) => {
        const plain = retryDelay(given, failures, undefined, part);
        assert.equal(retryDelay(given, failures, after, part), Math.max(plain, Math.min(after, 600_000)));
      },
    ),
  );
});

test("a sink that holds is probed after 5 s, then at twice the time, at last every minute", () => {
  const delays = [0, 1, 2, 3, 4, 5, 1_000].map(holdDelay);
  assert.deepEqual(delays, [5_000, 10_000, 20_000, 40_000, 60_000, 60_000, 60_000]);
});
