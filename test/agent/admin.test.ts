import assert from "node:assert/strict";
import { statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { test, type TestContext } from "node:test";
import { text } from "node:stream/consumers";
import { createAdmin } from "../../agent/admin.ts";
import { SimWorld, DISPATCHER } from "../support/sim-world.ts";
import { accept, configOf, Destination, Live, refuse, until } from "./live.ts";

const pipeline = (url: string, more = ""): string => `
apiVersion: tailrace.dev/v1alpha1
kind: LogPipeline
metadata: {name: checkout, namespace: shop}
spec:
  process: [{drop: {text: {contains: noise}}}]
  dispatcher: {batchTimeout: 10ms, retryBaseDelay: 30s, retryMaxDelay: 30s, drainTimeout: 1s}
  sinks: [{name: web, http: {url: "${url}"${more}}}]
`;

type Ledger = Record<string, unknown> & {
  readLines: number;
  delivered: { lines: number; bytes: number };
  imbalance: { lines: number; bytes: number };
  backlogBytes: number;
};
interface LedgerView {
  total: Ledger;
  sinks: (Ledger & { sink: string; containers: (Ledger & { pod: string })[]; departed: Ledger })[];
}
interface SinkView {
  sink: string;
  state: string;
  trouble?: { reason: string; httpStatus?: number; failures: number; since: string; until: string };
  queue: { lines: number; bytes: number; oldestMs: number };
  workers: { state: string; batches: number }[];
  counts: { outcomes: Record<string, number> };
}

test("it is alive before it starts and ready after its first turn", async (t) => {
  const destination = await new Destination().open(t);
  const live = await Live.open(t, configOf(pipeline(destination.url)));
  assert.equal((await live.get("/healthz")).status, 200);
  const before = await live.get("/readyz");
  assert.equal(before.status, 503);
  assert.deepEqual(await before.json(), { error: "the agent has not begun to read yet" });
  live.agent.start();
  await until("the first turn", () => live.agent.turns > 0);
  assert.deepEqual(await live.json("/readyz"), { status: "ready" });
  assert.equal((await live.json<{ status: string }>("/healthz")).status, "ok");
});

test("while it drains it is alive and not ready", async (t) => {
  const destination = await new Destination().open(t);
  const live = await Live.open(t, configOf(pipeline(destination.url)));
  destination.answer = () => {};
  live.agent.start();
  live.write("a", ["one"]);
  await until("the request", () => destination.requests === 1);
  const stopped = live.stop();
  const ready = await live.get("/readyz");
  assert.deepEqual([ready.status, await ready.json()], [503, { error: "the agent drains and takes no more lines" }]);
  assert.equal((await live.get("/healthz")).status, 200);
  await stopped;
});

/** A simulated node, whose agent waits for whatever the destination does, and its admin server. */
async function simulated(t: TestContext, dispatcher = DISPATCHER) {
  const options = { url: "http://sim", method: "POST", format: "ndjson", headers: {}, requestTimeoutMs: 1 } as const;
  const selection = { namespaces: { include: [], exclude: [] }, containers: { include: [], exclude: [] } };
  const world = new SimWorld(() => 0.5, {
    agent: { memoryLimit: 16 * 1024 * 1024, maxLineBytes: 4096, maxOpenFiles: 64 },
    pipelines: [
      {
        ...{ id: "ClusterLogPipeline//all", kind: "ClusterLogPipeline", namespace: undefined, name: "all", selection },
        ...{ startAt: "Beginning", process: [], sinks: [{ name: "a", type: "http", options, dispatcher }] },
      },
    ],
  });
  world.addContainer();
  world.start();
  const reload = () => Promise.resolve({ problems: [] });
  const admin = await createAdmin({ agent: world.agent!, reload, listen: "127.0.0.1:0", clock: world.clock });
  t.after(() => admin.close());
  const health = async (): Promise<number> => (await fetch(`${admin.address}/healthz`)).status;
  return { world, admin, health };
}

for (const mode of ["retry", "hold", "hang"] as const) {
  test(`ten minutes of a destination that answers with ${mode} are no stall`, async (t) => {
    const { world, health } = await simulated(t);
    world.destination("ClusterLogPipeline//all/a").mode = mode;
    world.write(0, "stdout", "line", 500);
    for (let i = 0; i < 60; i++) {
      await world.clock.run(10_000);
      assert.equal(await health(), 200, `after ${i * 10} s`);
    }
    await world.stop();
  });
}

test("an idle agent is alive, and one whose loop takes no more turns is not", async (t) => {
  const { world, admin, health } = await simulated(t);
  await world.clock.run(3_600_000);
  assert.equal(await health(), 200);
  world.clock.clear();
  await world.clock.run(14_000);
  assert.equal(await health(), 200);
  await world.clock.run(32_000);
  const response = await fetch(`${admin.address}/healthz`);
  assert.equal(response.status, 503);
  assert.match(((await response.json()) as { error: string }).error, /^the loop has taken no turn for \d+ ms; /);
});

test("a long drain is no stall", async (t) => {
  const { world, health } = await simulated(t, { ...DISPATCHER, drainTimeoutMs: 300_000 });
  world.destination("ClusterLogPipeline//all/a").latencyMs = 9_000;
  world.write(0, "stdout", "line", 600);
  await world.clock.run(1_000);
  let stopped = false;
  const stopping = world.agent!.stop().then(() => (stopped = true));
  await world.clock.run(60_000);
  assert.deepEqual([stopped, await health()], [false, 200]);
  await world.during(stopping);
});

test("/v1/ledger adds up for each container, each sink and in all", async (t) => {
  const destination = await new Destination().open(t);
  const live = await Live.open(t, configOf(pipeline(destination.url)));
  const bytes = live.write("a", ["one", "noise", "two"]) + live.write("b", ["three"]);
  live.agent.start();
  const view = await until("the lines", async () => {
    const now = await live.json<LedgerView>("/v1/ledger");
    return now.total.delivered.lines === 3 && now;
  });
  const [web] = view.sinks;
  assert.deepEqual(
    [view.sinks.length, web?.sink, web?.containers.map(({ pod }) => pod).sort()],
    [1, "web", ["a", "b"]],
  );
  assert.deepEqual(view.total["filtered"], { [live.agent.running[0]!.process.names[0]!]: filteredOf(live) });
  assert.equal(view.total["end"], bytes);
  for (const ledger of [view.total, web!, ...web!.containers, web!.departed]) {
    assert.deepEqual(ledger.imbalance, { lines: 0, bytes: 0 });
    assert.deepEqual([ledger["dropped"], ledger["lost"], ledger.backlogBytes], [{}, {}, 0]);
  }
  assert.equal(web!.containers[0]!.readLines + web!.containers[1]!.readLines, 4);
});

/** The one filtered line, `noise`, with its framing. */
function filteredOf(live: Live): { lines: number; bytes: number } {
  const line = statSync(live.file("b")).size - "three".length + "noise".length;
  return { lines: 1, bytes: line };
}

test("/v1/ledger looks at the files as they are now, and names what was lost by its reason", async (t) => {
  const destination = await new Destination().open(t);
  const yaml = pipeline(destination.url).replaceAll("30s", "50ms").replace("10ms", "10ms, queueSize: 1, batchSize: 1");
  const live = await Live.open(t, configOf(yaml));
  destination.answer = refuse(503);
  live.write("a", ["one"]);
  live.agent.start();
  await until("trouble", () => destination.requests > 0);
  const more = live.write("a", ["two", "three"]);
  const behind = await live.json<LedgerView>("/v1/ledger");
  assert.equal(behind.total.backlogBytes, more);
  assert.deepEqual(behind.total.imbalance, { lines: 0, bytes: 0 });
  writeFileSync(live.file("a"), "x\n");
  destination.answer = accept;
  const lost = await until("the loss", async () => {
    const { total } = await live.json<LedgerView>("/v1/ledger");
    return Object.keys(total["lost"] as object).length > 0 && total;
  });
  assert.deepEqual(lost["lost"], { TruncatedBeforeRead: { lines: 0, bytes: more } });
  assert.deepEqual(lost.imbalance, { lines: 0, bytes: 0 });
});

test("/v1/pipelines says how a sink fares, why it is in trouble and until when", async (t) => {
  const destination = await new Destination().open(t);
  const live = await Live.open(t, configOf(pipeline(destination.url)));
  const look = async (): Promise<SinkView> => {
    const [only] = await live.json<{ pipeline: string; sinks: SinkView[] }[]>("/v1/pipelines");
    assert.equal(only?.pipeline, "LogPipeline/shop/checkout");
    return only.sinks[0]!;
  };
  live.agent.start();
  await until("the first turn", () => live.agent.turns > 0);
  assert.equal((await look()).state, "idle");
  destination.answer = refuse(503, "no room");
  live.write("a", ["one"]);
  const backoff = await until("the trouble", async () => {
    const sink = await look();
    return sink.trouble && sink;
  });
  assert.equal(backoff.state, "backoff");
  assert.equal(backoff.trouble!.httpStatus, 503);
  assert.match(backoff.trouble!.reason, /answered 503 Service Unavailable: no room/);
  assert.ok(Date.parse(backoff.trouble!.until) > Date.parse(backoff.trouble!.since));
  assert.deepEqual([backoff.queue.lines, backoff.workers.length, backoff.counts.outcomes["retry"]], [1, 4, 1]);
});

test("a credential that is refused shows as hold, with its status", async (t) => {
  const destination = await new Destination().open(t);
  const live = await Live.open(t, configOf(pipeline(destination.url)));
  destination.answer = refuse(401);
  live.write("a", ["one"]);
  live.agent.start();
  const sink = await until("the trouble", async () => {
    const [only] = await live.json<{ sinks: SinkView[] }[]>("/v1/pipelines");
    return only!.sinks[0]!.trouble && only!.sinks[0];
  });
  assert.deepEqual([sink.state, sink.trouble?.httpStatus], ["hold", 401]);
});

test("no answer holds a secret", async (t) => {
  const destination = await new Destination().open(t);
  const auth = ', auth: {bearer: {env: TOKEN}}, headers: {X-Api-Key: "header-secret"}';
  const live = await Live.open(t, configOf(pipeline(destination.url, auth), { TOKEN: "token-secret" }));
  destination.answer = refuse(401);
  live.write("a", ["one"]);
  live.agent.start();
  await until("the request", () => destination.requests > 0);
  for (const path of ["/v1/config", "/v1/pipelines", "/v1/positions", "/v1/ledger", "/metrics", "/healthz"]) {
    const body = await (await live.get(path)).text();
    assert.ok(!/token-secret|header-secret/.test(body), path);
  }
  const documents =
    await live.json<{ kind: string; spec: { sinks?: { http: Record<string, unknown> }[] } }[]>("/v1/config");
  assert.deepEqual(
    documents.map(({ kind }) => kind),
    ["AgentConfig", "LogPipeline"],
  );
  const { http } = documents[1]!.spec.sinks![0]!;
  assert.deepEqual([http["url"], http["headers"]], [destination.url, { "X-Api-Key": "***" }]);
});

test("/v1/positions says where each sink stands in each file", async (t) => {
  const destination = await new Destination().open(t);
  const live = await Live.open(t, configOf(pipeline(destination.url)));
  const bytes = live.write("a", ["one", "two"]);
  live.agent.start();
  await until("the lines", () => destination.records.length === 2);
  interface View {
    chains: Record<string, { pod: string; end: number; files: { hash: string; size: number; base: number }[] }>;
    sinks: { sink: string; positions: { chain: string; from: number; read: number }[] }[];
  }
  const view = await until("the Position", async () => {
    const now = await live.json<View>("/v1/positions");
    return now.sinks[0]!.positions[0]!.from === bytes && now;
  });
  const [position] = view.sinks[0]!.positions;
  const chain = view.chains[position!.chain]!;
  assert.deepEqual([position!.chain, position!.read, chain.pod, chain.end], ["uid-a/app/0", bytes, "a", bytes]);
  assert.deepEqual([chain.files.length, chain.files[0]!.size, chain.files[0]!.base], [1, bytes, 0]);
});

test("POST /v1/reload reloads, and tells the problems of a bad configuration", async (t) => {
  const destination = await new Destination().open(t);
  const problem = { file: "a.yaml", line: 3, path: "spec", message: "is empty" };
  const outcomes = [{ problems: [] }, { problems: [problem] }, new Error("the disk is gone")];
  const reload = () => {
    const outcome = outcomes.shift()!;
    return outcome instanceof Error ? Promise.reject(outcome) : Promise.resolve(outcome);
  };
  const live = await Live.open(t, configOf(pipeline(destination.url)), { reload });
  const post = async (init: RequestInit = {}) => {
    const response = await live.get("/v1/reload", { method: "POST", ...init });
    return [response.status, await response.json()];
  };
  assert.deepEqual(await post(), [200, { reloaded: true, problems: [] }]);
  assert.deepEqual(await post({ body: "x=1" }), [422, { reloaded: false, problems: [problem] }]);
  assert.deepEqual(await post(), [500, { error: "the disk is gone" }]);
  assert.equal((await live.get("/v1/reload")).status, 404);
});

/** Sends bytes as they are and returns all that comes back. */
async function raw(address: string, request: string): Promise<string> {
  const { hostname, port } = new URL(address);
  const socket = connect(Number(port), hostname.replace(/[[\]]/g, ""));
  socket.write(request);
  return text(socket);
}

test("whoever calls it by a foreign name gets no answer but a sentence", async (t) => {
  const destination = await new Destination().open(t);
  const live = await Live.open(t, configOf(pipeline(destination.url)));
  const ask = async (host: string, path = "/v1/config", more = ""): Promise<string> =>
    raw(live.admin.address, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${more}Connection: close\r\n\r\n`);
  for (const host of ["127.0.0.1", "localhost:80", "LOCALHOST", "[::1]:9598", "10.1.2.3:9598"]) {
    assert.match(await ask(host), /^HTTP\/1\.1 200 /, host);
  }
  for (const host of [
    "evil.example",
    "evil.example:9598",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "",
    "[::1",
  ]) {
    for (const path of ["/v1/config", "/metrics", "/healthz", "/nowhere"]) {
      const answer = await ask(host, path);
      assert.match(answer, /^HTTP\/1\.1 421 /, `${host} ${path}`);
      assert.match(answer, /\{"error":"this is not .*: ask by IP address or as localhost"\}\n$/);
      assert.ok(!answer.includes("LogPipeline"));
    }
  }
  assert.match(await raw(live.admin.address, "GET /v1/config HTTP/1.0\r\n\r\n"), /^HTTP\/1\.1 421 /);
});

test("pages of other sites can't ask for a reload", async (t) => {
  const destination = await new Destination().open(t);
  let reloads = 0;
  const reload = () => Promise.resolve({ problems: [], ...{ n: reloads++ } });
  const live = await Live.open(t, configOf(pipeline(destination.url)), { reload });
  const post = async (origin: string): Promise<number> =>
    (await live.get("/v1/reload", { method: "POST", headers: { origin } })).status;
  assert.equal(await post("https://evil.example"), 403);
  assert.equal(await post("null"), 403);
  assert.equal(reloads, 0);
  assert.equal(await post(live.admin.address), 200);
  assert.equal(reloads, 1);
});

test("errors are one line of JSON, and no body is read beyond its bound", async (t) => {
  const destination = await new Destination().open(t);
  const live = await Live.open(t, configOf(pipeline(destination.url)));
  const missing = await live.get("/v1/nothing?x=1");
  assert.deepEqual([missing.status, await missing.text()], [404, '{"error":"there is no GET /v1/nothing"}\n']);
  const large = await live.get("/v1/reload", { method: "POST", body: "x".repeat(17 * 1024) });
  const told = await large.text();
  assert.equal(large.status, 413);
  assert.ok(/^\{"error":".+"\}\n$/.test(told), told);
  const bad = await raw(live.admin.address, "NONSENSE\r\n\r\n");
  assert.match(bad, /^HTTP\/1\.1 400 /);
  assert.equal((await live.get("/healthz")).status, 200);
});

test("answers are one line, or indented when ?pretty asks for it", async (t) => {
  const destination = await new Destination().open(t);
  const live = await Live.open(t, configOf(pipeline(destination.url)));
  const short = await (await live.get("/v1/config")).text();
  const long = await (await live.get("/v1/config?pretty")).text();
  assert.equal(short.split("\n").length, 2);
  assert.match(long, /^\[\n {2}\{\n/);
  assert.deepEqual(JSON.parse(short), JSON.parse(long));
});

test("it listens where it is told to, on loopback when only a port is given", async (t) => {
  const destination = await new Destination().open(t);
  const config = configOf(pipeline(destination.url));
  const first = await Live.open(t, config, { listen: ":0" });
  assert.match(first.admin.address, /^http:\/\/127\.0\.0\.1:\d+$/);
  const taken = first.admin.address.slice("http://".length);
  await assert.rejects(Live.open(t, config, { listen: taken }), { code: "EADDRINUSE" });
  for (const listen of [
    "",
    "9598",
    "localhost",
    "localhost:",
    "localhost:70000",
    "::1:80",
    "http://localhost:80",
    "[::1]",
  ]) {
    await assert.rejects(Live.open(t, config, { listen }), /is no address; it looks like 127\.0\.0\.1:9598/, listen);
  }
});

test("it closes though a client keeps its connection open or stops in the middle of a request", async (t) => {
  const destination = await new Destination().open(t);
  const live = await Live.open(t, configOf(pipeline(destination.url)));
  const idle = raw(live.admin.address, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").catch(() => "");
  const half = raw(
    live.admin.address,
    "POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab",
  ).catch(() => "");
  await until("the first turn of both", async () => (await live.get("/healthz")).ok);
  await live.stop();
  assert.match(await idle, /^HTTP\/1\.1 200 /);
  await half;
});
