import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { readConfig, sameConfig } from "../../crds/config.ts";
import type { Config, Pipeline, Problem, World } from "../../crds/config.ts";
import { parseTemplate } from "../../crds/template.ts";

const world: World = {
  env: (name) => ({ LOKI_USER: "kim" })[name],
  readFile(path) {
    assert.equal(path, "/run/token");
    return "from-file\n";
  },
};

function read(...texts: string[]): { config: Config; notes: Problem[] } {
  const files = texts.map((text, index) => ({ file: `f${index}`, text }));
  const { config, problems, notes } = readConfig(files, world);
  assert.deepEqual(problems, []);
  assert.ok(config !== undefined);
  return { config, notes };
}

const pipelineOf = (spec: string, metadata = "{name: a}"): Pipeline =>
  read(`apiVersion: tailrace.dev/v1alpha1\nkind: LogPipeline\nmetadata: ${metadata}\nspec:\n${spec}\n`).config
    .pipelines[0]!;
const sinkOf = (sink: string, spec = "") => pipelineOf(`${spec}\n  sinks:\n  - ${sink}`).sinks[0]!;

const DEFAULTS = {
  queueSize: 100_000,
  queueBytes: 8 * 1024 * 1024,
  workerCount: 4,
  batchSize: 10_000,
  batchBytes: 1024 * 1024,
  batchTimeoutMs: 1000,
  maxRetries: undefined,
  retryBaseDelayMs: 1000,
  retryMaxDelayMs: 60_000,
  dlqEnabled: true,
  dlqBytes: 256 * 1024 * 1024,
  drainTimeoutMs: 20_000,
};

test("the least that a pipeline needs is a name and a sink", () => {
  const { config, notes } = read(
    "apiVersion: tailrace.dev/v1alpha1\nkind: LogPipeline\nmetadata: {name: a}\nspec: {sinks: [{name: out, stdout: {}}]}\n",
  );
  assert.deepEqual(notes, []);
  assert.deepEqual(config, {
    agent: { memoryLimit: 32 * 1024 * 1024, maxLineBytes: 256 * 1024, maxOpenFiles: 1024 },
    pipelines: [
      {
        id: "LogPipeline//a",
        kind: "LogPipeline",
        namespace: undefined,
        name: "a",
        selection: { namespaces: { include: [], exclude: [] }, containers: { include: [], exclude: [] } },
        startAt: "Beginning",
        process: [],
        sinks: [{ name: "out", type: "stdout", options: { format: "ndjson" }, dispatcher: DEFAULTS }],
      },
    ],
  });
});

test("a LogPipeline with a namespace reads that namespace only", () => {
  const { id, selection } = pipelineOf("  sinks: [{name: out, stdout: {}}]", "{name: a, namespace: shop}");
  assert.equal(id, "LogPipeline/shop/a");
  assert.deepEqual(selection.namespaces, { include: ["shop"], exclude: [] });
});

test("a ClusterLogPipeline chooses namespaces by globs", () => {
  const text = `apiVersion: tailrace.dev/v1alpha1
kind: ClusterLogPipeline
metadata: {name: all}
spec:
  source: {namespaces: {exclude: [kube-*]}, containers: {include: ["app-*"], exclude: [istio-proxy]}, startAt: End}
  sinks: [{name: out, stdout: {format: console}}]
`;
  const [pipeline] = read(text).config.pipelines;
  assert.equal(pipeline?.id, "ClusterLogPipeline//all");
  assert.equal(pipeline.startAt, "End");
  assert.deepEqual(pipeline.selection, {
    namespaces: { include: [], exclude: ["kube-*"] },
    containers: { include: ["app-*"], exclude: ["istio-proxy"] },
  });
});

test("steps keep their order and what was said about them", () => {
  const { process } = pipelineOf(`  process:
  - drop: {level: [debug, trace]}
  - keep: {text: {matches: '^GET'}, field: {name: http.status, equals: ""}}
  - redact: {presets: [email]}
  - redact: {patterns: [{matches: 'token=\\w+', replacement: "token=***"}, {matches: secret}]}
  - fields: {add: {cluster: "eu-{node}"}, rename: {msg: message}}
  sinks: [{name: out, stdout: {}}]`);
  assert.deepEqual(process, [
    { kind: "drop", level: ["debug", "trace"] },
    { kind: "keep", text: { matches: "^GET" }, field: { name: "http.status", equals: "" } },
    { kind: "redact", presets: ["email"], patterns: [] },
    {
      kind: "redact",
      presets: [],
      patterns: [
        { matches: "token=\\w+", replacement: "token=***" },
        { matches: "secret", replacement: "***" },
      ],
    },
    { kind: "fields", add: { cluster: parseTemplate("eu-{node}") }, remove: [], rename: { msg: "message" } },
  ]);
});

