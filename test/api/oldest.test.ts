/** The CRDs before the oldest Kubernetes that we support. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { before, describe, test } from "node:test";
import { customResourceDefinition, KINDS_IN_CLUSTER } from "../../crds/crd.ts";
import { oldestJudge } from "../cluster/binaries.ts";
import { skipWithoutGo } from "../servers/tool.ts";

interface WithRules {
  spec: { versions: { schema: { openAPIV3Schema: { "x-kubernetes-validations"?: unknown } } }[] };
}

describe("Kubernetes 1.30", { skip: skipWithoutGo() }, () => {
  let judge: string;
  const objections = (crd: unknown): string => execFileSync(judge, { input: JSON.stringify(crd), encoding: "utf8" });
  before(async () => {
    judge = await oldestJudge();
  });

  for (const kind of KINDS_IN_CLUSTER) {
    test(`takes the CRD of ${kind}`, () => {
      assert.equal(objections(customResourceDefinition(kind)), "");
    });

    test(`would refuse one of ${kind} with a rule that it does not know or cannot afford`, () => {
      const crd = customResourceDefinition(kind) as unknown as WithRules;
      const root = crd.spec.versions[0]!.schema.openAPIV3Schema;
      const sinks = "self.spec.sinks.all(a, self.spec.sinks.all(b, a.loki.url.matches(b.loki.url)))";
      root["x-kubernetes-validations"] = ["unheardOf(self)", sinks].map((rule) => ({ rule, message: "x" }));
      assert.match(objections(crd), /undeclared reference to 'unheardOf'[^]*estimated rule cost exceeds budget/);
    });
  }
});
