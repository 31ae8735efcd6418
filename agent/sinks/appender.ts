/**
 * Appends whole blocks of lines to files, all or nothing: what could not be written and synced is taken back, so that a
 * retry doubles and tears nothing.
 *
 * append() holds the lock of every path it writes, from before the first byte until the last is synced or taken back;
 * locks belong to the process, because two sinks may name one file. Open files are kept, at most OPEN_MAX (the least
 * recently used goes first), and are opened anew when their path leads to another file than before, or to none. On
 * opening, a last line without its newline is cut: it is what a crash left of a write that nobody acknowledged.
 */
import { Buffer } from "node:buffer";
import { mkdir, open, stat, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import type { Log } from "../log.ts";

export const OPEN_MAX = 128;
const NEWLINE = 10;
const SCAN_BYTES = 64 * 1024;

export interface Part {
  /** Absolute. */
  readonly path: string;
  /** Whole lines. */
  readonly bytes: Uint8Array;
}

/** What went wrong at a path. */
export class AppendError extends Error {
  /** The system's code (ENOSPC); empty when it is none of its errors. */
  readonly code: string;
  /** Some of the bytes may still be there: a retry may double them. */
  left = false;

  constructor(path: string, cause: unknown) {
    const { code, message } = cause as NodeJS.ErrnoException;
    super(`${path}: ${message}`, { cause });
    this.code = code ?? "";
  }
}

/** By path, the end of what waits for it; never more than the requests in flight have paths. */
const locks = new Map<string, Promise<void>>();

async function withLock<T>(path: string, run: () => Promise<T>): Promise<T> {
  const before = locks.get(path) ?? Promise.resolve();
  const { promise, resolve } = Promise.withResolvers<void>();
  const mine = before.then(() => promise);
  locks.set(path, mine);
  try {
    await before;
    return await run();
  } finally {
    resolve();
    if (locks.get(path) === mine) locks.delete(path);
  }
}

interface OpenFile {
  readonly handle: FileHandle;
  readonly id: string;
  users: number;
}

export class Appender {
  readonly #log: Log;
  readonly #labels: { pipeline: string; sink: string };
  /** By path, in the order of their last use. */
  readonly #files = new Map<string, OpenFile>();

  constructor(log: Log, labels: { pipeline: string; sink: string }) {
    this.#log = log;
    this.#labels = labels;
  }

  /**
   * Appends every part and syncs it. Rejects after taking back what was written: with AppendError, or with the signal's
   * reason when it was aborted meanwhile.
   */
  async append(parts: readonly Part[], signal: AbortSignal): Promise<void> {
    const byPath = [...Map.groupBy(parts, ({ path }) => path)].sort(([a], [b]) => (a < b ? -1 : 1));
    // Always in the order of the paths, so that two requests never wait for each other.
    let run = async (): Promise<void> => this.#appendLocked(byPath, signal);
    for (const [path] of byPath.toReversed()) {
      const inner = run;
      run = async () => withLock(path, inner);
    }
    await run();
  }

  async close(): Promise<void> {
    const files = [...this.#files.values()];
    this.#files.clear();
    await Promise.all(files.map(async ({ handle }) => handle.close().catch(() => {})));
  }

  /** Files kept open. */
  get openFiles(): number {
    return this.#files.size;
  }

  async #appendLocked(byPath: readonly [string, Part[]][], signal: AbortSignal): Promise<void> {
    const written: { path: string; id: string; start: number }[] = [];
    try {
      for (const [path, parts] of byPath) {
        signal.throwIfAborted();
        await this.#use(path, async ({ handle, id }) => {
          written.push({ path, id, start: (await handle.stat()).size });
          for (const { bytes } of parts) await writeAll(handle, bytes);
          await handle.datasync();
        });
      }
      signal.throwIfAborted();
    } catch (error) {
      const kept = await Promise.all(written.map(async ({ path, id, start }) => this.#takeBack(path, id, start)));
      if (error instanceof AppendError) error.left = kept.includes(true);
      throw error;
    }
  }

  /** True when what was written may still be there. */
  async #takeBack(path: string, id: string, start: number): Promise<boolean> {
    try {
      let isSame = true;
      await this.#use(path, async (file) => {
        isSame = file.id === id;
        if (!isSame) return;
        await file.handle.truncate(start);
        await file.handle.datasync();
      });
      return !isSame;
    } catch (error) {
      await this.#forget(path);
      this.#log.warn("could not take back a half-written batch: its records may be there twice", {
        ...this.#labels,
        path,
        error: (error as Error).message,
      });
      return true;
    }
  }

  /** So that the next use opens the file anew, and cuts what is torn. */
  async #forget(path: string): Promise<void> {
    const file = this.#files.get(path);
    this.#files.delete(path);
    await file?.handle.close().catch(() => {});
  }

  async #use(path: string, run: (file: OpenFile) => Promise<void>): Promise<void> {
    try {
      const file = await this.#open(path);
      try {
        await run(file);
      } finally {
        file.users--;
        await this.#evict();
      }
    } catch (error) {
      throw error instanceof AppendError ? error : new AppendError(path, error);
    }
  }

  /** The file that the path leads to now, with one more user. */
  async #open(path: string): Promise<OpenFile> {
    const there = await identify(path);
    const known = this.#files.get(path);
    this.#files.delete(path);
    if (known && known.id === there) {
      this.#files.set(path, known);
      known.users++;
      return known;
    }
    await known?.handle.close();
    if (there === undefined) await makeFolder(dirname(path));
    const handle = await open(path, "a+");
    try {
      if (there === undefined) await syncFolder(dirname(path));
      else await this.#cutTornLine(path, handle);
      const { dev, ino } = await handle.stat();
      const file: OpenFile = { handle, id: `${dev}:${ino}`, users: 1 };
      this.#files.set(path, file);
      return file;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async #evict(): Promise<void> {
    for (const [path, { handle, users }] of this.#files) {
      if (this.#files.size <= OPEN_MAX) return;
      if (users > 0) continue;
      this.#files.delete(path);
      await handle.close();
    }
  }

  async #cutTornLine(path: string, handle: FileHandle): Promise<void> {
    const { size } = await handle.stat();
    const end = await endOfLines(handle, size);
    if (end === size) return;
    await handle.truncate(end);
    this.#log.warn(
      "cut the unfinished last line of a file, left by a crash or a full disk; its record is written again",
      {
        ...this.#labels,
        path,
        bytes: size - end,
      },
    );
  }
}

/** Where the last whole line ends. */
async function endOfLines(handle: FileHandle, size: number): Promise<number> {
  const block = Buffer.allocUnsafe(SCAN_BYTES);
  for (let end = size; end > 0;) {
    const start = Math.max(0, end - SCAN_BYTES);
    const { bytesRead } = await handle.read(block, 0, end - start, start);
    const at = block.subarray(0, bytesRead).lastIndexOf(NEWLINE);
    if (at >= 0) return start + at + 1;
    end = start;
  }
  return 0;
}

async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    done += (await handle.write(bytes, done, bytes.length - done)).bytesWritten;
  }
}

/** `device:inode`; undefined when nothing is there. Throws for what is no file. */
async function identify(path: string): Promise<string | undefined> {
  try {
    const stats = await stat(path);
    if (!stats.isFile()) throw new Error("is no regular file");
    return `${stats.dev}:${stats.ino}`;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Makes a folder with its parents; each new name is on disk when this returns. */
async function makeFolder(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true });
  if (first === undefined) return;
  for (let made = path; made.length >= first.length; made = dirname(made)) await syncFolder(dirname(made));
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
