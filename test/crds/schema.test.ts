import assert from "node:assert/strict";
import { test } from "node:test";
import { z } from "zod";
import { LEVELS as KERNEL_LEVELS } from "../../agent/memory/columns.ts";
import { reference } from "../../crds/reference.ts";
import { agentConfig, clusterLogPipeline, logPipeline } from "../../crds/schema.ts";
import { LEVELS } from "../../crds/steps.ts";

test("every field of the reference says what it means", () => {
  const empty = reference()
    .split("\n")
    .filter((line) => /^\| `.*\|\s*\|$/.test(line));
  assert.deepEqual(empty, []);
});

test("the levels of the schema are those that lines are given", () => {
  assert.deepEqual(LEVELS, KERNEL_LEVELS);
});

interface Json {
  type?: string;
  anyOf?: Json[];
  oneOf?: Json[];
  allOf?: Json[];
  $ref?: string;
  enum?: unknown[];
  pattern?: string;
  maxLength?: number;
  maxItems?: number;
  itemsMax?: number;
  minimum?: number;
  maximum?: number;
  properties?: Record<string, Json>;
  items?: Json;
  additionalProperties?: Json | boolean;
}

/** What the Kubernetes API server would refuse in a CRD, or could not bound the cost of. */
function unstructural(json: Json, path: string): string[] {
  const found: string[] = [];
  const isIntOrString = json.anyOf?.map(({ type }) => type).join() === "integer,string";
  if (isIntOrString) return unstructural(json.anyOf![1]!, path);
  if (json.anyOf !== undefined || json.oneOf !== undefined || json.allOf !== undefined) found.push(`${path}: a union`);
  if (json.$ref !== undefined) found.push(`${path}: a reference`);
  if (json.type === undefined) found.push(`${path}: no type`);
  if (json.type === "string" && json.maxLength === undefined && json.enum === undefined)
    found.push(`${path}: unbounded`);
  if (json.type === "array" && (json.maxItems === undefined || json.items === undefined))
    found.push(`${path}: unbounded`);
  if (json.type === "integer" && (json.minimum === undefined || json.maximum! > 2 ** 31))
    found.push(`${path}: unbounded`);
  if (json.pattern !== undefined && /\(\?[=!<]/.test(json.pattern)) found.push(`${path}: lookaround`);
  if (json.properties === undefined && json.type === "object") {
    if (typeof json.additionalProperties !== "object" || json.itemsMax === undefined) found.push(`${path}: open`);
    else found.push(...unstructural(json.additionalProperties, `${path}.*`));
  }
  if (json.items !== undefined) found.push(...unstructural(json.items, `${path}[]`));
  for (const [key, field] of Object.entries(json.properties ?? {}))
    found.push(...unstructural(field, `${path}.${key}`));
  return found;
}

test("the schema can become a structural one: typed, bounded, without unions", () => {
  for (const schema of [logPipeline, clusterLogPipeline, agentConfig]) {
    const json = z.toJSONSchema(schema, { target: "openapi-3.0", io: "input", unrepresentable: "throw" }) as Json;
    assert.deepEqual(unstructural(json, ""), []);
  }
});

test("a union of objects would be noticed", () => {
  const union = z.toJSONSchema(z.union([z.strictObject({ a: z.string() }), z.strictObject({ b: z.int() })])) as Json;
  assert.deepEqual(unstructural(union, "x"), ["x: a union", "x: no type"]);
});
