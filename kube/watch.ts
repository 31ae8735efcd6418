/**
 * Keeps a trimmed copy of a collection: a list in pages, then a watch from where the list stood, for as long as it takes.
 *
 *   the server ends the watch       go on from the last event or bookmark
 *   silence                         the same, on a new connection
 *   a cut, a refusal                the same after a while: exponential backoff with full jitter
 *   410, in an answer or an event   list anew; what was deleted meanwhile is what the list does not show
 *   the same bad answer repeatedly  list anew: the list steps over an event that cannot be read
 *   versions that run backwards     list anew: the server was restored from an older state
 *
 * Nothing ends it but stop(). Changes are told in the server's order, after the cache shows them.
 */
import type { Buffer } from "node:buffer";
import { Cache, type Change } from "./cache.ts";
import type { KubeClient, Selection } from "./client.ts";
import type { Clock } from "./clock.ts";
import { ApiError, BadAnswer, ConnectionError, isVerdict, type Status } from "./errors.ts";
import { eventOf, isOlder, Rewound, Silence } from "./events.ts";
import { Lines } from "./lines.ts";
import { type Kept, keyOf, type KubeObject, type Resource } from "./objects.ts";
import { type Trouble, type WatchIntervals, watchIntervals, type WatchOptions } from "./watch-options.ts";

/** An event takes more than an object, by a little. */
const LINE_BYTES_MAX = (8 << 20) + 1024;
const OPEN_MS_MAX = 30_000;
/** After so many the version is no longer trusted, and listed anew. */
const VERDICTS_MAX = 3;

export class Watch<T extends Kept> {
  /** True once the first list is complete, false when stopped before that. */
  readonly synced: Promise<boolean>;
  /** Complete lists, watches that brought something, watches left for their silence; when the server was last heard. */
  readonly counts = { lists: 0, connections: 0, silent: 0, heardAt: -Infinity };
  readonly #client: KubeClient;
  readonly #clock: Clock;
  readonly #resource: Resource;
  readonly #selection: Selection;
  readonly #options: WatchOptions<T>;
  readonly #intervals: WatchIntervals;
  readonly #random: () => number;
  readonly #cache: Cache<T>;
  #setSynced: (synced: boolean) => void = () => {};
  #running: Promise<void> | undefined;
  #stopped = false;
  /** Of the request under way. */
  #abort = new AbortController();
  #wake: () => void = () => {};
  /** What the cache shows; undefined: list. */
  #version: string | undefined;
  /** What a list from memory may not be older than: the last version seen. Undefined: no memory is trusted. */
  #seen: string | undefined = "0";
  #failures = 0;
  /** Answers in a row that were verdicts on the version, since it was last listed. */
  #verdicts = 0;
  /** How long the next connection may be silent. */
  #patienceMs: number;

  constructor(client: KubeClient, clock: Clock, resource: Resource, options: WatchOptions<T>) {
    this.#client = client;
    this.#clock = clock;
    this.#resource = resource;
    const { namespace, labelSelector, fieldSelector, metadataOnly } = options;
    this.#selection = { namespace, labelSelector, fieldSelector, metadataOnly };
    this.#options = options;
    this.#intervals = { ...watchIntervals, ...options.intervals };
    this.#patienceMs = this.#intervals.silentMs;
    this.#random = options.random ?? Math.random;
    this.#cache = new Cache((change) => this.#tell(change));
    this.synced = new Promise((resolve) => {
      this.#setSynced = resolve;
    });
  }

  /** By keyOf(): `namespace/name`, or the name alone. */
  get objects(): ReadonlyMap<string, T> {
    return this.#cache.objects;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** After it resolves nothing is called any more; the objects stay as they are. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#abort.abort(new ConnectionError("the watch is stopped"));
    this.#wake();
    await this.#running;
    this.#setSynced(false);
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const delayMs = await this.#attempt();
      if (delayMs > 0 && !this.#stopped) await this.#pause(delayMs);
    }
  }

