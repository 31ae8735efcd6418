/** How to reach one API server, and as whom: what is known at one moment (config.ts finds it out and keeps it current). */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";

/** A sentence about credentials or the file that should hold them. */
export class AccessError extends Error {
  override readonly name = "AccessError";
}

/** All PEM. Without `ca` the system's authorities count. */
export interface TlsSettings {
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** The name the server's certificate must carry, when it is not that of the URL. */
  readonly servername?: string | undefined;
  /** The server's certificate is not looked at. */
  readonly insecure?: boolean | undefined;
}

/** What one request needs to know. Its secrets are in private fields, which no log and no JSON shows. */
export class Access {
  /** With a path where the API server lies under one. */
  readonly server: URL;
  /** Of the pod, or of the kubeconfig's context. */
  readonly namespace: string;
  /** Equal for two that can share connections. */
  readonly connectionId: string;
  readonly #token: string | undefined;
  readonly #tls: TlsSettings;

  constructor(server: URL, namespace: string, token: string | undefined, tls: TlsSettings) {
    this.server = server;
    this.namespace = namespace;
    this.#token = token;
    this.#tls = tls;
    const { ca, cert, key, servername, insecure } = tls;
    const identity = JSON.stringify([server.origin, ca, cert, key, servername, insecure]);
    this.connectionId = createHash("sha256").update(identity).digest("base64");
  }

  /** The header's value; undefined where a certificate, or nothing, says who we are. */
  authorization(): string | undefined {
    return this.#token === undefined ? undefined : `Bearer ${this.#token}`;
  }

  tls(): TlsSettings {
    return this.#tls;
  }

  equals(other: Access): boolean {
    const same = this.connectionId === other.connectionId && this.#token === other.#token;
    return same && this.server.href === other.server.href && this.namespace === other.namespace;
  }
}

/** A file of credentials; rejects with AccessError. */
export async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new AccessError(`${path} cannot be read: ${code ?? String(error)}`);
  }
}
