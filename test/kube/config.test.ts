import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { inspect } from "node:util";
import { type Access, AccessError } from "../../kube/access.ts";
import { Credentials, findAccess } from "../../kube/config.ts";
import { readKubeconfig } from "../../kube/kubeconfig.ts";
import { SimClock } from "../support/sim-clock.ts";

function folder(t: TestContext, files: Record<string, string> = {}): string {
  const path = mkdtempSync(join(tmpdir(), "tailrace-kube-"));
  t.after(() => rmSync(path, { recursive: true }));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
  return path;
}

const base64 = (text: string): string => Buffer.from(text).toString("base64");

interface Parts {
  cluster?: object;
  user?: object;
  context?: object;
}

/** JSON is YAML. */
function kubeconfig({ cluster, user, context }: Parts = {}): string {
  return JSON.stringify({
    ...{ apiVersion: "v1", kind: "Config", "current-context": "here" },
    clusters: [{ name: "c", cluster: { server: "https://api.example:6443", ...cluster } }],
    users: [{ name: "u", user: { token: "t0ken", ...user } }],
    contexts: [
      { name: "here", context: { cluster: "c", user: "u", ...context } },
      { name: "nobody", context: { cluster: "c" } },
    ],
  });
}

test("a kubeconfig gives server, namespace, token, authority and certificate", async (t) => {
  const cluster = { "certificate-authority-data": base64("CA"), "tls-server-name": "kubernetes" };
  const user = { "client-certificate-data": base64("CERT"), "client-key-data": base64("KEY") };
  const path = join(folder(t, { config: kubeconfig({ cluster, user, context: { namespace: "shop" } }) }), "config");
  const access = await readKubeconfig(path);
  assert.equal(access.server.href, "https://api.example:6443/");
  assert.equal(access.namespace, "shop");
  assert.equal(access.authorization(), "Bearer t0ken");
  assert.deepEqual(access.tls(), { ca: "CA", cert: "CERT", key: "KEY", servername: "kubernetes", insecure: false });
});

test("a context without a user is nobody, in the namespace default", async (t) => {
  const access = await readKubeconfig(join(folder(t, { config: kubeconfig() }), "config"), "nobody");
  assert.equal(access.authorization(), undefined);
  assert.equal(access.namespace, "default");
});

test("files that a kubeconfig names lie beside it, and a tokenFile counts before a token", async (t) => {
  const cluster = { "certificate-authority": "pki/ca.crt" };
  const user = { "client-certificate": "me.crt", "client-key": "me.key", tokenFile: "token" };
  const path = folder(t, {
    ...{ config: kubeconfig({ cluster, user }), "me.crt": "CERT", "me.key": "KEY", token: "of the file\n" },
  });
  mkdirSync(join(path, "pki"));
  writeFileSync(join(path, "pki", "ca.crt"), "CA");
  const access = await readKubeconfig(join(path, "config"));
  assert.equal(access.authorization(), "Bearer of the file");
  const { ca, cert, key } = access.tls();
  assert.deepEqual([ca, cert, key], ["CA", "CERT", "KEY"]);
});

test("what a kubeconfig asks for and is not done is refused in one sentence", async (t) => {
  const cases: [parts: Parts, sentence: RegExp][] = [
    [{ user: { exec: { command: "aws" } } }, /exec plugins are not run: use a token/],
    [{ user: { "auth-provider": { name: "gcp" } } }, /auth-provider is not supported/],
    [{ user: { username: "admin", password: "s3cret" } }, /user names and passwords are not sent/],
    [{ user: { as: "system:admin" } }, /impersonation is not supported/],
    [{ user: { "as-groups": ["system:masters"] } }, /impersonation is not supported/],
    [{ cluster: { "proxy-url": "http://proxy:3128" } }, /proxy-url is not supported/],
    [{ cluster: { server: "" } }, /server must be an http or https URL/],
    [{ cluster: { server: "ftp://api" } }, /server must be an http or https URL/],
    [{ cluster: { server: "https://me:pass@api" } }, /server must not hold a user name/],
    [{ cluster: { server: 6443 } }, /server must be text/],
    [{ user: { "client-certificate-data": base64("CERT") } }, /needs both client-certificate and client-key/],
    [{ user: { tokenFile: "none" } }, /none cannot be read: ENOENT/],
    [{ user: { tokenFile: "empty" } }, /empty is empty/],
    [{ context: { cluster: "other" } }, /clusters has no "other"/],
    [{ context: { user: "other" } }, /users has no "other"/],
  ];
  for (const [parts, sentence] of cases) {
    const path = folder(t, { config: kubeconfig(parts), empty: " \n" });
    await assert.rejects(readKubeconfig(join(path, "config")), (error) => {
      assert.ok(error instanceof AccessError, String(error));
      assert.match(error.message, sentence);
      return true;
    });
  }
  const broken = folder(t, { config: "{token: s3cret", list: "[]", none: "{}" });
  await assert.rejects(readKubeconfig(join(broken, "config")), { message: `${join(broken, "config")}: is not YAML` });
  await assert.rejects(readKubeconfig(join(broken, "list")), /is no kubeconfig/);
  await assert.rejects(readKubeconfig(join(broken, "none")), /there is no current-context/);
  await assert.rejects(readKubeconfig(join(broken, "none"), "x"), /contexts has no "x"/);
});

