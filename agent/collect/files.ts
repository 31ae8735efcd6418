/**
 * The log files of one chain as things on disk: which name leads to which of them now.
 *
 * Names move from file to file: a rotation renames, a copytruncate copies and empties, a removed file's inode is given to
 * the next. So a file is known by its node (device and inode) while nothing else about it changed, else by its head; and
 * across restarts by its head alone.
 */
import { Buffer } from "node:buffer";
import type { Clock } from "../clock.ts";
import { hasCode, type Disk, type Entry, type FileStat } from "../disk.ts";
import type { Descriptors, Openable } from "./descriptors.ts";
import { IDENTITY_BYTES, identityOf, isHead, readHead, type Identity } from "./identity.ts";

export interface LogFile extends Openable {
  /** Empty: it has none that we know of. */
  node: string;
  /** How many of its bytes the chain knows of. */
  size: number;
  /** When it was written to, as of the last look. */
  modifiedMs: number;
  identity: Identity | undefined;
  /** Since when looks at the names found none of it, by the monotonic clock. */
  missingSince: number | undefined;
  /** What to call bytes of it that can't be read any more. */
  lostReason: string;
  /** It is known from an earlier run and was not found yet. */
  unseen: boolean;
  /** It could not be opened. */
  unreadable: boolean;
}

/** A name and what stands behind it. */
export interface Found {
  readonly path: string;
  readonly stat: FileStat;
}

export interface FileWorld {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly descriptors: Descriptors;
}

/** `moved`: its name leads elsewhere now, or its bytes were replaced: look at the names again. `missing`: it has no name. */
export type Opening = "open" | "moved" | "missing" | { readonly reason: string };

interface Name extends Found {
  file: LogFile | undefined;
}

