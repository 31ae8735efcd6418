/**
 * HTTP/1.1 to one API server: a pool of connections, credentials as they are at the moment of each request, a time and a
 * size limit, and bodies either whole or as they come. Nothing is sent twice, except after a 401 when the credentials
 * turn out to have changed. Redirects are not followed; HTTPS_PROXY is not used.
 */
import { Buffer } from "node:buffer";
import { Pool, type Dispatcher } from "undici";
import type { Access } from "./access.ts";
import type { Clock } from "./clock.ts";
import type { Credentials } from "./config.ts";
import { ConnectionError, TooLong } from "./errors.ts";

/** Each watch holds one for its life. */
const CONNECTIONS_MAX = 128;
const CONNECT_MS_MAX = 10_000;
/** Idle so long, a connection is probed: ten times a second apart, as Node sets it. */
const KEEPALIVE_MS = 30_000;
/** Of an answer that is not 2xx nobody reads more. */
const ERROR_BYTES_MAX = 64 * 1024;

export interface Call {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** With its query. */
  readonly path: string;
  readonly accept: string;
  readonly contentType?: string;
  readonly body?: string;
  /** For the whole exchange; with `onData` until the answer's head. */
  readonly timeoutMs: number;
  readonly bytesMax: number;
  /** Its reason, an Error, is what the call rejects with. */
  readonly signal?: AbortSignal | undefined;
  /** Takes the body of a 2xx answer as it comes; what it throws ends the exchange. */
  readonly onData?: (chunk: Buffer) => void;
}

export interface Reply {
  readonly status: number;
  readonly retryAfterMs: number | undefined;
  /** Empty where onData took it. */
  readonly body: Buffer;
}

/** Makes the connections for an access; tests bring their own. */
export type Connect = (access: Access) => Dispatcher;

export class Http {
  readonly #credentials: Credentials;
  readonly #clock: Clock;
  readonly #userAgent: string;
  readonly #connect: Connect;
  #open: { id: string; dispatcher: Dispatcher } | undefined;
  /** Of credentials that are no more: they end with their last request. */
  readonly #leaving = new Set<Dispatcher>();
  #closed = false;

  constructor(credentials: Credentials, clock: Clock, userAgent: string, connect: Connect = connectPool) {
    this.#credentials = credentials;
    this.#clock = clock;
    this.#userAgent = userAgent;
    this.#connect = connect;
  }

  /** Resolves with the server's answer, whatever its status. Rejects with ConnectionError, TooLong, AccessError or the signal's reason. */
  async send(call: Call): Promise<Reply> {
    const access = await this.#credentials.current();
    const reply = await this.#exchange(access, call);
    if (reply.status !== 401) return reply;
    const fresh = await this.#credentials.reread();
    return fresh === access ? reply : this.#exchange(fresh, call);
  }

  /** Ends every request and connection; later requests fail. */
  async close(): Promise<void> {
    this.#closed = true;
    const all = [...this.#leaving, ...(this.#open ? [this.#open.dispatcher] : [])];
    this.#open = undefined;
    await Promise.all(all.map(async (dispatcher) => dispatcher.destroy()));
  }

  async #exchange(access: Access, call: Call): Promise<Reply> {
    const { signal, timeoutMs, method } = call;
    const base = access.server.pathname.replace(/\/$/, "");
    const exchange = new Exchange(call, `${method} ${access.server.host}${base}${call.path.replace(/\?.*/, "")}`);
    const onAbort = (): void => exchange.stop(signal!.reason as Error);
    if (signal?.aborted) throw signal.reason as Error;
    if (this.#closed) throw new ConnectionError("the client is closed");
    signal?.addEventListener("abort", onAbort, { once: true });
    exchange.cancelTimer = this.#clock.after(timeoutMs, () => exchange.fail(`no answer within ${timeoutMs} ms`));
    try {
      const path = base + call.path;
      const headers = this.#headers(access, call);
      this.#dispatcherOf(access).dispatch(
        { origin: access.server.origin, path, method, headers, body: call.body ?? null },
        exchange,
      );
      return await exchange.done;
    } finally {
      exchange.cancelTimer();
      signal?.removeEventListener("abort", onAbort);
    }
  }

