import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { readConfig } from "../../crds/config.ts";
import { customResourceDefinition, jsonSchema, KINDS_IN_CLUSTER, structural } from "../../crds/crd.ts";
import type { Kind } from "../../crds/crd.ts";
import { generated } from "../../crds/generate.ts";
import { KINDS } from "../../crds/schema.ts";
import { goodManifest } from "../api/random-manifests.ts";

const BYTES_MAX = 200 * 1024;

interface Structural {
  type?: string;
  properties?: Record<string, Structural>;
  items?: Structural;
  additionalProperties?: Structural;
  required?: string[];
  default?: unknown;
  "x-kubernetes-list-type"?: string;
  "x-kubernetes-list-map-keys"?: string[];
  "x-kubernetes-int-or-string"?: boolean;
  "x-kubernetes-validations"?: { rule: string; message: string }[];
  [keyword: string]: unknown;
}

function schemaOf(kind: Kind): Structural {
  const { versions } = customResourceDefinition(kind)["spec"] as {
    versions: { schema: { openAPIV3Schema: Structural } }[];
  };
  return versions[0]!.schema.openAPIV3Schema;
}

/** All fields below a schema, by path. */
function fieldsOf(schema: Structural, path: string, found = new Map<string, Structural>()): Map<string, Structural> {
  found.set(path, schema);
  for (const [name, field] of Object.entries(schema.properties ?? {})) fieldsOf(field, `${path}.${name}`, found);
  if (schema.items !== undefined) fieldsOf(schema.items, `${path}[]`, found);
  if (schema.additionalProperties !== undefined) fieldsOf(schema.additionalProperties, `${path}.*`, found);
  return found;
}

for (const { path, text } of generated()) {
  test(`${path} is what the schema says; \`npm run gen\` writes it`, () => {
    assert.equal(readFileSync(new URL(`../../${path}`, import.meta.url), "utf8"), text);
  });
}

test("a CRD is small enough for what keeps a copy of it: annotations, Helm releases", () => {
  for (const { path, text } of generated()) {
    if (path.startsWith("crds/")) assert.ok(Buffer.byteLength(text) < BYTES_MAX, `${path} has ${text.length} bytes`);
  }
});

/** Fields that a cluster takes in fewer forms than a single machine, and why. */
const NARROWER: Record<string, string> = {
  "spec.sinks[]": "one sink less to choose from",
  "spec.sinks[].file.path": "below a folder of the agent",
};
/** Fields that a cluster does not take, and why. */
const LEFT_OUT: Record<string, string> = {
  "spec.sinks[].stdout": "the agent's standard output is its own log, which all tenants would share",
};
for (const field of ["basic.username", "basic.password", "bearer"]) {
  for (const path of ["loki", "http"].map((sink) => `spec.sinks[].${sink}.auth.${field}`)) {
    NARROWER[path] = "only from a Secret, so that is required";
    LEFT_OUT[`${path}.value`] = "it would lie in the open for all who may read pipelines";
    LEFT_OUT[`${path}.env`] = "the agent's environment is not the tenant's";
    LEFT_OUT[`${path}.file`] = "the agent's files are not the tenant's";
  }
}

test("a CRD differs from the schema of a single machine where these lists say, and takes nothing more", () => {
  const own = (field: Structural): string =>
    JSON.stringify(field, (key, value: unknown) =>
      ["properties", "items", "additionalProperties", "description"].includes(key) ? undefined : value,
    );
  for (const kind of KINDS_IN_CLUSTER) {
    const alone = fieldsOf(structural(jsonSchema(KINDS[kind].shape.spec)), "spec");
    const inCluster = fieldsOf(schemaOf(kind).properties!["spec"]!, "spec");
    const missing = [...alone.keys()].filter((path) => !inCluster.has(path));
    const outermost = missing.filter((path) => !missing.some((outer) => path.startsWith(`${outer}.`)));
    const different = [...inCluster].filter(([path, field]) => own(field) !== own(alone.get(path)!));
    assert.deepEqual(outermost.sort(), Object.keys(LEFT_OUT).sort());
    assert.deepEqual(different.map(([path]) => path).sort(), Object.keys(NARROWER).sort());
  }
});

test("what a cluster takes, a single machine takes, once it has the Secrets", () => {
  const world = { env: () => undefined, readFile: () => assert.fail() };
  fc.assert(
    fc.property(goodManifest, (manifest) => {
      const { problems } = readConfig([{ file: "f", text: JSON.stringify(manifest) }], world);
      const others = problems.filter(({ message }) => !/^Secret .* is not among the files$/.test(message));
      assert.deepEqual(others, []);
    }),
    { numRuns: 200 },
  );
});

test("everything in a CRD has a type, a bound and a meaning", () => {
  for (const kind of KINDS_IN_CLUSTER) {
    for (const part of ["spec", "status"]) {
      for (const [path, field] of fieldsOf(schemaOf(kind).properties![part]!, part)) {
        const { type, "x-kubernetes-int-or-string": isSize } = field;
        const bound = {
          string: field["maxLength"] ?? field["enum"],
          integer: field["maximum"],
          array: field["maxItems"],
          object: field.properties ?? field["maxProperties"],
          boolean: true,
        }[isSize === true ? "string" : (type ?? "")];
        assert.ok(bound !== undefined, `${path} has no bound`);
        if (!/(\[\]|\.\*)$/.test(path)) assert.ok(field["description"] !== undefined, `${path} has no meaning`);
      }
    }
  }
});

test("lists are atomic but those with names; sinks by name, conditions by type", () => {
  for (const kind of KINDS_IN_CLUSTER) {
    const maps: string[] = [];
    for (const [path, field] of fieldsOf(schemaOf(kind), "")) {
      if (field.type !== "array") continue;
      const keys = field["x-kubernetes-list-map-keys"];
      if (keys === undefined) assert.equal(field["x-kubernetes-list-type"], "atomic", path);
      else maps.push(`${path} by ${keys.join()}`);
    }
    assert.deepEqual(maps, [".spec.sinks by name", ".status.conditions by type", ".status.sinks by name"]);
  }
});

test("a sink's own dispatcher has no defaults: they would hide the pipeline's", () => {
  for (const kind of KINDS_IN_CLUSTER) {
    const fields = fieldsOf(schemaOf(kind), "");
    const withDefault = [...fields].filter(([, field]) => field.default !== undefined).map(([path]) => path);
    assert.deepEqual(
      withDefault.filter((path) => path.startsWith(".spec.sinks[].dispatcher")),
      [],
    );
    assert.deepEqual(
      withDefault.filter((path) => path.startsWith(".spec.source")),
      [],
    );
    assert.ok(withDefault.includes(".spec.dispatcher.queueBytes"));
  }
});

test("a rule speaks in a sentence, not in a pattern", () => {
  for (const kind of KINDS_IN_CLUSTER) {
    for (const [path, field] of fieldsOf(schemaOf(kind).properties!["spec"]!, "spec")) {
      assert.equal(field["pattern"], undefined, path);
      for (const { message } of field["x-kubernetes-validations"] ?? []) {
        assert.match(message, /^[a-z][^\n]+$/, path);
        assert.ok(message.length < 400 && !message.includes("self."), path);
      }
    }
  }
});
