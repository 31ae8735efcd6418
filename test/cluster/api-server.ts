/**
 * A real Kubernetes API server of a test's own: etcd and kube-apiserver, with the controller manager where asked for, on
 * free loopback ports with a folder of their own. No nodes: pods are objects that nobody runs.
 *
 * With KUBECONFIG the cluster that it names is used as it is, and is not ended. It must be one for tests: they install
 * the CRDs of this tree.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Agent, request as send } from "undici";
import { freePorts, type Running, startServer } from "../servers/tool.ts";
import { type Program, programPaths, skipWithoutKubectl, skipWithoutPrograms } from "./binaries.ts";
import { type Authority, type Identity, makeAuthority, makeSigningKeys } from "./certificates.ts";

const kubectlSecondsMax = 60;
const outputBytesMax = 4 << 20;
/** Those that act where no node is. */
const CONTROLLERS = [
  ...["namespace-controller", "garbage-collector-controller", "daemonset-controller", "deployment-controller"],
  ...["replicaset-controller", "serviceaccount-controller", "serviceaccount-token-controller"],
  "root-ca-certificate-publisher-controller",
];

export interface ApiServer {
  /** https://127.0.0.1:PORT */
  url: string;
  /** The certificate authority of the server, PEM. */
  ca: string;
  /** What an administrator shows: a client certificate and its key (PEM), or a token. */
  admin: Partial<Identity> & { token?: string };
  /** The path of a file with all that. */
  kubeconfig: string;
  /** Runs kubectl as administrator; `stdin` is what `-f -` reads. */
  kubectl(args: readonly string[], stdin?: string): Promise<{ code: number; stdout: string; stderr: string }>;
  /** One request as administrator. `body` goes out as JSON, or as the text that it is; `type` says another form. */
  request(method: string, path: string, body?: unknown, type?: string): Promise<{ status: number; body: unknown }>;
  /** Ends the programs and removes their folders; a cluster of KUBECONFIG stays. */
  stop(): Promise<void>;
}

/** For the `skip` option of a test: false when an API server can be had, else the sentence why not. Throws in CI. */
export function skipWithoutApiServer(options: { controllers?: boolean } = {}): string | false {
  return givenKubeconfig() === undefined ? skipWithoutPrograms(programsOf(options)) : skipWithoutKubectl();
}

/**
 * Starts the API server and waits until it serves (about 4 s). With `controllers` namespaces really go, garbage is
 * collected and ServiceAccounts appear; without, pods need none.
 */
