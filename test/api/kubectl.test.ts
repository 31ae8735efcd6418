/** The CRDs as people meet them: through kubectl. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import type { Kind } from "../../crds/crd.ts";
import type { PipelineStatus } from "../../crds/status.ts";
import { skipWithoutApiServer, startApiServer } from "../cluster/api-server.ts";
import type { ApiServer } from "../cluster/api-server.ts";
import { installCrds } from "../cluster/crds.ts";
import { askValidate, collection } from "./judges.ts";

const NAMESPACE = `tailrace-test-${process.pid}`;
const PLATFORM_NAME = `tailrace-test-${process.pid}`;
const CHECKOUT = `apiVersion: tailrace.dev/v1alpha1
kind: LogPipeline
metadata: {name: checkout, namespace: ${NAMESPACE}}
spec:
  dispatcher: {dlqEnabled: false}
  sinks: [{name: loki, loki: {url: http://loki:3100}, dispatcher: {maxRetries: 0}}]
`;
const PLATFORM = CHECKOUT.replace("LogPipeline", "ClusterLogPipeline").replace(
  /metadata: .*/,
  `metadata: {name: ${PLATFORM_NAME}}`,
);

const counts = (lines: number) => ({ lines, bytes: lines * 100 });
const ledger = {
  ...{ sourceBytes: 1300, readLines: 12, delivered: counts(10), filtered: counts(1), dropped: counts(0) },
  ...{ deadLettered: counts(1), lost: counts(0), inFlight: counts(0), backlogBytes: 100 },
};
const STATUS: PipelineStatus = {
  observedGeneration: 1,
  conditions: [
    {
      ...{ type: "Ready", status: "False", observedGeneration: 1, lastTransitionTime: "2026-11-23T10:00:00Z" },
      ...{ reason: "SinkFailing", message: "sink loki: HTTP 401 from http://loki:3100" },
    },
  ],
  summary: { agents: "12/12", sinks: "0/1", rate: "1.2k/s", lag: "<10s" },
  sinks: [{ name: "loki", state: "Holding", ledger, departed: ledger, deadLettered: 1, lastError: "HTTP 401" }],
  ...{ delivered: 10, lost: 0, deadLettered: 1 },
  failingNodes: [{ node: "n1", reason: "Silent", message: "no report for 90 s" }],
};

