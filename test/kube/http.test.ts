import assert from "node:assert/strict";
import { createServer } from "node:net";
import { test } from "node:test";
import type { Dispatcher } from "undici";
import { Access } from "../../kube/access.ts";
import { Credentials } from "../../kube/config.ts";
import { ConnectionError, TooLong } from "../../kube/errors.ts";
import { Http } from "../../kube/http.ts";
import type { Asked, Line } from "../support/kube-faults.ts";
import { SimClock } from "../support/sim-clock.ts";
import { eventually } from "../support/wait.ts";
import { call, ok, place } from "./place.ts";
import { realClock } from "./support.ts";

test("a request says who asks, what it wants and what it brings, and goes under the server's path", async (t) => {
  const { http, asked } = await place(t, ok, { path: "/k8s/clusters/one/" });
  const reply = await http.send({ ...call, method: "PUT", contentType: "application/json", body: '{"ü":1}' });
  assert.deepEqual([reply.status, reply.body.toString()], [200, "hello"]);
  const [{ method, path, headers, body }] = asked as [Asked];
  assert.deepEqual([method, path, body], ["PUT", "/k8s/clusters/one/x?y=z", '{"ü":1}']);
  const { accept, authorization, "user-agent": agent, "content-type": type } = headers;
  assert.deepEqual(
    [accept, authorization, agent, type],
    ["application/json", "Bearer one", "test/1", "application/json"],
  );
});

test("200 requests, one after the other, take two connections at most", async (t) => {
  const { http, server } = await place(t, ok);
  for (let i = 0; i < 200; i++) await http.send(call);
  assert.ok(server.connections.made <= 2, `${server.connections.made}`);
});

test("an answer is taken up to its limit and no further, whether its length is told or not", async (t) => {
  for (const headers of [{ "content-length": "1001" }, {}]) {
    const { http, server } = await place(t, (line) => {
      line.head(200, headers);
      line.write(Buffer.alloc(1_001));
      line.end();
    });
    await assert.rejects(http.send(call), TooLong);
    assert.equal((await http.send({ ...call, bytesMax: 1_001 })).body.length, 1_001);
    await eventually("the connection to be closed", () => server.connections.open <= 1);
  }
});

test("a refusal of any length is read as far as it is worth", async (t) => {
  const { http, server } = await place(t, (line) => {
    line.head(500, { "retry-after": "7" });
    for (let i = 0; i < 100; i++) line.write(Buffer.alloc(64 << 10));
  });
  const reply = await http.send(call);
  assert.equal(reply.status, 500);
  assert.equal(reply.retryAfterMs, 7_000);
  assert.ok(reply.body.length < 256 << 10);
  await eventually("the connection to be closed", () => server.connections.open === 0);
});

test("a server that says nothing is given up in time, before its head and in its body", async (t) => {
  for (const half of [false, true]) {
    const clock = new SimClock();
    let asked = (): void => {};
    const came = new Promise<void>((resolve) => (asked = resolve));
    const { http } = await place(
      t,
      (line) => {
        if (half) line.head(200);
        if (half) line.write("hel");
        asked();
      },
      { clock },
    );
    const sent = assert.rejects(http.send(call), (error) => {
      assert.ok(error instanceof ConnectionError);
      assert.match(error.message, /^GET 127.0.0.1:\d+\/x: no answer within 10000 ms$/);
      return true;
    });
    await came;
    await clock.run(10_001);
    await sent;
  }
});

test("a stream lasts longer than the time for its head, and ends with what its reader throws", async (t) => {
  const clock = new SimClock();
  let line!: Line;
  const { http } = await place(
    t,
    (given) => {
      line = given;
      line.head(200);
      line.write("one");
    },
    { clock },
  );
  const taken: string[] = [];
  let seen = (): void => {};
  const first = new Promise<void>((resolve) => (seen = resolve));
  const onData = (chunk: Buffer): void => {
    if (taken.length === 1) throw new RangeError("enough");
    taken.push(chunk.toString());
    seen();
  };
  const ended = assert.rejects(http.send({ ...call, onData }), RangeError);
  await first;
  await clock.run(3_600_000);
  line.write("two");
  await ended;
  assert.deepEqual(taken, ["one"]);
});