export async function startApiServer({ controllers = false } = {}): Promise<ApiServer> {
  const given = givenKubeconfig();
  if (given !== undefined) return existing(given);
  const [kubectl, ...paths] = await programPaths(programsOf({ controllers }));
  const started: Running[] = [];
  const stop = async (): Promise<void> => {
    for (const server of started.splice(0).reverse()) await server.stop();
  };
  try {
    return await start(kubectl!, paths, started, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

function programsOf({ controllers = false }): Program[] {
  return ["kubectl", "etcd", "kube-apiserver", ...(controllers ? (["kube-controller-manager"] as const) : [])];
}

async function start(
  kubectl: string,
  [etcd = "", apiServer = "", controllerManager]: readonly string[],
  started: Running[],
  stop: () => Promise<void>,
): Promise<ApiServer> {
  endOnSignals();
  const [etcdPort, peerPort, port, managerPort] = await freePorts(4);
  const [etcdUrl, peerUrl] = [`http://127.0.0.1:${etcdPort}`, `http://127.0.0.1:${peerPort}`];
  const store = await startServer("etcd", etcd, `${etcdUrl}/health`, (folder) => [
    ...[`--data-dir=${folder}/data`, "--unsafe-no-fsync", "--log-level=warn"],
    ...[`--listen-client-urls=${etcdUrl}`, `--advertise-client-urls=${etcdUrl}`],
    ...[`--listen-peer-urls=${peerUrl}`, `--initial-advertise-peer-urls=${peerUrl}`],
    `--initial-cluster=default=${peerUrl}`,
  ]);
  started.push(store);

  const url = `https://127.0.0.1:${port}`;
  const authority = makeAuthority("tailrace-test");
  const admin = authority.issue({ name: "admin", organization: "system:masters" });
  const access = new Access(url, authority.cert, admin);
  let pki = "";
  const serve = (folder: string): string[] => {
    pki = folder;
    return apiServerArguments(folder, authority, {
      etcdUrl,
      port: port!,
      controllers: controllerManager !== undefined,
    });
  };
  const server = await startServer("kube-apiserver", apiServer, () => access.answers("/readyz"), serve);
  started.push({ ...server, stop: async () => void (await Promise.all([access.close(), server.stop()])) });
  const kubeconfig = access.writeKubeconfig(join(pki, "kubeconfig"));

  if (controllerManager !== undefined) {
    // Administrator's rights: the controllers then need no ServiceAccount each.
    const identity = authority.issue({ name: "system:kube-controller-manager", organization: "system:masters" });
    const itself = new Access(url, authority.cert, identity);
    started.push(
      await startServer(
        "kube-controller-manager",
        controllerManager,
        () => access.answers("/api/v1/namespaces/default/serviceaccounts/default"),
        (folder) => controllerArguments(itself.writeKubeconfig(join(folder, "kubeconfig")), pki, managerPort!),
      ),
    );
    await itself.close();
  }
  return {
    ...{ url, ca: authority.cert, admin, kubeconfig, stop },
    kubectl: (args, stdin) => runKubectl(kubectl, kubeconfig, pki, args, stdin),
    request: (...call) => access.request(...call),
  };
}

function apiServerArguments(
  folder: string,
  authority: Authority,
  { etcdUrl, port, controllers }: { etcdUrl: string; port: number; controllers: boolean },
): string[] {
  const write = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text, { mode: 0o600 });
    return join(folder, name);
  };
  const service = "kubernetes.default.svc";
  const hosts = ["localhost", "127.0.0.1", "10.96.0.1", "kubernetes", "kubernetes.default", service];
  const { cert, key } = authority.issue({ name: "kube-apiserver", hosts });
  const signing = makeSigningKeys();
  return [
    ...[`--etcd-servers=${etcdUrl}`, "--bind-address=127.0.0.1", `--secure-port=${port}`],
    // It has no address that others could reach, and must not be in the Endpoints of its own service.
    ...["--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none"],
    ...[`--client-ca-file=${write("ca.crt", authority.cert)}`, `--tls-cert-file=${write("server.crt", cert)}`],
    ...[
      `--tls-private-key-file=${write("server.key", key)}`,
      `--service-account-key-file=${write("sa.pub", signing.publicKey)}`,
    ],
    ...[
      `--service-account-signing-key-file=${write("sa.key", signing.privateKey)}`,
      `--service-account-issuer=https://${service}`,
    ],
    ...[
      "--service-cluster-ip-range=10.96.0.0/16",
      "--authorization-mode=RBAC",
      "--allow-privileged",
      "--profiling=false",
    ],
    // Without controllers no ServiceAccount appears, and a pod would wait for one.
    ...(controllers ? [] : ["--disable-admission-plugins=ServiceAccount"]),
  ];
}

function controllerArguments(kubeconfig: string, pki: string, port: number): string[] {
  return [
    ...["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"].map((flag) => `--${flag}=${kubeconfig}`),
    ...[`--root-ca-file=${pki}/ca.crt`, `--service-account-private-key-file=${pki}/sa.key`],
    ...["--leader-elect=false", "--bind-address=127.0.0.1", `--secure-port=${port}`],
    ...[`--controllers=${CONTROLLERS.join(",")}`, "--kube-api-qps=500", "--kube-api-burst=1000"],
  ];
}

/** Requests to an API server with the rights of one who has these credentials. */
class Access {
  readonly #url: string;
  readonly #ca: string;
  readonly #credentials: ApiServer["admin"];
  readonly #agent: Agent;

  constructor(url: string, ca: string, credentials: ApiServer["admin"]) {
    this.#url = url;
    this.#ca = ca;
    this.#credentials = credentials;
    const { cert, key } = credentials;
    this.#agent = new Agent({
      connect: { ...(ca === "" ? {} : { ca }), ...(cert === undefined || key === undefined ? {} : { cert, key }) },
    });
  }

  async request(
    method: string,
    path: string,
    body?: unknown,
    type = "application/json",
  ): Promise<{ status: number; body: unknown }> {
    const { token } = this.#credentials;
    const response = await send(`${this.#url}${path}`, {
      method: method as "GET",
      dispatcher: this.#agent,
      headers: { "content-type": type, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
    const text = await response.body.text();
    const isJson = String(response.headers["content-type"]).includes("json");
    return { status: response.statusCode, body: isJson ? JSON.parse(text) : text };
  }

  async answers(path: string): Promise<boolean> {
    return this.request("GET", path).then(
      ({ status }) => status === 200,
      () => false,
    );
  }

  /** Writes a kubeconfig (JSON is YAML) and returns its path. */
  writeKubeconfig(path: string): string {
    const base64 = (text: string): string => Buffer.from(text).toString("base64");
    const { cert = "", key = "" } = this.#credentials;
    const user = { "client-certificate-data": base64(cert), "client-key-data": base64(key) };
    const cluster = { server: this.#url, "certificate-authority-data": base64(this.#ca) };
    const text = JSON.stringify({
      ...{ apiVersion: "v1", kind: "Config", "current-context": "test" },
      clusters: [{ name: "test", cluster }],
      users: [{ name: "test", user }],
      contexts: [{ name: "test", context: { cluster: "test", user: "test" } }],
    });
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }
}

async function runKubectl(
  program: string,
  kubeconfig: string,
  home: string,
  args: readonly string[],
  stdin = "",
): ReturnType<ApiServer["kubectl"]> {
  const child = spawn(program, args, {
    argv0: "kubectl",
    env: { ...process.env, KUBECONFIG: kubeconfig, HOME: home },
    timeout: kubectlSecondsMax * 1000,
  });
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (part: string) => {
      output[name] = (output[name] + part).slice(-outputBytesMax);
    });
  }
  child.stdin.on("error", () => {}); // it may end before it has read all
  child.stdin.end(stdin);
  const [code, signal] = (await once(child, "close")) as [number | null, string | null];
  if (code === null) throw new Error(`kubectl ${args.join(" ")} was ended by ${signal}:\n${output.stderr}`);
  return { code, ...output };
}

/** The file that KUBECONFIG names, when it does. */
function givenKubeconfig(): string | undefined {
  return process.env["KUBECONFIG"] || undefined;
}

interface Kubeconfig {
  clusters: { cluster: { server: string; "certificate-authority-data"?: string } }[];
  users: { user: { token?: string; "client-certificate-data"?: string; "client-key-data"?: string } }[];
}

/** The cluster of a kubeconfig. Its credentials must be in the file: what a plugin would fetch is not. */
async function existing(kubeconfig: string): Promise<ApiServer> {
  const home = process.env["HOME"] ?? "/tmp";
  const kubectl: ApiServer["kubectl"] = (args, stdin) => runKubectl("kubectl", kubeconfig, home, args, stdin);
  const view = await kubectl(["config", "view", "--raw", "--minify", "--flatten", "-o", "json"]);
  if (view.code !== 0) throw new Error(`cannot read KUBECONFIG (${kubeconfig}): ${view.stderr}`);
  const { clusters, users } = JSON.parse(view.stdout) as Kubeconfig;
  const text = (base64: string | undefined): string => Buffer.from(base64 ?? "", "base64").toString("utf8");
  const { server: url, "certificate-authority-data": authority } = clusters[0]!.cluster;
  const { token, "client-certificate-data": cert, "client-key-data": key } = users[0]?.user ?? {};
  if (token === undefined && cert === undefined) {
    throw new Error(`KUBECONFIG (${kubeconfig}) must hold a token or a client certificate; others are not read`);
  }
  const admin = token === undefined ? { cert: text(cert), key: text(key) } : { token };
  const access = new Access(url, text(authority), admin);
  process.stderr.write(`using the cluster at ${url} (KUBECONFIG)\n`);
  return {
    ...{ url, ca: text(authority), admin, kubeconfig, kubectl },
    request: (...call) => access.request(...call),
    stop: () => access.close(),
  };
}

let signalsHeard = false;

/** What a signal ends must end its servers too; their clean-up hangs on the exit event, which a bare signal skips. */
function endOnSignals(): void {
  if (signalsHeard) return;
  signalsHeard = true;
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
}
