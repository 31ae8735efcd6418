/**
 * Reads a pattern in RE2 syntax into a tree. It knows what people write in nearly all patterns; for the rest (Unicode
 * classes, (?m), (?U), \Q…\E, \C and the like) it returns undefined, and re2js alone runs the pattern. So what it does
 * read must mean exactly what RE2 means: https://github.com/google/re2/wiki/Syntax
 */

export type Node =
  /** One code point out of `ranges`. */
  | { readonly kind: "set"; readonly ranges: Ranges }
  | { readonly kind: "assert"; readonly what: "start" | "end" | "word" | "notWord" }
  /** `capture` counts from 1; 0: it does not capture. */
  | { readonly kind: "group"; readonly capture: number; readonly body: Node }
  | { readonly kind: "concat"; readonly items: readonly Node[] }
  | { readonly kind: "or"; readonly items: readonly Node[] }
  | {
      readonly kind: "repeat";
      readonly body: Node;
      readonly min: number;
      readonly max: number;
      readonly lazy: boolean;
    };

/** First and last code points of ranges in turn, rising, without overlap. */
export type Ranges = readonly number[];

export interface Syntax {
  readonly root: Node;
  /** Names of capturing groups to their numbers. */
  readonly names: ReadonlyMap<string, number>;
}

/** The tree of a pattern that checkPattern accepts, or undefined when it uses more than is known here. */
export function parsePattern(source: string): Syntax | undefined {
  try {
    return new Parser(source).parse();
  } catch (error) {
    if (error instanceof Unknown) return undefined;
    throw error;
  }
}

/** What this parser does not know. */
class Unknown extends Error {}

export const CODE_POINT_MAX = 0x10ffff;
const REPEAT_MAX = 1000;
const ANY: Ranges = [0, CODE_POINT_MAX];
const NOT_NEWLINE: Ranges = [0, 9, 11, CODE_POINT_MAX];

const DIGIT: Ranges = [48, 57];
const SPACE: Ranges = [9, 10, 12, 13, 32, 32];
const WORD: Ranges = [48, 57, 65, 90, 95, 95, 97, 122];
const PERL: Record<string, Ranges> = { d: DIGIT, s: SPACE, w: WORD };

const POSIX: Record<string, Ranges> = {
  alnum: [48, 57, 65, 90, 97, 122],
  alpha: [65, 90, 97, 122],
  ascii: [0, 127],
  blank: [9, 9, 32, 32],
  cntrl: [0, 31, 127, 127],
  digit: DIGIT,
  graph: [33, 126],
  lower: [97, 122],
  print: [32, 126],
  punct: [33, 47, 58, 64, 91, 96, 123, 126],
  space: [9, 13, 32, 32],
  upper: [65, 90],
  word: WORD,
  xdigit: [48, 57, 65, 70, 97, 102],
};
const CONTROL: Record<string, number> = { a: 7, f: 12, n: 10, r: 13, t: 9, v: 11 };

class Parser {
  readonly #source: string;
  readonly #names = new Map<string, number>();
  #at = 0;
  #captures = 0;
  /** The flags i and s, as they stand. */
  #fold = false;
  #dotAll = false;

  constructor(source: string) {
    // Surrogates are where code points and UTF-16 units differ; a pattern with them is rare.
    if (/[\ud800-\udfff]/.test(source)) throw new Unknown();
    this.#source = source;
  }

  parse(): Syntax {
    const root = this.#alternatives();
    if (this.#at < this.#source.length) throw new Unknown();
    return { root, names: this.#names };
  }

  #peek(text: string): boolean {
    return this.#source.startsWith(text, this.#at);
  }

  #eat(text: string): boolean {
    if (!this.#peek(text)) return false;
    this.#at += text.length;
    return true;
  }

  #match(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#source);
    if (found) this.#at = pattern.lastIndex;
    return found ?? undefined;
  }

