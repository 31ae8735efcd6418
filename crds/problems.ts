/**
 * From a YAML node and a schema to a value, or to sentences with lines. Messages name what is there by its type only:
 * a value may be a secret in the wrong place.
 */
import { z } from "zod";
import type { Node, Problem } from "./yaml.ts";

type Path = readonly PropertyKey[];
type Issue = z.core.$ZodIssue;

/**
 * The value of a node by a schema; without one when there are problems. `wider` is a schema that knows more fields: those
 * are told apart from mistakes.
 */
export function check<S extends z.ZodType>(
  schema: S,
  node: Node,
  file: string,
  wider: z.ZodType = schema,
): { value?: z.output<S>; problems: Problem[] } {
  const result = schema.safeParse(plain(node, schema));
  if (result.success) return { value: result.data, problems: [] };
  const problems: Problem[] = [];
  const say = (path: Path, message: string): void => {
    problems.push({ file, line: lineAt(node, path), path: formatPath(path), message });
  };
  const unknownAt = new Set<string>();
  for (const issue of result.error.issues) {
    if (issue.code === "unrecognized_keys") unknownAt.add(formatPath(issue.path));
  }
  for (const issue of result.error.issues) {
    if (issue.code === "unrecognized_keys") {
      const known = knownKeys(schema, issue.path);
      const elsewhere = knownKeys(wider, issue.path);
      for (const key of issue.keys) say([...issue.path, key], unknownField(key, known, elsewhere));
    } else if (issue.code === "custom" && unknownAt.has(formatPath(issue.path))) {
      continue; // "needs one of loki, http, …" adds nothing to "unknown field lokki"
    } else {
      const at = nodeAt(node, issue.path);
      say(issue.path, sentence(issue, at) + (issue.code === "custom" ? withoutValue(at) : ""));
    }
  }
  return { problems: problems.sort((a, b) => a.line - b.line) };
}

/**
 * The plain value of a node. A field that is null is left out, as the Kubernetes API does it; in lists and in maps of
 * the user's own keys null stays, and is refused.
 */
function plain(node: Node, schema: z.core.$ZodType | undefined): unknown {
  if (node.kind === "scalar") return node.value;
  const inner = schema === undefined ? undefined : unwrap(schema);
  if (node.kind === "list") {
    const element = inner instanceof z.ZodArray ? inner.element : undefined;
    return node.items.map((item) => plain(item, element));
  }
  const value: Record<string, unknown> = {};
  for (const [key, { value: child }] of node.entries) {
    let childSchema: z.core.$ZodType | undefined;
    if (inner instanceof z.ZodObject && Object.hasOwn(inner.shape, key)) {
      if (child.kind === "scalar" && child.value === null) continue;
      childSchema = inner.shape[key];
    } else if (inner instanceof z.ZodRecord) childSchema = inner.valueType;
    value[key] = plain(child, childSchema);
  }
  return value;
}

/** The schema below optional, default and transform. */
function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodExactOptional || schema instanceof z.ZodPrefault) {
    return unwrap(schema.unwrap());
  }
  return schema instanceof z.ZodPipe ? unwrap(schema.in) : schema;
}

function knownKeys(schema: z.core.$ZodType, path: Path): string[] {
  let at: z.core.$ZodType | undefined = unwrap(schema);
  for (const key of path) {
    if (at instanceof z.ZodObject) at = at.shape[key as string];
    else if (at instanceof z.ZodArray) at = at.element;
    if (at === undefined) return [];
    at = unwrap(at);
  }
  return at instanceof z.ZodObject ? Object.keys(at.shape) : [];
}

function unknownField(key: string, known: readonly string[], elsewhere: readonly string[]): string {
  if (elsewhere.includes(key)) return `is not available in a cluster; known are ${known.join(", ")}`;
  const near = nearest(key, known);
  if (near !== undefined) return `is no known field; did you mean ${near}?`;
  return `is no known field here; known are ${known.join(", ")}`;
}

