/** A namespace of its own on a real API server, and clients of it. */
import { Access } from "../../kube/access.ts";
import { KubeClient } from "../../kube/client.ts";
import { Credentials, findAccess } from "../../kube/config.ts";
import { namespaces, type KubeObject } from "../../kube/objects.ts";
import { type ApiServer, startApiServer } from "../cluster/api-server.ts";
import { realClock } from "../kube/support.ts";

export interface KubePlace {
  readonly api: ApiServer;
  /** As administrator, by the kubeconfig. */
  readonly admin: KubeClient;
  readonly namespace: string;
  /** An administrator who reaches the server at this port of 127.0.0.1. */
  through(port: number): KubeClient;
  /** Whoever these credentials say. */
  as(credentials: Credentials): KubeClient;
  close(): Promise<void>;
}

export interface ConfigMap extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

export async function kubePlace(): Promise<KubePlace> {
  const api = await startApiServer();
  const clients: KubeClient[] = [];
  const as = (credentials: Credentials): KubeClient => {
    const client = new KubeClient(credentials, realClock, { userAgent: "tailrace-test" });
    clients.push(client);
    return client;
  };
  const admin = as(new Credentials(findAccess({ kubeconfig: api.kubeconfig }), realClock));
  const namespace = `tailrace-kube-${process.pid}`;
  await admin.create(namespaces, { metadata: { name: namespace } });
  return {
    ...{ api, admin, namespace, as },
    through(port) {
      const { token, cert, key } = api.admin;
      // Every API server's certificate has this name.
      const tls = { ca: api.ca, cert, key, servername: "kubernetes.default" };
      const access = new Access(new URL(`https://127.0.0.1:${port}`), namespace, token, tls);
      return as(new Credentials(async () => access, realClock));
    },
    async close() {
      await admin.delete(namespaces, { name: namespace }).catch(() => {});
      await Promise.all(clients.map(async (client) => client.close()));
      await api.stop();
    },
  };
}

/** Runs the tasks, so many at a time. */
export async function atOnce(count: number, tasks: readonly (() => Promise<unknown>)[]): Promise<void> {
  const left = tasks[Symbol.iterator]();
  await Promise.all(
    Array.from({ length: count }, async () => {
      for (const task of left) await task();
    }),
  );
}
