import assert from "node:assert/strict";
import { test } from "node:test";
import { checkPattern, matchesEmpty } from "../../crds/pattern.ts";

test("RE2 syntax is accepted", () => {
  for (const good of [
    "^GET /healthz",
    "token=\\w+",
    "(?i)error|warn",
    "(?P<user>\\w+)",
    "(?<user>\\w+)",
    "\\p{L}+",
    "a{1,200}",
    "(a+)+$",
  ]) {
    assert.equal(checkPattern(good), undefined, good);
  }
});

test("what cannot run in linear time is named", () => {
  assert.match(checkPattern("(?=a)")!, /lookaround/);
  assert.match(checkPattern("(?<!a)b")!, /lookaround/);
  assert.match(checkPattern("(a)\\1")!, /backreference/);
});

test("a pattern that compiles to too much is refused, one of the most letters is not", () => {
  assert.match(checkPattern("a{1,1000}")!, /2001 instructions; at most 600/);
  assert.equal(checkPattern("a".repeat(512)), undefined);
});

test("broken patterns are refused with the engine's reason", () => {
  for (const bad of ["(", "[a", "a**", "a{1001}", "*", "\\"]) assert.match(checkPattern(bad)!, /RE2 syntax: ./, bad);
  assert.match(checkPattern("a".repeat(513))!, /513 characters; at most 512/);
});

test("a pattern that also matches nothing is known as such", () => {
  assert.equal(matchesEmpty("a*"), true);
  assert.equal(matchesEmpty("a|"), true);
  assert.equal(matchesEmpty("a+"), false);
});
