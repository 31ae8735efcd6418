/**
 * What Loki's refusals say about single records. A push is not atomic: what is good in it is stored, the rest is named
 * in the text of a 400, in one of two ways.
 *
 * The ingester, per stream, at most ten entries (max_returned_stream_errors):
 *   entry with timestamp 2021-07-17 06:34:49.020024184 +0000 UTC ignored, reason: 'entry out of order'
 *     for stream: {…},                                                      (without the line break)
 *   total ignored: 5 out of 5
 * and since 2.4
 *   entry with timestamp … ignored, reason: 'entry too far behind, …, oldest acceptable timestamp is: 2024-05-07T…Z',
 *   user 'fake', total ignored: 5 out of 5 for stream: {…}
 * The distributor, for entries it did not let through; up to 2.8 only the last of them, later all, counted:
 *   entry for stream '{…}' has timestamp too old: 2020-01-01T00:00:00Z, oldest acceptable timestamp is: 2026-11-16T…Z
 *   2 errors like: Max entry size '262144' bytes exceeded for stream '{…}' while adding an entry with length '300000'
 *     bytes; 1 errors like: …                                               (without the line break)
 *
 * A reply may be silent about others: of several streams only one is told, an ingester's refusals hide a distributor's.
 * So records are rejected only where the text leaves no doubt which ones; else the request is split and asked again.
 */
import type { Outcome, Refused, Slice } from "../dispatcher/sink.ts";
import { headOf, reasonOf, type Answer } from "./status.ts";

/** A record of the refused request. */
export interface SentRow {
  readonly slice: Slice;
  readonly row: number;
  readonly seconds: number;
  readonly nanos: number;
}

/** What was sent; `rows` makes the list in the order on the wire, and is called only when the text names entries. */
export interface Sent {
  readonly streams: number;
  rows(): SentRow[];
}

const ENTRY = /^entry with timestamp (.+?) ignored, reason: '(.*)'(?: for stream: \{.*\})?,$/;
const TOTAL = /total ignored: (\d+) out of (\d+)/;
const OUT_OF_ORDER = /^entry (out of order|too far behind)/;
const CUTOFF = /oldest acceptable timestamp is: (\S+?Z)/;
const RATE = /rate limit exceeded/i;
const TENANT_RATE = /^ingestion rate limit exceeded/i;
const TOO_OLD = /^entry for stream '.*' has timestamp too old: (.+?)(?:, oldest acceptable|$)/;
const COUNTED = /(?:^|; )(\d+) errors like: /;
/** gRPC between Loki's own parts: 500 in Loki's words, too large in fact. */
const TOO_LARGE = /received message larger than max|message size too large/i;

/** A label set Loki does not take: a setting is wrong, not a record. */
const LABELS = new RegExp(
  [
    "at least one label pair is required",
    "error parsing labels",
    "has \\d+ label names; limit",
    "has label name too long",
    "has duplicate label name",
    "missing (required|enforced) labels",
    "structured metadata, but this feature is disallowed",
  ].join("|"),
  "i",
);

/** Refuses every record of the stream. */
const VALUE = /^stream '.*' has label value too long/s;

/** VictoriaLogs about a tenant that is no number: the request, whatever is in it. */
const REQUEST = /cannot parse common params from request/i;

/** One entry's text or size: certain when the request had one record. */
const RECORD = new RegExp(
  [
    "^Max entry size",
    "has timestamp too (old|new)",
    "structured metadata too large",
    "too many structured metadata",
  ].join("|"),
  "i",
);

/** What a refusal means; undefined: it says nothing that its status does not say. */
export function ofLokiReply(answer: Answer, host: string, sent: Sent): Outcome | undefined {
  const text = answer.text.trim();
  const reason = reasonOf(host, answer);
  // Label values are the workload's own words: they must not decide anything.
  const bare = text.replaceAll(/"(?:[^"\\]|\\.)*"/g, '""');
  const total = TOTAL.exec(bare);
  if (TOO_LARGE.test(bare)) return { kind: "split", reason };
  if (answer.status === 429 || (answer.status === 400 && RATE.test(bare))) {
    // A tenant's limit is looked at first; those of streams later, when others may have been stored.
    const ambiguous = total !== null || (sent.streams > 1 && !TENANT_RATE.test(bare));
    return { kind: "retry", reason, afterMs: answer.retryAfterMs, ambiguous };
  }
  if (answer.status !== 400) return undefined;
  if (REQUEST.test(bare)) return { kind: "hold", reason };
  const split: Outcome = { kind: "split", reason };
  if (sent.streams > 1) return split;
  if (LABELS.test(bare)) return { kind: "hold", reason: `${reason}; check the sink's labels` };
  const rows = sent.rows();
  if (VALUE.test(bare)) return { kind: "reject", refused: rows.map((row) => refuse(row, bare, false)) };
  const refused = total ? ofIngester(text, Number(total[1]), Number(total[2]), rows) : ofDistributor(bare, rows);
  return refused && refused.length > 0 ? { kind: "reject", refused } : split;
}

