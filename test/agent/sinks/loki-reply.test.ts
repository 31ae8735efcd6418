import assert from "node:assert/strict";
import { test } from "node:test";
import type { Outcome, Slice } from "../../../agent/dispatcher/sink.ts";
import { ofLokiReply, type SentRow } from "../../../agent/sinks/loki-reply.ts";

const slice = {} as Slice;
const T0 = Date.parse("2026-11-24T15:02:25Z") / 1000;

/** Records at these seconds (with nanoseconds as the fraction), in the order sent. */
function sent(...times: number[]): SentRow[] {
  return times.map((time, row) => ({
    slice,
    row,
    seconds: T0 + Math.floor(time),
    nanos: Math.round((time % 1) * 1e9),
  }));
}

function outcome(text: string, rows: SentRow[], status = 400, streams = 1): Outcome | undefined {
  return ofLokiReply({ status, text, retryAfterMs: undefined }, "loki:3100", { streams, rows: () => rows });
}

/** Rows that are refused, those that the destination may have already marked with a *. */
function refused(result: Outcome | undefined): string {
  assert.ok(result?.kind === "reject", JSON.stringify(result));
  return result.refused
    .map(({ row, outOfOrder }) => `${row}${outOfOrder ? "*" : ""}`)
    .sort()
    .join(" ");
}

const entry = (time: string, reason = "entry out of order", stream = ' for stream: {a="b"}'): string =>
  `entry with timestamp ${time} +0000 UTC ignored, reason: '${reason}'${stream},\n`;

test("named entries are rejected, the others of the stream are stored", () => {
  const text = `${entry("2026-11-24 15:02:25.000000003")}${entry("2026-11-24 15:02:35.12")}total ignored: 2 out of 4\n`;
  assert.equal(refused(outcome(text, sent(20, 0.000000003, 10.12, 30))), "1* 2*");
});

test("the reason of a refusal is Loki's own", () => {
  const result = outcome(`${entry("2026-11-24 15:02:25")}total ignored: 1 out of 2`, sent(0, 1));
  assert.ok(result?.kind === "reject");
  assert.equal(result.refused[0]?.reason, "entry out of order");
});

test("times in another zone than UTC are understood", () => {
  const text = `${entry("2026-11-24 20:32:25.5").replace("+0000 UTC", "+0530 IST")}total ignored: 1 out of 2`;
  assert.equal(refused(outcome(text, sent(0.5, 1))), "0*");
});

test("of records with one time, the later ones are those refused", () => {
  const text = `${entry("2026-11-24 15:02:25")}total ignored: 1 out of 3`;
  assert.equal(refused(outcome(text, sent(0, 1, 0))), "2*");
  const both = `${entry("2026-11-24 15:02:25")}${entry("2026-11-24 15:02:25")}total ignored: 2 out of 3`;
  assert.equal(refused(outcome(both, sent(0, 1, 0))), "0* 2*");
});

test("when all are refused, those without a name are too", () => {
  const named = Array.from({ length: 10 }, (_, i) => entry(`2026-11-24 15:02:25.00000000${i}`)).join("");
  const rows = sent(...Array.from({ length: 30 }, (_, i) => i * 1e-9));
  assert.equal(refused(outcome(`${named}total ignored: 30 out of 30`, rows)).split(" ").length, 30);
});

test("more refusals than names, and some stored, are asked about again", () => {
  const named = Array.from({ length: 10 }, (_, i) => entry(`2026-11-24 15:02:25.00000000${i}`)).join("");
  const rows = sent(...Array.from({ length: 30 }, (_, i) => i * 1e-9));
  assert.equal(outcome(`${named}total ignored: 29 out of 30`, rows)?.kind, "split");
});

test("fewer judged than sent were refused elsewhere, so are asked about again", () => {
  assert.equal(outcome(`${entry("2026-11-24 15:02:25")}total ignored: 1 out of 2`, sent(0, 1, 2))?.kind, "split");
});

