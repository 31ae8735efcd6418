import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as columns from "../../../../agent/memory/columns.ts";
import * as kernels from "../../../../agent/memory/kernels.ts";

const layout = readFileSync(new URL("../../../../agent/memory/kernels/layout.ts", import.meta.url), "utf8");

test("the kernels know every number of columns.ts and kernels.ts that they use by the same name", () => {
  const levels = Object.fromEntries(columns.LEVELS.map((level, index) => [level.toUpperCase(), index]));
  const known: Record<string, unknown> = { ...columns, ...kernels, ...levels };
  const constants = [...layout.matchAll(/^export const (\w+): \w+ = (.+);$/gm)];
  assert.ok(constants.length > 30);
  for (const [, name, value] of constants) assert.equal(Number(value), known[name!], name);
  assert.equal(constants.length, layout.split("\n").filter((line) => line.startsWith("export const")).length);
});
