/**
 * A destination on a real socket: takes NDJSON and Loki's JSON, keeps an exact set of what it accepted and misbehaves
 * as it is told.
 * A line counts as accepted before the answer goes out, and never when the answer is an error.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { ExactSet, type Delivered } from "./exact-set.ts";
import type { Place } from "./agent-process.ts";
import { eventually } from "./wait.ts";

const BODY_BYTES_MAX = 64 << 20;

export interface Push {
  readonly body: Buffer;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly records: readonly Delivered[];
  /** Of this server, from 0. */
  readonly number: number;
}

/** `hang`: no answer ever; `reset`: the connection is cut instead. */
export type Answer = { status: number; headers?: Record<string, string>; text?: string } | "hang" | "reset";

const accept = (): Answer => ({ status: 204 });

export class SinkServer {
  readonly set = new ExactSet();
  /** Records of accepted requests whose texts are not those of log-writer.ts, when `keep` is set. */
  readonly kept: Delivered[] = [];
  keep = false;
  url = "";
  /** Answers a request that came whole. */
  answer: (push: Push) => Answer = accept;
  delayMs = 0;
  /** Connections are cut after so many bytes of a body; Infinity: not. */
  cutAfterBytes = Infinity;
  /** Moments at which requests came, answered or not, by the clock of `performance`. */
  readonly arrivals: number[] = [];
  cuts = 0;
  #port = 0;
  #server: Server | undefined;
  readonly #sockets = new Map<Socket, number>();

  static async open(place: Place): Promise<SinkServer> {
    const sink = new SinkServer();
    await sink.listen();
    place.after(() => sink.close());
    return sink;
  }

  /** Opens the port, the same one as before. */
  async listen(): Promise<void> {
    const server = createServer((request, reply) => void this.#serve(request, reply));
    server.on("connection", (socket: Socket) => {
      this.#sockets.set(socket, this.set.kills.length);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.#port, "127.0.0.1", resolve);
    });
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
    this.url = `http://127.0.0.1:${this.#port}/`;
  }

  /** Closes the port and cuts all connections. */
  async close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (!server) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of this.#sockets.keys()) socket.resetAndDestroy();
    await closed;
  }

  /** The agent was killed then; resolves when all that it had sent has been read. */
  async killed(at: number): Promise<void> {
    this.set.kills.push(at);
    const { length } = this.set.kills;
    await eventually("the end of the dead agent's connections", () =>
      [...this.#sockets.values()].every((life) => life >= length),
    );
  }

  get connections(): number {
    return this.#sockets.size;
  }

  /** The accepted records that were kept. */
  texts(): string[] {
    return this.kept.map(({ text }) => text);
  }

  async #serve(request: IncomingMessage, reply: ServerResponse): Promise<void> {
    const body = await this.#read(request);
    if (!body) return;
    const { socket } = request;
    const life = this.#sockets.get(socket) ?? this.set.kills.length;
    const records = recordsOf(request, body);
    const answer = this.answer({ body, headers: request.headers, records, number: this.arrivals.length });
    this.arrivals.push(performance.now());
    if (answer === "hang") return;
    if (answer === "reset") return void socket.resetAndDestroy();
    const index = this.set.begin(life);
    const entry = this.set.requests[index]!;
    entry.status = answer.status;
    if (answer.status < 300) this.#accept(index, records);
    reply.on("finish", () => (entry.answeredAt = performance.now()));
    const send = (): void => void reply.writeHead(answer.status, answer.headers).end(answer.text);
    if (this.delayMs > 0) setTimeout(send, this.delayMs);
    else send();
  }

  #accept(index: number, records: readonly Delivered[]): void {
    if (this.keep) this.kept.push(...records);
    else for (const record of records) this.set.take(index, record);
  }

  /** The body; undefined when it did not come whole. */
  #read(request: IncomingMessage): Promise<Buffer | undefined> {
    return new Promise((resolve) => {
      const parts: Buffer[] = [];
      let bytes = 0;
      request.on("data", (part: Buffer) => {
        parts.push(part);
        bytes += part.length;
        if (bytes <= Math.min(this.cutAfterBytes, BODY_BYTES_MAX)) return;
        this.cuts++;
        request.socket.resetAndDestroy();
        resolve(undefined);
      });
      request.on("end", () => resolve(Buffer.concat(parts)));
      request.on("error", () => resolve(undefined));
      request.on("close", () => resolve(undefined));
    });
  }
}

interface LokiPush {
  streams: { stream: Record<string, string>; values: [nanos: string, line: string][] }[];
}

function recordsOf({ headers, url }: IncomingMessage, body: Buffer): Delivered[] {
  const text = body.toString("utf8");
  if (!url?.includes("/loki/")) {
    const lines = headers["content-type"]?.includes("ndjson") ? text.split("\n") : [];
    return lines.flatMap((line) => (line === "" ? [] : [JSON.parse(line) as Delivered]));
  }
  const { streams } = JSON.parse(text) as LokiPush;
  return streams.flatMap(({ stream, values }) =>
    values.map(([nanos, line]) => ({ text: line, time: isoOf(nanos), stream: stream["stream"]!, pod: stream["pod"]! })),
  );
}

/** Nanoseconds since 1970 as `2026-11-23T10:00:00.123456789Z`. */
function isoOf(nanos: string): string {
  return `${new Date(Number(nanos.slice(0, -6))).toISOString().slice(0, 23)}${nanos.slice(-6)}Z`;
}
