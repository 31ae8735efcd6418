import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Deadline } from "../../../agent/process/deadline.ts";
import { boundedRegExp } from "../../../agent/process/engine.ts";
import { compilePattern, parseReplacement, type Allowance } from "../../../agent/process/pattern.ts";
import { parsePattern } from "../../../agent/process/syntax.ts";
import { translate } from "../../../agent/process/translate.ts";
import { checkPattern } from "../../../crds/pattern.ts";

const KiB64 = 65_536;

function plenty(): Allowance {
  return { deadline: new Deadline(Infinity), charsMax: 1 << 24, replaced: 0, masked: 0 };
}

/** Patterns of all that the parser reads and some that it does not, small enough to match often. */
const source = fc.letrec<{ any: string; atom: string; sequence: string }>((tie) => ({
  any: fc.oneof(
    { weight: 4, arbitrary: tie("sequence") },
    { weight: 1, arbitrary: fc.tuple(tie("sequence"), tie("sequence")).map((both) => both.join("|")) },
  ),
  sequence: fc
    .array(
      fc
        .tuple(
          tie("atom"),
          fc.oneof(
            { weight: 4, arbitrary: fc.constant("") },
            fc.constantFrom("*", "+", "?", "{2}", "{1,2}", "{0,3}", "{1,}", "{,2}", "{x", "*+"),
          ),
          fc.oneof({ weight: 4, arbitrary: fc.constant("") }, fc.constant("?")),
        )
        .map(([atom, repeat, lazy]) => atom + repeat + (repeat ? lazy : "")),
      { maxLength: 4 },
    )
    .map((items) => items.join("")),
  atom: fc.oneof(
    { depthSize: "small" },
    fc.constantFrom(..."abks-,{}é \u212a".split("")),
    fc.constantFrom(".", "^", "$", "\\b", "\\B", "\\A", "\\z", "\\d", "\\D", "\\w", "\\W", "\\s", "\\S"),
    fc.constantFrom(
      "\\.",
      "\\-",
      "\\n",
      "\\t",
      "\\v",
      "\\a",
      "\\x41",
      "\\x{e9}",
      "\\x{1F600}",
      "\\pL",
      "\\PN",
      "\\Qa.\\E",
    ),
    fc.constantFrom(
      "[ab]",
      "[^a]",
      "[a-c-]",
      "[]a]",
      "[^]a]",
      "[\\w-]",
      "[^\\s,]",
      "[[:alpha:]_]",
      "[[:^digit:]]",
      "[k-s]",
    ),
    fc.constantFrom(
      "[^\\W]",
      "[é-ï]",
      "[\\x00-\\x{10FFFF}]",
      "[^\\x00-\\x{10FFFF}]",
      "[\\-\\]]",
      "[--a]",
      "[a-b-c]",
      "[+--]",
    ),
    fc.constantFrom("(?i)", "(?s)", "(?m)", "(?U)", "(?is)", "(?-i)", "(?i:k)", "(?i:[^s])"),
    tie("any").map((inside) => `(${inside})`),
    tie("any").map((inside) => `(?:${inside})`),
    tie("any").map((inside) => `(?P<n>${inside})`),
  ),
})).any;

const goodSource = source.filter((pattern) => checkPattern(pattern) === undefined);

const piece = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(..."aabbcckKsS-,{} 1\n".split("")) },
  {
    weight: 1,
    arbitrary: fc.constantFrom("\r", "\u2028", "\u00a0", "é", "É", "\u212a", "ſ", "😀", "\udc80", "\v", "ï", "\ufeff"),
  },
);
const text = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(""));

test("the fast path finds and replaces what re2js does", () => {
  let fast = 0;
  fc.assert(
    fc.property(goodSource, fc.array(text, { minLength: 1, maxLength: 8 }), (pattern, texts) => {
      const tree = parsePattern(pattern);
      const translation = tree && translate(tree.root);
      if (translation && boundedRegExp(translation.source)) fast++;
      const [quick, sure] = [compilePattern(pattern), compilePattern(pattern, "re2js")];
      const parts = parseReplacement("<$1|$&>", pattern);
      for (const given of texts) {
        assert.equal(quick.test(given), sure.test(given), JSON.stringify(given));
        assert.equal(
          quick.replace(given, parts, plenty()),
          sure.replace(given, parts, plenty()),
          JSON.stringify(given),
        );
      }
    }),
    { numRuns: 3000 },
  );
  assert.ok(fast > 500, `only ${fast} patterns were for V8`);
});

test("each match holds one of the literals", () => {
  let known = 0;
  fc.assert(
    fc.property(goodSource, fc.array(text, { minLength: 1, maxLength: 8 }), (pattern, texts) => {
      const { literals } = compilePattern(pattern);
      if (!literals) return;
      known++;
      const sure = compilePattern(pattern, "re2js");
      for (const given of texts) {
        if (sure.test(given))
          assert.ok(
            literals.some((literal) => given.includes(literal)),
            JSON.stringify(literals),
          );
      }
    }),
    { numRuns: 3000 },
  );
  assert.ok(known > 500, `only ${known} patterns had literals`);
});