  #headers(access: Access, { accept, contentType }: Call): string[] {
    const authorization = access.authorization();
    return [
      ...["accept", accept, "user-agent", this.#userAgent],
      ...(contentType === undefined ? [] : ["content-type", contentType]),
      ...(authorization === undefined ? [] : ["authorization", authorization]),
    ];
  }

  #dispatcherOf(access: Access): Dispatcher {
    if (this.#open?.id === access.connectionId) return this.#open.dispatcher;
    const old = this.#open?.dispatcher;
    const dispatcher = this.#connect(access);
    this.#open = { id: access.connectionId, dispatcher };
    if (old) {
      this.#leaving.add(old);
      // Watches on it go on; the promise resolves when the last of them has ended.
      const left = (): void => void this.#leaving.delete(old);
      old.close().then(left, left);
    }
    return dispatcher;
  }
}

function connectPool(access: Access): Dispatcher {
  const { ca, cert, key, servername, insecure } = access.tls();
  return new Pool(access.server.origin, {
    ...{ connections: CONNECTIONS_MAX, pipelining: 1, allowH2: false },
    // One clock for all limits, above.
    ...{ headersTimeout: 0, bodyTimeout: 0 },
    connect: {
      ...{ timeout: CONNECT_MS_MAX, rejectUnauthorized: !insecure },
      // A watch says nothing for minutes: who is gone without a word is found out by the kernel, within a minute.
      ...{ keepAlive: true, keepAliveInitialDelay: KEEPALIVE_MS },
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
      ...(servername === undefined ? {} : { servername }),
    },
  });
}

/** One request and its answer; settles once. */
class Exchange implements Dispatcher.DispatchHandler {
  readonly done: Promise<Reply>;
  cancelTimer: () => void = () => {};
  readonly #call: Call;
  readonly #what: string;
  #resolve: (reply: Reply) => void = () => {};
  #reject: (error: Error) => void = () => {};
  #controller: Dispatcher.DispatchController | undefined;
  #stopped: Error | undefined;
  #status = 0;
  #retryAfterMs: number | undefined;
  #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(call: Call, what: string) {
    this.#call = call;
    this.#what = what;
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** Ends the exchange with an error, and its connection. */
  stop(reason: Error): void {
    if (this.#stopped) return;
    this.#stopped = reason;
    this.#controller?.abort(reason);
    this.#reject(reason);
  }

  fail(why: string): void {
    this.stop(new ConnectionError(`${this.#what}: ${why}`));
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#stopped) controller.abort(this.#stopped);
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: Record<string, unknown>): void {
    if (status < 200) return;
    this.#status = status;
    const retryAfter = headers["retry-after"];
    // The API server gives seconds; a date, as proxies may, is passed over.
    if (typeof retryAfter === "string" && /^\d{1,6}$/.test(retryAfter)) this.#retryAfterMs = Number(retryAfter) * 1000;
    if (this.#streams) this.cancelTimer();
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#stopped) return;
    if (this.#streams) {
      try {
        this.#call.onData!(chunk);
      } catch (error) {
        this.stop(error as Error);
      }
      return;
    }
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes <= (this.#ok ? this.#call.bytesMax : ERROR_BYTES_MAX)) return;
    if (this.#ok) this.stop(new TooLong(`${this.#what}: the answer has more than ${this.#call.bytesMax} bytes`));
    else {
      this.#answer();
      this.stop(new Error("enough of the answer is known"));
    }
  }

  onResponseEnd(): void {
    this.#answer();
  }

  onResponseError(_: unknown, error: Error): void {
    this.fail(reasonOf(error));
  }

  get #ok(): boolean {
    return this.#status < 300;
  }

  get #streams(): boolean {
    return this.#ok && this.#call.onData !== undefined;
  }

  #answer(): void {
    const body = Buffer.concat(this.#chunks);
    this.#chunks = [];
    this.#resolve({ status: this.#status, retryAfterMs: this.#retryAfterMs, body });
  }
}

/** An error that stands for several (a name with more than one address) is told by its first. */
function reasonOf(error: Error): string {
  const first: unknown = error instanceof AggregateError ? error.errors[0] : undefined;
  const told = first instanceof Error ? first : error;
  const { code } = told as NodeJS.ErrnoException;
  if (code === undefined || told.message.includes(code)) return told.message;
  return told.message === "" ? code : `${told.message} (${code})`;
}
