/**
 * What an API server does with one collection, without a socket: paged lists that show one moment, watches with bookmarks
 * and an end, a history that can be compacted, label selectors, and every fault a test asks for. kube-server.ts serves it
 * over HTTP, kube-wire.ts in virtual time.
 */
import type { Clock } from "../../kube/clock.ts";
import type { KubeObject } from "../../kube/objects.ts";
import { type Asked, bound, type Fault, limited, type Line } from "./kube-faults.ts";

export interface ModelObject extends KubeObject {
  readonly data: unknown;
}

interface Past {
  readonly version: number;
  readonly before: ModelObject | undefined;
  readonly after: ModelObject | undefined;
}

interface Watcher {
  readonly line: Line;
  readonly selector: string;
  /** Asked for what came after it. */
  readonly from: number;
  silent: boolean;
}

export class KubeModel {
  readonly objects = new Map<string, ModelObject>();
  readonly faults: Fault[] = [];
  readonly asked: Asked[] = [];
  /** Answers what is neither a list nor a watch, and may answer those before the model does. */
  answer: (asked: Asked, line: Line) => boolean = () => false;
  bookmarkMs = 60_000;
  /** A history that is gone is told in an event of a 200, as the real server mostly does; else by a 410. */
  goneInStream = true;
  readonly #clock: Clock;
  #version = 1000;
  #compacted = 0;
  #made = 0;
  readonly #history: Past[] = [];
  readonly #snapshots = new Map<number, ModelObject[]>();
  readonly #watchers = new Set<Watcher>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get watchers(): number {
    return this.#watchers.size;
  }

  get version(): number {
    return this.#version;
  }

  /** Makes the object or changes it. */
  put(namespace: string, name: string, data: unknown, labels: Record<string, string> = {}): void {
    const before = this.objects.get(`${namespace}/${name}`);
    const uid = before?.metadata.uid ?? `uid-${++this.#made}`;
    const resourceVersion = String(this.#version + 1);
    this.#become(before, { metadata: { name, namespace, uid, resourceVersion, labels }, data });
  }

  delete(namespace: string, name: string): void {
    const before = this.objects.get(`${namespace}/${name}`);
    if (before) this.#become(before, undefined);
  }

  /** Forgets the history and the moments that lists under way show. */
  compact(): void {
    this.#compacted = this.#version;
    this.#history.length = 0;
    this.#snapshots.clear();
  }

  /** The server was restored from a state so many versions ago; what happened since never did. */
  rewind(versions: number): void {
    this.cutAll();
    for (let i = 0; i < versions && this.#history.length > 0; i++) {
      const { version, before, after } = this.#history.pop()!;
      if (after) this.objects.delete(keyOf(after));
      if (before) this.objects.set(keyOf(before), before);
      this.#version = version - 1;
    }
    this.#snapshots.clear();
  }

  bookmarkAll(): void {
    for (const watcher of this.#watchers) this.#bookmark(watcher);
  }

  cutAll(): void {
    for (const { line } of this.#watchers) line.cut();
    this.#watchers.clear();
  }

  endAll(): void {
    for (const { line } of this.#watchers) line.end();
    this.#watchers.clear();
  }

  /** Watches stay open, and nothing comes any more. */
  silenceAll(): void {
    for (const watcher of this.#watchers) watcher.silent = true;
  }

  insertAll(text: string): void {
    for (const { line, silent } of this.#watchers) if (!silent) line.write(text);
  }

  errorAll(code: number): void {
    this.insertAll(errorEvent(code));
    this.endAll();
  }

  handle(asked: Asked, line: Line): void {
    this.asked.push(asked);
    if (this.answer(asked, line)) return;
    const query = new URL(asked.path, "http://model").searchParams;
    const on = query.get("watch") === "true" ? "watch" : "list";
    const index = this.faults.findIndex((fault) => fault.on === on);
    const fault = index < 0 ? undefined : this.faults.splice(index, 1)[0];
    const serve = (to: Line): void => (on === "watch" ? this.#watch(query, to) : this.#list(query, to));
    switch (fault?.kind) {
      case undefined:
        return serve(line);
      case "refuse":
        return line.cut();
      case "slow":
        return void this.#clock.after(fault.ms, () => serve(line));
      case "cut":
      case "silent":
        return serve(limited(line, fault.afterBytes, fault.kind));
      case "insert":
        line.head(200, { "content-type": "application/json" });
        line.write(fault.text);
        return serve({ ...bound(line), head: () => {} });
      case "end":
        line.head(200, { "content-type": "application/json" });
        return line.end();
      case "status": {
        const retry: Record<string, string> =
          fault.retryAfter === undefined ? {} : { "retry-after": String(fault.retryAfter) };
        line.head(fault.code, retry);
        line.write(fault.text ?? JSON.stringify(status(fault.code)));
        return line.end();
      }
    }
  }

  #become(before: ModelObject | undefined, after: ModelObject | undefined): void {
    const past = { version: ++this.#version, before, after };
    this.#history.push(past);
    if (after) this.objects.set(keyOf(after), after);
    else if (before) this.objects.delete(keyOf(before));
    for (const watcher of this.#watchers) this.#send(watcher, past);
  }

  #list(query: URLSearchParams, line: Line): void {
    const limit = Number(query.get("limit") ?? 0) || Infinity;
    const [versionText, startText] = (query.get("continue") ?? "").split(":");
    let version = Number(versionText);
    const start = Number(startText ?? 0);
    let items = versionText ? this.#snapshots.get(version) : undefined;
    if (versionText && !items) {
      line.head(410);
      line.write(JSON.stringify(status(410)));
      return line.end();
    }
    if (!items) {
      version = this.#version;
      const selector = query.get("labelSelector") ?? "";
      items = [...this.objects.values()]
        .filter((object) => selects(selector, object))
        .sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
    }
    const more = start + limit < items.length;
    if (more) this.#snapshots.set(version, items);
    line.head(200, { "content-type": "application/json" });
    const metadata = { resourceVersion: String(version), ...(more ? { continue: `${version}:${start + limit}` } : {}) };
    line.write(JSON.stringify({ kind: "List", metadata, items: items.slice(start, start + limit) }));
    line.end();
  }

  #watch(query: URLSearchParams, line: Line): void {
    const from = Number(query.get("resourceVersion"));
    if (from < this.#compacted) {
      line.head(this.goneInStream ? 200 : 410);
      line.write(this.goneInStream ? errorEvent(410) : JSON.stringify(status(410)));
      return line.end();
    }
    line.head(200, { "content-type": "application/json" });
    const watcher = { line, selector: query.get("labelSelector") ?? "", from, silent: false };
    this.#watchers.add(watcher);
    const cancel = this.#clock.after(Number(query.get("timeoutSeconds")) * 1000, () => {
      this.#watchers.delete(watcher);
      if (!watcher.silent) line.end();
    });
    const cancelBookmarks = this.#bookmarkOften(watcher);
    line.onClose(() => {
      this.#watchers.delete(watcher);
      cancel();
      cancelBookmarks();
    });
    for (const past of this.#history) this.#send(watcher, past);
  }

  #bookmarkOften(watcher: Watcher): () => void {
    if (this.bookmarkMs === Infinity) return () => {};
    let cancel = (): void => {};
    const next = (): void => {
      cancel = this.#clock.after(this.bookmarkMs, () => {
        this.#bookmark(watcher);
        next();
      });
    };
    next();
    return () => cancel();
  }

  #bookmark(watcher: Watcher): void {
    if (watcher.silent || !this.#watchers.has(watcher)) return;
    const object = { kind: "ConfigMap", apiVersion: "v1", metadata: { resourceVersion: String(this.#version) } };
    watcher.line.write(`${JSON.stringify({ type: "BOOKMARK", object })}\n`);
  }

  #send(watcher: Watcher, { version, before, after }: Past): void {
    const [was, is] = [before, after].map((object) => object !== undefined && selects(watcher.selector, object));
    if (watcher.silent || version <= watcher.from || (!was && !is)) return;
    const type = is ? (was ? "MODIFIED" : "ADDED") : "DELETED";
    const last = is ? after! : before!;
    const object = { ...last, metadata: { ...last.metadata, resourceVersion: String(version) } };
    watcher.line.write(`${JSON.stringify({ type, object })}\n`);
  }
}

const keyOf = ({ metadata }: ModelObject): string => `${metadata.namespace}/${metadata.name}`;

/** Only `key=value`, and "" for all. */
function selects(selector: string, { metadata }: ModelObject): boolean {
  const [key = "", value] = selector.split("=");
  return selector === "" || metadata.labels?.[key] === value;
}

const REASONS: Record<number, string> = {
  401: "Unauthorized",
  403: "Forbidden",
  410: "Expired",
  429: "TooManyRequests",
};

function status(code: number): object {
  const reason = REASONS[code] ?? "InternalError";
  return { kind: "Status", apiVersion: "v1", status: "Failure", code, reason, message: `a fault with code ${code}` };
}

const errorEvent = (code: number): string => `${JSON.stringify({ type: "ERROR", object: status(code) })}\n`;