test("the longest literal is found", () => {
  const cases: [string, string[] | undefined][] = [
    ["^GET /healthz", ["GET /healthz"]],
    ["took \\d+ms", ["took "]],
    ["(?:(user)=)\\w+", ["user="]],
    ["error|warn(?:ing)?", ["error", "warn"]],
    ["\\w+@\\w+", ["@"]],
    ["(?i)error: 42", [": 42"]],
    ["a?b*", undefined],
    ["\\d{3}", undefined],
    ["x{2,3}y", ["x"]],
    ["\\x{fffd}", undefined],
    ["[[:digit:]]|z", undefined],
  ];
  for (const [pattern, literals] of cases) assert.deepEqual(compilePattern(pattern).literals, literals, pattern);
});

const EVIL = [
  "(a+)+$",
  "(a|a)*b",
  "(a{1,64})+$",
  "(?i)(a+)+$",
  "(?i)(a|A)*b",
  "(a*)*b",
  "(a|aa)+$",
  "[^b]*b[^b]*c",
  "a.*?a.*?a.*?b",
  "(.*)(.*)(.*)x",
  "(?:a?){30}a{30}b",
  "\\w+@\\w+\\.com",
  "(?m)^(a+)+$z",
];

function milliseconds(work: () => void): number {
  const start = process.threadCpuUsage();
  work();
  const { user, system } = process.threadCpuUsage(start);
  return (user + system) / 1000;
}

test("evil patterns take no longer than others, on long texts and on those that V8 is given", () => {
  for (const pattern of EVIL) {
    const compiled = compilePattern(pattern);
    for (const evil of [`${"a".repeat(KiB64)}!`, `${"a".repeat(1000)}!`]) {
      const took = milliseconds(() => assert.equal(compiled.test(evil), false, pattern));
      assert.ok(took < 50, `${pattern} took ${took} ms on ${evil.length} characters`);
    }
  }
});

test("replacing stops when its time is up, and hides the rest", () => {
  // Each a is a match, after a search through all that follows it.
  const given = "a".repeat(KiB64);
  const allowance = { ...plenty(), deadline: new Deadline(100) };
  const evil = compilePattern("a[^b]*b|a");
  let replaced = "";
  const took = milliseconds(() => (replaced = evil.replace(given, ["-"], allowance)));
  assert.match(replaced, /^-+\*\*\*$/);
  assert.equal(allowance.masked, 1);
  assert.ok(took < 1000, `${took} ms`);
  assert.equal(evil.replace("no match", ["-"], allowance), "***", "nothing is left for the next text");
});

test("a text grows only so far; what does not fit is hidden", () => {
  const allowance = { ...plenty(), charsMax: 300 };
  const replaced = compilePattern("a").replace("a".repeat(100), ["0123456789"], allowance);
  assert.match(replaced, /^(0123456789)+\*\*\*$/);
  assert.ok(replaced.length <= 320, `${replaced.length}`);
  assert.equal(allowance.masked, 1);
});

test("a huge pattern sees less of a text, and hides all of one that it cannot search", () => {
  const huge = compilePattern("(?:[ab]{1,30}c){1,30}[xy]");
  assert.equal(huge.test(`acx${"a".repeat(1 << 20)}`), true);
  assert.equal(huge.test(`${"a".repeat(1 << 20)}acx`), false);
  const allowance = plenty();
  assert.equal(huge.replace("ac".repeat(1 << 19), ["-"], allowance), "***");
  assert.equal(allowance.masked, 1);
});

test("replacements read as in String.replace", () => {
  const cases: [string, string, string][] = [
    ["token=$1***", "token=(\\w)\\w*", "x token=s*** y"],
    ["[$&]", "token=\\w+", "x [token=secret] y"],
    ["$$1", "token=(\\w+)", "x $1 y"],
    ["$2", "token=(\\w+)", "x $2 y"],
    ["$10", "token=(\\w+)", "x secret0 y"],
    ["$0", "token=(\\w+)", "x $0 y"],
    ["$01", "token=(\\w+)", "x secret y"],
    ["$<v>!", "token=(?P<v>\\w+)", "x secret! y"],
    ["$<v>!", "token=(?<v>\\w+)", "x secret! y"],
    ["$<w>", "token=(?<v>\\w+)", "x  y"],
    ["$<v>", "token=(\\w+)", "x $<v> y"],
    ["$", "token=(\\w+)", "x $ y"],
    ["$1", "(q)?token=\\w+", "x  y"],
    // A group keeps what it had in an earlier round.
    ["<$1>", "(?:(s)|\\w|=)+", "<> <s> <>"],
  ];
  for (const [replacement, pattern, expected] of cases) {
    const compiled = compilePattern(pattern);
    const replaced = compiled.replace("x token=secret y", parseReplacement(replacement, pattern), plenty());
    assert.equal(replaced, expected, `${replacement} for ${pattern}`);
  }
});

test("V8 is given only what its linear engine takes", () => {
  assert.ok(boundedRegExp("(a+)+$"), "V8's linear engine does not work here");
  assert.equal(boundedRegExp("(?=a)"), undefined);
  assert.equal(boundedRegExp("(a{1,64})+$"), undefined);
});
