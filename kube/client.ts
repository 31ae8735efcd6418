/**
 * The verbs of the Kubernetes API. Reads are trimmed as they come, writes carry their preconditions, and every failure
 * is one of the classes in errors.ts.
 */
import type { Buffer } from "node:buffer";
import type { Clock } from "./clock.ts";
import type { Credentials } from "./config.ts";
import { ApiError, BadAnswer, TooLong } from "./errors.ts";
import { type Call, type Connect, Http, type Reply } from "./http.ts";
import { apiVersionOf, type Draft, type KubeObject, pathOf, type Ref, type Resource, type Stored } from "./objects.ts";

const TIMEOUT_MS = 30_000;
const PAGE_OBJECTS_MAX = 500;
/** Above what 500 ordinary pods have; a page that is longer is asked for again with fewer objects. */
const PAGE_BYTES_MAX = 16 << 20;
/** An object in etcd has at most 1.5 MiB, in JSON perhaps twice that. */
const OBJECT_BYTES_MAX = 8 << 20;
/** Pages of one list: 50,000 objects of 500, or of one when they are huge. */
const PAGES_MAX = 50_000;

const JSON_TYPE = "application/json";
/** For server-side apply; the body is JSON, which is YAML. */
const APPLY_TYPE = "application/apply-patch+yaml";

interface Limits {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** Which objects; without a namespace those of all. */
export interface Selection {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  /** The server leaves out everything but metadata. */
  readonly metadataOnly?: boolean | undefined;
}

export interface ListOptions extends Selection, Limits {
  /**
   * Without it the list is what is stored at this moment. With it the server may answer from its memory, as long as
   * that is no older than this version ("0": any age), which spares etcd when a thousand nodes ask.
   */
  readonly notOlderThan?: string | undefined;
  readonly pageObjectsMax?: number;
  readonly pageBytesMax?: number;
}

export interface Page {
  readonly items: KubeObject[];
  /** Of the whole list: every page shows the objects as they were then. */
  readonly resourceVersion: string;
}

interface WriteOptions extends Limits {
  readonly subresource?: string;
}

export interface ApplyOptions extends WriteOptions {
  /** Who owns the fields that are applied. */
  readonly manager: string;
  /** Takes fields from other managers instead of failing with a conflict. */
  readonly force?: boolean;
}

export interface DeleteOptions extends Limits {
  /** The object must be this one and, with a resourceVersion, unchanged; else the server answers 409. */
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly propagation?: "Background" | "Foreground" | "Orphan";
}

export interface FollowOptions extends Selection {
  /** Events after this one. */
  readonly resourceVersion: string;
  /** The server ends the watch after so long. */
  readonly lifeSeconds: number;
  readonly openMs: number;
  readonly signal: AbortSignal;
  readonly onData: (chunk: Buffer) => void;
}

export interface ClientOptions {
  readonly userAgent?: string;
  readonly connect?: Connect;
}

export class KubeClient {
  readonly #http: Http;

  constructor(credentials: Credentials, clock: Clock, { userAgent = "tailrace", connect }: ClientOptions = {}) {
    this.#http = new Http(credentials, clock, userAgent, connect);
  }

  /** One object as it is stored at this moment. */
  async get<T extends KubeObject>(
    resource: Resource,
    ref: Ref,
    options: Limits & { metadataOnly?: boolean; subresource?: string } = {},
  ): Promise<T> {
    const accept = options.metadataOnly ? metadataAs("PartialObjectMetadata") : JSON_TYPE;
    return this.#json<T>({ method: "GET", path: pathOf(resource, ref, options.subresource), accept }, options);
  }

  /** All pages, each object reduced to what `pick` returns, so that only one page is ever held whole. */
  async list<T>(
    resource: Resource,
    options: ListOptions & { pick: (object: KubeObject) => T },
  ): Promise<{ items: T[]; resourceVersion: string }> {
    const items: T[] = [];
    let resourceVersion = "";
    for await (const page of this.pages(resource, options)) {
      for (const object of page.items) items.push(options.pick(object));
      ({ resourceVersion } = page);
    }
    return { items, resourceVersion };
  }