/** Files that begin alike for fewer bytes than this may be two. */
const COPY_BYTES_MIN = 32;

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export class Files {
  /** Oldest first. */
  readonly all: LogFile[] = [];
  /** Why a name could not be looked at. While there is a reason, a file that misses its name may stand behind that one. */
  trouble: string | undefined;
  readonly #directory: string;
  readonly #name: string;
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #descriptors: Descriptors;

  /** `name` is that of the file that grows: `0.log`. */
  constructor(directory: string, name: string, { disk, clock, descriptors }: FileWorld) {
    this.#directory = directory;
    this.#name = name;
    this.#disk = disk;
    this.#clock = clock;
    this.#descriptors = descriptors;
  }

  add(known: Partial<LogFile> & { size: number }): LogFile {
    const file: LogFile = {
      ...{ path: "", fd: -1, gone: false, node: "", identity: undefined },
      ...{ missingSince: undefined, lostReason: "RotatedBeforeRead", unseen: false },
      ...{ modifiedMs: 0, unreadable: false },
      ...known,
    };
    this.all.push(file);
    return file;
  }

  /** Lists the directory; undefined when that fails, and then `trouble` says why. */
  list(): readonly Entry[] | undefined {
    try {
      return this.#disk.list(this.#directory) ?? [];
    } catch (error) {
      this.trouble = reasonOf(error);
      return undefined;
    }
  }

  /** Finds out what the names lead to: files that were known, and new ones, oldest first. */
  refresh(entries: readonly Entry[]): { known: { file: LogFile; size: number }[]; found: Found[] } {
    this.trouble = undefined;
    const unnamed = new Set(this.all);
    const names: Name[] = [];
    for (const name of orderedNames(entries, this.#name)) {
      const path = `${this.#directory}/${name}`;
      const stat = this.#stat(path, unnamed);
      if (!stat) continue;
      const file = this.#behind(path, stat);
      if (file) unnamed.delete(file);
      names.push({ path, stat, file });
    }
    const isComplete = this.#recognise(names, unnamed);
    for (const file of unnamed) {
      file.missingSince ??= this.#clock.now();
      file.gone = true;
    }
    const known = [];
    for (const { path, stat, file } of names) {
      if (!file) continue;
      const { node, modifiedMs } = stat;
      Object.assign(file, { path, node, modifiedMs, gone: false, missingSince: undefined, unseen: false });
      known.push({ file, size: stat.size });
    }
    // What is older than a file that we know was empty, or settled when it was forgotten.
    const last = names.findLastIndex(({ file }) => file);
    return { known, found: isComplete ? this.#originals(names.slice(last + 1)) : [] };
  }

  /** Opens a file for reading, unless its name leads to another one by now. */
  open(file: LogFile): Opening {
    if (file.fd < 0 && (file.gone || file.path === "")) return "missing";
    try {
      const wasOpen = file.fd >= 0;
      const fd = this.#descriptors.use(file);
      if (wasOpen) return "open";
      if (this.#disk.statOpen(fd).node !== file.node) {
        this.#descriptors.close(file);
        return "moved";
      }
      const head = readHead(this.#disk, fd);
      if (file.identity && !isHead(head, file.identity)) {
        this.#replace(file, "RotatedBeforeRead");
        return "moved";
      }
      this.#identify(file, head);
      file.unreadable = false;
      return "open";
    } catch (error) {
      this.#descriptors.close(file);
      if (hasCode(error, "ENOENT", "ENOTDIR")) return "moved";
      file.unreadable = true;
      return { reason: reasonOf(error) };
    }
  }

  /** The size of a file as it is now; undefined: unknown, or more than its size has changed, so look at the names again. */
  measure(file: LogFile): number | undefined {
    try {
      const isOpen = file.fd >= 0;
      if (!isOpen && (file.gone || file.path === "")) return file.size;
      const stat = isOpen ? this.#disk.statOpen(file.fd) : this.#disk.stat(file.path);
      if (!stat || stat.node !== file.node) return undefined;
      if (stat.size === file.size && stat.modifiedMs === file.modifiedMs) return stat.size;
      if (!isOpen) return undefined;
      if (this.#isStill(file, file.path, stat)) {
        file.modifiedMs = stat.modifiedMs;
        return stat.size;
      }
      this.#replace(file, "TruncatedBeforeRead");
      return undefined;
    } catch (error) {
      this.trouble = reasonOf(error);
      return file.size;
    }
  }

  /** Takes the longest identity that a file's size allows. */
  identify(file: LogFile): void {
    const wasOpen = file.fd >= 0;
    const length = Math.min(file.size, IDENTITY_BYTES);
    if (length <= (file.identity?.length ?? 0) || this.open(file) !== "open") return;
    try {
      this.#identify(file, readHead(this.#disk, file.fd));
    } catch (error) {
      this.trouble = reasonOf(error);
    }
    if (!wasOpen) this.close(file);
  }

  #identify(file: LogFile, head: Uint8Array): void {
    const length = Math.min(file.size, IDENTITY_BYTES);
    if (length > (file.identity?.length ?? 0)) file.identity = identityOf(head, length) ?? file.identity;
  }

  close(file: LogFile): void {
    this.#descriptors.close(file);
  }

  /** Lets go of files that nobody needs. */
  keep(needed: ReadonlySet<LogFile>): void {
    for (const file of this.all.splice(0)) {
      if (needed.has(file)) this.all.push(file);
      else this.close(file);
    }
  }

  #stat(path: string, unnamed: Set<LogFile>): FileStat | undefined {
    try {
      return this.#disk.stat(path);
    } catch (error) {
      this.trouble = reasonOf(error);
      // Whatever stands there now, it is not known to be gone.
      for (const file of unnamed) if (file.path === path) unnamed.delete(file);
      return undefined;
    }
  }

  /** The known file behind a name. */
  #behind(path: string, stat: FileStat): LogFile | undefined {
    const file = this.all.findLast((known) => known.node === stat.node);
    // One that could not be read in an earlier run is known by its name only.
    if (!file)
      return this.all.find((known) => !known.node && !known.identity && known.path === path && known.size <= stat.size);
    const isSame = file.size === stat.size && file.modifiedMs === stat.modifiedMs;
    if (file.path === path && !file.gone && isSame) return file;
    if (this.#isStill(file, path, stat)) return file;
    this.#replace(file, file.path === path ? "TruncatedBeforeRead" : "RotatedBeforeRead");
    return undefined;
  }

  /** True when the file that a name leads to by its node also begins like the known one. */
  #isStill(file: LogFile, path: string, { size }: FileStat): boolean {
    if (!file.identity || size < file.identity.length) return !file.identity && size >= file.size;
    let fd = file.fd;
    try {
      if (fd < 0) fd = this.#disk.open(path);
      return isHead(readHead(this.#disk, fd), file.identity);
    } catch (error) {
      this.trouble = reasonOf(error);
      return true;
    } finally {
      if (fd >= 0 && fd !== file.fd) this.#disk.close(fd);
    }
  }

  /** The bytes of a file are no longer behind its node; a copy of it may turn up, or not. */
  #replace(file: LogFile, lostReason: string): void {
    this.close(file);
    Object.assign(file, { lostReason, node: "", path: "", gone: true, missingSince: undefined });
  }

  /**
   * Finds known files without a name behind names without a known file, by their heads: files of an earlier run, copies. False: some name
   * could not be looked at, so it is not known what is new.
   */
  #recognise(names: readonly Name[], unnamed: Set<LogFile>): boolean {
    const candidates = [...unnamed].filter(({ identity }) => identity);
    const unknown = names.filter(({ file }) => !file);
    if (candidates.length === 0 || unknown.length === 0) return true;
    const heads = new Map<Name, Uint8Array>();
    for (const name of unknown) {
      const head = this.#headAt(name.path);
      if (head) heads.set(name, head);
    }
    for (const file of candidates.toReversed()) {
      const alike = [...heads.keys()].filter((name) => !name.file && isHead(heads.get(name)!, file.identity!));
      const exact = alike.filter(({ stat }) => stat.size === file.size);
      const larger = alike.filter(({ stat }) => stat.size > file.size);
      const pool = exact.length > 0 ? exact : larger.length > 0 ? larger : alike;
      // The oldest, since others that begin alike came later; of that and its copies the newest, which is the original.
      const pick = pool.findLast((name) => isCopy(heads.get(name)!, heads.get(pool[0]!)!));
      // What is open still holds more than a copy that is not complete.
      if (!pick || (file.fd >= 0 && pick.stat.size < file.size)) continue;
      this.close(file);
      pick.file = file;
      unnamed.delete(file);
    }
    return heads.size === unknown.length || !candidates.some((file) => file.node === "" && unnamed.has(file));
  }

  /** New files without those that are a copy of a younger one: that one is about to be emptied, and is read until then. */
  #originals(found: readonly Name[]): Name[] {
    if (found.length < 2) return [...found];
    const heads = found.map(({ path }) => this.#headAt(path));
    return found.filter(({ stat }, index) => {
      const head = heads[index];
      if (!head || head.length < COPY_BYTES_MIN) return true;
      return !found.some(
        (other, at) => at > index && other.stat.size >= stat.size && heads[at] && isCopy(head, heads[at]),
      );
    });
  }

  #headAt(path: string): Uint8Array | undefined {
    let fd = -1;
    try {
      fd = this.#disk.open(path);
      return readHead(this.#disk, fd).slice();
    } catch (error) {
      this.trouble = reasonOf(error);
      return undefined;
    } finally {
      if (fd >= 0) this.#disk.close(fd);
    }
  }
}

/** One begins as the whole other. */
function isCopy(head: Uint8Array, other: Uint8Array): boolean {
  const length = Math.min(head.length, other.length);
  return Buffer.compare(head.subarray(0, length), other.subarray(0, length)) === 0;
}

/** The names of a chain's plain files, oldest first: rotated ones carry their time, the growing one comes last. */
export function orderedNames(entries: readonly Entry[], name: string): string[] {
  const rotated = new RegExp(`^${name.replaceAll(".", "\\.")}\\.\\d{8}-\\d{6}$`);
  const plain = entries.filter(({ kind }) => kind === "file" || kind === "link").map((entry) => entry.name);
  const names = plain.filter((own) => rotated.test(own)).sort();
  if (plain.includes(name)) names.push(name);
  return names;
}