test("the body of a refusal is not given to who reads a stream", async (t) => {
  const { http } = await place(t, (line) => {
    line.head(403);
    line.write("no");
    line.end();
  });
  const reply = await http.send({ ...call, onData: () => assert.fail("the stream has no body") });
  assert.deepEqual([reply.status, reply.body.toString()], [403, "no"]);
});

test("a cut, a refused connection and something that is no HTTP are connection errors with a reason", async (t) => {
  const cut = await place(t, (line) => line.cut());
  await assert.rejects(cut.http.send(call), { name: "ConnectionError" });
  const half = await place(t, (line) => {
    line.head(200, { "content-length": "10" });
    line.write("hel");
    setImmediate(() => line.cut());
  });
  await assert.rejects(half.http.send(call), { name: "ConnectionError" });
  await half.server.close();
  await assert.rejects(half.http.send(call), /ECONNREFUSED/);
  const odd = createServer((socket) => socket.end("SSH-2.0-OpenSSH\r\n\r\n"));
  await new Promise<void>((resolve) => odd.listen(0, "127.0.0.1", resolve));
  t.after(() => odd.close());
  const { port } = odd.address() as { port: number };
  const access = new Access(new URL(`http://127.0.0.1:${port}`), "default", undefined, {});
  const http = new Http(new Credentials(async () => access, realClock), realClock, "test");
  t.after(async () => http.close());
  await assert.rejects(http.send(call), { name: "ConnectionError" });
});

test("a signal ends a request with its reason, before and while it runs", async (t) => {
  const asking = new AbortController();
  const { http, server } = await place(t, () => asking.abort(new RangeError("stop")));
  await assert.rejects(http.send({ ...call, signal: asking.signal }), RangeError);
  await assert.rejects(http.send({ ...call, signal: asking.signal }), RangeError);
  await eventually("the connection to be closed", () => server.connections.open === 0);
});

test("closing ends what is under way", async (t) => {
  let begun = (): void => {};
  const came = new Promise<void>((resolve) => (begun = resolve));
  const { http, server } = await place(t, () => begun());
  const sent = assert.rejects(http.send(call), { name: "ConnectionError" });
  await came;
  await http.close();
  await sent;
  await assert.rejects(http.send(call), /the client is closed/);
  await eventually("the connection to end", () => server.connections.open === 0);
});

test("what a connection still brings after its request was ended goes to nobody", async (t) => {
  const access = new Access(new URL("http://127.0.0.1:1"), "default", undefined, {});
  let handler!: Dispatcher.DispatchHandler;
  const controller = { abort() {} } as unknown as Dispatcher.DispatchController;
  const dispatch = (_: unknown, given: Dispatcher.DispatchHandler): boolean => {
    handler = given;
    handler.onRequestStart?.(controller, {});
    handler.onResponseStart?.(controller, 200, {});
    return true;
  };
  const nothing = async (): Promise<void> => {};
  const deaf = { dispatch, close: nothing, destroy: nothing } as unknown as Dispatcher;
  const http = new Http(new Credentials(async () => access, realClock), realClock, "test", () => deaf);
  t.after(async () => http.close());
  const asking = new AbortController();
  const taken: string[] = [];
  const onData = (chunk: Buffer): unknown => taken.push(chunk.toString());
  const sent = assert.rejects(http.send({ ...call, signal: asking.signal, onData }), RangeError);
  await eventually("the request", () => handler !== undefined);
  handler.onResponseData?.(controller, Buffer.from("before"));
  asking.abort(new RangeError("stop"));
  handler.onResponseData?.(controller, Buffer.from("after"));
  await sent;
  assert.deepEqual(taken, ["before"]);
});
