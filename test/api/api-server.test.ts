/** The API server that tests start: that it is a real one, and that nothing of it stays. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { describe, test } from "node:test";
import { skipWithoutApiServer, startApiServer } from "../cluster/api-server.ts";
import { makeAuthority } from "../cluster/certificates.ts";
import { eventually } from "../support/wait.ts";

describe("the API server of a test", { skip: skipWithoutApiServer() }, () => {
  const skip = skipWithoutApiServer({ controllers: true });
  test("serves kubectl and requests, collects garbage and empties namespaces", { skip }, async () => {
    const api = await startApiServer({ controllers: true });
    try {
      const name = `tailrace-test-${process.pid}`;
      const run = async (...args: string[]) => api.kubectl(args);
      assert.equal((await run("create", "namespace", name)).code, 0);
      const who = await api.request("GET", `/api/v1/namespaces/${name}`);
      assert.equal(who.status, 200);
      await eventually(
        "its ServiceAccount",
        async () => (await run("get", "serviceaccount", "default", "-n", name)).code === 0,
      );
      assert.equal((await run("create", "configmap", "owner", "-n", name)).code, 0);
      const { body } = await api.request("GET", `/api/v1/namespaces/${name}/configmaps/owner`);
      const { uid } = (body as { metadata: { uid: string } }).metadata;
      const owned = {
        ...{ apiVersion: "v1", kind: "Secret" },
        metadata: { name: "owned", ownerReferences: [{ apiVersion: "v1", kind: "ConfigMap", name: "owner", uid }] },
      };
      assert.equal((await api.request("POST", `/api/v1/namespaces/${name}/secrets`, owned)).status, 201);
      assert.equal((await run("delete", "configmap", "owner", "-n", name)).code, 0);
      await eventually(
        "the end of what it owned",
        async () => (await run("get", "secret", "owned", "-n", name)).code === 1,
      );
      assert.equal((await run("delete", "namespace", name)).code, 0);
      assert.equal((await run("get", "namespace", name)).code, 1);
      assert.match((await run("get", "nothing")).stderr, /the server doesn't have a resource type/);
    } finally {
      await api.stop();
    }
  });

  test("ends and leaves no folder", { skip: process.env["KUBECONFIG"] ? "is not ours to end" : false }, async () => {
    const api = await startApiServer();
    const folder = dirname(api.kubeconfig);
    assert.ok(existsSync(folder));
    await api.stop();
    assert.ok(!existsSync(folder));
    await assert.rejects(fetch(api.url), /fetch failed/);
  });
});

test("certificates are signed by their authority and name their hosts", () => {
  const authority = makeAuthority("root");
  const ca = new X509Certificate(authority.cert);
  const leaf = new X509Certificate(
    authority.issue({ name: "server", organization: "group", hosts: ["localhost", "127.0.0.1"] }).cert,
  );
  assert.ok(ca.ca && ca.verify(ca.publicKey));
  assert.ok(!leaf.ca && leaf.verify(ca.publicKey) && leaf.checkIssued(ca));
  assert.equal(leaf.subject, "O=group\nCN=server");
  assert.ok(leaf.checkHost("localhost") !== undefined && leaf.checkIP("127.0.0.1") !== undefined);
  assert.equal(leaf.checkHost("example.com"), undefined);
  assert.ok(!leaf.verify(new X509Certificate(makeAuthority("root").cert).publicKey));
});
