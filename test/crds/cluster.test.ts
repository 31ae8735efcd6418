/** Pipelines read as a cluster takes them; test/api holds this against a real API server. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { readConfig } from "../../crds/config.ts";
import type { InCluster } from "../../crds/config.ts";

const world = {
  env: () => assert.fail("a cluster has no environment"),
  readFile: () => assert.fail("a cluster has no files"),
};
const elsewhere: InCluster = { secretsElsewhere: true, fileSinks: undefined };

function read(sink: string, cluster: InCluster | undefined, kind = "LogPipeline", more = "") {
  const text = `apiVersion: tailrace.dev/v1alpha1
kind: ${kind}
metadata: {name: a}
spec:
  sinks:
  - name: x
    ${sink}
${more}`;
  const { config, problems, notes } = readConfig([{ file: "f", text }], world, cluster);
  const lines = (said: typeof problems): string[] =>
    said.map(({ line, path, message }) => `${line}: ${path}: ${message}`);
  return { config, problems: lines(problems), notes: lines(notes) };
}

test("what only a single machine has is told apart from mistakes", () => {
  assert.deepEqual(read("stdout: {}", elsewhere).problems, [
    "7: spec.sinks[0].stdout: is not available in a cluster; known are name, dispatcher, loki, http, file",
  ]);
  assert.deepEqual(read("stdot: {}", elsewhere).problems.length, 1);
  const [first, second] = read("http: {url: http://h, auth: {bearer: {env: TOKEN}}}", elsewhere).problems;
  assert.match(`${first} ${second}`, /bearer\.env: is not available in a cluster; known are secretKeyRef/);
  assert.match(`${first} ${second}`, /bearer\.secretKeyRef: is required/);
  assert.deepEqual(read("http: {url: http://h, auth: {bearer: hunter2}}", elsewhere).problems, [
    "7: spec.sinks[0].http.auth.bearer: must say which Secret holds it: {secretKeyRef: {name: …, key: …}}",
  ]);
});

const AUTH = "http: {url: http://h, auth: {bearer: {secretKeyRef: {name: s, key: k}}}}";
const secret = (key: string) => `---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {${key}: v}\n`;

test("a Secret that is not among the files is taken to be there, but cannot be revealed", () => {
  const { config, problems } = read(AUTH, elsewhere);
  assert.deepEqual(problems, []);
  const [sink] = config!.pipelines[0]!.sinks;
  assert.ok(sink?.type === "http");
  assert.throws(() => sink.options.auth!.bearer!.reveal(), /never read/);
  assert.equal(JSON.stringify(sink.options.auth), '{"bearer":"***"}');
});

test("a Secret that is among the files must have the key", () => {
  const [problem] = read(AUTH, elsewhere, "LogPipeline", secret("other")).problems;
  assert.match(problem!, /auth\.bearer: Secret s has no key k$/);
  assert.deepEqual(read(AUTH, elsewhere, "LogPipeline", secret("k")).problems, []);
});

test("where secrets must be among the files, as for an agent, a missing one is a problem", () => {
  const agent: InCluster = { secretsElsewhere: false, fileSinks: true };
  assert.match(read(AUTH, agent).problems[0]!, /auth\.bearer: Secret s is not among the files$/);
  const { config } = read(AUTH, agent, "LogPipeline", secret("k"));
  const [sink] = config!.pipelines[0]!.sinks;
  assert.ok(sink?.type === "http" && sink.options.auth!.bearer!.reveal() === "v");
});

test("a file sink of a LogPipeline depends on the chart, that of a ClusterLogPipeline does not", () => {
  const sink = "file: {path: '{namespace}.ndjson'}";
  const note = "7: spec.sinks[0].file: works only where the cluster's chart allows LogPipelines to write files";
  assert.deepEqual(read(sink, elsewhere), { config: read(sink, elsewhere).config, problems: [], notes: [note] });
  assert.deepEqual(read(sink, { ...elsewhere, fileSinks: false }).problems, [
    "7: spec.sinks[0].file: is off for LogPipelines in this cluster; its chart can allow it",
  ]);
  for (const [fileSinks, kind] of [
    [true, "LogPipeline"],
    [false, "ClusterLogPipeline"],
    [undefined, "ClusterLogPipeline"],
  ] as const) {
    const { problems, notes } = read(sink, { ...elsewhere, fileSinks }, kind);
    assert.deepEqual([problems, notes], [[], []]);
  }
});

test("a path may not lead out of the agent's folder", () => {
  for (const path of ["/etc/x", "../x", "a/../../x", "a//b", "./a", "a/"]) {
    const [problem] = read(`file: {path: ${path}}`, { ...elsewhere, fileSinks: true }).problems;
    assert.match(problem ?? "", /file\.path: must lie below the agent's folder for files/, path);
    assert.deepEqual(read(`file: {path: ${path}}`, undefined).problems, []);
  }
});

test("a LogPipeline without namespace gets one from kubectl, so its labels need none", () => {
  const labels = 'loki: {url: http://l, labels: {p: "{pod}", c: "{container}", s: "{stream}"}}';
  assert.deepEqual(read(labels, elsewhere).notes, []);
  assert.match(read(labels, undefined).notes[0]!, /the label namespace is added/);
  assert.match(read(labels, elsewhere, "ClusterLogPipeline").notes[0]!, /the label namespace is added/);
});

test("what the API server writes into an object is let through", () => {
  const text = `apiVersion: tailrace.dev/v1alpha1
kind: LogPipeline
metadata:
  name: a
  namespace: shop
  uid: 4d1a8c2e-0000-0000-0000-000000000000
  generation: 3
  resourceVersion: "12"
  creationTimestamp: "2026-11-23T10:00:00Z"
  managedFields: [{manager: kubectl}]
spec: {sinks: [{name: x, http: {url: http://h}}]}
status: {lost: 0}
`;
  assert.deepEqual(readConfig([{ file: "f", text }], world, elsewhere).problems, []);
  const wrong = readConfig([{ file: "f", text: text.replace("uid:", "uuid:") }], world, elsewhere).problems;
  assert.equal(wrong[0]?.path, "metadata.uuid");
});
