/** The field reference, docs/reference.md, from the schema. */
import type { z } from "zod";
import { jsonSchema, type Json } from "./crd.ts";
import { agentConfig, clusterLogPipeline, logPipeline } from "./schema.ts";
import { secret } from "./sinks.ts";

interface Row {
  path: string;
  type: string;
  fallback: string;
  bounds: string;
  meaning: string;
}

const INTRODUCTION = `# Field reference

Made from the schema by \`npm run gen\`; do not edit. All documents have \`apiVersion: tailrace.dev/v1alpha1\`. A field that
is left out or null has its default; 0, false and "" are values. Unknown fields are refused.

- **Sizes** are Kubernetes quantities: a number of bytes or a number with a unit, \`500k\`, \`8Mi\`, \`1.5Gi\` (k, M, G, T by 1000;
  Ki, Mi, Gi, Ti by 1024). A fraction of a byte counts as a whole one.
- **Durations** are numbers with a unit, one after the other: \`250ms\`, \`30s\`, \`1m30s\`, \`168h\`.
- **Globs** are names in which \`*\` stands for any characters.
- **Patterns** are regular expressions in RE2 syntax, found anywhere in the text. They run in linear time; lookaround and
  backreferences do not exist.
- **Templates** are texts with names in braces: \`{namespace}\`, \`{pod}\`, \`{container}\`, \`{node}\`, \`{stream}\`, \`{level}\`,
  \`{date}\` (2026-11-23) and \`{hour}\` (09), both UTC, and \`{fields.http.status}\` or \`{fields[http.status]}\`. An absent value
  gives an empty text (in Loki: no label).
`;

const SECRETS_INTRODUCTION = `A field of type secret takes exactly one of these. Secret documents (\`apiVersion: v1\`, with
\`stringData\` or \`data\`) may lie in the same files; a LogPipeline sees those of its own namespace.`;

const CLUSTER = `## In a cluster

The CRDs \`crds/logpipelines.yaml\` and \`crds/clusterlogpipelines.yaml\` (Kubernetes 1.30 or later) take the same fields, but:

- A secret comes only from a Secret, \`{secretKeyRef: {name: …, key: …}}\`, of the pipeline's own namespace; that of a
  ClusterLogPipeline from the operator's namespace.
- There is no \`stdout\` sink: the agent's standard output is its own log, which all pipelines of a node would share.
- The \`path\` of a \`file\` sink lies below a folder of the agent: no \`/\` at its front, no part that is empty, \`.\` or \`..\`.
  A LogPipeline may write files only where the chart allows it.
- Some clients drop unknown fields in silence (kubectl refuses them). So nothing that narrows or protects may be empty:
  what is left of a misspelt selection, condition, step or \`auth\` is refused.

Pipelines have the short names \`lp\` and \`clp\`, and \`kubectl get logging\` lists both kinds.
`;

/** The whole page. */
export function reference(): string {
  return [
    INTRODUCTION,
    section("LogPipeline", "Ships the logs of one namespace, or of all when it names none.", rows(logPipeline)),
    section(
      "ClusterLogPipeline",
      "Ships the logs of many namespaces. All fields of LogPipeline but `metadata.namespace`, and:",
      rows(clusterLogPipeline).filter(({ path }) => path.startsWith("spec.source.namespaces")),
    ),
    section("AgentConfig", "Settings of the whole agent; at most one document.", rows(agentConfig, "spec")),
    section("Secrets", SECRETS_INTRODUCTION, rows(secret("A secret."))),
    CLUSTER,
  ].join("\n");
}

function section(title: string, introduction: string, fields: readonly Row[]): string {
  const head = "| Field | Type | Default | Bounds | Meaning |\n| --- | --- | --- | --- | --- |";
  const lines = fields.map(({ path, type, fallback, bounds, meaning }) =>
    [`\`${path}\``, type, fallback, bounds, meaning].map((cell) => cell.replaceAll("|", "\\|")).join(" | "),
  );
  return `## ${title}\n\n${introduction}\n\n${head}\n${lines.map((line) => `| ${line} |`).join("\n")}\n`;
}

/** The fields of a document below `top`, outer before inner. */
function rows(schema: z.ZodType, top = ""): Row[] {
  const found: Row[] = [];
  walk(jsonSchema(schema), "", found);
  return found.filter(({ path }) => path.startsWith(top) && path !== "apiVersion" && path !== "kind");
}

function walk({ properties = {}, required = [] }: Json, prefix: string, found: Row[]): void {
  for (const [key, field] of Object.entries(properties)) {
    const path = prefix === "" ? key : `${prefix}.${key}`;
    found.push({
      path,
      type: typeOf(field),
      fallback: required.includes(key) ? "required" : fallbackOf(field.default ?? field.fallback),
      bounds: boundsOf(field),
      meaning: field.description ?? "",
    });
    if (field.shown !== undefined) continue;
    if (field.type === "object") walk(field, path, found);
    if (field.type === "array" && field.items?.type === "object") walk(field.items, `${path}[]`, found);
  }
}

function typeOf(field: Json): string {
  if (field.shown !== undefined) return field.shown;
  if (field.enum !== undefined) return field.enum.map((value) => `\`${String(value)}\``).join(", ");
  switch (field.type) {
    case "array":
      return field.items?.type === "object" ? "list" : `list of ${typeOf(field.items ?? {})}`;
    case "object":
      return typeof field.additionalProperties === "object"
        ? `map to ${typeOf(field.additionalProperties)}`
        : "mapping";
    case "integer":
      return "whole number";
    case "boolean":
      return "true, false";
    default:
      return "text";
  }
}

function fallbackOf(value: unknown): string {
  if (value === undefined) return "";
  if (Array.isArray(value)) return value.length === 0 ? "" : `\`${JSON.stringify(value)}\``;
  if (typeof value === "string") return `\`${value}\``;
  if (typeof value !== "object" || value === null) return `\`${JSON.stringify(value)}\``;
  const entries = Object.entries(value).map(([key, inner]) => `${key}: ${JSON.stringify(inner)}`);
  return entries.length === 0 ? "" : `\`{${entries.join(", ")}}\``;
}

function boundsOf({ bounds, minimum, maximum, maxLength, minItems, maxItems, itemsMax }: Json): string {
  if (bounds !== undefined) return bounds;
  const count = (number: number): string => number.toLocaleString("en-US");
  if (minimum !== undefined && maximum !== undefined) return `${count(minimum)} to ${count(maximum)}`;
  if (maxLength !== undefined) return `${count(maxLength)} characters`;
  if (maxItems !== undefined)
    return minItems === undefined ? `${count(maxItems)} entries` : `${minItems} to ${count(maxItems)} entries`;
  return itemsMax === undefined ? "" : `${count(itemsMax)} entries`;
}
