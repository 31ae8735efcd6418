/**
 * A chain: all log files of one container instance as one line of bytes, oldest first.
 *
 *     0.log.20261124-100000   0.log.20261124-110000   0.log
 *     |----- sealed -----|    |------ sealed -----|   |--- growing ---->
 *     0                       base                    base              end
 *
 * A linear offset is a file's base plus the offset in it. The base of a file is fixed when the file before it is sealed:
 * it has a successor and has stopped growing. No reader stands behind an unsealed file, so linear offsets never change.
 * Files are known by node (device and inode) while we run, and by the hash of their first bytes across restarts.
 */
import type { Clock } from "../clock.ts";
import { hasCode, type Disk, type Entry, type FileStat } from "../disk.ts";
import type { Descriptors, Openable } from "./descriptors.ts";
import { IDENTITY_BYTES, identify, type Identity } from "./identity.ts";
import type { Source } from "./source.ts";

/** A file is sealed when it did not grow for this long after its successor appeared … */
const SEAL_QUIET_MS = 300;
/** … or at once when it was last written this long ago. */
const SEAL_OLD_MS = 3_000;
/** How long a name may be missing (a rotation renames first and creates later) before the file counts as gone. */
const MISSING_MS = 2_000;
/** Files of one chain; the kubelet keeps 5. */
const FILES_MAX = 256;

export interface LogFile extends Openable {
  node: string;
  /** Linear offset of its first byte; NaN until the file before it is sealed. */
  base: number;
  size: number;
  /** When `size` last changed, by the monotonic clock. */
  grewAt: number;
  sealed: boolean;
  identity: Identity | undefined;
  /** Since when no name led to it; undefined: it has one. */
  missingSince: number | undefined;
  /** What to call bytes of it that can't be read any more. */
  lostReason: string;
}

/** A file as the journal keeps it. */
export interface SavedFile {
  readonly hash: string;
  readonly length: number;
  /** -1: not known yet. */
  readonly base: number;
  readonly size: number;
  readonly sealed: boolean;
}

/** What lies at a linear offset. */
export type Ahead =
  /** `bytes` can be read; `complete`: and nothing will ever follow them in that file. */
  | { kind: "bytes"; file: LogFile; bytes: number; complete: boolean }
  /** Nothing at present; `complete`: the chain has ended. */
  | { kind: "nothing"; complete: boolean }
  /** Bytes that nobody can read any more, up to the linear offset `to`. */
  | { kind: "lost"; to: number; reason: string }
  | { kind: "unreadable"; file: LogFile; reason: string };

export class Chain {
  readonly source: Source;
  readonly directory: string;
  /** Name of the file that grows: `0.log`. */
  readonly name: string;
  readonly files: LogFile[] = [];
  /** The instance is over: nothing more will be written. */
  ended = false;
  /** Linear offset at which reading ends for good. */
  limit = Infinity;
  /** Counts changes of what `saved` returns. */
  version = 0;
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #descriptors: Descriptors;

  constructor(
    source: Source,
    directory: string,
    name: string,
    world: { disk: Disk; clock: Clock; descriptors: Descriptors },
    saved: readonly SavedFile[] = [],
  ) {
    this.source = source;
    this.directory = directory;
    this.name = name;
    this.#disk = world.disk;
    this.#clock = world.clock;
    this.#descriptors = world.descriptors;
    for (const file of saved) {
      if (file.length === 0) continue;
      const identity = { hash: file.hash, length: file.length };
      const base = file.base < 0 ? NaN : file.base;
      const now = this.#clock.now();
      this.files.push({
        ...{ path: "", fd: -1, gone: false, node: "", grewAt: now, missingSince: now },
        ...{ base, size: file.size, sealed: file.sealed, identity, lostReason: "RotatedBeforeRead" },
      });
    }
  }

  /** What the journal keeps; files that are empty are left out: nothing can stand in them. */
  saved(): SavedFile[] {
    const saved: SavedFile[] = [];
    let after = NaN;
    for (const file of this.files) {
      this.#identify(file);
      const base = Number.isNaN(file.base) ? after : file.base;
      // Behind an empty file the base is known although that is not sealed.
      after = file.size === 0 ? base : NaN;
      if (!file.identity) continue;
      const { size, sealed } = file;
      saved.push({ ...file.identity, base: Number.isNaN(base) ? -1 : base, size, sealed });
    }
    return saved;
  }

  /** Linear offset of the oldest byte known. */
  get start(): number {
    return this.files[0]?.base ?? 0;
  }

  /** Linear offset after the last byte, as of the last look at the sizes. */
  get end(): number {
    let end = this.files[0]?.base ?? 0;
    for (const file of this.files) end = (Number.isNaN(file.base) ? end : file.base) + file.size;
    return end;
  }