test("0 and false are values, null is not: it leaves the setting to whom it came from", () => {
  const pipeline = "  dispatcher: {maxRetries: 3, dlqEnabled: false, drainTimeout: 0s, queueSize: null}";
  const same = sinkOf("{name: x, stdout: {}, dispatcher: {maxRetries: null, dlqEnabled: ~, batchTimeout: }}", pipeline);
  assert.deepEqual(same.dispatcher, { ...DEFAULTS, maxRetries: 3, dlqEnabled: false, drainTimeoutMs: 0 });
  const other = sinkOf("{name: x, stdout: {}, dispatcher: {maxRetries: 0, dlqEnabled: true}}", pipeline);
  assert.deepEqual(other.dispatcher, { ...DEFAULTS, maxRetries: 0, dlqEnabled: true, drainTimeoutMs: 0 });
});

test("a sink's setting wins over the pipeline's, for that sink only", () => {
  const { sinks } = pipelineOf(`  dispatcher: {batchSize: 500, queueBytes: 16Mi}
  sinks:
  - {name: one, stdout: {}, dispatcher: {batchSize: 7, queueBytes: 1048576}}
  - {name: two, file: {path: x}}`);
  assert.deepEqual(
    sinks.map(({ dispatcher }) => [dispatcher.batchSize, dispatcher.queueBytes]),
    [
      [7, 1 << 20],
      [500, 16 << 20],
    ],
  );
});

test("a sink may have settings that would contradict the pipeline's, as long as its own do not", () => {
  const pipeline = "  dispatcher: {queueSize: 20, batchSize: 10}";
  const { dispatcher } = sinkOf("{name: x, stdout: {}, dispatcher: {batchSize: 30, queueSize: 30}}", pipeline);
  assert.deepEqual([dispatcher.queueSize, dispatcher.batchSize], [30, 30]);
});

test("Loki has its defaults", () => {
  const { options } = sinkOf("{name: l, loki: {url: http://loki:3100}}");
  assert.deepEqual(options, {
    url: "http://loki:3100",
    labels: {
      namespace: parseTemplate("{namespace}"),
      pod: parseTemplate("{pod}"),
      container: parseTemplate("{container}"),
      stream: parseTemplate("{stream}"),
    },
    structuredMetadata: {},
    format: "protobuf",
    compression: "snappy",
    requestTimeoutMs: 30_000,
  });
});

test("Loki's compression follows its format when it is left out", () => {
  const compression = (more: string) => {
    const sink = sinkOf(`{name: l, loki: {url: http://l, ${more}}}`);
    return sink.type === "loki" && sink.options.compression;
  };
  assert.equal(compression("format: json"), "none");
  assert.equal(compression("format: protobuf"), "snappy");
  assert.equal(compression("compression: none"), "none");
});

test("labels that tell container streams apart are added, and a note says so", () => {
  const lokiOf = (metadata: string, labels: string) => {
    const { config, notes } = read(`apiVersion: tailrace.dev/v1alpha1
kind: LogPipeline
metadata: ${metadata}
spec:
  sinks:
  - name: l
    loki: {url: http://l, labels: ${labels}}
`);
    const [sink] = config.pipelines[0]!.sinks;
    assert.ok(sink?.type === "loki");
    return {
      labels: Object.keys(sink.options.labels),
      notes: notes.map(({ line, path, message }) => `${line}: ${path}: ${message}`),
    };
  };
  assert.deepEqual(lokiOf("{name: a, namespace: shop}", '{app: "{container}", id: "{pod}"}'), {
    labels: ["app", "id", "stream"],
    notes: [
      "7: spec.sinks[0].loki.labels: no label tells container streams apart by stream; the label stream is added",
    ],
  });
  assert.deepEqual(lokiOf("{name: a}", '{all: "{namespace}/{pod}/{container}"}').labels, ["all", "stream"]);
  assert.deepEqual(lokiOf("{name: a}", "{}").labels, ["namespace", "pod", "container", "stream"]);
  const enough = '{n: "{namespace}", p: "{pod}", c: "{container}", s: "{stream}"}';
  assert.deepEqual(lokiOf("{name: a}", enough), { labels: ["n", "p", "c", "s"], notes: [] });
});

