import assert from "node:assert/strict";
import { test } from "node:test";
import { ofError, ofStatus, retryAfterMs } from "../../../agent/sinks/status.ts";

const WALL = Date.parse("2026-11-23T10:00:00Z");

test("a reason has the host, the status and the first 200 characters of the reply, on one line", () => {
  const text = `a\r\n\tb\u0007\u001b[31m${"c".repeat(500)}`;
  const outcome = ofStatus("loki:3100", { status: 503, text, retryAfterMs: undefined });
  assert.ok(outcome.kind === "retry");
  assert.match(outcome.reason, /^loki:3100 answered 503 Service Unavailable: a b \[31mc+$/);
  assert.equal(outcome.reason.split(": ").at(-1)?.length, 200);
});

test("an empty reply leaves the status, a status without a name its number", () => {
  const outcome = ofStatus("h", { status: 599, text: " \n", retryAfterMs: undefined });
  assert.ok(outcome.kind === "retry");
  assert.equal(outcome.reason, "h answered 599");
});

test("Retry-After is seconds or a date, and never more than an hour", () => {
  const cases: [header: unknown, date: unknown, ms: number | undefined][] = [
    [undefined, undefined, undefined],
    ["0", undefined, 0],
    ["7", undefined, 7_000],
    [" 120 ", undefined, 120_000],
    ["999999999", undefined, 3_600_000],
    ["soon", undefined, undefined],
    ["-5", undefined, undefined],
    ["1.5", undefined, undefined],
    [["7", "8"], undefined, undefined],
    ["Mon, 23 Nov 2026 10:00:30 GMT", undefined, 30_000],
    ["Mon, 23 Nov 2026 10:00:30 GMT", "no date", 30_000],
    ["Mon, 23 Nov 2026 09:00:00 GMT", undefined, 0],
    ["Mon, 23 Nov 2026 12:00:30 GMT", "Mon, 23 Nov 2026 12:00:00 GMT", 30_000],
  ];
  for (const [header, date, ms] of cases) assert.equal(retryAfterMs(header, date, WALL), ms, String(header));
});

test("an error made of several is told by its first, its code said once", () => {
  const refused = Object.assign(new Error("connect ECONNREFUSED ::1:1"), { code: "ECONNREFUSED" });
  const several = ofError("h", new AggregateError([refused, refused], ""), false);
  assert.ok(several.kind === "retry" && !several.ambiguous);
  assert.equal(several.reason, "h: connect ECONNREFUSED ::1:1");
  const reset = ofError("h", Object.assign(new Error("other side closed"), { code: "UND_ERR_SOCKET" }), true);
  assert.ok(reset.kind === "retry");
  assert.equal(reset.reason, "h: other side closed (UND_ERR_SOCKET)");
  const one = ofError("h", refused, true);
  assert.ok(one.kind === "retry" && one.ambiguous);
  assert.equal(one.reason, "h: connect ECONNREFUSED ::1:1");
});
