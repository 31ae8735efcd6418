/**
 * The one HTTP layer under every sink that speaks it: a pool of connections to one origin, headers and credentials, a
 * time limit for the whole exchange, and what a status means as an Outcome (status.ts).
 *
 * Bodies are views over the agent's memory and are not copied. So a block may be reused only when no socket can still
 * read from it: `send` resolves after the socket took the whole body, or was destroyed. A server that answers before
 * it has read the request would otherwise be sent what is laid into the block next.
 *
 * Redirects are not followed, HTTP/2 is not offered, nothing is sent twice.
 */
import { Buffer } from "node:buffer";
import { buildConnector, Client, Pool, type Dispatcher } from "undici";
import type { HttpAuth } from "../../crds/config.ts";
import type { Clock } from "../clock.ts";
import type { Outcome } from "../dispatcher/sink.ts";
import { ofError, ofStatus, retryAfterMs, type Answer } from "./status.ts";

const REPLY_BYTES_MAX = 64 * 1024;
/** More than any sink has workers. */
const CONNECTIONS_MAX = 64;
const CONNECT_MS_MAX = 10_000;

export interface HttpSettings {
  readonly url: URL;
  readonly method: "POST" | "PUT";
  readonly headers: Readonly<Record<string, string>>;
  readonly auth?: HttpAuth | undefined;
  readonly requestTimeoutMs: number;
}

/** A connection that remembers its socket, so that an exchange can see whether its body has left. */
class Line extends Client {
  #socket: { readonly writableLength: number; destroy(): unknown } | undefined;

  constructor(origin: URL, options: Client.Options, connect: buildConnector.connector) {
    super(origin, {
      ...options,
      connect: (target, done) =>
        connect(target, (...result) => {
          if (result[1]) this.#socket = result[1];
          done(...result);
        }),
    });
  }

  override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    if (handler instanceof Exchange) handler.line = this;
    return super.dispatch(options, handler);
  }

  /** Closes the connection when it still holds bytes that were not written. */
  cut(): void {
    if (this.#socket && this.#socket.writableLength > 0) this.#socket.destroy();
  }
}

/** One request and its answer; resolves once. */
class Exchange implements Dispatcher.DispatchHandler {
  line: Line | undefined;
  readonly done: Promise<Answer | Error>;
  /** The request was, at least partly, written to a connection. */
  started = false;
  #finish: (result: Answer | Error) => void = () => {};
  #controller: Dispatcher.DispatchController | undefined;
  #stopped: Error | undefined;
  #status = 0;
  #retryAfterMs: number | undefined;
  #chunks: Buffer[] = [];
  #bytes = 0;
  readonly #wall: () => number;

  constructor(wall: () => number) {
    this.#wall = wall;
    this.done = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  /** Ends the exchange now; a connection that carries it is closed before this returns. */
  stop(reason: Error): void {
    this.#stopped ??= reason;
    this.#controller?.abort(reason);
    this.#finish(reason);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#stopped) controller.abort(this.#stopped);
    else this.started = true;
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: Record<string, unknown>): void {
    if (status < 200) return;
    this.#status = status;
    this.#retryAfterMs = retryAfterMs(headers["retry-after"], headers["date"], this.#wall());
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#chunks.push(chunk.subarray(0, REPLY_BYTES_MAX - this.#bytes));
    this.#bytes += chunk.length;
    if (this.#bytes >= REPLY_BYTES_MAX) controller.abort(new Error("the reply is longer than anybody reads"));
  }

  onResponseEnd(): void {
    this.#answer();
  }

  /** Also after an answer's head: then its status holds, with as much of the text as came. */
  onResponseError(_: unknown, error: Error): void {
    if (this.#status) this.#answer();
    else this.#finish(error);
  }

  #answer(): void {
    this.line?.cut();
    const text = Buffer.concat(this.#chunks).toString("utf8");
    this.#finish({ status: this.#status, text, retryAfterMs: this.#retryAfterMs });
  }
}

export class HttpClient {
  readonly #settings: HttpSettings;
  readonly #clock: Clock;
  readonly #pool: Pool;
  readonly #path: string;
  readonly #headers: string[];
  /** What must never be seen in a message, even when the server sends it back. */
  readonly #secrets: readonly string[];

  constructor(settings: HttpSettings, clock: Clock) {
    this.#settings = settings;
    this.#clock = clock;
    const { url, headers, requestTimeoutMs } = settings;
    const connect = buildConnector({
      timeout: Math.min(CONNECT_MS_MAX, requestTimeoutMs),
      allowH2: false,
      autoSelectFamily: true,
    });
    this.#pool = new Pool(url.origin, {
      connections: CONNECTIONS_MAX,
      pipelining: 1,
      allowH2: false,
      // One clock for the whole exchange, below.
      headersTimeout: 0,
      bodyTimeout: 0,
      factory: (origin, options) => new Line(origin, options, connect),
    });
    this.#path = url.pathname + url.search;
    const authorization = authorizationOf(settings);
    this.#headers = Object.entries({ "user-agent": "tailrace", ...headers, ...authorization }).flat();
    this.#secrets = secretsOf(settings, authorization["authorization"]);
  }

  /** `host:port`, the only part of the URL that messages show. */
  get host(): string {
    return this.#settings.url.host;
  }

  /** Sends once. An Answer when the server gave one, whatever its status; else the Outcome. Never rejects. */
  async send(body: Uint8Array, signal: AbortSignal): Promise<Answer | Outcome> {
    const exchange = new Exchange(() => this.#clock.wall());
    const { requestTimeoutMs } = this.#settings;
    const stop = (reason: string) => () => exchange.stop(new Error(reason));
    const onAbort = stop("was stopped before its answer came");
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    const cancel = this.#clock.after(requestTimeoutMs, stop(`no answer within ${requestTimeoutMs} ms`));
    try {
      if (!signal.aborted) {
        this.#pool.dispatch(
          { path: this.#path, method: this.#settings.method, headers: this.#headers, body },
          exchange,
        );
      }
      const result = await exchange.done;
      if (!(result instanceof Error)) return { ...result, text: this.#masked(result.text) };
      if (signal.aborted) return { kind: "retry", reason: `${this.host}: ${result.message}`, ambiguous: true };
      return ofError(this.host, result, exchange.started);
    } catch (error) {
      return ofError(this.host, error instanceof Error ? error : new Error(String(error)), exchange.started);
    } finally {
      cancel();
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** What an answer means where the protocol says nothing better. */
  outcome(answer: Answer): Outcome {
    return ofStatus(this.host, answer);
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
  }

  #masked(text: string): string {
    let masked = text;
    for (const secret of this.#secrets) masked = masked.replaceAll(secret, "***");
    return masked;
  }
}

function authorizationOf({ auth }: HttpSettings): Record<string, string> {
  if (auth?.bearer) return { authorization: `Bearer ${auth.bearer.reveal()}` };
  if (!auth?.basic) return {};
  const pair = `${auth.basic.username.reveal()}:${auth.basic.password.reveal()}`;
  return { authorization: `Basic ${Buffer.from(pair).toString("base64")}` };
}

function secretsOf({ auth, headers }: HttpSettings, authorization: string | undefined): string[] {
  const named = Object.entries(headers).filter(([name]) => /auth|token|key|secret|cookie/i.test(name));
  const secrets = [
    auth?.basic?.password.reveal(),
    auth?.bearer?.reveal(),
    authorization?.replace(/^\w+ /, ""),
    ...named.map(([, value]) => value),
  ];
  return secrets.filter((secret): secret is string => secret !== undefined && secret !== "");
}