test("a time that was not sent is asked about again", () => {
  assert.equal(outcome(`${entry("2026-11-24 15:02:26")}total ignored: 1 out of 1`, sent(0))?.kind, "reject");
  assert.equal(outcome(`${entry("2026-11-24 15:02:26")}total ignored: 1 out of 2`, sent(0, 2))?.kind, "split");
});

test("a reason that nobody knows is asked about again", () => {
  assert.equal(
    outcome(`${entry("2026-11-24 15:02:25", "moon too full")}total ignored: 1 out of 2`, sent(0, 1))?.kind,
    "split",
  );
});

test("a refusal in a request of several streams is asked about again: of two refused streams only one is told", () => {
  assert.equal(outcome(`${entry("2026-11-24 15:02:25")}total ignored: 1 out of 1`, sent(0), 400, 2)?.kind, "split");
});

const behind = (time: string): string =>
  entry(
    time,
    "entry too far behind, entry timestamp is: 2026-11-24T15:02:25Z" +
      ", oldest acceptable timestamp is: 2026-11-24T15:02:40Z",
    "",
  );
const ours = ' for stream: {a="b"}';

test("newer Lokis say too far behind", () => {
  const text = `${behind("2026-11-24 15:02:25")}user 'fake', total ignored: 1 out of 2${ours}`;
  assert.equal(refused(outcome(text, sent(0, 100))), "0*");
});

test("too far behind without a name only counts for records older than the time given", () => {
  const named = Array.from({ length: 10 }, (_, i) => behind(`2026-11-24 15:02:${25 + i}`)).join("");
  const seconds = Array.from({ length: 12 }, (_, i) => i);
  const text = `${named}user 'fake', total ignored: 12 out of 12${ours}`;
  assert.equal(refused(outcome(text, sent(...seconds))).split(" ").length, 12);
  // One that would be taken but for a limit: it must not be given up.
  assert.equal(outcome(text, sent(...seconds.slice(0, 11), 20))?.kind, "split");
});

test("a rate limit is a retry, ambiguous when a part was stored", () => {
  const limit =
    "Per stream rate limit exceeded (limit: 3MB/sec) while attempting to ingest for stream '{a=\"b\"}' totaling 5MB…";
  const text = `${entry("2026-11-24 15:02:25", limit, "")}user 'fake', total ignored: 1 out of 2${ours}`;
  for (const status of [429, 400]) {
    const result = outcome(text, sent(0, 1), status);
    assert.ok(result?.kind === "retry" && result.ambiguous, `${status}`);
  }
  const whole = outcome(
    "Ingestion rate limit exceeded (limit: 4194304 bytes/sec) while attempting to ingest '2' lines",
    sent(0, 1),
    429,
    2,
  );
  assert.ok(whole?.kind === "retry" && !whole.ambiguous);
  const streams = outcome("Maximum active stream limit exceeded, reduce the number…", sent(0, 1), 429, 2);
  assert.ok(streams?.kind === "retry" && streams.ambiguous);
});

const tooLong = (label: string, max: number, length: number): string =>
  `Max entry size '${max}' bytes exceeded for stream '{a="${label}"}' ` +
  `while adding an entry with length '${length}' bytes`;
const tooOld = (time: string, cutoff = ""): string =>
  `entry for stream '{a="b"}' has timestamp too old: ${time}${cutoff}`;

test("Loki 1.6 tells the last of several records that are too old: all before it are too", () => {
  assert.equal(refused(outcome(tooOld("2026-11-24 15:02:26.5 +0000 UTC"), sent(0, 1, 1.5, 2, 3))), "0 1 2");
});

test("a record before the last too old one that is no older may be refused for something else", () => {
  assert.equal(outcome(tooOld("2026-11-24 15:02:26 +0000 UTC"), sent(0, 5, 1))?.kind, "split");
});

