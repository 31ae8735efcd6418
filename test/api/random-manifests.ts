/**
 * Random pipelines made from the schema itself: a new field is in them as soon as it is in the schema. Where the schema
 * speaks only in words, a generator stands here, by what the field is (`shown`) or by its name.
 */
import fc from "fast-check";
import { jsonSchema, KINDS_IN_CLUSTER } from "../../crds/crd.ts";
import type { Json, Kind } from "../../crds/crd.ts";
import { API_VERSION, CLUSTER_KINDS } from "../../crds/schema.ts";
import { formatDuration, formatSize, parseDuration, parseSize } from "../../crds/quantity.ts";

type Value = fc.Arbitrary<unknown>;

const ENTRIES_MAX = 4;
/** More room than any of the names below needs is not tried, but for texts of full length. */
const TEXT_MAX = 20;

const template = fc
  .array(
    fc.constantFrom(
      "{namespace}",
      "{pod}",
      "{container}",
      "{node}",
      "{level}",
      "{date}",
      "{fields.a.b}",
      "{fields[x]}",
      "-",
      "é",
    ),
    { minLength: 1, maxLength: 6 },
  )
  .map((parts) => parts.join(""));
const url = fc
  .tuple(
    fc.constantFrom("http://", "https://", "HTTP://"),
    fc.constantFrom("h", "loki.example:3100", "10.0.0.1:80", "[::1]:80", "h:1"),
    fc.constantFrom("", "/", "/a/b", "/a@b:c", "?a=b", "/loki/api/v1/push?x=%20"),
  )
  .map((parts) => parts.join(""));
const pattern = fc.constantFrom(
  "a",
  "^GET /healthz",
  "token=\\w+",
  "[^ ]+@[^ ]+",
  "(?i)x|y",
  "(a|b){2,4}",
  "\\p{L}",
  "'\"\\\\",
);

const SHOWN: Record<string, (json: Json) => Value> = {
  template: ({ rules = [] }) =>
    rules.some(({ rule }) => rule.includes("split('/')"))
      ? fc.constantFrom("out/{namespace}.ndjson", "a", "{fields.a}/..b/.c", "...")
      : template,
  URL: () => url,
  pattern: () => pattern,
  size(json) {
    const [least = 0, most = 0] = boundsOf(json, parseSize);
    return fc.integer({ min: least, max: most }).chain((bytes) => {
      const text = `${(bytes / 1024).toFixed(2)}Ki`;
      return fc.constantFrom(
        bytes,
        formatSize(bytes),
        String(bytes),
        formatSize(most),
        text.length < 20 && bytes > least + 1024 && bytes < most - 1024 ? text : bytes,
      );
    });
  },
  duration(json) {
    const [least = 0, most = 0] = boundsOf(json, parseDuration);
    return fc
      .integer({ min: least, max: most })
      .chain((ms) => fc.constantFrom(formatDuration(ms), `${ms}ms`, formatDuration(least)));
  },
};

/** Of two settings that must not contradict each other, the one stays below and the other above this. */
const APART: Record<string, Value> = {
  batchSize: fc.integer({ min: 1, max: 10_000 }),
  queueSize: fc.integer({ min: 10_000, max: 1_000_000 }),
  queueBytes: fc.constantFrom("4Mi", 4 << 20, "1Gi", "5.5M"),
  retryBaseDelay: fc.constantFrom("10ms", "1m", "59s999ms"),
  retryMaxDelay: fc.constantFrom("1m", "60s", "1h"),
};

function boundsOf({ bounds = "" }: Json, parse: (text: string) => number | undefined): number[] {
  return bounds.split(" to ").map((bound) => parse(bound) ?? 0);
}

/** A value that the schema takes. */
function valueOf(json: Json, name = ""): Value {
  if (APART[name] !== undefined) return APART[name];
  const shown = SHOWN[json.shown ?? ""];
  if (shown !== undefined) return shown(json);
  if (json.enum !== undefined) return fc.constantFrom(...json.enum);
  switch (json.type) {
    case "boolean":
      return fc.boolean();
    case "integer":
      return fc.integer({ min: json.minimum!, max: json.maximum! });
    case "string":
      return textOf(json);
    case "array":
      return listOf(json);
    case "object":
      return json.properties === undefined ? mapOf(json) : objectOf(json);
    default:
      throw new Error(`no generator for ${name}: ${JSON.stringify(json)}`);
  }
}

function textOf({ pattern: source, minLength = 0, maxLength = TEXT_MAX }: Json): Value {
  if (source !== undefined) {
    return fc.stringMatching(new RegExp(source), { size: "-1" }).filter((text) => text.length <= maxLength);
  }
  const full = fc.constant("é".repeat(maxLength));
  return fc.oneof(
    { weight: 9, arbitrary: fc.string({ unit: "grapheme", minLength, maxLength: Math.min(maxLength, TEXT_MAX) }) },
    { weight: 1, arbitrary: full },
  );
}

