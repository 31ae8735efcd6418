/**
 * The journal: small values by key (Positions with their counts, the files of chains), appended as they change.
 *
 *     positions.<generation>       tailrace journal 1
 *                                  <crc32> ["key",value]     the state when the file was begun
 *                                  <crc32> end
 *                                  <crc32> ["key",value]     later changes; null removes
 *
 * One write per flush, fsync by `sync`. A line that does not carry its checksum ends the file: what lies behind it was
 * torn by a crash, is cut off and said. When the changes outgrow the state, or the file can't be trusted any more, the next
 * generation is begun; the one before is removed once the new one is on stable storage. A new generation without its `end`
 * was never finished: the one before holds.
 */
import { Buffer } from "node:buffer";
import { crc32 } from "node:zlib";
import { readWhole, type Disk } from "../disk.ts";
import type { Log } from "../log.ts";

const FORMAT = "tailrace journal 1";
const NAME = /^positions\.(\d{1,12})$/;
/** A generation is followed by the next when it is larger than this and than GROWTH times the state … */
const COMPACT_BYTES = 4 * 1024 * 1024;
const GROWTH = 4;
/** … or, when that failed, than before by this factor. */
const AGAIN = 1.25;
const FILE_BYTES_MAX = 1024 * 1024 * 1024;

/** The journal can't be used as it lies there; the message says what to do. */
export class JournalError extends Error {}

const sealed = (text: string): string => `${crc32(text).toString(16).padStart(8, "0")} ${text}\n`;

interface Loaded {
  entries: Map<string, string>;
  /** Bytes of whole lines. */
  size: number;
  torn: number;
  complete: boolean;
}

function load(content: Buffer, path: string): Loaded {
  const entries = new Map<string, string>();
  const head = content.indexOf(10);
  const first = head < 0 ? "" : content.toString("utf8", 0, head);
  if (first !== FORMAT) {
    if (first.startsWith("tailrace journal ")) {
      throw new JournalError(
        `${path} has the format ${JSON.stringify(first)}, which this release does not read: ` +
          "run the release that wrote it, or move the file away to start anew",
      );
    }
    return { entries, size: 0, torn: content.length, complete: false };
  }
  let complete = false;
  let at = head + 1;
  for (let end; (end = content.indexOf(10, at)) >= 0; at = end + 1) {
    const text = content.toString("utf8", at + 9, end);
    if (content.toString("latin1", at, at + 8) !== crc32(text).toString(16).padStart(8, "0")) break;
    if (text === "end") complete = true;
    else {
      const [key] = JSON.parse(text) as [string, unknown];
      if (text.endsWith(",null]")) entries.delete(key);
      else entries.set(key, text);
    }
  }
  return { entries, size: at, torn: content.length - at, complete };
}

export class Journal {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #log: Log;
  /** The line of each key. */
  readonly #entries: Map<string, string>;
  /** Lines that no file has yet, by key. */
  #pending = new Map<string, string>();
  #generation: number;
  #fd = -1;
  #size = 0;
  /** The next generation is begun at this size. */
  #compactAt = 0;
  /** What was written last may be torn, or lost: nothing may follow it. */
  #damaged = false;
  #unsynced = false;
  #syncing: Promise<void> | undefined;
  /** Generations before the current one, to be removed once it is synced. */
  #stale: string[] = [];
  /** Why the last write failed; undefined: it did not. A restart would repeat what was delivered since. */
  trouble: string | undefined;