/** The candidate that is at most a third of its letters away, or undefined. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  if (word.length > 64) return undefined;
  let best: string | undefined;
  let least = Infinity;
  for (const candidate of candidates) {
    const far = distance(word.toLowerCase(), candidate.toLowerCase());
    if (far < least && far <= Math.max(1, Math.floor(candidate.length / 3))) [best, least] = [candidate, far];
  }
  return best;
}

/** Levenshtein's distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

function sentence(issue: Issue, node: Node | undefined): string {
  switch (issue.code) {
    case "invalid_type":
      return isOwn(issue) ? issue.message : wrongType(issue.expected, node);
    case "invalid_value": {
      const values = issue.values.map(String);
      if (node === undefined) return `is required: ${values.join(" or ")}`;
      const given = node.kind === "scalar" && typeof node.value === "string" ? node.value.slice(0, 64) : undefined;
      const near = given === undefined ? undefined : nearest(given, values);
      if (near !== undefined) return `must be ${oneOf(values)}, not ${given}; did you mean ${near}?`;
      return `must be ${oneOf(values)}, not ${given ?? typeName(node)}`;
    }
    case "too_big":
      return `${tooMuch(issue.origin, "at most", issue.maximum)}${sizeOf(node)}`;
    case "too_small":
      if (isOwn(issue)) return issue.message;
      if (issue.origin === "string" && issue.minimum === 1) return "is empty";
      return `${tooMuch(issue.origin, "at least", issue.minimum)}${sizeOf(node)}`;
    case "invalid_key":
      return issue.issues[0] === undefined ? issue.message : sentence(issue.issues[0], undefined);
    default:
      return issue.message;
  }
}

/** Names the fields of a mapping that are written but null: often the reason why something is missing. */
function withoutValue(node: Node | undefined): string {
  if (node?.kind !== "mapping") return "";
  const names = [...node.entries].filter(([, { value }]) => value.kind === "scalar" && value.value === null);
  return names.length === 0 ? "" : ` (${names.map(([name]) => name).join(", ")} has no value)`;
}

/** Whether the schema brought its own sentence; zod's own begin with one of these words. */
function isOwn(issue: Issue): boolean {
  return !/^(Invalid|Too|Unrecognized)/.test(issue.message);
}

function oneOf(values: readonly string[]): string {
  return values.length === 1 ? values[0]! : `one of ${values.join(", ")}`;
}

function tooMuch(origin: string, limit: string, bound: number | bigint): string {
  if (origin === "string") return `must have ${limit} ${bound} characters`;
  if (origin === "array") return `must have ${limit} ${bound} entries`;
  return `must be ${limit} ${bound}`;
}

function sizeOf(node: Node | undefined): string {
  if (node?.kind === "list") return `, not ${node.items.length}`;
  if (node?.kind !== "scalar") return "";
  if (typeof node.value === "string") return `, not ${node.value.length}`;
  return `, not ${node.value}`;
}

const TYPE_NAMES: Record<string, string> = {
  string: "a text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "a mapping",
  record: "a mapping",
};

function typeName(node: Node): string {
  if (node.kind === "list") return "a list";
  if (node.kind === "mapping") return "a mapping";
  return node.value === null ? "nothing (null)" : (TYPE_NAMES[typeof node.value] ?? "a text");
}

function wrongType(expected: string, node: Node | undefined): string {
  const wanted = TYPE_NAMES[expected] ?? expected;
  if (node === undefined) return "is required";
  if (node.kind === "scalar" && node.value === null) return `has no value; it must be ${wanted}`;
  const found = typeName(node);
  if (expected === "string" && node.kind === "scalar") return `must be a text, not ${found}; put quotes around it`;
  if (expected === "boolean" || found === "a number") return `must be ${wanted}`;
  if (found === "a text" && /^(number|int)$/.test(expected)) {
    return `must be ${wanted}, not a text; leave quotes and units out`;
  }
  return `must be ${wanted}, not ${found}`;
}

/** The node at a path, if there. A field that is null counts as not there. */
function nodeAt(node: Node, path: Path): Node | undefined {
  let at: Node | undefined = node;
  for (const key of path) {
    if (at?.kind === "mapping") at = at.entries.get(String(key))?.value;
    else if (at?.kind === "list") at = at.items[Number(key)];
    else return undefined;
  }
  return at;
}

/** The line of the field at a path: of its key, or of the nearest thing around it that is there. */
export function lineAt(node: Node, path: Path): number {
  let line = node.line;
  let at: Node | undefined = node;
  for (const key of path) {
    if (at.kind === "mapping") {
      const entry = at.entries.get(String(key));
      if (entry === undefined) return line;
      [line, at] = [entry.line, entry.value];
    } else {
      const item: Node | undefined = at.kind === "list" ? at.items[Number(key)] : undefined;
      if (item === undefined) return line;
      [line, at] = [item.line, item];
    }
  }
  return line;
}

/** `spec.sinks[0].loki.url`. */
export function formatPath(path: Path): string {
  let text = "";
  for (const key of path) {
    if (typeof key === "number") text += `[${key}]`;
    else text += text === "" ? String(key) : `.${String(key)}`;
  }
  return text;
}
