/** The lines of a watch, and the order of the versions in them. */
import type { Buffer } from "node:buffer";
import { BadAnswer } from "./errors.ts";
import type { KubeObject } from "./objects.ts";

export interface WatchEvent {
  readonly type: string;
  /** Of an ERROR a Status, of a BOOKMARK only a version, else the object as it became. */
  readonly object: KubeObject;
}

/** The server's history is not the one we saw: it was restored from an older state. */
export class Rewound extends Error {
  override readonly name = "Rewound";
}

/** Nothing came for too long. */
export class Silence extends Error {
  override readonly name = "Silence";
}

/** Throws BadAnswer. */
export function eventOf(line: Buffer): WatchEvent {
  let value: unknown;
  try {
    value = JSON.parse(line.toString("utf8"));
  } catch {
    throw new BadAnswer(`a watch event of ${line.length} bytes is not JSON`);
  }
  const { type, object } = (value ?? {}) as Partial<WatchEvent>;
  if (typeof type !== "string" || typeof object !== "object" || object === null) {
    throw new BadAnswer("a watch event has no type or no object");
  }
  return { type, object };
}

/** Versions are opaque but for their order: decimal numbers, that of etcd. Others are never older. */
export function isOlder(version: string, than: string | undefined): boolean {
  if (than === undefined || !/^[1-9]\d*$/.test(version) || !/^[1-9]\d*$/.test(than)) return false;
  return version.length === than.length ? version < than : version.length < than.length;
}
