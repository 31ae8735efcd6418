/** What can go wrong between us and the API server, as classes; anything else that is thrown is our own fault. */

/** The server's own account of a failure (meta/v1 Status), as much of it as we use. */
export interface Status {
  readonly code?: number;
  readonly reason?: string;
  readonly message?: string;
  readonly details?: { readonly retryAfterSeconds?: number; readonly causes?: readonly Cause[] };
}

export interface Cause {
  readonly reason?: string;
  readonly message?: string;
  readonly field?: string;
}

const TEXT_CHARS_MAX = 300;

/** The server answered, and the answer is no. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  /** The HTTP status; of an error inside a watch, what stood in its place. */
  readonly code: number;
  /** One word such as NotFound, Conflict, AlreadyExists, Expired; "" when the answer came from something in between. */
  readonly reason: string;
  /** What the server asks us to wait before the next try. */
  readonly retryAfterMs: number | undefined;
  readonly status: Status;

  constructor(what: string, code: number, status: Status, retryAfterMs?: number) {
    const reason = status.reason ?? "";
    super([`${what}: ${code}${reason && ` ${reason}`}`, ...(status.message ? [status.message] : [])].join(": "));
    this.code = code;
    this.reason = reason;
    const seconds = status.details?.retryAfterSeconds;
    this.retryAfterMs = retryAfterMs ?? (seconds === undefined ? undefined : seconds * 1000);
    this.status = status;
  }

  /** From a reply that is not 2xx: a Status, or the first characters of whatever a proxy said. */
  static ofReply(what: string, code: number, body: Buffer, retryAfterMs?: number): ApiError {
    const text = body.toString("utf8");
    return new ApiError(what, code, statusOf(text) ?? { message: headOf(text) }, retryAfterMs);
  }

  /** There is no such object, or no such kind of object. */
  get notFound(): boolean {
    return this.code === 404;
  }

  /** A precondition did not hold, another field manager owns a field, or the object exists already (then `reason` is AlreadyExists). */
  get conflict(): boolean {
    return this.code === 409;
  }

  /** The history that was asked for is compacted: list anew. */
  get gone(): boolean {
    return this.code === 410;
  }
}

/** No whole answer came: no connection, a cut one, TLS, silence. What was asked for may have been done all the same. */
export class ConnectionError extends Error {
  override readonly name = "ConnectionError";
}

/** The answer is longer than the caller can take. */
export class TooLong extends Error {
  override readonly name = "TooLong";
}

/** The answer is not what the API promises: no JSON, or no list where one was asked for. */
export class BadAnswer extends Error {
  override readonly name = "BadAnswer";
}

/** The server had its say about what was asked; not: who are you, not now, or nothing at all. */
export function isVerdict(error: Error): boolean {
  if (error instanceof ApiError) return ![401, 403, 429, 503].includes(error.code);
  return error instanceof BadAnswer || error instanceof TooLong;
}

function statusOf(text: string): Status | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const isStatus = typeof value === "object" && value !== null && "kind" in value && value.kind === "Status";
    return isStatus ? (value as Status) : undefined;
  } catch {
    return undefined;
  }
}

/** The head of a text, on one line and without control characters. */
function headOf(text: string): string {
  return text
    .slice(0, 4 * TEXT_CHARS_MAX)
    .replaceAll(/[\s\p{Cc}]+/gu, " ")
    .trim()
    .slice(0, TEXT_CHARS_MAX);
}
