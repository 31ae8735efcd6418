/** The options of each sink, and the entry of spec.sinks that names exactly one of them. */
import { z } from "zod";
import { sinkDispatcher } from "./dispatcher.ts";
import { bounded, duration, exactlyOne, ITEMS_MAX, labelName, objectName, template, text, url } from "./fields.ts";

/** Loki's own default for how many labels a stream may have (max_label_names_per_series). */
export const LOKI_LABELS_MAX = 15;

const SECRET_KEYS = ["value", "secretKeyRef", "env", "file"] as const;

/** Where a secret comes from. */
export const secret = (description: string) =>
  exactlyOne(
    z.strictObject(
      {
        value: text(4096).meta({ description: "The secret itself, in the open." }).exactOptional(),
        secretKeyRef: z
          .strictObject({
            name: objectName().meta({ description: "Name of the Secret." }),
            key: z
              .string()
              .max(253)
              .regex(/^[-._a-zA-Z0-9]+$/, { error: "must be a key of letters, digits, dots, dashes and underscores" })
              .meta({ description: "Key in the Secret's data or stringData." }),
          })
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

const auth = () =>
  exactlyOne(
    z.strictObject({
      basic: z
        .strictObject({ username: secret("User name."), password: secret("Password.") })
        .meta({ description: "HTTP basic authentication." })
        .exactOptional(),
      bearer: secret("Token, sent as Authorization: Bearer.").exactOptional(),
    }),
    ["basic", "bearer"],
    "auth",
  ).meta({ description: "How to authenticate; exactly one of basic, bearer." });

const requestTimeout = () =>
  duration("100ms", "10m").meta({ description: "How long to wait for the answer to one request." }).prefault("30s");

const lokiNames = (itemsMax: number) =>
  bounded(
    z.record(
      z
        .string()
        .max(128)
        .regex(/^[a-zA-Z_][a-zA-Z0-9_]*$/, {
          error: "is no valid label name: letters, digits and underscores, not starting with a digit",
        }),
      template(),
    ),
    itemsMax,
  );

export const loki = z
  .strictObject({
    url: url().meta({
      description: "Loki's address, such as http://loki:3100; the push path is added where it does not end with it.",
    }),
    tenant: z
      .string()
      .max(150)
      .regex(/^[A-Za-z0-9!\-_.*'()]+$/, { error: "must be a tenant id: letters, digits and ! - _ . * ' ( )" })
      .meta({ description: "Tenant id, sent as X-Scope-OrgID." })
      .exactOptional(),
    labels: lokiNames(LOKI_LABELS_MAX)
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
    auth: auth().exactOptional(),
    requestTimeout: requestTimeout(),
  })
  .refine(({ format, compression }) => format !== "json" || compression !== "snappy", {
    path: ["compression"],
    error: "snappy needs format: protobuf; leave compression out with json",
  })
  .meta({ description: "Pushes to Grafana Loki." });

const headers = bounded(
  z.record(
    z
      .string()
      .max(256)
      .regex(/^[-!#$%&'*+.^_`|~A-Za-z0-9]+$/, { error: "is no valid header name" })
      .refine((name) => name.toLowerCase() !== "authorization", {
        error: "does not belong here; put credentials into auth",
      })
      .refine(
        (name) => !/^(content-(length|type|encoding)|transfer-encoding|connection|host|expect|upgrade)$/i.test(name),
        {
          error: "is set by the agent itself",
        },
      ),
    z
      .string()
      .max(4096)
      .regex(/^[\x20-\x7e\t]*$/, { error: "may hold only printable ASCII characters" }),
  ),
  ITEMS_MAX,
);

export const http = z
  .strictObject({
    url: url().meta({ description: "Where requests go." }),
    method: z.enum(["POST", "PUT"]).meta({ description: "HTTP method." }).prefault("POST"),
    format: z
      .enum(["ndjson", "json"])
      .meta({ description: "One JSON object per line, or one JSON array of them." })
      .prefault("ndjson"),
    headers: headers.meta({ description: "Further request headers." }).prefault({}),
    auth: auth().exactOptional(),
    requestTimeout: requestTimeout(),
  })
  .meta({ description: "Sends JSON records to any HTTP endpoint." });

export const file = z
  .strictObject({
    path: template().meta({
      description: "Where records are appended, such as out/{namespace}.ndjson; folders are made.",
    }),
    format: z
      .enum(["ndjson", "text"])
      .meta({ description: "One JSON object per line, or the log text alone." })
      .prefault("ndjson"),
  })
  .meta({ description: "Appends to files on this machine." });

export const stdout = z
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
export const sinkOptions = { loki, http, file, stdout };
export const SINK_TYPES = Object.keys(sinkOptions) as (keyof typeof sinkOptions)[];

export const sink = exactlyOne(
  z.strictObject({
    name: labelName().meta({
      description: "Name of the sink, unique in the pipeline; its Positions are kept under it.",
    }),
    dispatcher: sinkDispatcher
      .meta({
        description: "Settings of this sink alone, over those of spec.dispatcher; the same fields.",
        shown: "mapping",
      })
      .exactOptional(),
    loki: loki.exactOptional(),
    http: http.exactOptional(),
    file: file.exactOptional(),
    stdout: stdout.exactOptional(),
  }),
  SINK_TYPES,
  "a sink",
);

export type SinkEntry = z.output<typeof sink>;
export type AuthEntry = z.output<ReturnType<typeof auth>>;
export type SecretEntry = z.output<ReturnType<typeof secret>>;
