import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, BadAnswer, TooLong } from "../../kube/errors.ts";
import { apiVersionOf, configMaps, keyOf, leases, namespaces, pathOf, pods } from "../../kube/objects.ts";
import type { KubeModel } from "../support/kube-model.ts";
import { clientOf, pick, served } from "./support.ts";

/** Answers everything with this. */
function answering(model: KubeModel, status: number, body: string, headers: Record<string, string> = {}): void {
  model.answer = (_, line) => {
    line.head(status, headers);
    line.write(body);
    line.end();
    return true;
  };
}

function fill(model: KubeModel, count: number, data: unknown = 1): void {
  for (let i = 0; i < count; i++) model.put("shop", `c${String(i).padStart(5, "0")}`, data);
}

const listed = (model: KubeModel): URLSearchParams[] =>
  model.asked.map(({ path }) => new URL(path, "http://model").searchParams);

test("objects lie where the API has them", () => {
  assert.equal(pathOf(pods), "/api/v1/pods");
  assert.equal(pathOf(pods, { namespace: "shop" }), "/api/v1/namespaces/shop/pods");
  assert.equal(pathOf(pods, { namespace: "shop", name: "a" }, "status"), "/api/v1/namespaces/shop/pods/a/status");
  assert.equal(pathOf(namespaces, { name: "shop" }), "/api/v1/namespaces/shop");
  assert.equal(
    pathOf(leases, { namespace: "x", name: "a:b" }),
    "/apis/coordination.k8s.io/v1/namespaces/x/leases/a%3Ab",
  );
  assert.equal(apiVersionOf(leases), "coordination.k8s.io/v1");
  assert.equal(apiVersionOf(pods), "v1");
  assert.equal(keyOf({ namespace: "shop", name: "a" }), "shop/a");
  assert.equal(keyOf({ name: "shop" }), "shop");
});

test("a name that would lead to another path never leaves", async () => {
  for (const name of ["", ".", "..", "a/b", "../secrets", "%2e%2e"]) {
    assert.throws(() => pathOf(pods, { namespace: "shop", name }), /cannot be the name/, name);
    assert.throws(() => pathOf(pods, { namespace: name, name: "a" }), /cannot be the name/, name);
  }
  assert.throws(() => pathOf(pods, { name: "a" }), /Pod a needs a namespace/);
  assert.throws(() => pathOf(namespaces, { namespace: "x", name: "a" }), /lies in no namespace/);
});

test("a list comes in pages of 500, each object is trimmed, and the version is that of the list", async (t) => {
  const { model, client } = await served(t);
  fill(model, 1_200);
  const version = String(model.version);
  model.put("other", "x", 1);
  const { items, resourceVersion } = await client.list(configMaps, { pick: ({ metadata }) => metadata.name });
  assert.equal(items.length, 1_201);
  assert.ok(Number(resourceVersion) > Number(version));
  assert.deepEqual(
    listed(model).map((query) => query.get("limit")),
    ["500", "500", "500"],
  );
  assert.ok(listed(model).every((query) => query.get("resourceVersion") === null));
});

test("selectors and the wish for metadata only go with every page; a version only with the first", async (t) => {
  const { model, client } = await served(t);
  fill(model, 3);
  await client.list(configMaps, {
    ...{ labelSelector: "", fieldSelector: "spec.nodeName=n1", metadataOnly: true, notOlderThan: "0" },
    ...{ pageObjectsMax: 2, pick },
  });
  const queries = listed(model);
  assert.deepEqual(
    queries.map((query) => [
      query.get("fieldSelector"),
      query.get("resourceVersion"),
      query.get("resourceVersionMatch"),
    ]),
    [
      ["spec.nodeName=n1", "0", "NotOlderThan"],
      ["spec.nodeName=n1", null, null],
    ],
  );
  assert.match(model.asked[1]!.headers["accept"]!, /as=PartialObjectMetadataList;g=meta.k8s.io;v=v1/);
});

test("a page that is too long is asked for again with fewer objects, down to one", async (t) => {
  const { model, client } = await served(t);
  fill(model, 40, "x".repeat(1_000));
  model.put("shop", "c00020", "x".repeat(6_000));
  const { items } = await client.list(configMaps, { pageObjectsMax: 32, pageBytesMax: 7_000, pick });
  assert.deepEqual(
    items.map(({ metadata }) => metadata.name),
    [...model.objects.values()].map(({ metadata }) => metadata.name).sort(),
  );
  assert.deepEqual(
    listed(model)
      .slice(0, 3)
      .map((query) => query.get("limit")),
    ["32", "8", "2"],
  );
  model.put("shop", "c00021", "x".repeat(9_000));
  await assert.rejects(client.list(configMaps, { pageObjectsMax: 32, pageBytesMax: 7_000, pick }), TooLong);
});

