import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { readConfig } from "../crds/config.ts";

const ROOT = new URL("../", import.meta.url);
const PAGES = ["README.md", "ARCHITECTURE.md", "test/bench/README.md"];
const world = {
  env: () => undefined,
  readFile: (path: string) => {
    throw new Error(path);
  },
};

const read = (page: string): string => readFileSync(new URL(page, ROOT), "utf8");

test("the pipelines in the README and the examples are valid as they stand", () => {
  const blocks = [...read("README.md").matchAll(/```yaml\n(.*?)```/gs)].map((match) => match[1]!);
  assert.ok(blocks.length > 0);
  for (const text of [...blocks, read("examples/quickstart.yaml")]) {
    assert.deepEqual(readConfig([{ file: "README.md", text }], world).problems, []);
  }
});

test("the mistake that the README shows is told in those words", () => {
  const page = read("README.md");
  const [, block = ""] = /```yaml\n(.*?)```/s.exec(page)!;
  const text = block.replace("text: { matches:", "text: { matchs:");
  const [problem] = readConfig([{ file: "my.yaml", text }], world).problems;
  const { file, line, path, message } = problem!;
  assert.ok(page.includes(`${file}:${line}: ${path}: ${message}`), `${file}:${line}: ${path}: ${message}`);
});

test("links between the pages lead somewhere", () => {
  for (const page of PAGES) {
    for (const [, target = ""] of read(page).matchAll(/\]\((?!https?:|#)([^)#]+)/g)) {
      assert.ok(existsSync(new URL(target, new URL(page, ROOT))), `${page}: ${target}`);
    }
  }
});
