import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { dump } from "js-yaml";
import { readConfig, sameConfig } from "../../crds/config.ts";
import type { Config } from "../../crds/config.ts";
import { renderConfig, toYaml } from "../../crds/render.ts";

const world = { env: (name: string) => `of ${name}`, readFile: (path: string) => `in ${path}` };

function read(text: string): Config {
  const { config, problems } = readConfig([{ file: "f", text }], world);
  assert.deepEqual(problems, []);
  return config!;
}

const template = fc.constantFrom("{namespace}", "{pod}-{container}", "plain text", "{fields.a.b}/{date}");
const someOf = <T>(...items: T[]) => fc.uniqueArray(fc.constantFrom(...items), { minLength: 1 });
const maybe = { requiredKeys: [] };
const name = fc.stringMatching(/^[a-z]([a-z0-9-]{0,5}[a-z0-9])?$/);
const auth = fc.constantFrom(
  { bearer: { env: "TOKEN" } },
  { basic: { username: { file: "/u" }, password: { secretKeyRef: { name: "s", key: "k" } } } },
);
const condition = fc.oneof(
  fc.record({ level: someOf("unknown", "debug", "error") }),
  fc.record({ text: fc.constantFrom({ contains: "a: b" }, { matches: "^\\d+$" }) }),
  fc.record({ field: fc.constantFrom({ name: "a", equals: "" }, { name: "b", matches: "x|y" }) }),
);
const step = fc.oneof(
  fc.record({ keep: condition }),
  fc.record({ drop: condition }),
  fc.constantFrom(
    { redact: { presets: ["email"] } },
    { redact: { presets: ["creditCard"], patterns: [{ matches: "a+" }, { matches: "b", replacement: "" }] } },
    { fields: { add: { a: "{pod}" }, remove: ["b"] } },
    { fields: { rename: { c: "d" } } },
  ),
);
const dispatcher = fc.record(
  {
    queueSize: fc.integer({ min: 20_000, max: 1_000_000 }),
    queueBytes: fc.constantFrom("4Mi", 9_999_999),
    workerCount: fc.integer({ min: 1, max: 64 }),
    batchBytes: fc.integer({ min: 1024, max: 4 << 20 }),
    batchTimeout: fc.constantFrom("10ms", "1m1s", "61s"),
    maxRetries: fc.integer({ min: 0, max: 1000 }),
    dlqEnabled: fc.boolean(),
    drainTimeout: fc.constantFrom("0s", "5m"),
  },
  maybe,
);
const options = fc.oneof(
  fc.record({ stdout: fc.record({ format: fc.constantFrom("ndjson", "text", "console") }, maybe) }),
  fc.record({
    file: fc.record({ path: template, format: fc.constantFrom("ndjson", "text") }, { requiredKeys: ["path"] }),
  }),
  fc.record({
    http: fc.record(
      {
        url: fc.constant("https://h:1/x?y=z"),
        method: fc.constantFrom("POST", "PUT"),
        headers: fc.constant({ "X-Scope": "yes: 'no'" }),
        auth,
        requestTimeout: fc.constant("90s"),
      },
      { requiredKeys: ["url"] },
    ),
  }),
  fc.record({
    loki: fc.record(
      {
        url: fc.constant("http://loki:3100"),
        tenant: fc.constant("shop"),
        labels: fc.dictionary(fc.constantFrom("a", "b", "c"), template),
        structuredMetadata: fc.dictionary(fc.constantFrom("a", "b"), template),
        format: fc.constantFrom("json", "protobuf"),
        auth,
      },
      { requiredKeys: ["url"] },
    ),
  }),
);
const sinks = fc
  .uniqueArray(fc.tuple(name, options, dispatcher), { minLength: 1, maxLength: 4, selector: ([id]) => id })
  .map((list) => list.map(([id, option, settings]) => ({ name: id, ...option, dispatcher: settings })));
const lists = fc.record({ include: someOf("app-*", "web"), exclude: someOf("istio-proxy") }, maybe);
const selection = lists.filter((list) => Object.keys(list).length > 0);
const apiVersion = "tailrace.dev/v1alpha1";
const pipeline = fc
  .tuple(
    fc.boolean(),
    name,
    selection,
    selection,
    fc.constantFrom("Beginning", "End"),
    fc.array(step),
    dispatcher,
    sinks,
  )
  .map(([cluster, id, containers, namespaces, startAt, process, settings, out]) => ({
    apiVersion,
    kind: cluster ? "ClusterLogPipeline" : "LogPipeline",
    metadata: cluster ? { name: id } : { name: id, namespace: "shop" },
    spec: {
      source: { containers, startAt, ...(cluster ? { namespaces } : {}) },
      process,
      dispatcher: settings,
      sinks: out,
    },
  }));
const SECRET = `---\napiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: shop}\nstringData: {k: v}\n`;

test("what is rendered reads back as the same configuration, and renders alike", () => {
  fc.assert(
    fc.property(pipeline, fc.constantFrom("16Mi", 50_000_000), (document, memoryLimit) => {
      const agent = { apiVersion, kind: "AgentConfig", spec: { memoryLimit } };
      const config = read(`${dump(document)}---\n${dump(agent)}${SECRET}`);
      const text = toYaml(renderConfig(config));
      const again = read(text + SECRET);
      assert.ok(sameConfig(again, config), text);
      assert.equal(toYaml(renderConfig(again)), text);
      assert.ok(
        sameConfig(
          read(
            `${renderConfig(config)
              .map((one) => JSON.stringify(one))
              .join("\n---\n")}\n${SECRET}`,
          ),
          config,
        ),
      );
    }),
    { numRuns: 200 },
  );
});

test("a secret in the open and headers that look like credentials are masked", () => {
  const text = toYaml(
    renderConfig(
      read(`apiVersion: ${apiVersion}
kind: LogPipeline
metadata: {name: a}
spec:
  sinks:
  - name: x
    http:
      url: http://h
      headers: {X-Api-Key: hunter2, Cookie: hunter2, X-Kind: logs}
      auth: {basic: {username: {value: hunter2}, password: {env: hunter}}}
`),
    ),
  );
  assert.ok(!text.includes("hunter2"), text);
  assert.match(text, /X-Api-Key: '\*\*\*'\n\s+Cookie: '\*\*\*'\n\s+X-Kind: logs/);
  assert.match(text, /username:\n\s+value: '\*\*\*'\n\s+password:\n\s+env: hunter\n/);
});

test("effective settings are shown where they apply: in each sink", () => {
  const [, document] = renderConfig(
    read(`apiVersion: ${apiVersion}
kind: LogPipeline
metadata: {name: a}
spec:
  dispatcher: {maxRetries: 0}
  sinks: [{name: x, stdout: {}, dispatcher: {dlqEnabled: false}}]
`),
  );
  const spec = document?.["spec"] as { sinks: { dispatcher: Record<string, unknown> }[] };
  assert.deepEqual(spec.sinks[0]?.dispatcher, {
    queueSize: 100_000,
    queueBytes: "8Mi",
    workerCount: 4,
    batchSize: 10_000,
    batchBytes: "1Mi",
    batchTimeout: "1s",
    maxRetries: 0,
    retryBaseDelay: "1s",
    retryMaxDelay: "1m",
    dlqEnabled: false,
    dlqBytes: "256Mi",
    drainTimeout: "20s",
  });
});
