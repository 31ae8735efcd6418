import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { sinks } from "../../../agent/sinks/index.ts";

test("every sink of the table runs the contract suite", () => {
  for (const name of Object.keys(sinks)) {
    const text = readFileSync(new URL(`./${name}.test.ts`, import.meta.url), "utf8");
    assert.match(text, new RegExp(`sinkContract\\(\`?"?${name} `), name);
  }
});

test("every sink takes at least the default batch of 1 MiB", () => {
  for (const [name, row] of Object.entries(sinks)) assert.ok(row.batchBytesMax >= 1024 * 1024, name);
});
