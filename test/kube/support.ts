/** What the tests of kube/ share: a client of a model, in virtual time or through a socket, and what a cache should hold. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { Access } from "../../kube/access.ts";
import type { Change } from "../../kube/cache.ts";
import { KubeClient } from "../../kube/client.ts";
import type { Clock } from "../../kube/clock.ts";
import { Credentials } from "../../kube/config.ts";
import { configMaps, type KubeObject, type ObjectMeta } from "../../kube/objects.ts";
import { Watch } from "../../kube/watch.ts";
import type { Trouble, WatchOptions } from "../../kube/watch-options.ts";
import { KubeModel, type ModelObject } from "../support/kube-model.ts";
import { type KubeServer, serveModel } from "../support/kube-server.ts";
import { wireTo } from "../support/kube-wire.ts";
import { SimClock } from "../support/sim-clock.ts";

export const realClock: Clock = {
  now: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};

/** Numbers from 0 to 1 that are the same for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function clientOf(url: string, clock: Clock = realClock, token?: string): KubeClient {
  const access = new Access(new URL(url), "default", token, {});
  return new KubeClient(new Credentials(async () => access, clock), clock);
}

/** A model behind a socket and a client of it, both gone after the test. */
export async function served(t: TestContext): Promise<{ model: KubeModel; server: KubeServer; client: KubeClient }> {
  const model = new KubeModel(realClock);
  const server = await serveModel(model);
  const client = clientOf(server.url);
  t.after(async () => {
    await client.close();
    await server.close();
  });
  return { model, server, client };
}

export interface Item {
  metadata: Pick<ObjectMeta, "name" | "namespace" | "uid" | "resourceVersion">;
  data: unknown;
}

export function pick(object: KubeObject): Item {
  const { name, namespace, uid, resourceVersion } = object.metadata;
  const metadata = { name, uid, resourceVersion, ...(namespace === undefined ? {} : { namespace }) };
  return { metadata, data: (object as ModelObject).data };
}

/** A watch of a model in virtual time, with all that it told. */
export class Observed {
  readonly clock = new SimClock();
  readonly model = new KubeModel(this.clock);
  readonly changes: Change<Item>[] = [];
  readonly troubles: { message: string; during: Trouble; at: number }[] = [];
  readonly watch: Watch<Item>;

  constructor(options: Partial<WatchOptions<Item>> & { seed?: number } = {}) {
    const random = seeded(options.seed ?? 1);
    const access = new Access(new URL("http://model"), "default", undefined, {});
    const connect = wireTo(this.model, this.clock, random);
    const credentials = new Credentials(async () => access, this.clock);
    const client = new KubeClient(credentials, this.clock, { connect: () => connect });
    this.watch = new Watch(client, this.clock, configMaps, {
      ...{ pick, random },
      onChange: (change) => this.changes.push(change),
      onTrouble: ({ message }, during) => this.troubles.push({ message, during, at: this.clock.now() }),
      ...options,
    });
  }

  /** Starts it; its first request is on its way then. */
  async start(): Promise<void> {
    this.watch.start();
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** Starts it and lets it list. */
  async begin(): Promise<void> {
    await this.start();
    await this.clock.run(1_000);
  }

  /** How many lists and watches the server was asked for. */
  asked(kind: "list" | "watch"): number {
    return this.model.asked.filter(({ path }) => path.includes("watch=true") === (kind === "watch")).length;
  }

  kinds(): string[] {
    return this.changes.map(({ kind, key }) => `${kind} ${key}`);
  }
}

export function shown(objects: ReadonlyMap<string, KubeObject | Item>): [string, Item][] {
  const items = [...objects].map(([key, object]): [string, Item] => [key, pick(object as KubeObject)]);
  return items.sort(([a], [b]) => (a < b ? -1 : 1));
}

/** The cache is what the server has. */
export function agrees({ watch, model }: Observed): void {
  assert.deepEqual(shown(watch.objects), shown(model.objects));
}
