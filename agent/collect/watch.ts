/** Wake-ups for directories in which nothing happens for long stretches. A watch may miss events: rescans find what it missed. */
import { watch as watchDirectory, type FSWatcher } from "node:fs";
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
      try {
        watcher = watchDirectory(directory, { persistent: false }, () => {
          if (!watcher) return;
          stop();
          changed();
        });
        watcher.on("error", stop);
      } catch (error) {
        log.warn("can't watch a directory", { path: directory, reason: String(error), hint: HINT });
      }
      return stop;
    },
  };
}
