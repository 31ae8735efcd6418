/** The verbs against a real API server. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Credentials, findAccess } from "../../kube/config.ts";
import { ApiError } from "../../kube/errors.ts";
import { configMaps, type KubeObject, pods, type Resource } from "../../kube/objects.ts";
import { Watch } from "../../kube/watch.ts";
import { skipWithoutApiServer } from "../cluster/api-server.ts";
import { pick, realClock } from "../kube/support.ts";
import { eventually } from "../support/wait.ts";
import { atOnce, type ConfigMap, kubePlace, type KubePlace } from "./kube-place.ts";

const core = (kind: string, plural: string, group = ""): Resource => ({
  group,
  version: "v1",
  kind,
  plural,
  namespaced: true,
});
const serviceAccounts = core("ServiceAccount", "serviceaccounts");
const roles = core("Role", "roles", "rbac.authorization.k8s.io");
const roleBindings = core("RoleBinding", "rolebindings", "rbac.authorization.k8s.io");
const selfReviews = { ...core("SelfSubjectReview", "selfsubjectreviews", "authentication.k8s.io"), namespaced: false };

const refused =
  (code: number, reason: string) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof ApiError, String(error));
    assert.deepEqual([error.code, error.reason], [code, reason], error.message);
    return true;
  };

describe("a client of a real API server", { skip: skipWithoutApiServer() }, () => {
  let place: KubePlace;
  before(async () => {
    place = await kubePlace();
  });
  after(async () => place.close());

  test("1,200 objects are listed in pages that show one moment", async () => {
    const { admin, namespace } = place;
    const names = Array.from({ length: 1_200 }, (_, i) => `page-${String(i).padStart(4, "0")}`);
    const labels = { test: "pages" };
    await atOnce(
      16,
      names.map((name) => async () => admin.create(configMaps, { metadata: { namespace, name, labels } })),
    );
    const selection = { namespace, labelSelector: "test=pages" };
    const sizes: number[] = [];
    const versions = new Set<string>();
    const found: string[] = [];
    for await (const page of admin.pages(configMaps, selection)) {
      // What changes between two pages is not in any of them.
      await admin.delete(configMaps, { namespace, name: names.at(-1 - sizes.length)! });
      sizes.push(page.items.length);
      versions.add(page.resourceVersion);
      found.push(...page.items.map(({ metadata }) => metadata.name));
    }
    assert.deepEqual(sizes, [500, 500, 200]);
    assert.equal(versions.size, 1);
    assert.deepEqual(found.sort(), names);
    const { items } = await admin.list(configMaps, { ...selection, pick: ({ metadata }) => metadata.name });
    assert.deepEqual(items, names.slice(0, -3));
  });

  test("what a write was computed from must still be so: 409 for another version or uid", async () => {
    const { admin, namespace } = place;
    const ref = { namespace, name: "guarded" };
    const first = await admin.create(configMaps, { metadata: ref, data: { a: "1" } });
    await assert.rejects(admin.create(configMaps, { metadata: ref }), refused(409, "AlreadyExists"));
    const second = await admin.replace(configMaps, { ...first, data: { a: "2" } });
    const { uid, resourceVersion } = second.metadata;
    assert.notEqual(resourceVersion, first.metadata.resourceVersion);
    const stale = first.metadata.resourceVersion;
    const other = "11111111-2222-3333-4444-555555555555";

    await assert.rejects(admin.replace(configMaps, { ...first, data: { a: "3" } }), refused(409, "Conflict"));
    await assert.rejects(
      admin.replace(configMaps, { metadata: { ...ref, resourceVersion, uid: other } }),
      refused(409, "Conflict"),
    );
    const manager = { manager: "test", force: true };
    const applied = { metadata: { ...ref, resourceVersion: stale }, data: { a: "3" } };
    await assert.rejects(admin.apply(configMaps, applied, manager), refused(409, "Conflict"));
    // An apply takes the uid for a field that cannot be changed.
    await assert.rejects(
      admin.apply(configMaps, { metadata: { ...ref, uid: other }, data: { a: "3" } }, manager),
      refused(422, "Invalid"),
    );
    await assert.rejects(admin.delete(configMaps, ref, { resourceVersion: stale }), refused(409, "Conflict"));
    await assert.rejects(admin.delete(configMaps, ref, { uid: other }), refused(409, "Conflict"));
    assert.equal((await admin.get<ConfigMap>(configMaps, ref)).data?.["a"], "2");

    const fresh = { metadata: { ...ref, resourceVersion, uid }, data: { a: "4" } };
    const third = await admin.apply(configMaps, fresh, manager);
    assert.equal(third.data.a, "4");
    await admin.delete(configMaps, ref, { uid, resourceVersion: third.metadata.resourceVersion });
    await assert.rejects(admin.get(configMaps, ref), refused(404, "NotFound"));
    // What is gone is not made again by an apply that knew it.
    await assert.rejects(admin.apply(configMaps, fresh, manager), refused(409, "Conflict"));
    await assert.rejects(admin.delete(configMaps, ref), refused(404, "NotFound"));
  });

  test("applying owns what it sets: another manager's value is a conflict unless forced, and what is left out goes", async () => {
    const { admin, namespace } = place;
    const metadata = { namespace, name: "applied" };
    const apply = async (manager: string, data: Record<string, string>, force = false): Promise<ConfigMap> =>
      admin.apply(configMaps, { metadata, data }, { manager, force });
    await apply("one", { a: "1", b: "1" });
    await apply("two", { b: "1", c: "2" });
    await assert.rejects(apply("two", { b: "2", c: "2" }), (error) => {
      assert.ok(refused(409, "Conflict")(error) && error instanceof ApiError);
      const [cause] = error.status.details?.causes ?? [];
      assert.equal(cause?.reason, "FieldManagerConflict");
      assert.equal(cause.field, ".data.b");
      return true;
    });
    assert.deepEqual((await apply("two", { b: "2", c: "2" }, true)).data, { a: "1", b: "2", c: "2" });
    assert.deepEqual((await apply("one", { a: "1" })).data, { a: "1", b: "2", c: "2" });
    assert.deepEqual((await apply("two", {})).data, { a: "1" });
    const same = await apply("one", { a: "1" });
    assert.equal((await apply("one", { a: "1" })).metadata.resourceVersion, same.metadata.resourceVersion);
  });

  test("a status is written through its subresource and nothing else is", async () => {
    const { admin, namespace } = place;
    const metadata = { namespace, name: "with-status" };
    const spec = { containers: [{ name: "c", image: "none.invalid/c" }] };
    const made = await admin.create(pods, { metadata, spec });
    type Pod = KubeObject & { status: { message?: string; reason?: string } };
    const other = { containers: [{ name: "c", image: "none.invalid/other" }] };
    const body = { ...made, spec: other, status: { message: "replaced" } };
    const replaced = await admin.replace(pods, body, { subresource: "status" });
    assert.deepEqual([replaced.status.message, replaced.spec.containers[0]?.image], ["replaced", "none.invalid/c"]);
    await assert.rejects(admin.replace(pods, body, { subresource: "status" }), refused(409, "Conflict"));
    const { resourceVersion } = replaced.metadata;
    const status = { reason: "Applied" };
    const apply = { metadata: { ...metadata, resourceVersion }, status };
    await admin.apply(pods, apply, { manager: "test", subresource: "status" });
    await assert.rejects(
      admin.apply(pods, apply, { manager: "test", subresource: "status" }),
      refused(409, "Conflict"),
    );
    const after = await admin.get<Pod>(pods, metadata);
    assert.deepEqual([after.status.message, after.status.reason], ["replaced", "Applied"]);
  });

  test("metadata only means without a body; selectors by field and label find the same", async () => {
    const { admin, namespace } = place;
    const ref = { namespace, name: "only-metadata" };
    await admin.create(configMaps, {
      metadata: { ...ref, labels: { test: "only" } },
      data: { large: "x".repeat(1_000) },
    });
    const got = await admin.get(configMaps, ref, { metadataOnly: true });
    assert.deepEqual([got.kind, got.metadata.name, "data" in got], ["PartialObjectMetadata", ref.name, false]);
    for (const selector of [{ labelSelector: "test=only" }, { fieldSelector: `metadata.name=${ref.name}` }]) {
      const { items } = await admin.list(configMaps, {
        namespace,
        metadataOnly: true,
        ...selector,
        pick: (item) => item,
      });
      assert.deepEqual(
        items.map((item) => [item.metadata.name, "data" in item]),
        [[ref.name, false]],
      );
    }
  });

  test("what the API refuses names the field, and what does not exist is not found", async () => {
    const { admin, namespace } = place;
    const bad = { metadata: { namespace, name: "Not A Name" } };
    await assert.rejects(admin.create(configMaps, bad), (error) => {
      assert.ok(refused(422, "Invalid")(error) && error instanceof ApiError);
      assert.equal(error.status.details?.causes?.[0]?.field, "metadata.name");
      return true;
    });
    await assert.rejects(admin.list({ ...configMaps, plural: "nothings" }, { pick }), refused(404, "NotFound"));
  });

  test("a renewed ServiceAccount token is used a second later, a watch goes on, and a bad one is read again after a 401", async (t) => {
    const { admin, namespace, api } = place;
    const tokens: string[] = [];
    for (const name of ["one", "two"]) {
      const at = { namespace, name };
      await admin.create(serviceAccounts, { metadata: at });
      const spec = { expirationSeconds: 3_600 };
      const request = { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", metadata: {}, spec };
      const made: unknown = await admin.create(serviceAccounts, request, { at, subresource: "token" });
      tokens.push((made as { status: { token: string } }).status.token);
    }
    const rules = [{ apiGroups: [""], resources: ["configmaps"], verbs: ["list", "watch"] }];
    await admin.create(roles, { metadata: { namespace, name: "readers" }, rules });
    await admin.create(roleBindings, {
      metadata: { namespace, name: "readers" },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "readers" },
      subjects: ["one", "two"].map((name) => ({ kind: "ServiceAccount", namespace, name })),
    });

    const directory = mkdtempSync(join(tmpdir(), "tailrace-account-"));
    t.after(() => rmSync(directory, { recursive: true }));
    const write = (name: string, text: string): void => writeFileSync(join(directory, name), text);
    write("token", tokens[0]!);
    write("ca.crt", api.ca);
    write("namespace", namespace);
    const { hostname, port } = new URL(api.url);
    const env = { KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port };
    const client = place.as(new Credentials(findAccess({ env, directory }), realClock));
    const whoami = async (): Promise<string> => {
      const review: unknown = await client.create(selfReviews, { metadata: {} });
      return (review as { status: { userInfo: { username: string } } }).status.userInfo.username;
    };
    const user = (name: string): string => `system:serviceaccount:${namespace}:${name}`;

    const troubles: string[] = [];
    const onTrouble = ({ message }: Error): unknown => troubles.push(message);
    const watch = new Watch(client, realClock, configMaps, { namespace, pick, onTrouble });
    watch.start();
    t.after(async () => watch.stop());
    await eventually("rights of the ServiceAccount", () => watch.counts.lists === 1);
    troubles.length = 0;
    assert.equal(await whoami(), user("one"));
    write("token", tokens[1]!);
    const rotatedAt = performance.now();
    await eventually("the other account", async () => (await whoami()) === user("two"), { ms: 2_000 });
    const tookMs = Math.round(performance.now() - rotatedAt);

    write("token", "bad");
    await eventually("the bad token to be used", async () => {
      const refusal: unknown = await whoami().catch((error: unknown) => error);
      return refusal instanceof ApiError && refusal.code === 401;
    });
    write("token", tokens[0]!);
    assert.equal(await whoami(), user("one"));

    await admin.create(configMaps, { metadata: { namespace, name: "after-rotation" } });
    await eventually("what the watch sees", () => watch.objects.has(`${namespace}/after-rotation`));
    assert.deepEqual(troubles, []);
    assert.equal(watch.counts.connections, 1);
    t.diagnostic(`a changed token was used ${tookMs} ms later`);
  });
});
