/**
 * The CustomResourceDefinitions, from the same schema that validates: spec as a cluster takes it (schema.ts) and status
 * (status.ts), as structural schemas with CEL rules (cel.ts). For Kubernetes 1.30 or later; no webhook, no finalizers.
 * https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
 */
import { z } from "zod";
import type { Rule } from "./cel.ts";
import { API_VERSION, CLUSTER_KINDS } from "./schema.ts";
import { status } from "./status.ts";

/** A JSON schema as zod writes it, with our own metadata (fields.ts). */
export interface Json {
  type?: string;
  format?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  pattern?: string;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
  required?: string[];
  properties?: Record<string, Json>;
  items?: Json;
  additionalProperties?: Json | boolean;
  anyOf?: Json[];
  shown?: string;
  bounds?: string;
  fallback?: string;
  itemsMin?: number;
  itemsMax?: number;
  listKey?: string;
  rules?: Rule[];
}

/** What users may write, as JSON schema. */
export const jsonSchema = (schema: z.ZodType): Json =>
  z.toJSONSchema(schema, { target: "openapi-3.0", io: "input", unrepresentable: "throw" }) as Json;

export type Kind = keyof typeof CLUSTER_KINDS;
export const KINDS_IN_CLUSTER = Object.keys(CLUSTER_KINDS) as Kind[];

const NAMES: Record<Kind, { plural: string; shortNames: string[] }> = {
  LogPipeline: { plural: "logpipelines", shortNames: ["lp"] },
  ClusterLogPipeline: { plural: "clusterlogpipelines", shortNames: ["clp"] },
};

/** logpipelines, clusterlogpipelines: the name in URLs and of the file. */
export const pluralOf = (kind: Kind): string => NAMES[kind].plural;

const ready = (field: string): string => `.status.conditions[?(@.type=="Ready")].${field}`;
/** Priority 1 is shown by `-o wide` only. */
const COLUMNS = [
  { name: "Ready", type: "string", jsonPath: ready("status"), description: "Whether logs arrive." },
  { name: "Reason", type: "string", jsonPath: ready("reason"), description: "Why, in one word." },
  { name: "Agents", type: "string", jsonPath: ".status.summary.agents", description: "Agents that run it, of all." },
  { name: "Sinks", type: "string", jsonPath: ".status.summary.sinks", description: "Sinks that accept, of all." },
  { name: "Rate", type: "string", jsonPath: ".status.summary.rate", description: "Lines delivered." },
  { name: "Lag", type: "string", jsonPath: ".status.summary.lag", description: "Age of the oldest line on its way." },
  { name: "Lost", type: "integer", jsonPath: ".status.lost", description: "Lines known lost." },
  { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
  { name: "Delivered", type: "integer", jsonPath: ".status.delivered", priority: 1, description: "Lines delivered." },
  { name: "DLQ", type: "integer", jsonPath: ".status.deadLettered", priority: 1, description: "Lines dead-lettered." },
  { name: "Message", type: "string", jsonPath: ready("message"), priority: 1, description: "Why, for people." },
];

const ABOUT: Record<Kind, string> = {
  LogPipeline: "Ships the logs of its namespace's pods.",
  ClusterLogPipeline: "Ships the logs of many namespaces' pods.",
};

/** The definition of one kind, as the API server takes it. */
export function customResourceDefinition(kind: Kind): Record<string, unknown> {
  const { plural, shortNames } = NAMES[kind];
  const [group = "", version = ""] = API_VERSION.split("/");
  const spec = jsonSchema(CLUSTER_KINDS[kind].shape.spec);
  const schema: Json = {
    ...{ type: "object", description: ABOUT[kind], required: ["spec"] },
    properties: {
      apiVersion: { type: "string" },
      kind: { type: "string" },
      metadata: { type: "object" },
      spec,
      status: jsonSchema(status),
    },
  };
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope: kind === "LogPipeline" ? "Namespaced" : "Cluster",
      names: {
        kind,
        listKind: `${kind}List`,
        plural,
        singular: kind.toLowerCase(),
        shortNames,
        categories: ["logging"],
      },
      versions: [
        {
          ...{ name: version, served: true, storage: true },
          subresources: { status: {} },
          additionalPrinterColumns: COLUMNS,
          schema: { openAPIV3Schema: structural(schema) },
        },
      ],
    },
  };
}

/** A JSON schema as a structural one: no unions, lists that are atomic or maps, rules for what has no keyword. */
export function structural(json: Json): Record<string, unknown> {
  const { type, format, description, enum: values, required, properties, items, additionalProperties, rules } = json;
  const isSize = json.anyOf !== undefined;
  const found: Record<string, unknown> = {
    description,
    type: isSize ? undefined : type,
    "x-kubernetes-int-or-string": isSize ? true : undefined,
    format,
    enum: values,
    // A rule says the same in words.
    pattern: rules === undefined ? json.pattern : undefined,
    minimum: json.minimum,
    maximum: json.maximum,
    minLength: json.minLength,
    maxLength: isSize ? json.anyOf?.find(({ type: one }) => one === "string")?.maxLength : json.maxLength,
    minItems: json.minItems,
    maxItems: json.maxItems,
    minProperties: json.itemsMin,
    maxProperties: json.itemsMax,
    default: completed(json),
    required,
  };
  if (type === "array") {
    found["x-kubernetes-list-type"] = json.listKey === undefined ? "atomic" : "map";
    if (json.listKey !== undefined) found["x-kubernetes-list-map-keys"] = [json.listKey];
    found["items"] = structural(items ?? {});
  }
  if (properties !== undefined) {
    found["properties"] = Object.fromEntries(Object.entries(properties).map(([name, one]) => [name, structural(one)]));
  } else if (typeof additionalProperties === "object") {
    found["additionalProperties"] = structural(additionalProperties);
  }
  found["x-kubernetes-validations"] = rules;
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
}

/** A default with those of the fields in it: the API server judges it as it stands. */
function completed({ default: value, properties }: Json): unknown {
  if (typeof value !== "object" || value === null || properties === undefined) return value;
  const inner = Object.entries(properties).filter(([, field]) => field.default !== undefined);
  return { ...Object.fromEntries(inner.map(([name, field]) => [name, completed(field)])), ...value };
}
