/**
 * The documents that Tailrace reads. This one definition gives the TypeScript types, the defaults, the validation and
 * the field reference. A field is here only when running code reads it. (The CRD YAML is to be made from the same
 * definition, so only what can become a structural schema is used: see fields.ts.)
 */
import { z } from "zod";
import { pipelineDispatcher } from "./dispatcher.ts";
import { atLeastOne, bounded, globs, labelName, objectName, size, text } from "./fields.ts";
import { sink } from "./sinks.ts";
import { step } from "./steps.ts";

export const API_VERSION = "tailrace.dev/v1alpha1";
export const SINKS_MAX = 16;
export const STEPS_MAX = 32;

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

const source = {
  containers: selection("containers")
    .meta({ description: "Which containers are read; left out: all." })
    .exactOptional(),
  startAt: z
    .enum(["Beginning", "End"])
    .meta({
      description:
        "Where to start in logs that are there when the pipeline is first seen; containers that start later are always read from the beginning.",
    })
    .prefault("Beginning"),
};

const spec = {
  process: z.array(step).max(STEPS_MAX).meta({ description: "Steps that lines go through, in order." }).prefault([]),
  dispatcher: pipelineDispatcher
    .meta({ description: "How lines are queued, batched and retried; each sink may override it." })
    .prefault({}),
  sinks: z.array(sink).min(1, { error: "is empty; a pipeline needs at least one sink" }).max(SINKS_MAX).meta({
    description: "Where lines go; every sink gets all of them, and has its own queue, workers and Positions.",
  }),
};

export const logPipeline = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal("LogPipeline"),
  metadata,
  spec: z
    .strictObject({
      source: z.strictObject(source).meta({ description: "Which logs are read." }).prefault({}),
      ...spec,
    })
    .meta({ description: "What is read and where it goes." }),
});

export const clusterLogPipeline = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal("ClusterLogPipeline"),
  metadata: metadata.omit({ namespace: true }),
  spec: z.strictObject({
    source: z
      .strictObject({
        namespaces: selection("namespaces")
          .meta({ description: "Which namespaces are read; left out: all." })
          .exactOptional(),
        ...source,
      })
      .meta({ description: "Which logs are read." })
      .prefault({}),
    ...spec,
  }),
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
