/** Credentials that change under way, and whom they make us trust. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TLSSocket } from "node:tls";
import type { TlsSettings } from "../../kube/access.ts";
import { makeAuthority } from "../cluster/certificates.ts";
import type { Asked, Line } from "../support/kube-faults.ts";
import { SimClock } from "../support/sim-clock.ts";
import { eventually } from "../support/wait.ts";
import { call, ok, place } from "./place.ts";

test("a 401 has the credentials read again: changed ones are tried once, others not", async (t) => {
  const { http, asked, found, reads } = await place(t, (line, { headers }) => {
    line.head(headers["authorization"] === "Bearer two" ? 200 : 401);
    line.end();
  });
  assert.equal((await http.send(call)).status, 401);
  assert.deepEqual([asked.length, reads()], [1, 2]);
  found.token = "two";
  assert.equal((await http.send({ ...call, method: "POST", body: "b" })).status, 200);
  assert.deepEqual(
    asked.slice(1).map(({ body, headers }) => [body, headers["authorization"]]),
    [
      ["b", "Bearer one"],
      ["b", "Bearer two"],
    ],
  );
  found.token = "three";
  assert.equal((await http.send(call)).status, 200);
});

test("a new token goes with the next request over the same connections, and a stream under way goes on", async (t) => {
  const clock = new SimClock();
  let stream!: Line;
  const { http, asked, found, server } = await place(
    t,
    (line, { path }) => {
      if (path !== "/stream") return ok(line);
      stream = line;
      line.head(200);
      line.write("a");
    },
    { clock },
  );
  let taken = "";
  const streaming = http.send({ ...call, path: "/stream", onData: (chunk) => (taken += chunk.toString()) });
  await eventually("the stream to begin", () => taken === "a");
  for (let i = 0; i < 5; i++) await http.send(call);
  const { made } = server.connections;
  found.token = "two";
  await clock.run(1_100);
  await http.send(call);
  assert.equal(server.connections.made, made);
  assert.deepEqual(
    asked.slice(-2).map(({ headers }) => headers["authorization"]),
    ["Bearer one", "Bearer two"],
  );
  stream.write("b");
  stream.end();
  assert.equal((await streaming).status, 200);
  assert.equal(taken, "ab");
});

test("a new authority makes new connections, a stream under way goes on, and the old connections end", async (t) => {
  const clock = new SimClock();
  const [before, after] = [makeAuthority("before"), makeAuthority("after")];
  const hosts = ["localhost"];
  let stream!: Line;
  const answer = (line: Line, { path }: Asked): void => {
    if (path !== "/stream") return ok(line);
    stream = line;
    line.head(200);
    line.write("a");
  };
  const tls = before.issue({ name: "api", hosts });
  const { http, found, server } = await place(t, answer, { clock, tls, access: { ca: before.cert } });
  let taken = "";
  const streaming = http.send({ ...call, path: "/stream", onData: (chunk) => (taken += chunk.toString()) });
  await eventually("the stream to begin", () => taken === "a");
  server.setTls(after.issue({ name: "api", hosts }));
  await assert.rejects(http.send(call), { name: "ConnectionError" });
  found.tls = { ca: after.cert };
  await clock.run(1_100);
  assert.equal((await http.send(call)).status, 200);
  stream.write("b");
  stream.end();
  assert.equal((await streaming).status, 200);
  assert.equal(taken, "ab");
  await eventually("the old connection to end", () => server.connections.open === 1);
});

test("a server is trusted by its authority and its name only, unless that is switched off", async (t) => {
  const authority = makeAuthority("ours");
  const tls = authority.issue({ name: "api", hosts: ["kubernetes.default"] });
  const status = async (access: TlsSettings): Promise<number> => {
    const { http } = await place(t, ok, { tls, access });
    return (await http.send(call)).status;
  };
  await assert.rejects(status({ ca: makeAuthority("other").cert }), { name: "ConnectionError" });
  await assert.rejects(status({ ca: authority.cert }), /ERR_TLS_CERT_ALTNAME_INVALID/);
  await assert.rejects(status({}), { name: "ConnectionError" });
  assert.equal(await status({ ca: authority.cert, servername: "kubernetes.default" }), 200);
  assert.equal(await status({ insecure: true }), 200);
});

test("a client certificate is shown, and its successor once it is there", async (t) => {
  const clock = new SimClock();
  const authority = makeAuthority("ours");
  const tls = { ...authority.issue({ name: "api", hosts: ["localhost"] }), ca: authority.cert, requestCert: true };
  const shown: string[] = [];
  const { http, found, server } = await place(t, ok, {
    clock,
    tls,
    access: { ca: authority.cert, ...authority.issue({ name: "first" }) },
  });
  server.onSocket = (socket) => shown.push(String((socket as TLSSocket).getPeerCertificate().subject.CN));
  await http.send(call);
  found.tls = { ca: authority.cert, ...authority.issue({ name: "second" }) };
  await clock.run(1_100);
  await http.send(call);
  assert.deepEqual(shown, ["first", "second"]);
});
