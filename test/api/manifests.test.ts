/** Manifests before two judges: what a real API server refuses, `tailrace validate` refuses at the same path. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { skipWithoutApiServer, startApiServer } from "../cluster/api-server.ts";
import type { ApiServer } from "../cluster/api-server.ts";
import { installCrds } from "../cluster/crds.ts";
import { askApiServer, askValidate, readCases } from "./judges.ts";
import type { Said } from "./judges.ts";

const table = (name: string) => readCases(readFileSync(new URL(name, import.meta.url), "utf8"));
const paths = (said: readonly { path: string }[]): string[] => [...new Set(said.map(({ path }) => path))].sort();

/** One of what was said is about the path and holds the words. */
function holds(said: readonly Said[], path: string, words: string): void {
  const found = said.some((one) => one.path === path && one.message.includes(words));
  assert.ok(found, `expected ${path}: ${words}\nsaid ${JSON.stringify(said, null, 2)}`);
}

describe("manifests", { skip: skipWithoutApiServer() }, () => {
  let api: ApiServer;
  before(async () => {
    api = await startApiServer();
    await installCrds(api);
  });
  after(() => api.stop());

  for (const { title, kind, yaml, marks } of table("bad-manifests.txt")) {
    const marked = (wanted: string) => marks.filter(({ mark }) => mark === wanted);
    test(`${title}: refused`, async () => {
      const said = await askApiServer(api, kind, yaml);
      assert.deepEqual(paths(said), paths(marked("=>")), JSON.stringify(said, null, 2));
      for (const { path, words } of marked("=>")) holds(said, path, words);
      const others = marked("=v");
      assert.deepEqual(paths(askValidate(yaml)), paths(others.length > 0 ? others : marked("=>")));
    });
    if (marked("=i").length > 0) {
      test(`${title}: refused even where unknown fields are dropped`, async () => {
        const said = await askApiServer(api, kind, yaml, "Ignore");
        for (const { path, words } of marked("=i")) holds(said, path, words);
      });
    }
  }

  for (const { title, kind, yaml, marks } of table("stricter-manifests.txt")) {
    test(`${title}: taken by the API server, refused by validate`, async () => {
      assert.deepEqual(await askApiServer(api, kind, yaml), []);
      const said = askValidate(yaml);
      assert.deepEqual(paths(said), paths(marks));
      for (const { path, words } of marks) holds(said, path, words);
    });
  }

  for (const { title, kind, yaml } of table("good-manifests.txt")) {
    test(`${title}: taken`, async () => {
      assert.deepEqual(askValidate(yaml), []);
      assert.deepEqual(await askApiServer(api, kind, yaml), []);
    });
  }

  test("what the README shows is taken, and the quick start but for its terminal", async () => {
    const read = (name: string): string => readFileSync(new URL(`../../${name}`, import.meta.url), "utf8");
    const shown = [...read("README.md").matchAll(/```yaml\n(.*?)```/gs)].map(([, yaml = ""]) => yaml);
    const terminal =
      "    # For your eyes: namespace/pod/container before each line.\n    - name: terminal\n      stdout:\n        format: console\n";
    const quickstart = read("examples/quickstart.yaml");
    assert.deepEqual(paths(askValidate(quickstart)), ["spec.sinks[0].stdout"]);
    assert.ok(quickstart.includes(terminal));
    for (const yaml of [...shown, quickstart.replace(terminal, "")]) {
      assert.deepEqual(askValidate(yaml), []);
      assert.deepEqual(await askApiServer(api, "LogPipeline", yaml), []);
    }
  });
});
