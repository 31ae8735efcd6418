/**
 * Where the API server is, whom it should trust us to be, and whom we trust: from a pod's ServiceAccount or from a
 * kubeconfig file. Everything is read again when it may have changed, at most once a second and only when a request is
 * about to be made, so that a new token or CA is in use one second later; a request or watch under way is left alone.
 */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { Access, AccessError, readText } from "./access.ts";
import type { Clock } from "./clock.ts";
import { readKubeconfig } from "./kubeconfig.ts";

/** What is read is taken for the truth for so long. */
const REREAD_MS = 1_000;
/** Where the kubelet puts a pod's ServiceAccount. */
const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

export class Credentials {
  readonly #read: () => Promise<Access>;
  readonly #clock: Clock;
  readonly #onError: (error: Error) => void;
  #access: Access | undefined;
  #readAt = -Infinity;
  #reading: Promise<Access> | undefined;
  #complaint = "";

  /** `onError` hears once of each different reason for which the last good credentials are kept. */
  constructor(read: () => Promise<Access>, clock: Clock, onError: (error: Error) => void = () => {}) {
    this.#read = read;
    this.#clock = clock;
    this.#onError = onError;
  }

  /** What holds now; the same object until something has changed. Rejects only while nothing could be read yet. */
  async current(): Promise<Access> {
    const fresh = this.#clock.now() - this.#readAt < REREAD_MS;
    return this.#access && fresh ? this.#access : this.reread();
  }

  /** Reads at once, as after a 401. */
  async reread(): Promise<Access> {
    this.#reading ??= this.#renew().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #renew(): Promise<Access> {
    this.#readAt = this.#clock.now();
    try {
      const access = await this.#read();
      this.#complaint = "";
      // The object stands for what it says: whoever holds it sees by identity that nothing has changed.
      if (!this.#access?.equals(access)) this.#access = access;
      return this.#access;
    } catch (thrown) {
      const error = thrown instanceof Error ? thrown : new AccessError(String(thrown));
      if (!this.#access) throw error;
      if (error.message !== this.#complaint) this.#onError(error);
      this.#complaint = error.message;
      return this.#access;
    }
  }
}

export interface AccessOptions {
  /** A kubeconfig file; else that of KUBECONFIG, else the pod's ServiceAccount, else ~/.kube/config. */
  readonly kubeconfig?: string | undefined;
  /** Of the kubeconfig; else its current-context. */
  readonly context?: string | undefined;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly home?: string;
  /** Of the ServiceAccount's files. */
  readonly directory?: string;
}

/** Finds out how to reach the API server, as a function that reads it afresh. Throws AccessError when there is no way. */
export function findAccess(options: AccessOptions = {}): () => Promise<Access> {
  const { env = process.env, home = homedir(), directory = SERVICE_ACCOUNT, context } = options;
  const named = options.kubeconfig ?? (env["KUBECONFIG"] || undefined);
  if (named !== undefined) {
    if (options.kubeconfig === undefined && named.includes(delimiter)) {
      throw new AccessError(
        "KUBECONFIG names several files, which are not merged: `kubectl config view --flatten` makes one of them",
      );
    }
    return () => readKubeconfig(named, context);
  }
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = "443" } = env;
  if (host) return () => readServiceAccount(directory, host, port);
  const usual = join(home, ".kube", "config");
  if (existsSync(usual)) return () => readKubeconfig(usual, context);
  throw new AccessError(`no way to an API server: this is no pod, KUBECONFIG is not set and there is no ${usual}`);
}

/** The files the kubelet renews: token, ca.crt, namespace. */
async function readServiceAccount(directory: string, host: string, port: string): Promise<Access> {
  const address = host.includes(":") ? `[${host}]` : host;
  const read = async (name: string): Promise<string> => {
    const text = (await readText(join(directory, name))).trim();
    if (text === "") throw new AccessError(`${join(directory, name)} is empty`);
    return text;
  };
  const [token, ca, namespace] = await Promise.all([read("token"), read("ca.crt"), read("namespace")]);
  return new Access(new URL(`https://${address}:${port}`), namespace, token, { ca });
}
