import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  DURATION_PATTERN,
  formatDuration,
  formatSize,
  parseDuration,
  parseSize,
  SIZE_PATTERN,
} from "../../crds/quantity.ts";

test("sizes are read by their unit", () => {
  const sizes: [string | number, number | undefined][] = [
    ["0", 0],
    [0, 0],
    [4096, 4096],
    ["8Mi", 8 * 1024 * 1024],
    ["1.5Gi", 1.5 * 1024 ** 3],
    ["500k", 500_000],
    ["2T", 2e12],
    ["0.5Ki", 512],
    ["0.3Ki", 307.2],
    ["1.1k", 1100],
    ["0.000001Ti", 1_099_511.627776],
    ["1024.5", 1024.5],
    ["1e3", 1000],
    ["1.5E-1", 0.15],
    ["1E", undefined], // 10^18: more than a number counts exactly
    ["0.001E", 1e15],
    ["1500m", 1.5],
    ["+2.", 2],
    [".5Ki", 512],
    ["-1", -1],
    ["1e", undefined],
    [".", undefined],
    ["1Kib", undefined],
    ["1K", undefined],
    ["8MB", undefined],
    ["8mi", undefined],
    ["", undefined],
    [" 1", undefined],
    ["999999999999999Ti", undefined],
    [1.5, undefined],
    [-1, -1],
    [Infinity, undefined],
  ];
  for (const [text, bytes] of sizes) assert.equal(parseSize(text), bytes, String(text));
});

test("durations are the sum of their parts", () => {
  const durations: [string, number | undefined][] = [
    ["0s", 0],
    ["250ms", 250],
    ["1m30s", 90_000],
    ["168h", 168 * 3_600_000],
    ["1s1s", 2000],
    ["7d", undefined],
    ["1", undefined],
    ["1.5s", undefined],
    ["-1s", undefined],
    ["", undefined],
    ["s", undefined],
    ["999999999999h999999999999h", undefined],
  ];
  for (const [text, milliseconds] of durations) assert.equal(parseDuration(text), milliseconds, text);
});

test("every number of bytes survives being written as a size", () => {
  const bytes = fc.oneof(
    fc.nat(),
    fc.tuple(fc.nat(4000), fc.nat(4)).map(([n, power]) => n * 1024 ** power),
  );
  fc.assert(fc.property(bytes, (n) => parseSize(formatSize(n)) === n && SIZE_PATTERN.test(formatSize(n))));
});

test("every number of milliseconds survives being written as a duration", () => {
  fc.assert(
    fc.property(fc.nat(), (n) => parseDuration(formatDuration(n)) === n && DURATION_PATTERN.test(formatDuration(n))),
  );
});
