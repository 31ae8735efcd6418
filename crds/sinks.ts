/**
 * The options of each sink, and the entry of spec.sinks that names exactly one of them. There are two forms: on a single
 * machine all is the user's own; in a cluster (and in the CRDs) secrets come only from Secrets, files lie below a folder
 * of the agent, and the agent's standard output is its own.
 */
import { z } from "zod";
import { quoted, ruled } from "./cel.ts";
import { sinkDispatcher } from "./dispatcher.ts";
import {
  bounded,
  duration,
  exactlyOne,
  ITEMS_MAX,
  keysMatch,
  labelName,
  objectName,
  template,
  text,
  url,
  worded,
} from "./fields.ts";
import type { Template } from "./template.ts";

/** Loki's own default for how many labels a stream may have (max_label_names_per_series). */
export const LOKI_LABELS_MAX = 15;

const SECRET_KEYS = ["value", "secretKeyRef", "env", "file"] as const;

const secretKeyRef = () =>
  z.strictObject({
    name: objectName().meta({ description: "Name of the Secret." }),
    key: worded(/^[-._a-zA-Z0-9]+$/, 253, "must be a key of letters, digits, dots, dashes and underscores").meta({
      description: "Key in the Secret's data or stringData.",
    }),
  });

/** Where a secret comes from. */
export const secret = (description: string) =>
  exactlyOne(
    z.strictObject(
      {
        value: text(4096).meta({ description: "The secret itself, in the open." }).exactOptional(),
        secretKeyRef: secretKeyRef()
          .meta({ description: "A key of a Secret document in the same files and the pipeline's namespace." })
          .exactOptional(),
        env: z
          .string()
          .max(256)
          .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, { error: "must be the name of an environment variable" })
          .meta({ description: "An environment variable of the agent." })
          .exactOptional(),
        file: text()
          .meta({ description: "A file that holds the secret; a newline at its end is left out." })
          .exactOptional(),
      },
      {
        error: ({ code }) =>
          code === "invalid_type"
            ? "must say where the secret comes from: {value: …}, {secretKeyRef: {name: …, key: …}}, {env: …} or {file: …}"
            : undefined,
      },
    ),
    SECRET_KEYS,
    "a secret",
  ).meta({ description, shown: "[secret](#secrets)" });

export type SecretEntry = z.output<ReturnType<typeof secret>>;
/** A form of a secret: what makes the schema of one from its description. */
type SecretForm = (description: string) => z.ZodType<SecretEntry>;

/** The form that a cluster takes. */
const clusterSecret: SecretForm = (description) =>
  z
    .strictObject(
      {
        secretKeyRef: secretKeyRef().meta({
          description:
            "A key of a Secret in the pipeline's namespace; of a ClusterLogPipeline in that of the operator.",
        }),
      },
      {
        error: ({ code }) =>
          code === "invalid_type" ? "must say which Secret holds it: {secretKeyRef: {name: …, key: …}}" : undefined,
      },
    )
    .meta({ description });

const auth = (secretOf: SecretForm) =>
  exactlyOne(
    z.strictObject({
      basic: z
        .strictObject({ username: secretOf("User name."), password: secretOf("Password.") })
        .meta({ description: "HTTP basic authentication." })
        .exactOptional(),
      bearer: secretOf("Token, sent as Authorization: Bearer.").exactOptional(),
    }),
    ["basic", "bearer"],
    "auth",
  ).meta({ description: "How to authenticate; exactly one of basic, bearer." });

const requestTimeout = () =>
  duration("100ms", "10m").meta({ description: "How long to wait for the answer to one request." }).prefault("30s");

const LABEL_NAME = /^[a-zA-Z_][a-zA-Z0-9_]{0,127}$/;
const LABEL_SENTENCE = "letters, digits and underscores, not starting with a digit, at most 128";

const lokiNames = (itemsMax: number) =>
  ruled(
    bounded(
      z.record(z.string().regex(LABEL_NAME, { error: `is no valid label name: ${LABEL_SENTENCE}` }), template()),
      itemsMax,
    ),
    keysMatch(LABEL_NAME, `must have only label names as keys: ${LABEL_SENTENCE}`),
  );

const SNAPPY_SENTENCE = "snappy needs format: protobuf; leave compression out with json";

/** Without them container streams would share a Loki stream; rules.ts adds those that no label uses. */
const lokiLabels = ruled(lokiNames(LOKI_LABELS_MAX), {
  rule: "['pod', 'container', 'stream'].all(name, !(name in self) || self.exists(key, self[key].contains('{' + name + '}')))",
  message:
    "the labels pod, container and stream must use {pod}, {container} and {stream}, or other labels must: without them container streams share a Loki stream and lose their order",
});

