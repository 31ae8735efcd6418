/**
 * What an HTTP answer, or the lack of one, means for the records that were sent: the table every HTTP sink shares.
 *
 *   2xx                               delivered
 *   no connection                     retry
 *   reset or time over after sending  retry, ambiguous: nobody knows whether they were stored
 *   408, 429, 5xx                     retry, after the time the server asks for
 *   413, 400, 422                     split: too much, or one record of it is bad and the answer does not say which
 *   any other 3xx, 4xx; TLS; no HTTP  hold: nothing is wrong with the records
 *
 * Reasons name the host, the status and the head of the reply, never a path, a header or a credential.
 */
import { STATUS_CODES } from "node:http";
import type { Outcome } from "../dispatcher/sink.ts";

export interface Answer {
  readonly status: number;
  /** At most 64 KiB of the reply. */
  readonly text: string;
  readonly retryAfterMs: number | undefined;
}

const REPLY_HEAD_CHARS = 200;
/** A server that asks for more is asked again after this. */
const RETRY_AFTER_MS_MAX = 3_600_000;

/** A 400 of a server that expects TLS (nginx, Go): the URL is wrong, not the records. */
const WANTS_TLS = /plain HTTP request was sent to HTTPS port|HTTP request to an HTTPS server/i;

/** `loki:3100 answered 404 Not Found: what it said`. */
export function reasonOf(host: string, { status, text }: Answer): string {
  const name = STATUS_CODES[status];
  return `${host} answered ${status}${name === undefined ? "" : ` ${name}`}${headOf(text)}`;
}

export function ofStatus(host: string, answer: Answer): Outcome {
  const { status, text, retryAfterMs: afterMs } = answer;
  const reason = reasonOf(host, answer);
  if (status >= 200 && status < 300) return { kind: "delivered" };
  if (status === 408 || status === 429 || status >= 500) return { kind: "retry", reason, afterMs };
  if (status === 400 && WANTS_TLS.test(text)) return { kind: "hold", reason };
  if (status === 413 || status === 400 || status === 422) return { kind: "split", reason };
  if (status < 400) return { kind: "hold", reason: `${reason}; redirects are not followed, give the URL it leads to` };
  return { kind: "hold", reason };
}

/** `started`: the request was, at least partly, written. */
export function ofError(host: string, thrown: Error, started: boolean): Outcome {
  const error = firstOf(thrown);
  const code = codeOf(error);
  const detail = error.message.includes(code) ? error.message : `${error.message} (${code})`;
  const reason = `${host}: ${detail || error.name}`;
  if (isTls(code)) return { kind: "hold", reason };
  // A header that cannot be sent, such as a token with a newline in it.
  if (code === "UND_ERR_INVALID_ARG") return { kind: "hold", reason };
  if (error.name === "HTTPParserError") return { kind: "hold", reason: `${reason}; this is no HTTP server` };
  return started ? { kind: "retry", reason, ambiguous: true } : { kind: "retry", reason };
}

/** `: the head of the reply` on one line; empty for no reply. */
export function headOf(text: string): string {
  const line = text
    .replaceAll(/[\s\p{Cc}]+/gu, " ")
    .trim()
    .slice(0, REPLY_HEAD_CHARS);
  return line === "" ? "" : `: ${line}`;
}

/** An error that stands for several (a name with more than one address) is told by its first. */
function firstOf(error: Error): Error {
  const first: unknown = error instanceof AggregateError ? error.errors[0] : undefined;
  return first instanceof Error ? first : error;
}

function codeOf(error: Error): string {
  const { code } = error as NodeJS.ErrnoException;
  return typeof code === "string" ? code : "";
}

/** OpenSSL's verdicts as node names them. */
function isTls(code: string): boolean {
  return (
    /^(CERT_|ERR_TLS_|ERR_SSL_|UNABLE_TO_|INVALID_CA|CRL_|PATH_LENGTH_EXCEEDED|HOSTNAME_MISMATCH)/.test(code) ||
    code.includes("SELF_SIGNED") ||
    code === "EPROTO"
  );
}

/**
 * Milliseconds to wait as `Retry-After` says (RFC 9110 §10.2.3), in seconds or as a date; a date is compared with the
 * server's own clock where it tells it. undefined: not said, or not understood.
 */
export function retryAfterMs(header: unknown, date: unknown, wall: number): number | undefined {
  if (typeof header !== "string") return undefined;
  const text = header.trim();
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : dateMs(text) - (dateMs(date) || wall);
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), RETRY_AFTER_MS_MAX);
}

/** An HTTP date as milliseconds since 1970; NaN for anything else. */
function dateMs(text: unknown): number {
  return typeof text === "string" && /^[A-Z][a-z]{2,8},? /.test(text) ? Date.parse(text) : NaN;
}
