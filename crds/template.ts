/**
 * The one template language that makes names from a record: Loki labels, file paths, added fields.
 *
 *   {namespace} {pod} {container} {node} {stream} {level} {date} {hour}      date 2026-11-23 and hour 09 are UTC
 *   {fields.http.status} {fields[http.status]}                               a field of the record, also a nested one
 *
 * Everything else is literal text, except braces. An absent value gives an empty string.
 */

export type Name = "namespace" | "pod" | "container" | "node" | "stream" | "level" | "date" | "hour" | "fields";

export interface Template {
  readonly source: string;
  /** Literal texts (never empty) and names in order; `key` only with fields. */
  readonly parts: readonly (string | { readonly name: Name; readonly key?: string })[];
  /** What may differ between two records of one container. */
  readonly varies: {
    readonly stream: boolean;
    readonly level: boolean;
    readonly time: boolean;
    readonly fields: boolean;
  };
}

export interface TemplateValues {
  namespace: string;
  pod: string;
  container: string;
  node: string;
  stream: string;
  level: string;
  /** Since 1970, the record's own time. */
  seconds: number;
  fields: Record<string, unknown> | undefined;
}

/** A template that cannot be read; the message is a sentence for its author. */
export class TemplateError extends Error {
  override name = "TemplateError";
}

export const NAMES: readonly Name[] = [
  "namespace",
  "pod",
  "container",
  "node",
  "stream",
  "level",
  "date",
  "hour",
  "fields",
];
/** Names that need the Kubernetes API, which this agent does not read. */
const METADATA_NAMES = ["labels", "annotations", "owner"];

/** What parseTemplate accepts. */
export const TEMPLATE_PATTERN = new RegExp(
  `^([^{}]|\\{(${NAMES.filter((name) => name !== "fields").join("|")}|fields\\.[^\\[\\]{}]+|fields\\[[^\\[\\]{}]+\\])\\})*$`,
);

/** Reads a template; throws TemplateError. */
export function parseTemplate(source: string): Template {
  const parts: (string | { name: Name; key?: string })[] = [];
  let at = 0;
  while (at < source.length) {
    const open = source.indexOf("{", at);
    const text = source.slice(at, open < 0 ? undefined : open);
    if (text.includes("}")) throw new TemplateError(`has a } without a { before it: ${quote(source)}`);
    if (text !== "") parts.push(text);
    if (open < 0) break;
    const close = source.indexOf("}", open);
    if (close < 0) throw new TemplateError(`has a { without a } after it: ${quote(source)}`);
    parts.push(parseName(source.slice(open + 1, close)));
    at = close + 1;
  }
  const has = (...names: Name[]): boolean =>
    parts.some((part) => typeof part === "object" && names.includes(part.name));
  return {
    source,
    parts,
    varies: { stream: has("stream"), level: has("level"), time: has("date", "hour"), fields: has("fields") },
  };
}

/** The inside of the braces: `pod`, `fields.a.b`, `fields[a.b]`. */
function parseName(inside: string): { name: Name; key?: string } {
  const [, word = "", dotted, bracketed] = /^([A-Za-z]*)(?:\.([^[\]{]+)|\[([^[\]{]+)\])?$/.exec(inside) ?? [];
  const key = dotted ?? bracketed;
  if (METADATA_NAMES.includes(word)) {
    throw new TemplateError(
      `uses {${inside}}, which needs Kubernetes metadata; that is not available yet, use {namespace}, {pod} or {container}`,
    );
  }
  const name = NAMES.find((known) => known === word);
  if (name === undefined) {
    throw new TemplateError(
      `uses {${inside}}, which is no known name; known are ${NAMES.slice(0, -1).join(", ")}, fields.KEY`,
    );
  }
  if (name === "fields") {
    if (key === undefined) throw new TemplateError("uses {fields} without a key; write {fields.KEY}");
    return { name, key };
  }
  if (key !== undefined) throw new TemplateError(`uses {${inside}}, but ${name} has no parts; write {${name}}`);
  return { name };
}

/** The text of a template for one record; absent values are empty. */
export function renderTemplate(template: Template, values: TemplateValues): string {
  let text = "";
  for (const part of template.parts) text += typeof part === "string" ? part : valueOf(part.name, part.key, values);
  return text;
}

function valueOf(name: Name, key: string | undefined, values: TemplateValues): string {
  switch (name) {
    case "date":
      return new Date(values.seconds * 1000).toISOString().slice(0, 10);
    case "hour":
      return new Date(values.seconds * 1000).toISOString().slice(11, 13);
    case "fields":
      return textOf(fieldAt(values.fields, key ?? ""));
    default:
      return values[name];
  }
}

/** The field with that very key, or else the one that the dots lead to. Own properties only: keys come from logs. */
function fieldAt(fields: unknown, key: string): unknown {
  if (typeof fields !== "object" || fields === null) return undefined;
  if (Object.hasOwn(fields, key)) return (fields as Record<string, unknown>)[key];
  const dot = key.indexOf(".");
  if (dot < 0 || !Object.hasOwn(fields, key.slice(0, dot))) return undefined;
  return fieldAt((fields as Record<string, unknown>)[key.slice(0, dot)], key.slice(dot + 1));
}

function textOf(value: unknown): string {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}

function quote(text: string): string {
  return JSON.stringify(text);
}