const cutoff = ", oldest acceptable timestamp is: 2026-11-24T15:02:30Z";

test("newer Lokis give the oldest acceptable time, and count", () => {
  assert.equal(refused(outcome(tooOld("2026-11-24T15:02:25Z", cutoff), sent(0.5, 5, 6))), "0");
  const [first, second] = ["2026-11-24T15:02:25Z", "2026-11-24T15:02:26Z"].map((time) => tooOld(time, cutoff));
  const three = `2 errors like: ${first}; 1 errors like: ${second}`;
  assert.equal(refused(outcome(three, sent(0, 7, 0.1, 1))), "0 2 3");
  assert.equal(outcome(three, sent(0, 7, 0.1, 8))?.kind, "split", "one more was refused than is older");
  const mixed = `1 errors like: ${first}; 1 errors like: ${tooLong("b", 1, 2)}`;
  assert.equal(outcome(mixed, sent(0, 7))?.kind, "split");
});

test("a single record that is refused is rejected, whatever for", () => {
  const texts = [
    tooLong("b", 262_144, 300_000),
    `2 errors like: ${tooLong("b", 262_144, 300_000)}`,
    "entry for stream '{a=\"e\"}' has timestamp too new: 2026-11-25 18:49:15.000000005 +0000 UTC",
    "stream '{a=\"b\"}' has structured metadata too large: '70000' bytes, limit: '65536' bytes. Please see …",
    tooOld("2017-07-14 02:40:01 +0000 UTC"),
  ];
  for (const text of texts) {
    assert.equal(refused(outcome(`${text}\n`, sent(0))), "0", text);
    if (!text.includes("too old")) assert.equal(outcome(text, sent(0, 1))?.kind, "split", text);
  }
});

test("a label value that is too long costs every record of its stream, and no other", () => {
  const text = "stream '{a=\"vvv\"}' has label value too long: 'vvv'";
  assert.equal(refused(outcome(text, sent(0, 1))), "0 1");
  assert.equal(outcome(text, sent(0, 1), 400, 2)?.kind, "split");
});

test("a request that is refused before anybody looks at its records is a hold", () => {
  const text = 'cannot parse common params from request: cannot parse accountID from "shop": cannot parse…';
  assert.equal(outcome(text, sent(0, 1), 400, 2)?.kind, "hold");
});

test("a label set that Loki does not take is a hold: the records are good", () => {
  const texts = [
    "error parsing labels: parse error at line 1, col 2: syntax error: unexpected }, expecting IDENTIFIER",
    "error at least one label pair is required per stream",
    'entry for stream \'{l0="v", l1="v"}\' has 20 label names; limit 15',
    "stream '{a=\"b\"}' has duplicate label name: 'a'",
    "stream '{a=\"b\"}' includes structured metadata, but this feature is disallowed. Please see …",
  ];
  for (const text of texts) {
    assert.equal(outcome(text, sent(0, 1))?.kind, "hold", text);
    assert.equal(outcome(text, sent(0, 1), 400, 2)?.kind, "split", "first alone: other streams may be good");
  }
});

test("what a workload writes into a label decides nothing", () => {
  for (const value of [
    "has 99 label names; limit 1",
    "rate limit exceeded",
    "total ignored: 1 out of 1",
    'x\\"received message larger than max',
  ]) {
    assert.equal(refused(outcome(tooLong(value, 9, 10), sent(0))), "0", value);
  }
});

test("too much for Loki's own parts is a split, also as a 500", () => {
  const text =
    "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (5000000 vs. 4194304)";
  assert.equal(outcome(text, sent(0, 1), 500)?.kind, "split");
});

test("other answers are left to their status", () => {
  assert.equal(outcome("no org id", sent(0), 401), undefined);
  assert.equal(outcome("empty ring", sent(0), 500), undefined);
  assert.equal(outcome("readObjectStart: expect { or n, but found g", sent(0, 1))?.kind, "split");
});