  /** Opens the journal of a data directory, creating it. Throws JournalError, or the disk's errors. */
  constructor(disk: Disk, directory: string, log: Log) {
    this.#disk = disk;
    this.#directory = directory;
    this.#log = log;
    const found = (disk.list(directory) ?? [])
      .flatMap(({ name }) => NAME.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => b - a);
    this.#entries = new Map();
    this.#generation = found[0] ?? 0;
    this.#stale = found.map((generation) => this.#path(generation));
    const isLoaded = found.some((generation) => this.#load(this.#path(generation)));
    if (found.length > 0 && !isLoaded) {
      log.error("the journal can't be read: all logs are read again from their beginning", {
        ...{ path: this.#path(found[0]!), hint: "normal only when the very first start was cut short" },
      });
    }
    // A generation of our own: nothing is ever appended behind a torn line.
    this.#begin();
  }

  /** True when a file holds a whole state, which is taken over then. */
  #load(path: string): boolean {
    const loaded = load(readWhole(this.#disk, path, FILE_BYTES_MAX) ?? Buffer.alloc(0), path);
    if (!loaded.complete) return false;
    for (const [key, line] of loaded.entries) this.#entries.set(key, line);
    if (loaded.torn > 0) {
      this.#log.warn("the end of the journal was torn by a crash and is cut off", {
        ...{ path, bytes: loaded.torn },
        hint: "what was delivered last may be delivered again",
      });
    }
    return true;
  }

  /** Something was written that is not on stable storage yet. */
  get unsynced(): boolean {
    return this.#unsynced || this.#damaged || this.#pending.size > 0;
  }

  get<T>(key: string): T | undefined {
    const line = this.#entries.get(key);
    return line === undefined ? undefined : (JSON.parse(line) as [string, T])[1];
  }

  /** All keys that begin with `prefix`. */
  keys(prefix: string): string[] {
    return [...this.#entries.keys()].filter((key) => key.startsWith(prefix));
  }

  /** Sets a key; written by the next flush. The value must be JSON and not null. */
  put(key: string, value: unknown): void {
    const text = JSON.stringify([key, value]);
    this.#entries.set(key, text);
    this.#pending.set(key, text);
  }

  remove(key: string): void {
    if (this.#entries.delete(key)) this.#pending.set(key, JSON.stringify([key, null]));
  }

  /** Writes what has changed, in one write. A failure is kept in `trouble` and tried again by the next flush. */
  flush(): void {
    if (this.#pending.size === 0 || this.#damaged) return;
    let text = "";
    for (const line of this.#pending.values()) text += sealed(line);
    if (!this.#append(text)) return;
    this.#pending = new Map();
    if (this.#size > this.#compactAt && !this.#syncing) this.#begin();
  }

  /** Brings what was written to stable storage, in a new generation where the present one is damaged. Never rejects. */
  async sync(): Promise<void> {
    if (this.#syncing) return this.#syncing;
    if (this.#damaged) this.#begin();
    if (!this.#unsynced) return;
    this.#unsynced = false;
    this.#syncing = this.#sync(this.#stale);
    await this.#syncing;
    this.#syncing = undefined;
  }

  async close(): Promise<void> {
    this.flush();
    await this.#syncing;
    await this.sync();
    this.#disk.close(this.#fd);
  }

  async #sync(stale: string[]): Promise<void> {
    try {
      await this.#disk.sync(this.#fd);
      if (stale.length === 0) return;
      await this.#disk.syncDirectory(this.#directory);
      for (const path of stale) this.#disk.remove(path);
      this.#stale = this.#stale.filter((path) => !stale.includes(path));
    } catch (error) {
      // What the kernel could not write it forgets: another fsync would only seem to succeed.
      this.#damaged = true;
      this.#failed(error);
    }
  }

  /** Begins the next generation with the whole state; on failure the present one goes on. */
  #begin(): void {
    const generation = this.#generation + 1;
    const path = this.#path(generation);
    let text = `${FORMAT}\n`;
    for (const line of this.#entries.values()) text += sealed(line);
    text += sealed("end");
    const bytes = Buffer.from(text);
    let fd = -1;
    try {
      this.#disk.remove(path);
      fd = this.#disk.openAppend(path);
      this.#disk.write(fd, bytes);
    } catch (error) {
      if (fd >= 0) this.#disk.close(fd);
      if (this.#fd < 0) throw error;
      this.#compactAt = this.#size * AGAIN;
      this.#failed(error);
      return;
    }
    if (this.#fd >= 0) {
      this.#stale.push(this.#path(this.#generation));
      this.#disk.close(this.#fd);
    }
    this.#fd = fd;
    this.#generation = generation;
    this.#size = bytes.length;
    this.#compactAt = Math.max(COMPACT_BYTES, GROWTH * bytes.length);
    this.#damaged = false;
    this.#pending = new Map();
    this.#written();
  }

  #append(text: string): boolean {
    const bytes = Buffer.from(text);
    try {
      this.#disk.write(this.#fd, bytes);
    } catch (error) {
      this.#failed(error);
      try {
        // A part may have been written: whole lines are written again, a torn one must not stay.
        this.#disk.truncate(this.#fd, this.#size);
      } catch (second) {
        this.#damaged = true;
        this.#failed(second);
      }
      return false;
    }
    this.#size += bytes.length;
    this.#written();
    return true;
  }

  #written(): void {
    this.#unsynced = true;
    if (this.trouble !== undefined) this.#log.info("the journal can be written again", { path: this.#directory });
    this.trouble = undefined;
  }

  #failed(error: unknown): void {
    this.trouble = error instanceof Error ? error.message : String(error);
    this.#log.error("can't write the journal; going on, but a restart now would repeat what was delivered since", {
      ...{ path: this.#directory, reason: this.trouble },
    });
  }

  #path(generation: number): string {
    return `${this.#directory}/positions.${generation}`;
  }
}
