/** What a watch can be told, and how long it waits for what. */
import type { Change } from "./cache.ts";
import type { Selection } from "./client.ts";
import type { Kept, KubeObject } from "./objects.ts";

export interface WatchIntervals {
  /**
   * A connection without an event or bookmark for so long may be dead. The API server sends a bookmark every minute, but
   * not where no object of the kind has changed: so after a silent connection the next one may be silent twice as long,
   * up to lifeMs, until something is heard again.
   */
  readonly silentMs: number;
  /** How long the server is asked to keep a watch; at random between this and twice as much. */
  readonly lifeMs: number;
  /** A watch that lasted so long counts as a success although it brought nothing. */
  readonly steadyMs: number;
  /** The first wait is at random below the base, each further one below twice as much, at most the maximum. */
  readonly retryBaseMs: number;
  readonly retryMaxMs: number;
}

export const watchIntervals: WatchIntervals = {
  ...{ silentMs: 90_000, lifeMs: 300_000, steadyMs: 5_000, retryBaseMs: 800, retryMaxMs: 30_000 },
};

/** `pick`: an object could not be trimmed and is not in the cache, or is there as it was before. */
export type Trouble = "list" | "watch" | "pick" | "handler";

export interface WatchOptions<T extends Kept> extends Selection {
  /**
   * The first list may come from the server's memory, and may be seconds old; later ones are no older than what was
   * seen. For what every node asks at once.
   */
  readonly fromMemory?: boolean;
  /** Objects to a page of a list; fewer take less memory. */
  readonly pageObjectsMax?: number;
  /** What is kept of an object; it must not hold on to the rest. */
  readonly pick: (object: KubeObject) => T;
  readonly onChange?: (change: Change<T>) => void;
  /** Hears of everything that went wrong; the watch goes on. */
  readonly onTrouble?: (error: Error, during: Trouble) => void;
  readonly intervals?: Partial<WatchIntervals>;
  readonly random?: () => number;
}
