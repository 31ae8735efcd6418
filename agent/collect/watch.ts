/**
 * Wake-ups for directories in which nothing happens for long stretches. A watch may miss events: rescans find what it
 * missed.
 */
import { watch as watchDirectory, type FSWatcher } from "node:fs";
import { hasCode } from "../disk.ts";
import type { Log } from "../log.ts";

export interface Watcher {
  /** Calls `changed` once, soon after something changes in the directory, and stops. The returned function stops it earlier. */
  once(directory: string, changed: () => void): () => void;
}

const HINT = "changes are found by the rescan every 30 s instead; raise fs.inotify.max_user_watches";

/** A watcher on the kernel's notifications. */
export function realWatcher(log: Log): Watcher {
  return {
    once(directory, changed) {
      let watcher: FSWatcher | undefined;
      const stop = (): void => {
        watcher?.close();
        watcher = undefined;
      };
      const tell = (): void => {
        if (!watcher) return;
        stop();
        changed();
      };
      try {
        watcher = watchDirectory(directory, { persistent: false }, tell);
        watcher.on("error", tell);
      } catch (error) {
        // A directory that is not there is no trouble of the watch.
        if (!hasCode(error, "ENOENT", "ENOTDIR")) {
          log.warn("can't watch a directory", { reason: String(error), hint: HINT });
        }
      }
      return stop;
    },
  };
}

/** Watches over a set of directories. */
export class Watches {
  /** With what ends its watch; undefined: it has told of something and is over. */
  readonly #watched = new Map<string, (() => void) | undefined>();
  readonly #watcher: Watcher;
  readonly #changed: () => void;

  /** `changed` is called when something changed in one of them; each tells once until the next `keep`. */
  constructor(watcher: Watcher, changed: () => void) {
    this.#watcher = watcher;
    this.#changed = changed;
  }

  /** Watches those that have told again; before the directories are listed. */
  renew(): void {
    for (const [path, stop] of this.#watched) if (!stop) this.#watch(path);
  }

  /** Watches these and no others. True: some are new, and what came between the listing and the watch is found by listing again. */
  keep(paths: ReadonlySet<string>): boolean {
    for (const [path, stop] of this.#watched) {
      if (paths.has(path)) continue;
      stop?.();
      this.#watched.delete(path);
    }
    let isNew = false;
    for (const path of paths) {
      if (this.#watched.has(path)) continue;
      this.#watch(path);
      isNew = true;
    }
    return isNew;
  }

  close(): void {
    for (const stop of this.#watched.values()) stop?.();
    this.#watched.clear();
  }

  #watch(path: string): void {
    const stop = this.#watcher.once(path, () => {
      this.#watched.set(path, undefined);
      this.#changed();
    });
    this.#watched.set(path, stop);
  }
}
