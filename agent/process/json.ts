/**
 * A record's fields: one JSON object. Names with dots reach into nested objects, unless a field has that very name; so
 * does the template language (crds/template.ts). Numbers keep their digits, also those that a double would round.
 */

export type Fields = Record<string, unknown>;

/** Parts of the standard that TypeScript does not know yet: https://tc39.es/proposal-json-parse-with-source/ */
declare const JSON: {
  parse(
    text: string,
    reviver?: (this: unknown, key: string, value: unknown, context: { readonly source?: string }) => unknown,
  ): unknown;
  stringify(value: unknown): string;
  rawJSON(source: string): object;
  isRawJSON(value: unknown): boolean;
};

/** Numbers of up to 15 digits without fraction and exponent come back from a double as they were. */
const LOSSY = /\d{16}|\d[.eE]|-0/;

/** Undefined: no JSON object, or nested too deeply to be worked on. */
export function parseFields(text: string): Fields | undefined {
  try {
    const value = LOSSY.test(text) ? JSON.parse(text, keepDigits) : JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Undefined: nested too deeply. */
export function formatFields(fields: Fields): string | undefined {
  try {
    return JSON.stringify(fields);
  } catch {
    return undefined;
  }
}

function keepDigits(_key: string, value: unknown, { source }: { readonly source?: string }): unknown {
  if (typeof value !== "number" || source === undefined || String(value) === source) return value;
  return JSON.rawJSON(source);
}

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !JSON.isRawJSON(value);
}

/** Objects and lists, which have values inside; not numbers that kept their digits. */
export function isNested(value: unknown): value is Record<string, unknown> | unknown[] {
  return typeof value === "object" && value !== null && !JSON.isRawJSON(value);
}

/** A field's value as text; undefined when there is none. */
export function fieldText(value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Where a name leads: the object that holds it, and its key there. */
function findField(fields: Fields, name: string): { holder: Fields; key: string } | undefined {
  for (let holder: unknown = fields, key = name; isObject(holder);) {
    if (Object.hasOwn(holder, key)) return { holder, key };
    const dot = key.indexOf(".");
    if (dot < 0 || !Object.hasOwn(holder, key.slice(0, dot))) return undefined;
    holder = holder[key.slice(0, dot)];
    key = key.slice(dot + 1);
  }
  return undefined;
}

/** Undefined: there is no such field. */
export function fieldAt(fields: Fields, name: string): unknown {
  const found = findField(fields, name);
  return found?.holder[found.key];
}

export function removeField(fields: Fields, name: string): void {
  const found = findField(fields, name);
  if (found) delete found.holder[found.key];
}

/**
 * Sets an existing field where it is, and a new one inside the objects that its name leads into, which are made when
 * they are missing. Where the way is blocked by a value that is no object, the rest of the name is the key beside it.
 */
export function setField(fields: Fields, name: string, value: unknown): void {
  let { holder, key } = findField(fields, name) ?? { holder: fields, key: name };
  for (let dot; !Object.hasOwn(holder, key) && (dot = key.indexOf(".")) >= 0; key = key.slice(dot + 1)) {
    const first = key.slice(0, dot);
    if (!Object.hasOwn(holder, first)) define(holder, first, {});
    const inner = holder[first];
    if (!isObject(inner)) break;
    holder = inner;
  }
  define(holder, key, value);
}

/** Assignment would not make a field of the name __proto__. */
function define(holder: Fields, key: string, value: unknown): void {
  Object.defineProperty(holder, key, { value, configurable: true, enumerable: true, writable: true });
}