  #next(): string {
    const character = this.#source[this.#at++];
    if (character === undefined) throw new Unknown();
    return character;
  }

  #alternatives(): Node {
    const items = [this.#sequence()];
    while (this.#eat("|")) items.push(this.#sequence());
    return items.length === 1 ? items[0]! : { kind: "or", items };
  }

  #sequence(): Node {
    const items: Node[] = [];
    while (this.#at < this.#source.length && !this.#peek("|") && !this.#peek(")")) {
      const atom = this.#atom();
      if (atom) items.push(this.#repeated(atom));
    }
    return items.length === 1 ? items[0]! : { kind: "concat", items };
  }

  /** Undefined: flags, which match nothing themselves. */
  #atom(): Node | undefined {
    const character = this.#next();
    switch (character) {
      case "(":
        return this.#group();
      case "[":
        return set(this.#bracket());
      case ".":
        return set(this.#dotAll ? ANY : NOT_NEWLINE);
      case "^":
        return { kind: "assert", what: "start" };
      case "$":
        return { kind: "assert", what: "end" };
      case "\\":
        return this.#escape();
      case "*":
      case "+":
      case "?":
        throw new Unknown();
      default:
        return set(this.#folded([character.charCodeAt(0), character.charCodeAt(0)]));
    }
  }

  #group(): Node | undefined {
    const { fold, dotAll } = { fold: this.#fold, dotAll: this.#dotAll };
    let capture = 0;
    const name = this.#match(/\?P?<([A-Za-z_][A-Za-z0-9_]*)>/y)?.[1];
    if (name !== undefined) {
      if (this.#names.has(name)) throw new Unknown();
      this.#names.set(name, (capture = ++this.#captures));
    } else if (this.#eat("?")) {
      const [, flags = "", end] = this.#match(/([is]*)([:)])/y) ?? [];
      if (end === undefined) throw new Unknown();
      if (flags.includes("i")) this.#fold = true;
      if (flags.includes("s")) this.#dotAll = true;
      if (end === ")") {
        if (flags === "" || this.#match(/[*+?{]/y)) throw new Unknown();
        return undefined;
      }
    } else capture = ++this.#captures;
    const body = this.#alternatives();
    if (!this.#eat(")")) throw new Unknown();
    this.#fold = fold;
    this.#dotAll = dotAll;
    return { kind: "group", capture, body };
  }

  #repeated(body: Node): Node {
    const [, sign, least, comma, most] = this.#match(/([*+?])|\{(\d+)(,?)(\d*)\}/y) ?? [];
    let [min, max] = [1, 1];
    if (sign !== undefined) [min, max] = [sign === "+" ? 1 : 0, sign === "?" ? 1 : Infinity];
    else if (least !== undefined) {
      min = Number(least);
      max = comma === "" ? min : most === "" ? Infinity : Number(most);
      // `{1 2}` cannot come here, `{12}` has no comma and no second number.
      if (comma === "" && most !== "") throw new Unknown();
      if (min > REPEAT_MAX || (max !== Infinity && max > REPEAT_MAX) || max < min) throw new Unknown();
    } else return body;
    if (body.kind === "assert") throw new Unknown();
    const lazy = this.#eat("?");
    // A second repeat: an error in RE2, or possessive elsewhere.
    if (this.#match(/[*+?]|\{\d+(,\d*)?\}/y)) throw new Unknown();
    return { kind: "repeat", body, min, max, lazy };
  }

  #escape(): Node {
    if (this.#eat("b")) return { kind: "assert", what: "word" };
    if (this.#eat("B")) return { kind: "assert", what: "notWord" };
    if (this.#eat("A")) return { kind: "assert", what: "start" };
    if (this.#eat("z")) return { kind: "assert", what: "end" };
    const shorthand = this.#match(/[dDsSwW]/y)?.[0];
    if (shorthand !== undefined) return set(this.#perl(shorthand));
    const code = this.#escapedCode();
    return set(this.#folded([code, code]));
  }

  #perl(letter: string): Ranges {
    const ranges = this.#folded(PERL[letter.toLowerCase()]!);
    return letter === letter.toLowerCase() ? ranges : negated(ranges);
  }

  /** Behind a backslash: one code point. */
  #escapedCode(): number {
    const hex = this.#match(/x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,6})\})/y);
    const code = hex ? Number.parseInt(hex[1] ?? hex[2]!, 16) : undefined;
    if (code !== undefined) {
      if (code > CODE_POINT_MAX || (code >= 0xd800 && code <= 0xdfff)) throw new Unknown();
      return code;
    }
    const character = this.#next();
    if (Object.hasOwn(CONTROL, character)) return CONTROL[character]!;
    if (!/^[!-/:-@[-`{-~]$/.test(character)) throw new Unknown();
    return character.charCodeAt(0);
  }

  /** Behind a [. */
  #bracket(): Ranges {
    const negative = this.#eat("^");
    const ranges: number[] = [];
    for (let first = true; first || !this.#peek("]"); first = false) {
      const posix = this.#match(/\[:(\^?)([a-z]+):\]/y);
      if (posix) {
        const named = POSIX[posix[2]!];
        if (!named || (posix[1] === "^" && this.#fold)) throw new Unknown();
        ranges.push(...(posix[1] === "^" ? negated(named) : named));
        continue;
      }
      const shorthand = this.#match(/\\([dDsSwW])/y)?.[1];
      if (shorthand !== undefined) {
        if (this.#fold && shorthand !== shorthand.toLowerCase()) throw new Unknown();
        ranges.push(...this.#perl(shorthand));
        continue;
      }
      const low = this.#bracketCode();
      let high = low;
      if (this.#peek("-") && !this.#peek("-]")) {
        this.#at++;
        high = this.#bracketCode();
        if (high < low) throw new Unknown();
      }
      ranges.push(low, high);
    }
    this.#at++;
    const positive = this.#folded(sorted(ranges));
    return negative ? negated(positive) : positive;
  }

  #bracketCode(): number {
    if (this.#peek("[:")) throw new Unknown();
    const character = this.#next();
    if (character !== "\\") return character.charCodeAt(0);
    return this.#escapedCode();
  }

  /**
   * With the flag i, the other case of each letter too. Among ASCII letters only k and s have relatives elsewhere: the
   * Kelvin sign and the long s.
   */
  #folded(ranges: Ranges): Ranges {
    if (!this.#fold) return ranges;
    const all = [...ranges];
    for (let i = 0; i < ranges.length; i += 2) {
      const [low, high] = [ranges[i]!, ranges[i + 1]!];
      if (high > 127) throw new Unknown();
      for (const [from, to, shift] of [[65, 90, 32] as const, [97, 122, -32] as const]) {
        const [first, last] = [Math.max(low, from), Math.min(high, to)];
        if (first <= last) all.push(first + shift, last + shift);
        if (first <= from + 10 && from + 10 <= last) all.push(0x212a, 0x212a);
        if (first <= from + 18 && from + 18 <= last) all.push(0x17f, 0x17f);
      }
    }
    return sorted(all);
  }
}

function set(ranges: Ranges): Node {
  return { kind: "set", ranges };
}

/** Sorts ranges and joins those that touch. */
function sorted(ranges: readonly number[]): Ranges {
  const pairs: [number, number][] = [];
  for (let i = 0; i < ranges.length; i += 2) pairs.push([ranges[i]!, ranges[i + 1]!]);
  pairs.sort((a, b) => a[0] - b[0]);
  const joined: number[] = [];
  for (const [low, high] of pairs) {
    if (joined.length > 0 && low <= joined.at(-1)! + 1) joined.push(Math.max(joined.pop()!, high));
    else joined.push(low, high);
  }
  return joined;
}

function negated(ranges: Ranges): Ranges {
  const rest: number[] = [];
  let from = 0;
  for (let i = 0; i < ranges.length; i += 2) {
    if (ranges[i]! > from) rest.push(from, ranges[i]! - 1);
    from = ranges[i + 1]! + 1;
  }
  if (from <= CODE_POINT_MAX) rest.push(from, CODE_POINT_MAX);
  return rest;
}
