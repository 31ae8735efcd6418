/**
 * Kubeconfig files (client-go, tools/clientcmd/api/v1): clusters, users and contexts, with what they hold inline or in
 * files beside them. Whatever would make us somebody else than the file says, or needs a program, is refused.
 */
import { Buffer } from "node:buffer";
import { dirname, resolve } from "node:path";
import { load } from "js-yaml";
import { Access, AccessError, readText } from "./access.ts";

type Fields = Readonly<Record<string, unknown>>;

/** Fields of a user that we do not follow, and why. */
const REFUSED: Readonly<Record<string, string>> = {
  exec: "exec plugins are not run: use a token, a tokenFile or a client certificate",
  "auth-provider": "auth-provider is not supported: use a token, a tokenFile or a client certificate",
  username: "user names and passwords are not sent: use a token, a tokenFile or a client certificate",
  password: "user names and passwords are not sent: use a token, a tokenFile or a client certificate",
  as: "impersonation is not supported",
  "as-uid": "impersonation is not supported",
  "as-groups": "impersonation is not supported",
  "as-user-extra": "impersonation is not supported",
};

/** Reads a file with all it refers to; without `contextName` its current-context counts. Rejects with AccessError. */
export async function readKubeconfig(path: string, contextName?: string): Promise<Access> {
  const reader = new Reader(path);
  const config = await reader.config();
  const name = contextName ?? config["current-context"];
  if (typeof name !== "string" || name === "") throw reader.error("there is no current-context");
  const context = reader.entry(config, "contexts", "context", name);
  const cluster = reader.entry(config, "clusters", "cluster", reader.string(context, "cluster"));
  const userName = reader.string(context, "user");
  const user = userName === undefined ? {} : reader.entry(config, "users", "user", userName);
  for (const [field, why] of Object.entries(REFUSED)) {
    if (user[field] !== undefined && user[field] !== null) throw reader.error(`user ${userName}: ${why}`);
  }
  if (cluster["proxy-url"]) throw reader.error("proxy-url is not supported");

  const server = reader.url(cluster);
  const [ca, cert, key, token] = await Promise.all([
    reader.pem(cluster, "certificate-authority"),
    reader.pem(user, "client-certificate"),
    reader.pem(user, "client-key"),
    reader.token(user),
  ]);
  if ((cert === undefined) !== (key === undefined)) {
    throw reader.error(`user ${userName} needs both client-certificate and client-key, or neither`);
  }
  const insecure = cluster["insecure-skip-tls-verify"] === true;
  const servername = reader.string(cluster, "tls-server-name");
  return new Access(server, reader.string(context, "namespace") ?? "default", token, {
    ...{ ca, cert, key, servername, insecure },
  });
}

class Reader {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  error(sentence: string): AccessError {
    return new AccessError(`${this.#path}: ${sentence}`);
  }

  async config(): Promise<Fields> {
    const text = await readText(this.#path);
    let value: unknown;
    try {
      value = load(text);
    } catch {
      // What js-yaml says quotes the file, and the file holds keys.
      throw this.error("is not YAML");
    }
    if (!isFields(value)) throw this.error("is no kubeconfig");
    return value;
  }

  /** The `inner` part of the entry called `name` in a list. */
  entry(config: Fields, list: string, inner: string, name: string | undefined): Fields {
    const entries: unknown = config[list];
    const found: unknown = Array.isArray(entries)
      ? entries.find((entry) => isFields(entry) && entry["name"] === name)
      : undefined;
    if (!isFields(found)) throw this.error(`${list} has no ${JSON.stringify(name ?? "")}`);
    const value = found[inner];
    return isFields(value) ? value : {};
  }

  string(fields: Fields, name: string): string | undefined {
    const value = fields[name];
    if (value === undefined || value === null || value === "") return undefined;
    if (typeof value !== "string") throw this.error(`${name} must be text`);
    return value;
  }

  url(cluster: Fields): URL {
    const text = this.string(cluster, "server");
    const url = text === undefined ? null : URL.parse(text);
    if (!url || !/^https?:$/.test(url.protocol)) throw this.error("server must be an http or https URL");
    if (url.username || url.password) throw this.error("server must not hold a user name or password");
    return url;
  }

  /** `NAME-data` (base64) before the file of NAME. */
  async pem(fields: Fields, name: string): Promise<string | undefined> {
    const data = this.string(fields, `${name}-data`);
    if (data !== undefined) return Buffer.from(data, "base64").toString("utf8");
    const path = this.string(fields, name);
    return path === undefined ? undefined : this.#beside(path);
  }

  /** The file before the text, as client-go has it. */
  async token(user: Fields): Promise<string | undefined> {
    const path = this.string(user, "tokenFile");
    const token = path === undefined ? this.string(user, "token") : (await this.#beside(path)).trim();
    if (token === "") throw this.error(`${path} is empty`);
    return token;
  }

  /** Paths are relative to the kubeconfig. */
  async #beside(path: string): Promise<string> {
    return readText(resolve(dirname(this.#path), path));
  }
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