test("secrets come from the document, a Secret, the environment or a file", () => {
  const text = `apiVersion: tailrace.dev/v1alpha1
kind: LogPipeline
metadata: {name: a, namespace: shop}
spec:
  sinks:
  - name: one
    http:
      url: http://h
      auth: {basic: {username: {env: LOKI_USER}, password: {secretKeyRef: {name: loki, key: password}}}}
  - {name: two, http: {url: http://h, auth: {bearer: {secretKeyRef: {name: loki, key: token}}}}}
  - {name: three, http: {url: http://h, auth: {bearer: {file: /run/token}}}}
  - {name: four, http: {url: http://h, auth: {bearer: {value: in-the-open}}}}
`;
  const secret = `apiVersion: v1
kind: Secret
metadata: {name: loki, namespace: shop, creationTimestamp: "2026-11-23T10:00:00Z"}
type: Opaque
stringData: {password: plain}
data: {password: bm90IHRoaXM=, token: dG9rw6lu}
---
apiVersion: v1
kind: Secret
metadata: {name: loki, namespace: elsewhere}
stringData: {password: wrong}
`;
  const { sinks } = read(secret, text).config.pipelines[0]!;
  const auths = sinks.map((sink) => (sink.type === "http" ? sink.options.auth : undefined));
  assert.equal(auths[0]?.basic?.username.reveal(), "kim");
  assert.equal(auths[0]?.basic?.password.reveal(), "plain");
  assert.deepEqual(
    auths.slice(1).map((auth) => auth?.bearer?.reveal()),
    ["tokén", "from-file", "in-the-open"],
  );
});

test("a ClusterLogPipeline takes a Secret of any namespace, as long as there is one", () => {
  const text = `apiVersion: tailrace.dev/v1alpha1
kind: ClusterLogPipeline
metadata: {name: a}
spec:
  sinks: [{name: x, http: {url: http://h, auth: {bearer: {secretKeyRef: {name: s, key: k}}}}}]
`;
  const secret = (namespace: string) =>
    `apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: ${namespace}}\nstringData: {k: ${namespace}}\n`;
  const [sink] = read(text, secret("tailrace")).config.pipelines[0]!.sinks;
  assert.equal(sink?.type === "http" && sink.options.auth?.bearer?.reveal(), "tailrace");
  const files = [text, secret("one"), secret("two")].map((content, index) => ({ file: `f${index}`, text: content }));
  assert.match(readConfig(files, world).problems[0]!.message, /Secret s is there in several namespaces/);
});

test("a secret does not show in JSON, in templates or when inspected", () => {
  const pipeline = pipelineOf("  sinks: [{name: x, http: {url: http://h, auth: {bearer: {value: hunter2}}}}]");
  const [sink] = pipeline.sinks;
  const bearer = sink?.type === "http" ? sink.options.auth?.bearer : undefined;
  for (const shown of [JSON.stringify(pipeline), inspect(pipeline, { depth: 20, showHidden: true }), String(bearer)]) {
    assert.ok(shown.includes("***") && !shown.includes("hunter2"), shown);
  }
});

test("a changed password is a changed configuration, though both show alike", () => {
  const withPassword = (password: string) =>
    pipelineOf(`  sinks: [{name: x, http: {url: http://h, auth: {bearer: {value: ${password}}}}}]`);
  assert.ok(sameConfig(withPassword("a"), withPassword("a")));
  assert.ok(!sameConfig(withPassword("a"), withPassword("b")));
  assert.ok(!sameConfig({ a: [1] }, { a: [1, 2] }));
  assert.ok(!sameConfig({ a: 1 }, { b: 1 }));
  assert.ok(!sameConfig([], {}));
});

test("an AgentConfig may lie anywhere among the files", () => {
  const agent = "apiVersion: tailrace.dev/v1alpha1\nkind: AgentConfig\nspec: {memoryLimit: 64Mi, maxOpenFiles: 64}\n";
  const text =
    "apiVersion: tailrace.dev/v1alpha1\nkind: LogPipeline\nmetadata: {name: a}\nspec: {sinks: [{name: o, stdout: {}}]}\n";
  assert.deepEqual(read(text, agent).config.agent, {
    memoryLimit: 64 << 20,
    maxLineBytes: 256 << 10,
    maxOpenFiles: 64,
  });
});

test("what the user names like something every object has is the user's own", () => {
  const { process, sinks } =
    pipelineOf(`  process: [{fields: {add: {constructor: "{pod}"}, rename: {toString: valueOf}}}]
  sinks: [{name: constructor, http: {url: http://h, headers: {constructor: a}}}]`);
  assert.deepEqual(process[0], {
    kind: "fields",
    add: { constructor: parseTemplate("{pod}") },
    remove: [],
    rename: { toString: "valueOf" },
  });
  assert.ok(sinks[0]?.type === "http" && Object.hasOwn(sinks[0].options.headers, "constructor"));
});