test("a continuation that the server has forgotten ends the list with an error that says so", async (t) => {
  const { model, client } = await served(t);
  fill(model, 10);
  const pages = client.pages(configMaps, { pageObjectsMax: 4 });
  await pages.next();
  model.compact();
  await assert.rejects(pages.next(), (error) => error instanceof ApiError && error.gone && error.reason === "Expired");
});

test("an empty list that is written as null is empty", async (t) => {
  const { model, client } = await served(t);
  answering(model, 200, '{"metadata":{"resourceVersion":"7"},"items":null}');
  assert.deepEqual(await client.list(configMaps, { pick }), { items: [], resourceVersion: "7" });
});

test("what is no JSON, no list or no object is a bad answer", async (t) => {
  const { model, client } = await served(t);
  for (const body of ["<html>", "null", "{}", '{"items":[]}', '{"items":{},"metadata":{"resourceVersion":"1"}}']) {
    answering(model, 200, body);
    await assert.rejects(client.list(configMaps, { pick }), BadAnswer, body);
  }
  answering(model, 200, "");
  await assert.rejects(client.get(configMaps, { namespace: "a", name: "b" }), BadAnswer);
});

test("a refusal carries code, reason and the server's words, and says what was asked", async (t) => {
  const { model, client } = await served(t);
  const details = {
    causes: [{ reason: "FieldValueInvalid", field: "spec.x", message: "too long" }],
    retryAfterSeconds: 3,
  };
  const status = { kind: "Status", code: 409, reason: "Conflict", message: "the object has been modified", details };
  answering(model, 409, JSON.stringify(status));
  await assert.rejects(client.get(configMaps, { namespace: "shop", name: "a" }), (error) => {
    assert.ok(error instanceof ApiError);
    assert.equal(error.message, "GET /api/v1/namespaces/shop/configmaps/a: 409 Conflict: the object has been modified");
    assert.deepEqual([error.code, error.reason, error.retryAfterMs], [409, "Conflict", 3_000]);
    assert.deepEqual(error.status.details?.causes, details.causes);
    assert.deepEqual([error.conflict, error.notFound, error.gone], [true, false, false]);
    return true;
  });
});

test("a refusal that comes from something in between is told by its first words, on one line", async (t) => {
  const { model, client } = await served(t);
  answering(model, 502, `<html>\r\n\t<title>Bad \u001b[31mGateway</title>${"x".repeat(5_000)}`, { "retry-after": "9" });
  await assert.rejects(client.get(configMaps, { namespace: "shop", name: "a" }), (error) => {
    assert.ok(error instanceof ApiError);
    assert.match(error.message, /: 502: <html> <title>Bad \[31mGateway<\/title>x+$/);
    assert.ok(error.message.length < 400);
    assert.deepEqual([error.reason, error.retryAfterMs], ["", 9_000]);
    return true;
  });
});

test("writes fill in what an object is, and carry their preconditions", async (t) => {
  const { model, client } = await served(t);
  answering(model, 200, '{"metadata":{}}');
  const metadata = { namespace: "shop", name: "a" };
  await client.create(configMaps, { metadata, data: { k: "v" } });
  await client.replace(
    configMaps,
    { metadata: { ...metadata, resourceVersion: "7", uid: "u" } },
    { subresource: "status" },
  );
  await client.apply(configMaps, { metadata: { ...metadata, resourceVersion: "7" } }, { manager: "me", force: true });
  await client.delete(configMaps, metadata, { uid: "u", resourceVersion: "7", propagation: "Background" });
  await client.delete(configMaps, metadata);
  const kind = { apiVersion: "v1", kind: "ConfigMap" };
  const place = "/api/v1/namespaces/shop/configmaps";
  assert.deepEqual(
    model.asked.map(({ method, path, headers, body }) => [method, path, headers["content-type"], JSON.parse(body)]),
    [
      ["POST", place, "application/json", { ...kind, metadata, data: { k: "v" } }],
      [
        "PUT",
        `${place}/a/status`,
        "application/json",
        { ...kind, metadata: { ...metadata, resourceVersion: "7", uid: "u" } },
      ],
      [
        ...["PATCH", `${place}/a?fieldManager=me&force=true`, "application/apply-patch+yaml"],
        { ...kind, metadata: { ...metadata, resourceVersion: "7" } },
      ],
      [
        ...["DELETE", `${place}/a`, "application/json"],
        {
          ...{ apiVersion: "v1", kind: "DeleteOptions", propagationPolicy: "Background" },
          preconditions: { uid: "u", resourceVersion: "7" },
        },
      ],
      ["DELETE", `${place}/a`, "application/json", { apiVersion: "v1", kind: "DeleteOptions" }],
    ],
  );
});

test("a replacement without a version is refused before it is sent", async () => {
  const client = clientOf("http://127.0.0.1:1");
  const metadata = { namespace: "shop", name: "a", resourceVersion: "" };
  await assert.rejects(client.replace(configMaps, { metadata }), /replacing a needs its resourceVersion/);
});
