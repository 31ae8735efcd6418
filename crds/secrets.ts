/** Secrets: where they come from, and how they never show. */
import type { SecretEntry } from "./sinks.ts";
import type { SecretDocument } from "./schema.ts";

const SECRET_BYTES_MAX = 65_536;

/** A text that shows itself only to who asks: JSON, templates and the inspector see `***`. */
export class Secret {
  readonly #value: string | undefined;
  /** What the configuration says, with a value in the open masked. */
  readonly source: SecretEntry;

  /** Without a value: one that lies elsewhere, good for checking a configuration only. */
  constructor(value: string | undefined, source: SecretEntry) {
    this.#value = value;
    this.source = source.value === undefined ? source : { value: "***" };
  }

  reveal(): string {
    if (this.#value === undefined) throw new Error("BUG: this secret was never read");
    return this.#value;
  }

  toJSON(): "***" {
    return "***";
  }

  toString(): "***" {
    return "***";
  }

  [Symbol.for("nodejs.util.inspect.custom")](): "***" {
    return "***";
  }
}

/** What the configuration is read against. */
export interface World {
  env(name: string): string | undefined;
  /** Throws an Error that says why when the file cannot be read. */
  readFile(path: string): string;
}

/** The Secret documents of all files. */
export class SecretStore {
  readonly #documents: SecretDocument[] = [];
  readonly #world: World;
  readonly #elsewhere: boolean;

  /** `elsewhere`: a Secret that was not added is taken to be where it belongs. */
  constructor(world: World, elsewhere: boolean) {
    this.#world = world;
    this.#elsewhere = elsewhere;
  }

  /** Returns false when a Secret with that namespace and name is there already. */
  add(document: SecretDocument): boolean {
    const { name, namespace } = document.metadata;
    if (this.#documents.some(({ metadata }) => metadata.name === name && metadata.namespace === namespace))
      return false;
    this.#documents.push(document);
    return true;
  }

  /** Looks a secret up for a pipeline in `namespace`; "any" is for pipelines of no namespace. Returns it or a sentence. */
  resolve(entry: SecretEntry, namespace: string | undefined, anyNamespace: boolean): Secret | string {
    if (this.#elsewhere && !this.#knows(entry)) return new Secret(undefined, entry);
    const found = this.#text(entry, namespace, anyNamespace);
    if (typeof found === "string") return found;
    if (found.text === "") return `${found.what} is empty`;
    if (found.text.length > SECRET_BYTES_MAX) return `${found.what} has more than ${SECRET_BYTES_MAX} bytes`;
    if (/[\0\r\n]/.test(found.text))
      return `${found.what} holds a line break or a null byte, which no HTTP header can carry`;
    return new Secret(found.text, entry);
  }

  #knows({ secretKeyRef }: SecretEntry): boolean {
    return secretKeyRef === undefined || this.#documents.some(({ metadata }) => metadata.name === secretKeyRef.name);
  }

  #text(
    entry: SecretEntry,
    namespace: string | undefined,
    anyNamespace: boolean,
  ): { text: string; what: string } | string {
    if (entry.value !== undefined) return { text: entry.value, what: "the value" };
    if (entry.env !== undefined) {
      const text = this.#world.env(entry.env);
      return text === undefined
        ? `environment variable ${entry.env} is not set`
        : { text, what: `environment variable ${entry.env}` };
    }
    if (entry.file !== undefined) {
      try {
        return { text: this.#world.readFile(entry.file).replace(/\r?\n$/, ""), what: `file ${entry.file}` };
      } catch (error) {
        return `file ${entry.file} cannot be read: ${error instanceof Error ? error.message : String(error)}`;
      }
    }
    const { name, key } = entry.secretKeyRef!;
    const named = this.#documents.filter(({ metadata }) => metadata.name === name);
    const found = anyNamespace ? named : named.filter(({ metadata }) => metadata.namespace === namespace);
    const where = namespace === undefined ? "" : ` in namespace ${namespace}`;
    if (found.length > 1) return `Secret ${name} is there in several namespaces; name one of them`;
    if (found[0] === undefined) {
      const others = named.map(({ metadata }) =>
        metadata.namespace === undefined ? "no namespace" : `namespace ${metadata.namespace}`,
      );
      const hint = others.length > 0 ? ` (there is one in ${others.join(", ")})` : "";
      return `Secret ${name}${where} is not among the files${hint}`;
    }
    const text = keyOf(found[0], key);
    return text === undefined
      ? `Secret ${name}${where} has no key ${key}`
      : { text, what: `key ${key} of Secret ${name}` };
  }
}

/** stringData wins over data, as in Kubernetes. */
function keyOf({ stringData, data }: SecretDocument, key: string): string | undefined {
  if (stringData !== undefined && Object.hasOwn(stringData, key)) return stringData[key];
  if (data === undefined || !Object.hasOwn(data, key)) return undefined;
  return Buffer.from(data[key]!, "base64").toString("utf8");
}

/** Whether two configurations, or parts of them, are the same in everything, secrets included. */
export function sameConfig(a: unknown, b: unknown): boolean {
  if (a instanceof Secret || b instanceof Secret) {
    return a instanceof Secret && b instanceof Secret && a.reveal() === b.reveal();
  }
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return Object.is(a, b);
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [left, right] = [a as Record<string, unknown>, b as Record<string, unknown>];
  const keys = Object.keys(left);
  return (
    keys.length === Object.keys(right).length &&
    keys.every((key) => Object.hasOwn(right, key) && sameConfig(left[key], right[key]))
  );
}
