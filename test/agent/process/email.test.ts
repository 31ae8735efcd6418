import assert from "node:assert/strict";
import { test } from "node:test";
import { findEmails } from "../../../agent/process/email.ts";

/** Addresses in square brackets. */
function marked(text: string): string {
  const ranges = findEmails(text);
  let out = "";
  let at = 0;
  for (let i = 0; i < ranges.length; i += 2) {
    out += `${text.slice(at, ranges[i])}[${text.slice(ranges[i], ranges[i + 1])}]`;
    at = ranges[i + 1]!;
  }
  return out + text.slice(at);
}

function check(cases: readonly string[]): void {
  for (const expected of cases) assert.equal(marked(expected.replaceAll(/[[\]]/g, "")), expected);
}

test("addresses are found with all that belongs to them and nothing more", () => {
  check([
    "[bob@example.com]",
    "mail [bob.o-neil+tag@mail.example.co.uk], now",
    "<[a@b.cc]>;([x_1%y@1.example.museum])",
    "from=[bob@example.com]&to=[eve@example.org].",
    "[bob@example.com]: denied",
    'user "[bob@xn--exmple-cua.com]"-',
    "...[bob@example.com]...",
    "[bob@example.c2]",
    "[bob@example.com].1",
    "[bob@example.com]-",
  ]);
});

test("addresses of other scripts are found, and punctuation of theirs is no part of them", () => {
  check(["[jörg@exämple.de]!", "邮箱：[user@example.com]，谢谢", "[почта@пример.рф]", "😀[a@b.cc]😀"]);
});

test("addresses in URLs are found percent-encoded", () => {
  check(["GET /u?mail=[bob%40example.com]&x=1", "[a%40b.cc]/[c%40d.ee]"]);
});

test("a JSON escape before an address is no part of it", () => {
  check(['{"m":"to\\n[bob@example.com]\\n"}', '{"m":"\\u00e9[bob@example.com]"}', '{"m":"\\\\[nbob@example.com]"}']);
});

test("what only has an @ is none", () => {
  check([
    "user@host",
    "@",
    "a@",
    "@b.cc",
    "a@.cc",
    "a@b.",
    "a@b.c",
    "root@10.0.0.1",
    "lodash@4.17.21",
    "x@y@",
    "a @b.cc",
    "\\@b.cc",
  ]);
});

test("one @ after the other is no trouble", () => {
  check(["a@[b@c.dd]@[e@f.gg]", "%40%40[a%40b.cc]"]);
});

test("time grows with the length of the text only", () => {
  for (const unit of ["a@", "a%40", "a@b", "a@b.1", "a.", "@b.1", "é@"]) {
    const text = unit.repeat(1 << 18);
    const start = process.threadCpuUsage();
    findEmails(text);
    const { user, system } = process.threadCpuUsage(start);
    assert.ok(user + system < 1_000_000, `${unit}: ${user + system} µs`);
  }
});