  /** The pages of a list. Throws an ApiError with `gone` when the server forgot it between two pages: begin again. */
  async *pages(resource: Resource, options: ListOptions = {}): AsyncGenerator<Page, void, undefined> {
    const { pageBytesMax = PAGE_BYTES_MAX, notOlderThan } = options;
    const accept = options.metadataOnly ? metadataAs("PartialObjectMetadataList") : JSON_TYPE;
    let limit = options.pageObjectsMax ?? PAGE_OBJECTS_MAX;
    let next = "";
    for (let count = 0; count < PAGES_MAX; count++) {
      const query = queryOf(options);
      query.set("limit", String(limit));
      if (next !== "") query.set("continue", next);
      else if (notOlderThan !== undefined) {
        query.set("resourceVersion", notOlderThan);
        query.set("resourceVersionMatch", "NotOlderThan");
      }
      const path = `${pathOf(resource, { namespace: options.namespace })}?${query.toString()}`;
      let page: List;
      try {
        page = listOf(await this.#json({ method: "GET", path, accept, bytesMax: pageBytesMax }, options), path);
      } catch (error) {
        if (!(error instanceof TooLong) || limit === 1) throw error;
        limit = Math.ceil(limit / 4);
        continue;
      }
      yield { items: page.items, resourceVersion: page.metadata.resourceVersion };
      next = page.metadata.continue ?? "";
      if (next === "") return;
    }
    throw new TooLong(`GET ${pathOf(resource)}: the list has more than ${PAGES_MAX} pages`);
  }

  /** Fails with AlreadyExists where there is one of that name. With `subresource`, the object `at` it names is asked. */
  async create<D extends Draft>(
    resource: Resource,
    object: D,
    options: WriteOptions & { at?: Ref } = {},
  ): Promise<Stored<D>> {
    const at = options.at ?? { namespace: object.metadata.namespace };
    const path = pathOf(resource, at, options.subresource);
    return this.#write("POST", path, JSON_TYPE, filled(resource, object), options);
  }

  /** Writes over the object that has this resourceVersion (and uid, where given), or fails with a conflict. */
  async replace<D extends Draft & { metadata: { name: string; resourceVersion: string } }>(
    resource: Resource,
    object: D,
    options: WriteOptions = {},
  ): Promise<Stored<D>> {
    if (!object.metadata.resourceVersion)
      throw new Error(`replacing ${object.metadata.name} needs its resourceVersion`);
    const path = pathOf(resource, object.metadata, options.subresource);
    return this.#write("PUT", path, JSON_TYPE, filled(resource, object), options);
  }

  /**
   * Server-side apply: the object gets these fields and loses those that `manager` applied before and now leaves out.
   * With metadata.resourceVersion (and uid) it fails with a conflict where the object is another by now, or is gone.
   */
  async apply<D extends Draft & { metadata: { name: string } }>(
    resource: Resource,
    object: D,
    options: ApplyOptions,
  ): Promise<Stored<D>> {
    const query = new URLSearchParams({ fieldManager: options.manager, force: String(options.force ?? false) });
    const path = `${pathOf(resource, object.metadata, options.subresource)}?${query.toString()}`;
    return this.#write("PATCH", path, APPLY_TYPE, filled(resource, object), options);
  }

  /** Resolves when the server has taken the wish; finalizers may keep the object for a while. */
  async delete(resource: Resource, ref: Ref, options: DeleteOptions = {}): Promise<void> {
    const { uid, resourceVersion, propagation } = options;
    const body = {
      ...{ apiVersion: "v1", kind: "DeleteOptions" },
      ...(uid === undefined && resourceVersion === undefined ? {} : { preconditions: { uid, resourceVersion } }),
      ...(propagation === undefined ? {} : { propagationPolicy: propagation }),
    };
    await this.#write("DELETE", pathOf(resource, ref), JSON_TYPE, body, options);
  }

  /** One watch connection, with bookmarks: resolves when the server ends it. The bytes are lines of JSON. */
  async follow(resource: Resource, options: FollowOptions): Promise<void> {
    const query = queryOf(options);
    query.set("watch", "true");
    query.set("allowWatchBookmarks", "true");
    query.set("resourceVersion", options.resourceVersion);
    query.set("timeoutSeconds", String(options.lifeSeconds));
    const { signal, onData, openMs: timeoutMs } = options;
    const accept = options.metadataOnly ? metadataAs("PartialObjectMetadata") : JSON_TYPE;
    const path = `${pathOf(resource, { namespace: options.namespace })}?${query.toString()}`;
    await this.#send({ method: "GET", path, accept, timeoutMs, bytesMax: 0, signal, onData });
  }

  /** Ends every request and watch. */
  async close(): Promise<void> {
    await this.#http.close();
  }

  async #write<T>(
    method: Call["method"],
    path: string,
    contentType: string,
    body: unknown,
    limits: Limits,
  ): Promise<T> {
    return this.#json<T>({ method, path, accept: JSON_TYPE, contentType, body: JSON.stringify(body) }, limits);
  }

  async #json<T>(
    call: Omit<Call, "timeoutMs" | "bytesMax"> & { bytesMax?: number },
    { timeoutMs = TIMEOUT_MS, signal }: Limits,
  ): Promise<T> {
    const reply = await this.#send({ bytesMax: OBJECT_BYTES_MAX, ...call, timeoutMs, signal });
    try {
      return JSON.parse(reply.body.toString("utf8")) as T;
    } catch {
      throw new BadAnswer(`${whatOf(call)}: the answer is not JSON`);
    }
  }

  async #send(call: Call): Promise<Reply> {
    const reply = await this.#http.send(call);
    if (reply.status >= 200 && reply.status < 300) return reply;
    throw ApiError.ofReply(whatOf(call), reply.status, reply.body, reply.retryAfterMs);
  }
}

interface List {
  readonly items: KubeObject[];
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
}

function listOf(answer: Partial<List> | null, path: string): List {
  const { items, metadata } = answer ?? {};
  // Go writes an empty list as null where the field has no omitempty and nobody made a slice.
  const whole = (items === null || Array.isArray(items)) && typeof metadata?.resourceVersion === "string";
  if (!whole) throw new BadAnswer(`${whatOf({ method: "GET", path })}: the answer is no list`);
  return { items: items ?? [], metadata };
}

function queryOf({ labelSelector, fieldSelector }: Selection): URLSearchParams {
  const query = new URLSearchParams();
  if (labelSelector) query.set("labelSelector", labelSelector);
  if (fieldSelector) query.set("fieldSelector", fieldSelector);
  return query;
}

function filled(resource: Resource, object: Draft): Draft {
  return { apiVersion: apiVersionOf(resource), kind: resource.kind, ...object };
}

const metadataAs = (kind: string): string => `application/json;as=${kind};g=meta.k8s.io;v=v1`;

const whatOf = ({ method, path }: Pick<Call, "method" | "path">): string => `${method} ${path.replace(/\?.*/, "")}`;
