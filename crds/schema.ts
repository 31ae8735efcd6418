/**
 * The documents that Tailrace reads. This one definition gives the TypeScript types, the defaults, the validation, the
 * field reference and the CRDs. A field is here only when running code reads it.
 */
import { z } from "zod";
import { pipelineDispatcher } from "./dispatcher.ts";
import { atLeastOne, bounded, globs, labelName, objectName, size, text } from "./fields.ts";
import { clusterSink, sink } from "./sinks.ts";
import type { SinkEntry } from "./sinks.ts";
import { step } from "./steps.ts";

export const API_VERSION = "tailrace.dev/v1alpha1";
/** One more, and Kubernetes 1.30 would refuse the CRDs: what reading a size costs (cel.ts) counts once per sink. */
export const SINKS_MAX = 15;
export const STEPS_MAX = 32;
/** Where reading starts when the source does not say. */
export const START_AT = "Beginning";

const annotations = (what: string) =>
  bounded(z.record(text(317), z.string().max(65_536)), 256).meta({ description: `${what}; not read by the agent.` });

const metadata = z
  .strictObject({
    name: objectName().meta({ description: "Name of the pipeline; with kind and namespace it is its identity." }),
    namespace: labelName()
      .meta({ description: "Namespace whose logs are read; left out: every namespace." })
      .exactOptional(),
    labels: annotations("Labels").exactOptional(),
    annotations: annotations("Annotations").exactOptional(),
  })
  .meta({ description: "Standard object metadata." });

const selection = (what: string) =>
  atLeastOne(
    z.strictObject({
      include: globs()
        .meta({ description: `Only ${what} with these names are read.` })
        .exactOptional(),
      exclude: globs()
        .meta({ description: `Never ${what} with these names, even when included.` })
        .exactOptional(),
    }),
    ["include", "exclude"],
    what,
  );

const sourceFields = {
  containers: selection("containers")
    .meta({ description: "Which containers are read; left out: all." })
    .exactOptional(),
  startAt: z
    .enum(["Beginning", "End"])
    .meta({
      description:
        "Where to start in logs that are there when the pipeline is first seen; containers that start later are always read from the beginning.",
      fallback: START_AT,
    })
    .exactOptional(),
};
const namespaces = selection("namespaces")
  .meta({ description: "Which namespaces are read; left out: all." })
  .exactOptional();

/**
 * An empty source is refused: it may be what a client left of one that had a selection which this version does not know,
 * and would read everything. For the same reason nothing in it has a default that the API server writes.
 */
const source = atLeastOne(z.strictObject(sourceFields), Object.keys(sourceFields), "source").meta({
  description: "Which logs are read; left out: all, from the beginning.",
});
const clusterSource = atLeastOne(
  z.strictObject({ namespaces, ...sourceFields }),
  ["namespaces", ...Object.keys(sourceFields)],
  "source",
).meta({ description: "Which logs are read; left out: all, from the beginning." });

/** What both kinds say beside their source. */
const delivery = (entry: z.ZodType<SinkEntry>) => ({
  process: z.array(step).max(STEPS_MAX).meta({ description: "Steps that lines go through, in order." }).prefault([]),
  dispatcher: pipelineDispatcher
    .meta({ description: "How lines are queued, batched and retried; each sink may override it." })
    .prefault({}),
  sinks: z.array(entry).min(1, { error: "is empty; a pipeline needs at least one sink" }).max(SINKS_MAX).meta({
    description: "Where lines go; every sink gets all of them, and has its own queue, workers and Positions.",
    listKey: "name",
  }),
});

const specs = (entry: z.ZodType<SinkEntry>) => ({
  LogPipeline: z
    .strictObject({ source: source.exactOptional(), ...delivery(entry) })
    .meta({ description: "What is read and where it goes." }),
  ClusterLogPipeline: z
    .strictObject({ source: clusterSource.exactOptional(), ...delivery(entry) })
    .meta({ description: "What is read and where it goes." }),
});
const specsAlone = specs(sink);
const specsInCluster = specs(clusterSink);