function listOf({ items = {}, minItems = 0, maxItems = ENTRIES_MAX, listKey }: Json): Value {
  const length = { minLength: minItems, maxLength: Math.min(maxItems, ENTRIES_MAX) };
  const item = valueOf(items);
  if (listKey === undefined) return fc.array(item, length);
  return fc.uniqueArray(item, { ...length, selector: (one) => (one as Record<string, unknown>)[listKey] });
}

function mapOf({ additionalProperties, itemsMin = 0, rules = [] }: Json): Value {
  const source = rules
    .map(({ rule }) => /^self\.all\(name, name\.matches\('(.*)'\)\)$/.exec(rule)?.[1])
    .find((one) => one !== undefined);
  const key =
    source === undefined
      ? fc.string({ unit: "grapheme", minLength: 1, maxLength: TEXT_MAX })
      : fc.stringMatching(new RegExp(source.replaceAll("\\'", "'").replaceAll("\\\\", "\\")), { size: "-1" });
  const entries = fc.dictionary(key, valueOf(additionalProperties as Json), {
    minKeys: itemsMin,
    maxKeys: ENTRIES_MAX,
  });
  return entries.filter((map) => !Object.keys(map).some((name) => TAKEN.test(name)));
}
/** Keys with a meaning of their own, which a table of manifests tries; and what YAML readers refuse. */
const TAKEN =
  /^(pod|container|stream|namespace|__proto__|<<|authorization|host|expect|upgrade|connection|content-.*|transfer-.*)$/i;

/** Required fields, some of the others, and as many of a choice as its rule wants. */
function objectOf({ properties = {}, required = [], rules = [] }: Json): Value {
  const names = Object.keys(properties);
  const choice = rules.map(choiceOf).find((one) => one !== undefined);
  const fields = Object.fromEntries(names.map((name) => [name, valueOf(properties[name]!, name)]));
  const always = (chosen: readonly string[]) =>
    fc.record(
      Object.fromEntries(
        names
          .filter((name) => !choice?.of.includes(name) || chosen.includes(name))
          .map((name) => [name, fields[name]!]),
      ),
      { requiredKeys: [...required, ...chosen] },
    );
  if (choice === undefined) return always([]).map(mended);
  const some = fc.subarray([...choice.of], { minLength: 1, maxLength: choice.isOne ? 1 : choice.of.length });
  return some.chain(always).map(mended);
}

/** The fields of which a rule wants exactly one, or at least one. */
function choiceOf({ rule }: { rule: string }): { of: string[]; isOne: boolean } | undefined {
  const isOne = /^\[has\(.*\]\.exists_one\(/.test(rule);
  if (!isOne && !/^has\(self\.\w+\)( \|\| has\(self\.\w+\))*$/.test(rule)) return undefined;
  return { of: [...rule.matchAll(/has\(self\.(\w+)\)/g)].map(([, name = ""]) => name), isOne };
}

function mended(object: Record<string, unknown>): Record<string, unknown> {
  if (object["format"] === "json" && object["compression"] === "snappy") delete object["compression"];
  return object;
}

export interface Manifest {
  apiVersion: string;
  kind: Kind;
  metadata: { name: string };
  spec: unknown;
}

/** A pipeline that a cluster takes. */
export const goodManifest: fc.Arbitrary<Manifest> = fc.oneof(
  ...KINDS_IN_CLUSTER.map((kind) =>
    valueOf(jsonSchema(CLUSTER_KINDS[kind].shape.spec)).map((spec) => ({
      ...{ apiVersion: API_VERSION, kind, metadata: { name: "random" } },
      spec,
    })),
  ),
);

/** What a field is changed to; undefined takes it away. */
const WRONG = [
  undefined,
  null,
  "",
  "x",
  "{x}",
  0,
  -1,
  1.5,
  1e12,
  true,
  [],
  {},
  [null],
  [{}],
  { x: 1 },
  "9999h",
  "1Ki",
  "(?=",
];

/** A pipeline of which one place is changed, seldom for the better. */
export const changedManifest: fc.Arbitrary<Manifest> = fc
  .tuple(goodManifest, fc.nat(), fc.constantFrom(...WRONG), fc.boolean())
  .map(([manifest, place, wrong, isNew]) => {
    const changed = structuredClone(manifest);
    const places = placesIn(changed.spec);
    const { within, key } = places[place % places.length]!;
    if (isNew && !Array.isArray(within)) within["added"] = wrong ?? "x";
    else if (wrong === undefined && !Array.isArray(within)) delete within[key];
    else if (wrong !== undefined) within[key] = wrong;
    return changed;
  });

function placesIn(value: unknown): { within: Record<string, unknown>; key: string }[] {
  if (typeof value !== "object" || value === null) return [];
  const within = value as Record<string, unknown>;
  return Object.keys(within).flatMap((key) => [{ within, key }, ...placesIn(within[key])]);
}