  /** Lists if need be and watches until that ends; returns the milliseconds to wait before the next attempt. */
  async #attempt(): Promise<number> {
    const { steadyMs } = this.#intervals;
    let during: Trouble = "list";
    let openedAt = Infinity;
    let failure: unknown;
    const { connections } = this.counts;
    this.#abort = new AbortController();
    try {
      if (this.#version === undefined) await this.#list();
      during = "watch";
      openedAt = this.#clock.now();
      await this.#follow(this.#version!);
    } catch (error) {
      if (this.#stopped) return 0;
      // Not a failure: where nothing changes it is the rule.
      if (!(error instanceof Silence)) failure = error;
    }
    const lasted = this.#clock.now() - openedAt;
    if (lasted >= steadyMs || this.counts.connections > connections) this.#failures = this.#verdicts = 0;
    if (failure !== undefined) return this.#judge(failure, during);
    if (lasted >= steadyMs) return 0;
    this.#failures++;
    return this.#backoffMs();
  }

  #judge(failure: unknown, during: Trouble): number {
    const error = failure instanceof Error ? failure : new Error(String(failure));
    this.#failures++;
    const verdict = isVerdict(error);
    if (verdict && during === "list") this.#seen = undefined;
    if (verdict) this.#verdicts++;
    if ((error instanceof ApiError && error.gone) || this.#verdicts >= VERDICTS_MAX) this.#version = undefined;
    if (error instanceof Rewound) this.#version = this.#seen = undefined;
    this.#report(error, during);
    const asked = error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0;
    return Math.min(asked, this.#intervals.retryMaxMs) + this.#backoffMs();
  }

  async #list(): Promise<void> {
    const { fromMemory, pageObjectsMax } = this.#options;
    const { signal } = this.#abort;
    const notOlderThan = fromMemory ? this.#seen : undefined;
    const options = { ...this.#selection, notOlderThan, signal, ...(pageObjectsMax ? { pageObjectsMax } : {}) };
    this.#cache.beginList();
    let version = "";
    for await (const page of this.#client.pages(this.#resource, options)) {
      for (const object of page.items) {
        if (this.#stopped) return;
        this.#put(object);
      }
      version = page.resourceVersion;
    }
    if (this.#stopped) return;
    this.#cache.endList();
    this.#version = this.#seen = version;
    this.#verdicts = 0;
    this.counts.lists++;
    this.counts.heardAt = this.#clock.now();
    this.#setSynced(true);
  }

  /** One connection; resolves when the server ends it. */
  async #follow(resourceVersion: string): Promise<void> {
    if (this.#stopped) return;
    const { lifeMs, silentMs } = this.#intervals;
    const patienceMs = this.#patienceMs;
    const abort = this.#abort;
    const lines = new Lines(LINE_BYTES_MAX);
    let lineAt = this.#clock.now();
    let first = true;
    const onLine = (line: Buffer): void => {
      if (this.#stopped || line.length === 0) return;
      this.#event(line);
      this.counts.heardAt = lineAt = this.#clock.now();
      this.#patienceMs = silentMs;
      if (first) this.counts.connections++;
      first = false;
    };
    // One timer that looks when the last line came is cheaper than one that is set anew for each.
    const look = (): void => {
      const left = lineAt + (first ? patienceMs : silentMs) - this.#clock.now();
      if (left > 0) {
        cancel = this.#clock.after(left, look);
        return;
      }
      this.counts.silent++;
      this.#patienceMs = Math.max(silentMs, Math.min(lifeMs, 2 * this.#patienceMs));
      abort.abort(new Silence(`watch of ${this.#resource.plural}: silence`));
    };
    let cancel = this.#clock.after(silentMs, look);
    try {
      await this.#client.follow(this.#resource, {
        ...this.#selection,
        resourceVersion,
        lifeSeconds: Math.max(1, Math.round((lifeMs * (1 + this.#random())) / 1000)),
        openMs: OPEN_MS_MAX,
        signal: abort.signal,
        onData: (chunk) => lines.push(chunk, onLine),
      });
    } finally {
      cancel();
    }
  }

  #event(line: Buffer): void {
    const { type, object } = eventOf(line);
    if (type === "ERROR") {
      const status = object as Status;
      throw new ApiError(`watch of ${this.#resource.plural}`, status.code ?? 500, status);
    }
    const version = object.metadata?.resourceVersion;
    if (typeof version !== "string")
      throw new BadAnswer(`watch of ${this.#resource.plural}: ${type} without a version`);
    if (isOlder(version, this.#version)) {
      throw new Rewound(`watch of ${this.#resource.plural}: version ${version} came after ${this.#version}`);
    }
    if (type === "DELETED") this.#cache.delete(object.metadata);
    else if (type === "ADDED" || type === "MODIFIED") this.#put(object);
    else if (type !== "BOOKMARK") throw new BadAnswer(`watch of ${this.#resource.plural}: an event of type ${type}`);
    this.#version = this.#seen = version;
  }

  #put(object: KubeObject): void {
    let kept: T;
    try {
      kept = this.#options.pick(object);
    } catch (error) {
      this.#cache.keep(keyOf(object.metadata));
      this.#report(error, "pick");
      return;
    }
    this.#cache.put(kept);
  }

  #tell(change: Change<T>): void {
    if (this.#stopped) return;
    try {
      this.#options.onChange?.(change);
    } catch (error) {
      this.#report(error, "handler");
    }
  }

  #report(thrown: unknown, during: Trouble): void {
    try {
      this.#options.onTrouble?.(thrown instanceof Error ? thrown : new Error(String(thrown)), during);
    } catch {
      // There is nobody left to tell.
    }
  }

  #backoffMs(): number {
    const { retryBaseMs, retryMaxMs } = this.#intervals;
    return this.#random() * Math.min(retryMaxMs, retryBaseMs * 2 ** Math.min(this.#failures - 1, 30));
  }

  async #pause(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const cancel = this.#clock.after(ms, resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
  }
}
