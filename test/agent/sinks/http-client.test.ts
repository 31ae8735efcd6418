import assert from "node:assert/strict";
import { getEventListeners, once } from "node:events";
import { connect as connectTo, type AddressInfo, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import { Secret, type HttpAuth } from "../../../crds/config.ts";
import { realClock, type Clock } from "../../../agent/clock.ts";
import type { Outcome } from "../../../agent/dispatcher/sink.ts";
import { HttpClient } from "../../../agent/sinks/http-client.ts";
import { answering, certificate, connecting, manualClock, trustTestCertificate, type TestServer } from "./support.ts";

const never = new AbortController().signal;
const secret = (value: string): Secret => new Secret(value, { value });

interface Extra {
  headers?: Record<string, string>;
  auth?: HttpAuth;
  clock?: Clock;
  requestTimeoutMs?: number;
}

function clientFor(t: TestContext, url: string, extra: Extra = {}): HttpClient {
  const { headers = {}, auth, clock = realClock, requestTimeoutMs = 30_000 } = extra;
  const client = new HttpClient({ url: new URL(url), method: "POST", headers, auth, requestTimeoutMs }, clock);
  t.after(async () => client.close());
  return client;
}

async function outcomeOf(client: HttpClient, body: Uint8Array, signal = never): Promise<Outcome> {
  const result = await client.send(body, signal);
  return "kind" in result ? result : client.outcome(result);
}

async function served(t: TestContext, ...arguments_: Parameters<typeof answering>): Promise<TestServer> {
  const server = await answering(...arguments_);
  t.after(async () => server.close());
  return server;
}

const body = Buffer.from("hello");

test("a body arrives whole, with its length, the path, the query and the headers", async (t) => {
  const server = await served(t, (response) => response.writeHead(204).end());
  const client = clientFor(t, `${server.url}/a/b?c=d`, { headers: { "x-one": "1", "content-type": "text/plain" } });
  const large = Buffer.alloc(3 << 20, "0123456789");
  assert.deepEqual(await outcomeOf(client, large), { kind: "delivered" });
  const [request] = server.received;
  assert.equal(request?.method, "POST");
  assert.equal(request.path, "/a/b?c=d");
  assert.equal(request.headers["x-one"], "1");
  assert.equal(request.headers["content-length"], String(large.length));
  assert.ok(request.body.equals(large));
});

test("connections are used again", async (t) => {
  const server = await served(t, (response) => setImmediate(() => response.writeHead(200).end("ok")));
  const clock = manualClock();
  const client = clientFor(t, server.url, { clock });
  const { signal } = new AbortController();
  for (let i = 0; i < 20; i++) await outcomeOf(client, body, signal);
  assert.equal(getEventListeners(signal, "abort").length, 0);
  assert.equal(clock.waiting, 0);
  assert.ok(server.connections <= 4, `${server.connections} connections`);
  await Promise.all(Array.from({ length: 4 }, async () => outcomeOf(client, body)));
  assert.ok(server.connections <= 8, `${server.connections} connections`);
  assert.equal(server.received.length, 24);
});

test("the status decides", async (t) => {
  let status = 0;
  const server = await served(t, (response) => response.writeHead(status, { location: "/x" }).end(`text of ${status}`));
  const client = clientFor(t, server.url);
  const cases: [number, Outcome["kind"]][] = [
    [200, "delivered"],
    [202, "delivered"],
    [204, "delivered"],
    [301, "hold"],
    [307, "hold"],
    [400, "split"],
    [401, "hold"],
    [403, "hold"],
    [404, "hold"],
    [405, "hold"],
    [408, "retry"],
    [410, "hold"],
    [413, "split"],
    [415, "hold"],
    [422, "split"],
    [429, "retry"],
    [500, "retry"],
    [501, "retry"],
    [503, "retry"],
    [599, "retry"],
  ];
  for (const [code, kind] of cases) {
    status = code;
    const outcome = await outcomeOf(client, body);
    assert.equal(outcome.kind, kind, `${code}`);
    if (outcome.kind === "delivered" || outcome.kind === "reject") continue;
    assert.match(outcome.reason, new RegExp(`^127\\.0\\.0\\.1:\\d+ answered ${code}.*: text of ${code}`));
    if (outcome.kind === "retry") assert.ok(!outcome.ambiguous, "an answer came");
  }
  assert.equal(server.received.length, cases.length, "redirects are not followed");
});

test("Retry-After comes through, against the server's own clock", async (t) => {
  const headers = { "retry-after": "Mon, 23 Nov 2026 12:00:30 GMT", date: "Mon, 23 Nov 2026 12:00:00 GMT" };
  const server = await served(t, (response) => response.writeHead(429, headers).end());
  const outcome = await outcomeOf(clientFor(t, server.url, { clock: manualClock() }), body);
  assert.ok(outcome.kind === "retry");
  assert.equal(outcome.afterMs, 30_000);
});

test("credentials are sent, and never shown when the server sends them back", async (t) => {
  const server = await served(t, (response, { headers }) => {
    const { authorization, "x-api-key": key } = headers;
    response.writeHead(401).end(`bad: ${authorization} ${String(key)} of hunter2`);
  });
  const basic = Buffer.from("shop:hunter2").toString("base64");
  const cases: [HttpAuth, string][] = [
    [{ basic: { username: secret("shop"), password: secret("hunter2") } }, `Basic ${basic}`],
    [{ bearer: secret("hunter2") }, "Bearer hunter2"],
  ];
  for (const [auth, sent] of cases) {
    const outcome = await outcomeOf(clientFor(t, server.url, { auth, headers: { "X-Api-Key": "k-123" } }), body);
    assert.equal(server.received.at(-1)?.headers.authorization, sent);
    assert.ok(outcome.kind === "hold");
    assert.match(outcome.reason, /bad: \w+ \*\*\* \*\*\* of \*\*\*$/);
  }
});

test("nobody listening is a retry that is not ambiguous", async (t) => {
  const server = await answering((response) => response.end());
  await server.close();
  const outcome = await outcomeOf(clientFor(t, server.url), body);
  assert.ok(outcome.kind === "retry");
  assert.ok(!outcome.ambiguous);
  assert.match(outcome.reason, /^127\.0\.0\.1:\d+: .*ECONNREFUSED/);
});

test("a name that does not resolve is a retry that is not ambiguous", async (t) => {
  const outcome = await outcomeOf(clientFor(t, "http://nowhere.invalid/"), body);
  assert.ok(outcome.kind === "retry");
  assert.ok(!outcome.ambiguous);
  assert.match(outcome.reason, /^nowhere\.invalid: .*(ENOTFOUND|EAI_AGAIN)/);
});

test("a reset in the middle of the body, and one after it, are ambiguous", async (t) => {
  for (const bytes of [1, 1_000_000]) {
    let seen = 0;
    const server = await connecting((socket) =>
      socket.on("data", (chunk) => {
        seen += chunk.length;
        if (seen >= bytes) socket.resetAndDestroy();
      }),
    );
    t.after(async () => server.close());
    const outcome = await outcomeOf(clientFor(t, server.url), Buffer.alloc(1_000_000));
    assert.ok(outcome.kind === "retry" && outcome.ambiguous, JSON.stringify(outcome));
  }
});

test("a connection closed without an answer is ambiguous", async (t) => {
  const server = await connecting((socket) => socket.on("data", () => socket.end()));
  t.after(async () => server.close());
  const outcome = await outcomeOf(clientFor(t, server.url), body);
  assert.ok(outcome.kind === "retry" && outcome.ambiguous);
});

test("an answer that never comes is ambiguous after the time limit, and its connection is closed", async (t) => {
  const clock = manualClock();
  const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>();
  const server = await served(t, () => arrive());
  const client = clientFor(t, server.url, { clock });
  const sending = outcomeOf(client, body);
  await arrived;
  clock.advance(29_999);
  assert.equal(clock.waiting, 1);
  clock.advance(1);
  const outcome = await sending;
  assert.ok(outcome.kind === "retry" && outcome.ambiguous);
  assert.match(outcome.reason, /no answer within 30000 ms/);
  assert.equal(clock.waiting, 0);
});

test("a server that never takes the body runs into the same time limit", async (t) => {
  const clock = manualClock();
  const { promise: connected, resolve: connect } = Promise.withResolvers<void>();
  const server = await connecting((socket) => {
    socket.pause();
    connect();
  });
  t.after(async () => server.close());
  const sending = outcomeOf(clientFor(t, server.url, { clock }), Buffer.alloc(16 << 20));
  await connected;
  await new Promise(setImmediate);
  clock.advance(30_000);
  const outcome = await sending;
  assert.ok(outcome.kind === "retry", JSON.stringify(outcome));
});

test("an abort ends a request at once, as an ambiguous retry, and closes its connection", async (t) => {
  const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>();
  const server = await served(t, () => arrive());
  const abort = new AbortController();
  const sending = outcomeOf(clientFor(t, server.url), body, abort.signal);
  await arrived;
  abort.abort();
  const outcome = await sending;
  assert.ok(outcome.kind === "retry" && outcome.ambiguous);
  assert.match(outcome.reason, /stopped/);
});

test("a signal that is aborted already sends nothing", async (t) => {
  const server = await served(t, (response) => response.end());
  const outcome = await outcomeOf(clientFor(t, server.url), body, AbortSignal.abort());
  assert.ok(outcome.kind === "retry");
  assert.equal(server.received.length, 0);
});

test("an accepting head counts, whatever becomes of the reply's body", async (t) => {
  const server = await served(t, (response) => {
    response.writeHead(200, { "content-length": 1000 });
    response.write("half", () => response.destroy());
  });
  assert.deepEqual(await outcomeOf(clientFor(t, server.url), body), { kind: "delivered" });
});

test("a reply without end is read up to 64 KiB", async (t) => {
  const server = await served(t, (response) => {
    response.writeHead(400);
    const more = (): void => void (response.writable && response.write("x".repeat(10_000), more));
    more();
  });
  const client = clientFor(t, server.url);
  const result = await client.send(body, never);
  assert.ok(!("kind" in result));
  assert.equal(result.status, 400);
  assert.equal(result.text.length, 65_536);
});

for (const tls of [false, true]) {
  const name = tls ? "over TLS " : "";
  test(`${name}an answer before the body was taken closes the connection: its memory may be used again`, async (t) => {
    trustTestCertificate(t);
    const { promise: connected, resolve: connect } = Promise.withResolvers<Socket>();
    const server = await connecting((socket) => {
      connect(socket);
      socket.once("data", () => {
        socket.pause();
        socket.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
      });
    }, tls);
    t.after(async () => server.close());
    const memory = Buffer.alloc(32 << 20, "\u0001");
    assert.deepEqual(await outcomeOf(clientFor(t, server.url), memory), { kind: "delivered" });
    memory.fill("\u0002");
    const socket = await connected;
    let bytes = 0;
    socket.on("data", (chunk) => {
      bytes += chunk.length;
      assert.equal(chunk.indexOf("\u0002"), -1);
    });
    socket.resume();
    await new Promise((resolve) => socket.on("close", resolve));
    assert.ok(bytes < memory.length);
  });
}

test("a certificate that nobody vouches for, or of another name, is a hold; a trusted one delivers", async (t) => {
  const server = await served(t, (response) => response.writeHead(204).end(), true);
  const unknown = await outcomeOf(clientFor(t, server.url), body);
  assert.ok(unknown.kind === "hold");
  assert.match(unknown.reason, /^localhost:\d+: .*SELF_SIGNED/);
  trustTestCertificate(t);
  const other = await outcomeOf(clientFor(t, server.url.replace("localhost", "127.0.0.1")), body);
  assert.ok(other.kind === "hold");
  assert.match(other.reason, /^127\.0\.0\.1:\d+: .*ALTNAME/);
  assert.equal(server.received.length, 0);
  const trusted = await outcomeOf(clientFor(t, server.url), Buffer.alloc(1 << 20, "z"));
  assert.deepEqual(trusted, { kind: "delivered" });
  assert.equal(server.received[0]?.body.length, 1 << 20);
});

test("a credential that no header can hold is a hold that does not show it", async (t) => {
  const server = await served(t, (response) => response.end());
  const auth = { bearer: secret("hunter2\n") };
  const outcome = await outcomeOf(clientFor(t, server.url, { auth }), body);
  assert.ok(outcome.kind === "hold", JSON.stringify(outcome));
  assert.doesNotMatch(outcome.reason, /hunter2/);
});

test("a connection that does not come about in time is a retry that is not ambiguous", async (t) => {
  const clock = manualClock();
  const { promise: connected, resolve: connect } = Promise.withResolvers<void>();
  // Takes the connection and never answers the handshake.
  const server = await connecting(() => connect());
  t.after(async () => server.close());
  const sending = outcomeOf(clientFor(t, server.url.replace("http:", "https:"), { clock }), body);
  await connected;
  clock.advance(30_000);
  const outcome = await sending;
  assert.ok(outcome.kind === "retry" && !outcome.ambiguous, JSON.stringify(outcome));
});

test("what was stopped while connecting is not sent when the connection comes about", async (t) => {
  trustTestCertificate(t);
  const server = await served(t, (response) => response.writeHead(204).end(), true);
  const gate = Promise.withResolvers<void>();
  const { promise: connected, resolve: connect } = Promise.withResolvers<void>();
  const lead = async (socket: Socket): Promise<void> => {
    connect();
    await gate.promise;
    const behind = connectTo(Number(new URL(server.url).port), "127.0.0.1");
    behind.on("error", () => {});
    socket.pipe(behind).pipe(socket);
  };
  const door = await connecting((socket) => void lead(socket));
  t.after(async () => door.close());
  const client = clientFor(t, door.url.replace("http://127.0.0.1", "https://localhost"));
  const abort = new AbortController();
  const stopped = outcomeOf(client, Buffer.from("stopped"), abort.signal);
  await connected;
  abort.abort();
  assert.equal((await stopped).kind, "retry");
  gate.resolve();
  for (let i = 0; i < 3; i++) assert.deepEqual(await outcomeOf(client, body), { kind: "delivered" });
  assert.deepEqual(
    server.received.map((request) => request.body.toString()),
    ["hello", "hello", "hello"],
  );
});

test("HTTP/2 is not offered", async (t) => {
  trustTestCertificate(t);
  const server = createTlsServer({ ...certificate, ALPNProtocols: ["h2", "http/1.1"] }, (socket) => {
    socket.once("data", () => socket.end(`HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n`));
    socket.on("error", () => {});
  }).listen(0, "127.0.0.1");
  t.after(() => server.close());
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const connection = once(server, "secureConnection") as Promise<[TLSSocket]>;
  assert.deepEqual(await outcomeOf(clientFor(t, `https://localhost:${port}`), body), { kind: "delivered" });
  assert.equal((await connection)[0].alpnProtocol, "http/1.1");
});

test("https to a server without TLS, and http to one with it, hold and say so", async (t) => {
  const plain = await served(t, (response) => response.end());
  const hold = await outcomeOf(clientFor(t, plain.url.replace("http:", "https:")), body);
  assert.equal(hold.kind, "hold", JSON.stringify(hold));
  const go = await served(t, (response) =>
    response.writeHead(400).end("Client sent an HTTP request to an HTTPS server.\n"),
  );
  assert.equal((await outcomeOf(clientFor(t, go.url), body)).kind, "hold");
});

test("what is no HTTP server is a hold", async (t) => {
  const server = await connecting((socket) => socket.end("SSH-2.0-OpenSSH_9.2\r\n"));
  t.after(async () => server.close());
  const outcome = await outcomeOf(clientFor(t, server.url), body);
  assert.equal(outcome.kind, "hold", JSON.stringify(outcome));
});

test("close lets go of every connection", async (t) => {
  const server = await served(t, (response) => response.writeHead(204).end());
  const client = clientFor(t, server.url);
  await Promise.all([outcomeOf(client, body), outcomeOf(client, body)]);
  await client.close();
  while (server.connections > 0) await new Promise(setImmediate);
});