  /** Reads the directory: finds new, renamed, truncated and vanished files. Pass the entries when they are at hand. */
  refresh(entries: readonly Entry[] = this.#disk.list(this.directory) ?? []): void {
    const unnamed = new Set(this.files);
    let found: { path: string; stat: FileStat }[] = [];
    for (const name of orderedNames(entries, this.name)) {
      const path = `${this.directory}/${name}`;
      const stat = this.#disk.stat(path);
      if (!stat) continue;
      const file = this.#known(path, stat, unnamed);
      if (!file) {
        found.push({ path, stat });
        continue;
      }
      file.path = path;
      file.node = stat.node;
      file.gone = false;
      file.missingSince = undefined;
      this.#grow(file, stat.size);
      unnamed.delete(file);
      // What is older than a file that we know was empty or settled when it was forgotten.
      found = [];
    }
    for (const { path, stat } of found) if (this.files.length < FILES_MAX) this.#append(path, stat);
    for (const file of unnamed) {
      file.missingSince ??= this.#clock.now();
      file.gone = true;
    }
  }

  /** What lies at `linear`, which must be a place that a reader reached; `tail`: bytes there that were found to hold no whole line. */
  look(linear: number, tail: number): Ahead {
    for (;;) {
      const index = this.#indexAt(linear);
      const file = this.files[index];
      if (!file) return { kind: "nothing", complete: this.ended };
      if (!file.sealed) this.#measure(file);
      const all = file.base + file.size;
      const bytes = Math.min(all, this.limit) - linear;
      if (bytes > tail || (file.sealed && bytes > 0 && all <= this.limit)) {
        const reason = this.#openFor(file);
        if (reason === "gone") return this.#lost(file);
        if (reason) return { kind: "unreadable", file, reason };
        return { kind: "bytes", file, bytes, complete: file.sealed && all <= this.limit };
      }
      if (linear + tail >= this.limit) return { kind: "nothing", complete: this.ended && linear >= this.limit };
      if (file.sealed) {
        if (index === this.files.length - 1) return { kind: "nothing", complete: this.ended };
        // A sealed file with nothing left: the search lands on its successor once that has a base, so this cannot repeat.
        if (this.#indexAt(linear) === index) return { kind: "nothing", complete: false };
        continue;
      }
      if (!this.#seal(index)) return { kind: "nothing", complete: false };
    }
  }

  /**
   * Linear offset of the line that is being written at the end, found backwards. What lies before it is the past: all files but the last are
   * sealed. Throws the disk's errors.
   */
  lastLine(): number {
    for (let i = 0; i < this.files.length - 1; i++) {
      const file = this.files[i]!;
      if (file.sealed) continue;
      file.sealed = true;
      this.files[i + 1]!.base = file.base + file.size;
      this.version++;
    }
    const file = this.files.at(-1);
    if (!file) return 0;
    const block = new Uint8Array(64 * 1024);
    for (let end = file.size; end > 0; ) {
      const from = Math.max(0, end - block.length);
      const n = this.#disk.read(this.#descriptors.use(file), block, 0, end - from, from);
      const newline = block.subarray(0, n).lastIndexOf(10);
      if (newline >= 0) return file.base + from + newline + 1;
      end = from;
    }
    return file.base;
  }

  /** Reads at most `length` bytes at `linear` of an open file into memory. Returns how many. Throws the disk's errors. */
  read(file: LogFile, linear: number, target: Uint8Array, offset: number, length: number): number {
    return this.#disk.read(this.#descriptors.use(file), target, offset, length, linear - file.base);
  }

  /** Lets go of files that lie before `linear`, the least place any taker may read again; when idle, of all descriptors. */
  release(linear: number, idle: boolean): void {
    for (const file of [...this.files]) {
      const settled = file.sealed && file.base + file.size <= linear;
      if (settled || (idle && !file.gone)) this.#descriptors.close(file);
      if (!settled || !file.gone || this.files.length === 1) continue;
      this.files.splice(this.files.indexOf(file), 1);
      this.version++;
    }
  }

  close(): void {
    for (const file of this.files) this.#descriptors.close(file);
  }

  /** The last file whose base is known and at or before `linear`; an exhausted sealed file yields to its successor. */
  #indexAt(linear: number): number {
    for (let i = this.files.length - 1; i >= 0; i--) {
      const file = this.files[i]!;
      if (file.base <= linear) return i;
    }
    return 0;
  }

  #append(path: string, { node, size, modifiedMs }: FileStat): void {
    const now = this.#clock.now();
    const old = this.#clock.wall() - modifiedMs > SEAL_OLD_MS;
    const last = this.files.at(-1);
    const base = !last ? 0 : last.sealed ? last.base + last.size : NaN;
    this.files.push({
      ...{ path, fd: -1, gone: false, node, base, size, sealed: false },
      ...{ grewAt: old ? -Infinity : now, identity: undefined, missingSince: undefined, lostReason: "RotatedBeforeRead" },
    });
    this.version++;
  }

