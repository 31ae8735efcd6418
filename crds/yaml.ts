/**
 * Reads YAML 1.2 (core schema) into nodes that know their lines, so that every later complaint can name one. Stricter
 * than YAML where YAML surprises: duplicate keys, keys that are no text, tags and `__proto__` are refused, and aliases
 * are counted by what they expand to.
 */
import { EVENT_ID, getScalarValue, parseEvents, SCALAR_STYLE, YAMLException } from "js-yaml";
import type { Event, ScalarEvent } from "js-yaml";

export const FILE_BYTES_MAX = 1 << 20;
/** Keys and values of a file after its aliases are expanded; a file of 1,000 pipelines stays below it. */
export const NODES_MAX = 100_000;
/** How deep lists and mappings may lie in each other. */
const DEPTH_MAX = 50;

/** What is wrong, and where; printed as `file:line: path: message`. */
export interface Problem {
  file: string;
  /** From 1. */
  line: number;
  /** The field, as in `spec.sinks[0].loki.url`; empty when the whole document is meant. */
  path: string;
  message: string;
}

export type Scalar = string | number | boolean | null;
export type Node = { readonly line: number; readonly count: number } & (
  | { readonly kind: "mapping"; readonly entries: ReadonlyMap<string, { readonly line: number; readonly value: Node }> }
  | { readonly kind: "list"; readonly items: readonly Node[] }
  | { readonly kind: "scalar"; readonly value: Scalar }
);

/** The documents of a file that hold something, and what is wrong with its YAML. */
export function readYaml(file: string, text: string): { documents: Node[]; problems: Problem[] } {
  const problem = (line: number, message: string, path = ""): Problem => ({ file, line, path, message });
  const bytes = Buffer.byteLength(text);
  if (bytes > FILE_BYTES_MAX) {
    return {
      documents: [],
      problems: [problem(1, `has ${bytes} bytes; a file may have at most 1 MiB (${FILE_BYTES_MAX})`)],
    };
  }
  let events: Event[];
  try {
    events = parseEvents(text, { maxDepth: DEPTH_MAX });
  } catch (error) {
    if (!(error instanceof YAMLException)) throw error;
    return { documents: [], problems: [problem((error.mark?.line ?? 0) + 1, syntaxSentence(error.reason))] };
  }
  const composer = new Composer(text, events);
  const documents = composer.documents();
  return { documents, problems: composer.complaints.map(({ line, message, path }) => problem(line, message, path)) };
}

function syntaxSentence(reason: string): string {
  if (reason.startsWith("tab characters")) return "has a tab in its indentation; YAML takes only spaces there";
  if (reason.startsWith("nesting exceeded")) return `nests more than ${DEPTH_MAX} levels deep`;
  if (reason === "deficient indentation") {
    return "is no valid YAML: this line is indented too little, or a quote or bracket before it is not closed";
  }
  if (reason === "bad indentation of a mapping entry") {
    return "is no valid YAML: bad indentation, or a text with ': ' or a special character that needs quotes";
  }
  return `is no valid YAML: ${reason}`;
}

class Composer {
  readonly complaints: { line: number; message: string; path: string }[] = [];
  readonly #text: string;
  readonly #events: readonly Event[];
  readonly #lineStarts: number[] = [0];
  #next = 0;
  #anchors = new Map<string, Node>();
  #count = 0;
  /** Where the last thing lay: the place of what is left empty. */
  #lastLine = 1;