test("no log and no JSON shows a token or a key", async (t) => {
  const user = { "client-certificate-data": base64("CERT"), "client-key-data": base64("s3cret-key") };
  const access = await readKubeconfig(join(folder(t, { config: kubeconfig({ user }) }), "config"));
  const shown = inspect(access, { depth: 9, showHidden: true }) + JSON.stringify(access);
  assert.ok(shown.includes("api.example"));
  assert.ok(!shown.includes("t0ken") && !shown.includes("s3cret"));
});

const inPod = { KUBERNETES_SERVICE_HOST: "10.96.0.1", KUBERNETES_SERVICE_PORT: "443" };
const serviceAccount = { token: "one\n", "ca.crt": "CA", namespace: "logging" };

test("in a pod the ServiceAccount's files say who we are", async (t) => {
  const directory = folder(t, serviceAccount);
  const access = await findAccess({ env: inPod, directory })();
  assert.equal(access.server.href, "https://10.96.0.1/");
  assert.equal(access.namespace, "logging");
  assert.equal(access.authorization(), "Bearer one");
  assert.equal(access.tls().ca, "CA");
  const v6 = await findAccess({
    env: { KUBERNETES_SERVICE_HOST: "fd00::1", KUBERNETES_SERVICE_PORT: "6443" },
    directory,
  })();
  assert.equal(v6.server.href, "https://[fd00::1]:6443/");
});

test("the option counts before KUBECONFIG, that before the pod, that before the home directory", async (t) => {
  const server = (host: string): string => kubeconfig({ cluster: { server: `https://${host}` } });
  const home = folder(t, { option: server("option"), variable: server("variable") });
  mkdirSync(join(home, ".kube"));
  writeFileSync(join(home, ".kube", "config"), server("home"));
  const directory = folder(t, serviceAccount);
  const KUBECONFIG = join(home, "variable");
  const host = async (options: Parameters<typeof findAccess>[0]): Promise<string> =>
    (await findAccess({ home, directory, ...options })()).server.host;
  assert.equal(await host({ kubeconfig: join(home, "option"), env: { ...inPod, KUBECONFIG } }), "option");
  assert.equal(await host({ env: { ...inPod, KUBECONFIG } }), "variable");
  assert.equal(await host({ env: { ...inPod, KUBECONFIG: "" } }), "10.96.0.1");
  assert.equal(await host({ env: {} }), "home");
  assert.throws(() => findAccess({ home: directory, env: {} }), /no way to an API server/);
  assert.throws(() => findAccess({ home, env: { KUBECONFIG: "/a:/b" } }), /several files, which are not merged/);
});

/** Counts how often it is read. */
function rotating(t: TestContext): {
  directory: string;
  clock: SimClock;
  credentials: Credentials;
  reads: () => number;
  errors: string[];
} {
  const directory = folder(t, serviceAccount);
  const clock = new SimClock();
  const read = findAccess({ env: inPod, directory });
  const errors: string[] = [];
  let reads = 0;
  const counted = async (): Promise<Access> => {
    reads++;
    return read();
  };
  const credentials = new Credentials(counted, clock, ({ message }) => errors.push(message));
  return { directory, clock, credentials, reads: () => reads, errors };
}

test("files are read at most once a second, by one reader, and a change makes another access", async (t) => {
  const { directory, clock, credentials, reads } = rotating(t);
  const all = await Promise.all(Array.from({ length: 50 }, async () => credentials.current()));
  assert.equal(new Set(all).size, 1);
  assert.equal(reads(), 1);
  writeFileSync(join(directory, "token"), "two");
  await clock.run(900);
  assert.equal(await credentials.current(), all[0]);
  await clock.run(200);
  const second = await credentials.current();
  assert.equal(second.authorization(), "Bearer two");
  assert.equal(second.connectionId, all[0]!.connectionId);
  writeFileSync(join(directory, "ca.crt"), "CA2");
  const third = await credentials.reread();
  assert.notEqual(third.connectionId, second.connectionId);
  assert.equal(await credentials.reread(), third);
});

test("while the files cannot be read the last good access holds, and each reason is told once", async (t) => {
  const { directory, clock, credentials, errors } = rotating(t);
  const first = await credentials.current();
  writeFileSync(join(directory, "token"), "");
  for (let i = 0; i < 5; i++) {
    await clock.run(2_000);
    assert.equal(await credentials.current(), first);
  }
  assert.deepEqual(errors, [`${join(directory, "token")} is empty`]);
  writeFileSync(join(directory, "token"), "two");
  await clock.run(2_000);
  assert.equal((await credentials.current()).authorization(), "Bearer two");
  rmSync(join(directory, "token"));
  await clock.run(2_000);
  assert.equal((await credentials.current()).authorization(), "Bearer two");
  assert.equal(errors.length, 2);
});

test("what could never be read is tried again at once", async (t) => {
  const { directory, credentials } = rotating(t);
  rmSync(join(directory, "token"));
  await assert.rejects(credentials.current(), /ENOENT/);
  writeFileSync(join(directory, "token"), "late");
  assert.equal((await credentials.current()).authorization(), "Bearer late");
});
