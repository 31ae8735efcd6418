/**
 * The agent's HTTP: health, metrics and /v1. It only looks and asks for a reload; it listens on loopback unless it is
 * told otherwise, and answers nobody who calls it by a foreign name.
 *
 *     /healthz  /readyz  /metrics
 *     /v1/ledger  /v1/pipelines  /v1/config  /v1/positions      ?pretty indents
 *     POST /v1/reload
 */
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import type { Problem } from "../crds/config.ts";
import { realClock, type Clock } from "./clock.ts";
import { formatAddress, isOwnHost, parseAddress } from "./listen.ts";
import type { Agent } from "./main.ts";
import { Metrics } from "./metrics.ts";
import { configView, ledgerView, pipelinesView, positionsView } from "./views.ts";

/**
 * A turn comes at the latest with the rescan that is due every 30 s, whatever sinks, backoffs and disks do; without one
 * for this long the loop has stalled. (A loop that computes for ever answers nobody, which probes see as well.)
 */
const STALL_MS = 45_000;
const BODY_BYTES_MAX = 16 * 1024;
const REQUEST_MS_MAX = 10_000;
const CONNECTIONS_MAX = 64;

export interface AdminOptions {
  /** Not started yet: the counters of /metrics begin at what it finds now. */
  readonly agent: Agent;
  /** Reads the configuration again and goes over to it; with problems the old one stays. */
  readonly reload: () => Promise<{ problems: readonly Problem[] }>;
  /** `host:port`; port 0 takes a free one, `:port` is on loopback. */
  readonly listen: string;
  readonly clock?: Clock;
}

export interface Admin {
  /** `http://host:port` */
  readonly address: string;
  close(): Promise<void>;
}

/** Begins to listen. Rejects when `listen` is no address (a sentence) or can't be had (the system's error). */
export async function createAdmin({ agent, reload, listen, clock = realClock }: AdminOptions): Promise<Admin> {
  const { host, port } = parseAddress(listen);
  const server = fastify({
    ...{ logger: false, bodyLimit: BODY_BYTES_MAX, requestTimeout: REQUEST_MS_MAX, forceCloseConnections: true },
  });
  server.server.maxConnections = CONNECTIONS_MAX;
  guard(server, host);
  health(server, agent, clock);
  const metrics = new Metrics(agent, clock);
  server.get("/metrics", async (_request, reply) => {
    const text = await metrics.scrape();
    return reply.type(metrics.contentType).send(text);
  });
  const views: Record<string, () => unknown> = {
    ledger: () => ledgerView(agent, new Date(clock.wall()).toISOString()),
    pipelines: () => pipelinesView(agent, clock.now(), clock.wall()),
    config: () => configView(agent),
    positions: () => positionsView(agent),
  };
  for (const [name, view] of Object.entries(views)) {
    server.get(`/v1/${name}`, (request, reply) => answer(request, reply, 200, view()));
  }
  server.post("/v1/reload", async (request, reply) => {
    const { problems } = await reload();
    return answer(request, reply, problems.length > 0 ? 422 : 200, { reloaded: problems.length === 0, problems });
  });
  await server.listen({ host, port });
  const { port: taken } = server.server.address() as { port: number };
  return {
    address: `http://${formatAddress({ host, port: taken })}`,
    close: () => server.close(),
  };
}

/** JSON on one line, or indented with `?pretty`. */
function answer(request: FastifyRequest, reply: FastifyReply, status: number, value: unknown): FastifyReply {
  const pretty = Object.hasOwn(request.query as object, "pretty");
  const text = JSON.stringify(value, undefined, pretty ? 2 : undefined);
  return reply.code(status).type("application/json; charset=utf-8").send(`${text}\n`);
}

/** Who is answered, and what errors look like. */
function guard(server: FastifyInstance, host: string): void {
  server.addHook("onRequest", async (request, reply) => {
    void reply.header("cache-control", "no-store").header("x-content-type-options", "nosniff");
    const { host: named, origin } = request.headers;
    if (!isOwnHost(named, host)) {
      const error = `this is not ${JSON.stringify(named ?? "")}: ask by IP address or as localhost`;
      return answer(request, reply, 421, { error });
    }
    // Pages of other sites may send a POST without being able to read the answer.
    if (request.method !== "GET" && origin !== undefined && !isOwnHost(origin.replace(/^\w+:\/\//, ""), host)) {
      return answer(request, reply, 403, { error: `pages of ${JSON.stringify(origin)} may not ask for this` });
    }
    return undefined;
  });
  // No request has a body that matters; whatever comes is bounded and ignored.
  server.removeAllContentTypeParsers();
  server.addContentTypeParser("*", { parseAs: "string" }, (_request, _body, done) => done(null, undefined));
  server.setNotFoundHandler((request, reply) => {
    const error = `there is no ${request.method} ${request.url.split("?", 1)[0]}`;
    return answer(request, reply, 404, { error });
  });
  server.setErrorHandler((error: Error & { statusCode?: number }, request, reply) =>
    answer(request, reply, error.statusCode ?? 500, { error: error.message }),
  );
}

function health(server: FastifyInstance, agent: Agent, clock: Clock): void {
  const started = (): boolean => agent.turns > 0;
  /** No sink takes records any more: the loop has no turns to take. */
  const draining = (): boolean =>
    started() && [...agent.dispatcher.outlets.values()].every((outlet) => outlet.stopping);
  server.get("/healthz", (request, reply) => {
    const lastTurnMs = Math.round(clock.now() - agent.turnedAt);
    if (lastTurnMs <= STALL_MS || draining()) return answer(request, reply, 200, { status: "ok", lastTurnMs });
    const error = `the loop has taken no turn for ${lastTurnMs} ms; restart the agent, nothing is lost`;
    return answer(request, reply, 503, { error });
  });
  server.get("/readyz", (request, reply) => {
    if (!started()) return answer(request, reply, 503, { error: "the agent has not begun to read yet" });
    if (draining()) return answer(request, reply, 503, { error: "the agent drains and takes no more lines" });
    return answer(request, reply, 200, { status: "ready" });
  });
}