  /** The known file behind a name: the one with its node, or one whose first bytes it has. */
  #known(path: string, stat: FileStat, unnamed: Set<LogFile>): LogFile | undefined {
    const file = this.files.find((known) => known.node === stat.node);
    if (!file) return this.#recognise(path, stat.node, unnamed);
    if (stat.size >= file.size) return file;
    this.#abandon(file, "TruncatedBeforeRead");
    return undefined;
  }

  /** A known file without a name whose first bytes are those of the file at `path`. */
  #recognise(path: string, node: string, unnamed: Set<LogFile>): LogFile | undefined {
    const candidates = [...unnamed].filter((file) => file.identity && file.fd < 0 && file.node !== node);
    if (candidates.length === 0) return undefined;
    let fd;
    try {
      fd = this.#disk.open(path);
    } catch (error) {
      if (hasCode(error, "ENOENT", "EACCES", "EMFILE", "ENFILE")) return undefined;
      throw error;
    }
    try {
      return candidates.find((file) => identify(this.#disk, fd, file.identity!.length)?.hash === file.identity!.hash);
    } finally {
      this.#disk.close(fd);
    }
  }

  #grow(file: LogFile, size: number): void {
    if (size <= file.size || file.sealed) return;
    file.size = size;
    file.grewAt = this.#clock.now();
  }

  /** Brings an unsealed file's size up to date; a file that shrank was truncated. */
  #measure(file: LogFile): void {
    const stat = file.fd >= 0 ? this.#disk.statOpen(file.fd) : file.gone ? undefined : this.#disk.stat(file.path);
    if (!stat) return;
    if (file.fd < 0 && file.node !== "" && stat.node !== file.node) {
      this.refresh();
      return;
    }
    if (stat.size >= file.size) this.#grow(file, stat.size);
    else this.refresh();
  }

  /** The bytes of a file are no longer behind its node. */
  #abandon(file: LogFile, reason: string): void {
    file.lostReason = reason;
    this.#descriptors.close(file);
    file.node = "";
    file.gone = true;
    file.sealed = true;
    file.missingSince = -Infinity;
    const next = this.files[this.files.indexOf(file) + 1];
    if (next) next.base = file.base + file.size;
    this.version++;
  }

  /** Seals the file at `index` when it has a successor (or the chain ended) and stopped growing. */
  #seal(index: number): boolean {
    const file = this.files[index]!;
    const next = this.files[index + 1];
    if (!next && !this.ended) return false;
    if (Number.isNaN(file.base) || this.#clock.now() - file.grewAt < SEAL_QUIET_MS) return false;
    file.sealed = true;
    if (next) next.base = file.base + file.size;
    this.version++;
    return true;
  }

  #identify(file: LogFile): void {
    const length = Math.min(file.size, IDENTITY_BYTES);
    if (file.node === "" || length === 0 || (file.identity && file.identity.length >= length)) return;
    try {
      const fd = this.#descriptors.use(file);
      const identity = identify(this.#disk, fd, length);
      if (identity) file.identity = identity;
    } catch (error) {
      if (!hasCode(error, "ENOENT", "EACCES", "EMFILE", "ENFILE", "EIO")) throw error;
    }
  }

  /** Opens a file for reading; returns why it can't be: "gone", or a sentence for the log. */
  #openFor(file: LogFile): string | undefined {
    if (file.fd >= 0) return undefined;
    if (file.gone || file.path === "") {
      if (file.missingSince !== undefined && this.#clock.now() - file.missingSince >= MISSING_MS) return "gone";
      return "it has no name at present";
    }
    try {
      const fd = this.#descriptors.use(file);
      const { identity } = file;
      if (this.#disk.statOpen(fd).node === file.node) {
        if (!identity || identify(this.#disk, fd, identity.length)?.hash === identity.hash) return undefined;
        // The inode was given to another file.
        this.#abandon(file, "RotatedBeforeRead");
        this.refresh();
        return "gone";
      }
      this.#descriptors.close(file);
      this.refresh();
      return "it was renamed just now";
    } catch (error) {
      if (hasCode(error, "ENOENT")) {
        file.gone = true;
        file.missingSince ??= this.#clock.now();
        this.refresh();
        return "it has no name at present";
      }
      return error instanceof Error ? error.message : String(error);
    }
  }

  #lost(file: LogFile): Ahead {
    if (!file.sealed) {
      file.sealed = true;
      const next = this.files[this.files.indexOf(file) + 1];
      if (next) next.base = file.base + file.size;
      this.version++;
    }
    return { kind: "lost", to: file.base + file.size, reason: file.lostReason };
  }
}

/** The names of a chain's plain files, oldest first: rotated ones carry their time, the growing one comes last. */
export function orderedNames(entries: readonly Entry[], name: string): string[] {
  const rotated = new RegExp(`^${name.replaceAll(".", "\\.")}\\.\\d{8}-\\d{6}$`);
  const names = entries.filter((entry) => entry.kind !== "directory" && rotated.test(entry.name)).map((e) => e.name);
  names.sort();
  if (entries.some((entry) => entry.name === name && entry.kind !== "directory")) names.push(name);
  return names;
}