export const logPipeline = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal("LogPipeline"),
  metadata,
  spec: specsAlone.LogPipeline,
});

export const clusterLogPipeline = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal("ClusterLogPipeline"),
  metadata: metadata.omit({ namespace: true }),
  spec: specsAlone.ClusterLogPipeline,
});

/** Settings of the whole agent. */
export interface AgentSettings {
  /** Bytes of the memory in which lines are read, kept and encoded. */
  memoryLimit: number;
  maxLineBytes: number;
  maxOpenFiles: number;
}

const agentSpec = z.strictObject({
  memoryLimit: size("16Mi", "1Gi")
    .meta({ description: "Memory in which lines are read, kept and encoded; when it is used up, reading stops." })
    .prefault("32Mi"),
  maxLineBytes: size("1Ki", "1Mi")
    .meta({ description: "Longer lines are cut, marked as truncated and counted." })
    .prefault("256Ki"),
  maxOpenFiles: z.int().min(64).max(65_536).meta({ description: "Log files open at once, at most." }).prefault(1024),
});

export const AGENT_DEFAULTS: AgentSettings = agentSpec.parse({});

export const agentConfig = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal("AgentConfig"),
  metadata: metadata.omit({ namespace: true }).partial().exactOptional(),
  spec: agentSpec.meta({ description: "Settings of the whole agent." }).prefault({}),
});

/** A Kubernetes Secret. Its metadata and type may say anything: it is not ours. */
export const secretDocument = z.strictObject({
  apiVersion: z.literal("v1"),
  kind: z.literal("Secret"),
  metadata: z.looseObject({ name: objectName(), namespace: labelName().exactOptional() }),
  type: z.string().max(253).exactOptional(),
  immutable: z.boolean().exactOptional(),
  stringData: bounded(z.record(text(253), z.string().max(1 << 20)), 1024).exactOptional(),
  data: bounded(
    z.record(
      text(253),
      z
        .string()
        .max(1 << 21)
        .regex(/^[A-Za-z0-9+/\s]*=*\s*$/, { error: "must be base64; put plain text into stringData" }),
    ),
    1024,
  ).exactOptional(),
});

export type LogPipelineDocument = z.output<typeof logPipeline>;
export type ClusterLogPipelineDocument = z.output<typeof clusterLogPipeline>;
export type SecretDocument = z.output<typeof secretDocument>;

/** The kinds of documents by name. */
export const KINDS = {
  LogPipeline: logPipeline,
  ClusterLogPipeline: clusterLogPipeline,
  AgentConfig: agentConfig,
  Secret: secretDocument,
};
export const KIND_NAMES = Object.keys(KINDS) as (keyof typeof KINDS)[];

/** Standard metadata that the API server writes or judges. */
const SERVER_METADATA = [
  ...["generateName", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp"],
  ...["deletionGracePeriodSeconds", "ownerReferences", "finalizers", "managedFields", "selfLink"],
];
const served = {
  metadata: metadata.extend(
    Object.fromEntries(SERVER_METADATA.map((name) => [name, z.unknown().exactOptional()])),
  ) as unknown as typeof metadata, // nobody reads the rest
  status: z.unknown().exactOptional(),
};

/**
 * The pipelines as a cluster takes them; the CRDs are made of their spec. What the API server adds is let through, so
 * that the output of `kubectl get -o yaml` can be validated.
 */
export const CLUSTER_KINDS = {
  LogPipeline: logPipeline.extend({ ...served, spec: specsInCluster.LogPipeline }),
  ClusterLogPipeline: clusterLogPipeline.extend({
    ...served,
    metadata: served.metadata.omit({ namespace: true }),
    spec: specsInCluster.ClusterLogPipeline,
  }),
};