describe("the CRDs through kubectl", { skip: skipWithoutApiServer() }, () => {
  let api: ApiServer;
  const kubectl = async (args: string, stdin?: string): Promise<string> => {
    const { code, stdout, stderr } = await api.kubectl(args.split(" "), stdin);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const refused = async (args: string, stdin?: string): Promise<string> => {
    const { code, stderr } = await api.kubectl(args.split(" "), stdin);
    assert.equal(code, 1, stderr);
    return stderr;
  };
  const writeStatus = (kind: Kind, path: string, status: unknown) =>
    api.request("PATCH", `${collection(kind, NAMESPACE)}/${path}/status`, { status }, "application/merge-patch+json");

  before(async () => {
    api = await startApiServer();
    await installCrds(api);
    await kubectl(`create namespace ${NAMESPACE}`);
    await kubectl("apply -f -", CHECKOUT);
    await kubectl("apply -f -", PLATFORM);
  });
  after(async () => {
    try {
      await kubectl(`delete clusterlogpipeline ${PLATFORM_NAME}`);
      await kubectl(`delete namespace ${NAMESPACE} --wait=false`);
    } finally {
      await api.stop();
    }
  });

  test("the files are applied as they are, also by a client that keeps a copy in an annotation", async () => {
    for (const name of ["logpipelines", "clusterlogpipelines"]) {
      const yaml = readFileSync(new URL(`../../crds/${name}.yaml`, import.meta.url), "utf8");
      await kubectl("apply --dry-run=server -f -", yaml);
    }
  });

  test("get shows the columns, and says why in its wide form", async () => {
    assert.equal((await writeStatus("LogPipeline", "checkout", STATUS)).status, 200);
    const rows = async (args: string) => (await kubectl(args)).split("\n").map((line) => line.split(/ {2,}/));
    const [head, row] = await rows(`get lp -n ${NAMESPACE}`);
    assert.deepEqual(head, ["NAME", "READY", "REASON", "AGENTS", "SINKS", "RATE", "LAG", "LOST", "AGE"]);
    assert.deepEqual(row!.slice(0, 8), ["checkout", "False", "SinkFailing", "12/12", "0/1", "1.2k/s", "<10s", "0"]);
    const [wideHead, wide] = await rows(`get logpipelines -n ${NAMESPACE} -o wide`);
    assert.deepEqual(wideHead!.slice(9), ["DELIVERED", "DLQ", "MESSAGE"]);
    assert.deepEqual(wide!.slice(9), ["10", "1", "sink loki: HTTP 401 from http://loki:3100"]);
  });

  test("both kinds have short names and the category logging", async () => {
    assert.match(
      await kubectl("get clp -o name"),
      new RegExp(`^clusterlogpipeline.tailrace.dev/${PLATFORM_NAME}$`, "m"),
    );
    const all = await kubectl(`get logging -n ${NAMESPACE} -o name`);
    assert.match(all, /^logpipeline.tailrace.dev\/checkout$/m);
    assert.match(all, new RegExp(`^clusterlogpipeline.tailrace.dev/${PLATFORM_NAME}$`, "m"));
  });

  test("wait waits for Ready", async () => {
    const ready = { ...STATUS.conditions![0], status: "True", reason: "Ready" };
    assert.equal((await writeStatus("ClusterLogPipeline", PLATFORM_NAME, { conditions: [ready] })).status, 200);
    await kubectl(`wait --for=condition=Ready --timeout=10s clp/${PLATFORM_NAME}`);
  });

  test("explain tells what a field means", async () => {
    assert.match(await kubectl("explain logpipeline.spec.sinks.loki.tenant"), /Tenant id, sent as X-Scope-OrgID\./);
  });

  test("defaults are written into the pipeline, not into what a sink overrides; validate takes what comes back", async () => {
    const yaml = await kubectl(`get lp checkout -n ${NAMESPACE} -o yaml --show-managed-fields`);
    const { spec } = JSON.parse(await kubectl(`get lp checkout -n ${NAMESPACE} -o json`)) as {
      spec: { source?: unknown; dispatcher: Record<string, unknown>; sinks: { dispatcher: unknown }[] };
    };
    assert.equal(spec.source, undefined);
    assert.equal(spec.dispatcher["queueBytes"], "8Mi");
    assert.equal(spec.dispatcher["dlqEnabled"], false);
    assert.deepEqual(spec.sinks[0]!.dispatcher, { maxRetries: 0 });
    assert.deepEqual(askValidate(yaml), []);
  });

  test("a status that is none is refused, and a spec cannot come in by the status", async () => {
    const { status, body } = await writeStatus("LogPipeline", "checkout", { sinks: [{ state: "x" }], lost: -1 });
    assert.equal(status, 422);
    assert.match(JSON.stringify(body), /status\.sinks\[0\]\.name.*Required|Required.*status\.sinks\[0\]\.name/);
    assert.match(JSON.stringify(body), /status\.lost/);
    const path = `${collection("LogPipeline", NAMESPACE)}/checkout/status`;
    const changed = await api.request("PATCH", path, { spec: { process: [{}] } }, "application/merge-patch+json");
    assert.equal(changed.status, 200);
    assert.deepEqual((changed.body as { spec: { process: unknown } }).spec.process, []);
  });

  test("an unknown field is refused; where a client drops it, what it would have narrowed is refused as empty", async () => {
    const yaml = CHECKOUT.replace("spec:", "spec:\n  source: {podSelector: {matchLabels: {app: checkout}}}");
    assert.match(await refused("apply -f -", yaml), /unknown field "spec\.source\.podSelector"/);
    assert.match(await refused("apply --validate=ignore -f -", yaml), /spec\.source: .*source is empty/);
  });

  test("a refusal is a sentence with the field in front", async () => {
    const yaml = CHECKOUT.replace("http://loki:3100", "http://me:secret@loki:3100");
    assert.match(
      await refused("apply -f -", yaml),
      /spec\.sinks\[0\]\.loki\.url: Invalid value: .*must be a URL that starts with http:\/\/ or https:\/\/, without user name/,
    );
  });
});
