/** Random manifests before both judges. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import fc from "fast-check";
import { skipWithoutApiServer, startApiServer } from "../cluster/api-server.ts";
import type { ApiServer } from "../cluster/api-server.ts";
import { installCrds } from "../cluster/crds.ts";
import { askApiServer, askValidate } from "./judges.ts";
import { changedManifest, goodManifest } from "./random-manifests.ts";

/** What only validate can judge; stricter-manifests.txt has an example of each. */
const STRICTER =
  /^(compiles to \d+ instructions|.* is above .*; change one of the two$|has \d+ labels, those added included|must use \{namespace\}|is no valid URL|has no value; it must be a text$)/;

describe("random manifests", { skip: skipWithoutApiServer() }, () => {
  let api: ApiServer;
  before(async () => {
    api = await startApiServer();
    await installCrds(api);
  });
  after(() => api.stop());

  test("what is made from the schema is taken by the API server and by validate", async () => {
    await fc.assert(
      fc.asyncProperty(goodManifest, async (manifest) => {
        const yaml = JSON.stringify(manifest);
        assert.deepEqual(askValidate(yaml), []);
        assert.deepEqual(await askApiServer(api, manifest.kind, yaml), []);
      }),
      { numRuns: 300 },
    );
  });

  test("what is changed in one place is judged alike by both, at the same place", async () => {
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(changedManifest, async (manifest) => {
        const yaml = JSON.stringify(manifest);
        const said = await askApiServer(api, manifest.kind, yaml);
        const validate = askValidate(yaml);
        const both = `API server: ${JSON.stringify(said, null, 1)}\nvalidate: ${JSON.stringify(validate, null, 1)}`;
        if (said.length === 0) {
          assert.ok(
            validate.every(({ message }) => STRICTER.test(message)),
            both,
          );
          return;
        }
        refused++;
        const near = (a: string, b: string): boolean => a === b || a.startsWith(`${b}.`) || b.startsWith(`${a}.`);
        assert.ok(
          said.some(({ path }) => validate.some((problem) => near(path, problem.path))),
          both,
        );
      }),
      { numRuns: 1500 },
    );
    assert.ok(refused > 300, `only ${refused} of the changed manifests were bad`);
  });
});
