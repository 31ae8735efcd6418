/** What can be known of a pattern from its tree: the same pattern for V8, and literals that every match holds. */
import type { Node, Ranges } from "./syntax.ts";

/** A pattern that means to V8 what the tree means in RE2. */
export interface Translation {
  /** Source of a RegExp without the flags i, m, s, u and v. */
  readonly source: string;
  /** It can match inside a surrogate pair: a set that reaches beyond the BMP, or \B. */
  readonly wide: boolean;
  /** Captures of this number may differ from RE2's: they lie in a repeat, which V8 clears at each round. */
  readonly captures: boolean;
}

/**
 * Undefined where V8 means something else: a repeat of what may be empty ends differently there.
 */
export function translate(root: Node): Translation | undefined {
  if (repeatsEmpty(root)) return undefined;
  return { source: sourceOf(root), wide: isWide(root), captures: !repeatsInnerCapture(root) };
}

function sourceOf(node: Node): string {
  switch (node.kind) {
    case "set":
      return setSource(node.ranges);
    case "assert":
      return { start: "^", end: "$", word: "\\b", notWord: "\\B" }[node.what];
    case "group":
      return `(${node.capture ? "" : "?:"}${sourceOf(node.body)})`;
    case "concat":
      return node.items.map(sourceOf).join("");
    case "or":
      return node.items.map(sourceOf).join("|");
    case "repeat":
      return sourceOf(node.body) + signOf(node.min, node.max) + (node.lazy ? "?" : "");
  }
}

function signOf(min: number, max: number): string {
  if (max === Infinity) return min === 0 ? "*" : min === 1 ? "+" : `{${min},}`;
  return `{${min},${max}}`;
}

function setSource(ranges: Ranges): string {
  if (ranges.length === 2 && ranges[0] === ranges[1] && ranges[0]! <= 0xffff) return unitSource(ranges[0]!);
  let source = "";
  for (let i = 0; i < ranges.length; i += 2) {
    if (ranges[i]! > 0xffff) break;
    source += `${unitSource(ranges[i]!)}-${unitSource(Math.min(ranges[i + 1]!, 0xffff))}`;
  }
  return `[${source}]`;
}

function unitSource(code: number): string {
  const unit = String.fromCharCode(code);
  return /^[A-Za-z0-9]$/.test(unit) ? unit : `\\u${code.toString(16).padStart(4, "0")}`;
}

function childrenOf(node: Node): readonly Node[] {
  if (node.kind === "group" || node.kind === "repeat") return [node.body];
  return node.kind === "concat" || node.kind === "or" ? node.items : [];
}

function isWide(node: Node): boolean {
  if (node.kind === "assert") return node.what === "notWord";
  if (node.kind === "set") return (node.ranges.at(-1) ?? 0) > 0xffff;
  return childrenOf(node).some(isWide);
}

function mayBeEmpty(node: Node): boolean {
  switch (node.kind) {
    case "set":
      return false;
    case "assert":
      return true;
    case "group":
      return mayBeEmpty(node.body);
    case "concat":
      return node.items.every(mayBeEmpty);
    case "or":
      return node.items.some(mayBeEmpty);
    case "repeat":
      return node.min === 0 || mayBeEmpty(node.body);
  }
}

function repeatsEmpty(node: Node): boolean {
  if (node.kind === "repeat" && mayBeEmpty(node.body)) return true;
  return childrenOf(node).some(repeatsEmpty);
}

function hasCapture(node: Node): boolean {
  return (node.kind === "group" && node.capture > 0) || childrenOf(node).some(hasCapture);
}

/** Inside a repeat, a capture keeps its last text in RE2; in V8 only when it is the whole of what is repeated. */
function repeatsInnerCapture(node: Node): boolean {
  if (node.kind === "repeat" && node.max > 1) {
    const { body } = node;
    if (body.kind === "group" ? hasCapture(body.body) : hasCapture(body)) return true;
  }
  return childrenOf(node).some(repeatsInnerCapture);
}

/** Alternatives that a prefilter looks for at most: each costs a pass over all texts. */
const LITERALS_MAX = 8;

/**
 * Literals of which each match holds at least one, or undefined when no such are known. The longest that can be found:
 * a search for them says which texts need the pattern at all.
 */
export function literalsOf(root: Node): readonly string[] | undefined {
  const found = new Literals().of(root);
  // U+FFFD also stands for bytes that are no UTF-8.
  return found?.some((literal) => literal.includes("\ufffd")) ? undefined : found;
}

class Literals {
  of(node: Node): readonly string[] | undefined {
    switch (node.kind) {
      case "set":
        return isOne(node) ? [String.fromCodePoint(node.ranges[0]!)] : undefined;
      case "assert":
        return undefined;
      case "group":
        return this.of(node.body);
      case "repeat":
        return node.min > 0 ? this.of(node.body) : undefined;
      case "or": {
        const all = node.items.map((item) => this.of(item));
        if (all.some((literals) => !literals)) return undefined;
        const union = [...new Set(all.flatMap((literals) => literals!))];
        return union.length > LITERALS_MAX ? undefined : union;
      }
      case "concat":
        return this.#ofConcat(flat(node));
    }
  }

  #ofConcat(items: readonly Node[]): readonly string[] | undefined {
    let best: readonly string[] | undefined;
    let run = "";
    const offer = (literals: readonly string[] | undefined): void => {
      if (literals && (!best || score(literals) > score(best))) best = literals;
    };
    for (const item of items) {
      if (isOne(item)) run += String.fromCodePoint(item.ranges[0]!);
      else if (item.kind === "assert") continue;
      else {
        if (run) offer([run]);
        run = "";
        offer(this.of(item));
      }
    }
    if (run) offer([run]);
    return best;
  }
}

/** Groups that only group melt into the sequence around them. */
function flat(node: Node): readonly Node[] {
  if (node.kind === "concat") return node.items.flatMap(flat);
  if (node.kind === "group" && node.body.kind !== "or") return flat(node.body);
  return [node];
}

function isOne(node: Node): node is Extract<Node, { kind: "set" }> {
  return node.kind === "set" && node.ranges.length === 2 && node.ranges[0] === node.ranges[1];
}

/** Long ones are rare in texts, and each alternative is one more pass. */
function score(literals: readonly string[]): number {
  return Math.min(...literals.map((literal) => literal.length)) - (literals.length - 1) / LITERALS_MAX;
}
