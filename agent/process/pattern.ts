/**
 * User patterns in RE2 syntax (see crds/pattern.ts), run so that no text can hang the agent. Two engines give the same
 * result, which property tests hold them to:
 *
 *     V8       texts up to V8_CHARS_MAX characters, where the pattern means the same to V8 and its time is bounded
 *     re2js    everything else; one pass over the text, in time at most (instructions of the pattern) x (characters)
 *
 * That product is bounded too (WORK_MAX): a pattern of a thousand instructions sees the first 64 Ki characters.
 */
import { RE2JS } from "re2js";
import type { Deadline } from "./deadline.ts";
import { boundedRegExp, V8_CHARS_MAX } from "./engine.ts";
import { parsePattern } from "./syntax.ts";
import { literalsOf, translate } from "./translate.ts";

/** Instructions x characters of one search: about a second at worst. */
const WORK_MAX = 64 * 1024 * 1024;
/** What stands where something was taken out unseen. */
export const MASK = "***";

export interface Pattern {
  readonly source: string;
  /** Every match holds one of these (at least one character each); undefined: none are known. */
  readonly literals: readonly string[] | undefined;
  /** Whether it is found in the text's first WORK_MAX / instructions characters. */
  test(text: string): boolean;
  /**
   * The text with all matches replaced, left to right; empty matches stay. Where it would take too long, or grow too
   * much, the rest of the text is replaced by MASK as a whole: what was to be hidden never passes.
   */
  replace(text: string, replacement: Replacement, allowance: Allowance): string;
}

/** What the replacements of one run may use up together. Counts what they did. */
export interface Allowance {
  /** After it, nothing is searched any more and all is masked. */
  readonly deadline: Deadline;
  /** Characters that the text may grow to. */
  charsMax: number;
  /** Matches replaced so far. */
  replaced: number;
  /** Texts whose rest was masked. */
  masked: number;
}

/** Text parts and the numbers of groups between them. */
export type Replacement = readonly (string | number)[];

/** Reads a pattern that checkPattern accepts. `engine` is for tests; without it the fastest is taken. */
export function compilePattern(source: string, engine: "any" | "re2js" = "any"): Pattern {
  return new CompiledPattern(source, engine);
}

/**
 * Reads a replacement as String.replace does: $1 to $99 (where the pattern has such a group), $<name> (where it has
 * names), $& for the match, $$ for a dollar. Everything else is literal.
 */
export function parseReplacement(replacement: string, pattern: string): Replacement {
  const compiled = RE2JS.compile(pattern);
  const names = new Map(Object.entries(compiled.namedGroups()));
  const groups = compiled.groupCount();
  const source = replacement.toWellFormed();
  const parts: (string | number)[] = [];
  const add = (part: string | number): void => {
    const last = parts.at(-1);
    if (typeof part === "string" && typeof last === "string") parts[parts.length - 1] = last + part;
    else if (part !== "") parts.push(part);
  };
  let at = 0;
  for (const found of source.matchAll(/\$(?:\$|&|(\d\d?)|<([^>]*)>)/g)) {
    const [whole, digits, name] = found;
    add(source.slice(at, found.index));
    at = found.index + whole.length;
    if (whole === "$$") add("$");
    else if (whole === "$&") add(0);
    else if (name !== undefined) add(names.size === 0 ? whole : (names.get(name) ?? ""));
    else {
      // $12 is group 12, or else group 1 and a 2, or else literal.
      const [all, first] = [Number(digits), Number(digits![0])];
      if (all > 0 && all <= groups) add(all);
      else if (digits!.length === 2 && first > 0 && first <= groups) {
        add(first);
        add(digits![1]!);
      } else add(whole);
    }
  }
  add(source.slice(at));
  return parts;
}

class CompiledPattern implements Pattern {
  readonly source: string;
  readonly literals: readonly string[] | undefined;
  readonly #re2: RE2JS;
  readonly #charsMax: number;
  readonly #v8: RegExp | undefined;
  /** V8 must not see texts with surrogate pairs. */
  readonly #wide: boolean;
  /** V8's captures are those of RE2. */
  readonly #captures: boolean;

  constructor(source: string, engine: "any" | "re2js") {
    this.source = source;
    this.#re2 = RE2JS.compile(source);
    this.#charsMax = Math.floor(WORK_MAX / this.#re2.programSize());
    const tree = parsePattern(source)?.root;
    const translation = tree && engine === "any" ? translate(tree) : undefined;
    this.literals = tree && literalsOf(tree);
    this.#v8 = translation && boundedRegExp(translation.source);
    this.#wide = translation?.wide ?? true;
    this.#captures = translation?.captures ?? false;
  }

  test(text: string): boolean {
    const v8 = this.#v8For(text);
    if (!v8) return this.#re2.test(text.length > this.#charsMax ? text.slice(0, this.#charsMax) : text);
    v8.lastIndex = 0;
    return v8.test(text);
  }

  replace(text: string, replacement: Replacement, allowance: Allowance): string {
    if (this.literals && !this.literals.some((literal) => text.includes(literal))) return text;
    const groups = replacement.some((part) => typeof part === "number" && part > 0);
    const v8 = this.#captures || !groups ? this.#v8For(text) : undefined;
    if (allowance.deadline.passed(text.length) || (!v8 && text.length > this.#charsMax)) {
      allowance.masked++;
      return MASK;
    }
    const next = v8 ? v8Matches(v8, text) : this.#re2.test(text) ? re2Matches(this.#re2, text) : undefined;
    return next ? replaceMatches(text, next, replacement, allowance) : text;
  }

  #v8For(text: string): RegExp | undefined {
    if (text.length > V8_CHARS_MAX || (this.#wide && /[\ud800-\udbff]/.test(text))) return undefined;
    return this.#v8;
  }
}

/** One match: where it lies, and the text of a group. */
interface Match {
  readonly start: number;
  readonly end: number;
  readonly group: (number: number) => string;
}

/** Matches one after the other; undefined when there are no more. */
type Matches = () => Match | undefined;

function v8Matches(pattern: RegExp, text: string): Matches {
  pattern.lastIndex = 0;
  return () => {
    const found = pattern.exec(text);
    if (!found) return undefined;
    const end = pattern.lastIndex;
    if (end === found.index) pattern.lastIndex++;
    return { start: found.index, end, group: (number) => found[number] ?? "" };
  };
}

function re2Matches(pattern: RE2JS, text: string): Matches {
  const matcher = pattern.matcher(text);
  return () => {
    if (!matcher.find()) return undefined;
    return { start: matcher.start(), end: matcher.end(), group: (number) => matcher.group(number) ?? "" };
  };
}

function replaceMatches(text: string, next: Matches, replacement: Replacement, allowance: Allowance): string {
  let out = "";
  let at = 0;
  for (let match; (match = next());) {
    if (match.end === match.start) continue;
    out += text.slice(at, match.start);
    for (const part of replacement) {
      if (out.length <= allowance.charsMax) out += typeof part === "string" ? part : match.group(part);
    }
    at = match.end;
    allowance.replaced++;
    // The next search may go through all that is left.
    const late = allowance.deadline.passed(text.length - at);
    if (!late && out.length + text.length - at <= allowance.charsMax) continue;
    allowance.masked++;
    return out + MASK;
  }
  return at === 0 ? text : out + text.slice(at);
}