  constructor(text: string, events: readonly Event[]) {
    this.#text = text;
    this.#events = events;
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) this.#lineStarts.push(at + 1);
  }

  documents(): Node[] {
    const documents: Node[] = [];
    while (this.#next < this.#events.length) {
      this.#next++; // DOCUMENT
      this.#anchors = new Map();
      const before = this.complaints.length;
      const node = this.#node("");
      this.#next++; // POP
      const empty = node.kind === "scalar" && node.value === null;
      if (!empty && this.complaints.length === before) documents.push(node);
    }
    return documents;
  }

  /** The line of an offset, by bisection. */
  #line(offset: number): number {
    if (offset < 0) return this.#lastLine;
    let [low, high] = [0, this.#lineStarts.length];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.#lineStarts[middle]! <= offset) low = middle;
      else high = middle;
    }
    this.#lastLine = low + 1;
    return this.#lastLine;
  }

  #complain(line: number, path: string, message: string): void {
    this.complaints.push({ line, path, message });
  }

  #node(path: string): Node {
    const event = this.#events[this.#next++]!;
    let node: Node;
    if (event.type === EVENT_ID.ALIAS)
      return this.#alias(this.#text.slice(event.anchorStart, event.anchorEnd), event.anchorStart, path);
    if (event.type === EVENT_ID.SCALAR) {
      const line = this.#line(event.valueStart);
      node = { kind: "scalar", line, count: 1, value: this.#scalar(event, line, path) };
    } else if (event.type === EVENT_ID.MAPPING || event.type === EVENT_ID.SEQUENCE) {
      const line = this.#line(event.start);
      if (event.tagStart >= 0) this.#complain(line, path, `has a tag (${this.#tag(event)}); leave it out`);
      node = event.type === EVENT_ID.MAPPING ? this.#mapping(line, path) : this.#list(line, path);
    } else {
      throw new Error(`BUG: event ${event.type} where a node begins`);
    }
    this.#grow(1, node.line, path);
    if (event.anchorStart >= 0) this.#anchors.set(this.#text.slice(event.anchorStart, event.anchorEnd), node);
    return node;
  }

  #mapping(line: number, path: string): Node {
    const entries = new Map<string, { line: number; value: Node }>();
    let count = 1;
    while (this.#events[this.#next]!.type !== EVENT_ID.POP) {
      const keyNode = this.#node(path);
      const keyLine = keyNode.line;
      const key = keyNode.kind === "scalar" ? String(keyNode.value) : "?";
      const at = path === "" ? key : `${path}.${key}`;
      const value = this.#node(at);
      count += 1 + value.count;
      if (keyNode.kind !== "scalar")
        this.#complain(keyLine, path, "has a key that is a list or mapping; keys must be text");
      else if (key === "__proto__") this.#complain(keyLine, at, "is not allowed as a key");
      else if (key === "<<")
        this.#complain(keyLine, at, "is a merge key, which is not supported; write the fields out");
      else if (entries.has(key)) this.#complain(keyLine, at, `is there twice, first in line ${entries.get(key)!.line}`);
      else entries.set(key, { line: keyLine, value });
    }
    this.#next++;
    return { kind: "mapping", line, count, entries };
  }

  #list(line: number, path: string): Node {
    const items: Node[] = [];
    let count = 1;
    while (this.#events[this.#next]!.type !== EVENT_ID.POP) {
      const item = this.#node(`${path}[${items.length}]`);
      count += item.count;
      items.push(item);
    }
    this.#next++;
    return { kind: "list", line, count, items };
  }

  #alias(name: string, offset: number, path: string): Node {
    const line = this.#line(offset);
    const target = this.#anchors.get(name);
    if (target === undefined) this.#complain(line, path, `refers to *${name}, but no &${name} ends before it`);
    const node: Node = target ?? { kind: "scalar", line, count: 1, value: null };
    // What would not fit is replaced by nothing, or each use of it would be walked again.
    return this.#grow(node.count, line, path) ? node : { kind: "scalar", line, count: 1, value: null };
  }

  /** Counts nodes; complains once, and returns false from then on, when there are too many. */
  #grow(count: number, line: number, path: string): boolean {
    if (this.#count <= NODES_MAX && this.#count + count > NODES_MAX) {
      this.#complain(line, path, `holds more than ${NODES_MAX} keys and values, its aliases expanded`);
    }
    this.#count += count;
    return this.#count <= NODES_MAX;
  }

  #tag(event: { tagStart: number; tagEnd: number }): string {
    return this.#text.slice(event.tagStart, event.tagEnd);
  }

  #scalar(event: ScalarEvent, line: number, path: string): Scalar {
    const value = event.valueStart < 0 ? "" : getScalarValue(this.#text, event);
    const tag = event.tagStart < 0 ? undefined : this.#tag(event);
    if (tag === "!!str" || tag === "!") return value;
    if (tag !== undefined) this.#complain(line, path, `has a tag (${tag}); only !!str is allowed`);
    return event.style === SCALAR_STYLE.PLAIN ? coreScalar(value) : value;
  }
}

/** A plain scalar by the core schema, https://yaml.org/spec/1.2.2/#1032-tag-resolution */
function coreScalar(text: string): Scalar {
  if (/^(?:|~|null|Null|NULL)$/.test(text)) return null;
  if (/^(?:true|True|TRUE)$/.test(text)) return true;
  if (/^(?:false|False|FALSE)$/.test(text)) return false;
  if (/^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$/.test(text)) return Number(text);
  if (/^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$/.test(text)) return Number(text);
  if (/^[-+]?\.(?:inf|Inf|INF)$/.test(text)) return text.startsWith("-") ? -Infinity : Infinity;
  return /^\.(?:nan|NaN|NAN)$/.test(text) ? Number.NaN : text;
}