/** `entry with timestamp` lines; undefined when they leave a doubt. */
function ofIngester(text: string, ignored: number, total: number, rows: SentRow[]): Refused[] | undefined {
  const named: { at: Instant; reason: string }[] = [];
  for (const line of text.split("\n")) {
    const [, time, reason] = ENTRY.exec(line) ?? [];
    const at = time === undefined ? undefined : goTime(time);
    if (at && reason !== undefined) named.push({ at, reason });
  }
  const first = named[0];
  // Fewer than were sent: others were refused before they came here.
  if (!first || total !== rows.length || !named.every(({ reason }) => OUT_OF_ORDER.test(reason))) return undefined;
  if (ignored === rows.length && allBehind(named, rows)) {
    return rows.map((row) => refuse(row, first.reason, true));
  }
  if (named.length !== ignored) return undefined;
  const refused: Refused[] = [];
  for (const [time, group] of Map.groupBy(named, ({ at }) => `${at.seconds}.${at.nanos}`)) {
    const same = rows.filter((row) => `${row.seconds}.${row.nanos}` === time);
    if (same.length < group.length) return undefined;
    // A stream's newest time only grows: of records with one time the later ones are refused.
    for (const row of same.slice(-group.length)) refused.push(refuse(row, group[0]!.reason, true));
  }
  return refused;
}

/**
 * All are refused, but only some are named: are the others refused for being late as well, and not for a limit that
 * they would pass later? Old Lokis know no other reason here; newer ones give the time before which nothing is taken.
 */
function allBehind(named: { reason: string }[], rows: SentRow[]): boolean {
  if (named.length === rows.length) return true;
  return named.every(({ reason }) => {
    const cutoff = rfcTime(CUTOFF.exec(reason)?.[1]);
    return (
      reason === "entry out of order" || (cutoff !== undefined && rows.every((row) => row.seconds < cutoff.seconds))
    );
  });
}

/** The distributor's sentences; undefined when they leave a doubt. */
function ofDistributor(text: string, rows: SentRow[]): Refused[] | undefined {
  const only = rows[0];
  const counted = text.split(COUNTED).slice(1);
  const texts = counted.length > 0 ? counted.filter((_, i) => i % 2 === 1) : [text];
  const sentence = texts[0] ?? text;
  if (rows.length === 1 && only) return RECORD.test(sentence) ? [refuse(only, sentence, false)] : undefined;
  if (!texts.every((each) => TOO_OLD.test(each))) return undefined;
  const old = rows.filter((row) => isTooOld(row, sentence));
  if (counted.length > 0) {
    const count = counted.reduce((sum, part, i) => sum + (i % 2 === 0 ? Number(part) : 0), 0);
    return count === old.length ? old.map((row) => refuse(row, sentence, false)) : undefined;
  }
  // It may be the last of several errors, so none may hide before it: everything up to it is too old.
  const last = old.at(-1);
  const time = TOO_OLD.exec(sentence)?.[1];
  const told = rfcTime(time) ?? goTime(time);
  const prefix = rows.slice(0, old.length).every((row, i) => row === old[i]);
  return last && told?.seconds === last.seconds && prefix ? old.map((row) => refuse(row, sentence, false)) : undefined;
}

/** Older than the time that the sentence gives as the oldest acceptable, or no younger than the one it refuses. */
function isTooOld(row: SentRow, sentence: string): boolean {
  const cutoff = rfcTime(CUTOFF.exec(sentence)?.[1]);
  if (cutoff) return row.seconds < cutoff.seconds;
  const told = goTime(TOO_OLD.exec(sentence)?.[1]);
  return (
    told !== undefined && (row.seconds < told.seconds || (row.seconds === told.seconds && row.nanos <= told.nanos))
  );
}

function refuse({ slice, row }: SentRow, text: string, outOfOrder: boolean): Refused {
  return { slice, row, reason: headOf(text).slice(2), outOfOrder };
}

interface Instant {
  seconds: number;
  nanos: number;
}

/** Go's time.String(): `2021-07-17 06:34:49.020024184 +0000 UTC`. */
function goTime(text: string | undefined): Instant | undefined {
  const [, date, clock, fraction = "", hours, minutes] =
    /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d{1,9}))? ([+-]\d\d)(\d\d) \S+$/.exec(text ?? "") ?? [];
  if (date === undefined) return undefined;
  const ms = Date.parse(`${date}T${clock}${hours}:${minutes}`);
  return Number.isNaN(ms) ? undefined : { seconds: ms / 1000, nanos: Number(fraction.padEnd(9, "0")) };
}

/** RFC 3339 in whole seconds, as newer Lokis write it. */
function rfcTime(text: string | undefined): Instant | undefined {
  const ms = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(text ?? "") ? Date.parse(text ?? "") : NaN;
  return Number.isNaN(ms) ? undefined : { seconds: ms / 1000, nanos: 0 };
}
