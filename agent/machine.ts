/** The world as it is on a real machine, and what can be wrong with it at start. */
import { realClock } from "./clock.ts";
import { JournalError } from "./collect/journal.ts";
import { realWatcher } from "./collect/watch.ts";
import { hasCode, realDisk } from "./disk.ts";
import { LockedError } from "./lock.ts";
import { createLog } from "./log.ts";
import type { World } from "./main.ts";
import { sinks } from "./sinks/index.ts";

/** The real clock, disk, watches and sinks; log lines go to `write`. */
export function realWorld(write: (line: string) => void): World {
  const log = createLog(realClock, write);
  return { clock: realClock, disk: realDisk, log, watcher: realWatcher(log), random: Math.random, sinks };
}

/** True for what a user can mend: the data directory is in use, of another format, or not to be written. */
export function isStateError(error: unknown): error is Error {
  const system = ["EACCES", "EROFS", "ENOSPC", "ENOTDIR", "EEXIST", "ENOENT", "EPERM", "EIO", "EDQUOT", "EMFILE"];
  return error instanceof LockedError || error instanceof JournalError || hasCode(error, ...system);
}