const loki = (secretOf: SecretForm) =>
  ruled(
    z
      .strictObject({
        url: url().meta({
          description:
            "Loki's address, such as http://loki:3100; the push path is added where it does not end with it.",
        }),
        tenant: worded(/^[A-Za-z0-9!\-_.*'()]+$/, 150, "must be a tenant id: letters, digits and ! - _ . * ' ( )")
          .meta({ description: "Tenant id, sent as X-Scope-OrgID." })
          .exactOptional(),
        labels: lokiLabels
          .meta({
            description:
              "Label names and their templates; those that tell container streams apart (namespace, pod, container, stream) are added when no label does.",
          })
          .prefault({ namespace: "{namespace}", pod: "{pod}", container: "{container}", stream: "{stream}" }),
        structuredMetadata: lokiNames(ITEMS_MAX)
          .meta({ description: "Names and templates of structured metadata, sent with every line and not indexed." })
          .prefault({}),
        format: z.enum(["protobuf", "json"]).meta({ description: "How requests are encoded." }).prefault("protobuf"),
        compression: z
          .enum(["snappy", "none"])
          .meta({
            description:
              "How requests are compressed; left out: snappy with protobuf, none with json, which has no snappy.",
          })
          .exactOptional(),
        auth: auth(secretOf).exactOptional(),
        requestTimeout: requestTimeout(),
      })
      .refine(({ format, compression }) => format !== "json" || compression !== "snappy", {
        path: ["compression"],
        error: SNAPPY_SENTENCE,
      }),
    {
      rule: "self.format != 'json' || !has(self.compression) || self.compression != 'snappy'",
      message: SNAPPY_SENTENCE,
      fieldPath: ".compression",
    },
  ).meta({ description: "Pushes to Grafana Loki." });

const HEADER_NAME = /^[-!#$%&'*+.^_`|~A-Za-z0-9]{1,256}$/;
const AGENT_HEADERS = [
  ...["content-length", "content-type", "content-encoding", "transfer-encoding"],
  ...["connection", "host", "expect", "upgrade"],
];

const headers = ruled(
  bounded(
    z.record(
      z
        .string()
        .regex(HEADER_NAME, { error: "is no valid header name" })
        .refine((name) => name.toLowerCase() !== "authorization", {
          error: "does not belong here; put credentials into auth",
        })
        .refine((name) => !AGENT_HEADERS.includes(name.toLowerCase()), { error: "is set by the agent itself" }),
      worded(/^[\x20-\x7e\t]*$/, 4096, "may hold only printable ASCII characters"),
    ),
    ITEMS_MAX,
  ),
  keysMatch(HEADER_NAME, "must have only header names as keys"),
  {
    rule: "!self.exists(name, name.lowerAscii() == 'authorization')",
    message: "may not hold Authorization; put credentials into auth",
  },
  {
    rule: `!self.exists(name, name.lowerAscii() in [${AGENT_HEADERS.map(quoted).join(", ")}])`,
    message: `may not hold what the agent itself sets: ${AGENT_HEADERS.join(", ")}`,
  },
);

const http = (secretOf: SecretForm) =>
  z
    .strictObject({
      url: url().meta({ description: "Where requests go." }),
      method: z.enum(["POST", "PUT"]).meta({ description: "HTTP method." }).prefault("POST"),
      format: z
        .enum(["ndjson", "json"])
        .meta({ description: "One JSON object per line, or one JSON array of them." })
        .prefault("ndjson"),
      headers: headers.meta({ description: "Further request headers." }).prefault({}),
      auth: auth(secretOf).exactOptional(),
      requestTimeout: requestTimeout(),
    })
    .meta({ description: "Sends JSON records to any HTTP endpoint." });

const file = (path: z.ZodType<Template>) =>
  z
    .strictObject({
      path,
      format: z
        .enum(["ndjson", "text"])
        .meta({ description: "One JSON object per line, or the log text alone." })
        .prefault("ndjson"),
    })
    .meta({ description: "Appends to files on this machine." });

const filePath = template().meta({
  description: "Where records are appended, such as out/{namespace}.ndjson; folders are made.",
});

const INNER_SENTENCE =
  "must lie below the agent's folder for files: no / at the front, and no part that is empty, . or ..";

/** What names a part takes from records, the agent confines when it opens the file. */
const clusterFilePath = ruled(
  filePath.refine(({ source }) => source.split("/").every((part) => !["", ".", ".."].includes(part)), {
    error: INNER_SENTENCE,
  }),
  { rule: "self.split('/').all(part, !(part in ['', '.', '..']))", message: INNER_SENTENCE },
).meta({ description: "Where records are appended, below the agent's folder for files; folders are made." });

const stdout = z
  .strictObject({
    format: z
      .enum(["ndjson", "text", "console"])
      .meta({
        description: "One JSON object per line, the log text alone, or namespace/pod/container before it for people.",
      })
      .prefault("ndjson"),
  })
  .meta({ description: "Writes to standard output." });

/** The table of sinks: a new one is its options above, one line here and one in SinkConfig (config.ts). */
const sinkOptions = { loki: loki(secret), http: http(secret), file: file(filePath), stdout };
export const SINK_TYPES = Object.keys(sinkOptions) as (keyof typeof sinkOptions)[];

/** Those that a cluster takes. */
const clusterSinkOptions = {
  loki: loki(clusterSecret),
  http: http(clusterSecret),
  file: file(clusterFilePath),
};

const sinkBase = {
  name: labelName().meta({
    description: "Name of the sink, unique in the pipeline; its Positions are kept under it.",
  }),
  dispatcher: sinkDispatcher
    .meta({
      description: "Settings of this sink alone, over those of spec.dispatcher; the same fields.",
      shown: "mapping",
    })
    .exactOptional(),
};

export const sink = exactlyOne(
  z.strictObject({
    ...sinkBase,
    loki: sinkOptions.loki.exactOptional(),
    http: sinkOptions.http.exactOptional(),
    file: sinkOptions.file.exactOptional(),
    stdout: sinkOptions.stdout.exactOptional(),
  }),
  SINK_TYPES,
  "a sink",
);

export type SinkEntry = z.output<typeof sink>;
export type AuthEntry = z.output<ReturnType<typeof auth>>;

export const clusterSink: z.ZodType<SinkEntry> = exactlyOne(
  z.strictObject({
    ...sinkBase,
    loki: clusterSinkOptions.loki.exactOptional(),
    http: clusterSinkOptions.http.exactOptional(),
    file: clusterSinkOptions.file.exactOptional(),
  }),
  Object.keys(clusterSinkOptions),
  "a sink",
);
