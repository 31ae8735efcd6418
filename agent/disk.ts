/**
 * The file system as the agent sees it: synchronous, because a read from the page cache costs less than a trip through
 * the thread pool, and injected, so that tests can tear, fill and crash it. Only syncing waits elsewhere.
 */
import { Buffer } from "node:buffer";
import * as fs from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

export interface FileStat {
  /** `device:inode`: a shortcut while we run, never saved. */
  readonly node: string;
  readonly size: number;
  readonly modifiedMs: number;
}

export interface Entry {
  readonly name: string;
  readonly kind: "file" | "directory" | "link" | "other";
}

/** Every method throws node's own error (with `code`) unless it says otherwise. */
export interface Disk {
  /** A directory's entries, in no order; undefined when it does not exist. */
  list(path: string): Entry[] | undefined;
  /** Follows links; undefined when nothing is there. */
  stat(path: string): FileStat | undefined;
  /** Where the last part of a path leads, one link further (or itself), below a directory without links; undefined: nowhere. */
  resolve(path: string): string | undefined;
  /** Opens for reading. */
  open(path: string): number;
  /** Opens for appending, mode 0600, creating the file. */
  openAppend(path: string): number;
  statOpen(fd: number): FileStat;
  /** Reads up to `length` bytes at `position` into `target` at `offset`; returns how many, 0 at the end. */
  read(fd: number, target: Uint8Array, offset: number, length: number, position: number): number;
  /** Appends all bytes or throws. */
  write(fd: number, bytes: Uint8Array): void;
  truncate(fd: number, size: number): void;
  close(fd: number): void;
  remove(path: string): void;
  /** Creates a directory and its parents, mode 0700. */
  makeDirectory(path: string): void;
  /** Resolves when what was written to the file is on stable storage. */
  sync(fd: number): Promise<void>;
  /** Likewise for the names in a directory. */
  syncDirectory(path: string): Promise<void>;
}

/** True for node's system errors with this code. */
export function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && codes.includes((error as NodeJS.ErrnoException).code ?? "");
}

const asStat = (stats: fs.Stats): FileStat => ({
  node: `${stats.dev}:${stats.ino}`,
  size: stats.size,
  modifiedMs: stats.mtimeMs,
});

/** undefined instead of an error that says that there is nothing at the path. */
function unlessMissing<T>(run: () => T): T | undefined {
  try {
    return run();
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
}

export const realDisk: Disk = {
  list: (path) =>
    unlessMissing(() =>
      fs.readdirSync(path, { withFileTypes: true }).map((entry) => ({
        name: entry.name,
        kind: entry.isFile() ? "file" : entry.isDirectory() ? "directory" : entry.isSymbolicLink() ? "link" : "other",
      })),
    ),
  stat: (path) => {
    const stats = fs.statSync(path, { throwIfNoEntry: false });
    return stats && asStat(stats);
  },
  resolve: (path) =>
    unlessMissing(() => {
      const directory = fs.realpathSync(dirname(path));
      const own = join(directory, basename(path));
      if (!fs.lstatSync(own).isSymbolicLink()) return own;
      const target = resolve(directory, fs.readlinkSync(own));
      return join(fs.realpathSync(dirname(target)), basename(target));
    }),
  // Without O_NONBLOCK, opening a pipe that somebody put there would wait for its writer.
  open: (path) => fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK),
  openAppend: (path) => fs.openSync(path, "a", 0o600),
  statOpen: (fd) => asStat(fs.fstatSync(fd)),
  read: (fd, target, offset, length, position) => fs.readSync(fd, target, offset, length, position),
  write(fd, bytes) {
    for (let done = 0; done < bytes.length;) done += fs.writeSync(fd, bytes, done);
  },
  truncate: (fd, size) => fs.ftruncateSync(fd, size),
  close: (fd) => fs.closeSync(fd),
  remove: (path) => fs.rmSync(path, { force: true }),
  makeDirectory: (path) => void fs.mkdirSync(path, { recursive: true, mode: 0o700 }),
  sync: (fd) => new Promise((resolve, reject) => fs.fdatasync(fd, (error) => (error ? reject(error) : resolve()))),
  async syncDirectory(path) {
    const directory = await fs.promises.open(path, "r");
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  },
};

/** A file's content as text, for small files of our own. */
export function readWhole(disk: Disk, path: string, bytesMax: number): Buffer | undefined {
  const stat = disk.stat(path);
  if (!stat) return undefined;
  if (stat.size > bytesMax) throw new Error(`${path} has ${stat.size} bytes, more than ${bytesMax}`);
  const fd = disk.open(path);
  try {
    const bytes = Buffer.alloc(stat.size);
    let done = 0;
    for (let n = 1; n > 0 && done < bytes.length; done += n) n = disk.read(fd, bytes, done, bytes.length - done, done);
    return bytes.subarray(0, done);
  } finally {
    disk.close(fd);
  }
}
