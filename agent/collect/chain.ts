/**
 * A chain: all log files of one container instance as one line of bytes, oldest first.
 *
 *     0.log.20261124-100000   0.log.20261124-110000   0.log
 *     |----- sealed -----|    |------ sealed -----|   |--- growing ---->
 *     0                       base                    base              end
 *
 * A linear offset is a segment's base plus the offset in it; a segment is nearly always a whole file. Its base is fixed
 * when the segment before it is sealed: that has a successor and has stopped growing. No reader stands behind an unsealed
 * segment, and what is written to a sealed file becomes a segment of its own, so linear offsets never change.
 */
import type { Entry } from "../disk.ts";
import type { Log } from "../log.ts";
import { Files, type FileWorld, type Found, type LogFile } from "./files.ts";
import { restoreSegments, saveSegments, type SavedFile, type Segment } from "./segments.ts";
import type { Source } from "./source.ts";

export type { SavedFile } from "./segments.ts";

/** A segment is sealed when it did not grow for this long after its successor appeared … */
const SEAL_QUIET_MS = 300;
/** … or at once when both were last written this long before they were found. */
const SEAL_OLD_MS = 3_000;
/** How long a name may be missing (a rotation renames first and creates later) before the file counts as gone. */
const MISSING_MS = 2_000;
/** A deleted file that is held open is given up after this: its blocks are not free before. */
const HOLD_MS = 24 * 3600 * 1000;
/** Segments of one chain; the kubelet keeps 5 files. */
const SEGMENTS_MAX = 256;
/** How far back the end of a line is looked for. */
const LINE_SEARCH_BYTES_MAX = 16 * 1024 * 1024;

/** What lies at a linear offset. */
export type Ahead =
  /** `bytes` can be read; `complete`: and nothing will ever follow them in that segment. */
  | { readonly kind: "bytes"; readonly segment: Segment; readonly bytes: number; readonly complete: boolean }
  /** Nothing at present; `complete`: the chain has ended. */
  | { readonly kind: "nothing"; readonly complete: boolean }
  /** Bytes that nobody can read any more, up to the linear offset `to`. */
  | { readonly kind: "lost"; readonly to: number; readonly reason: string }
  | { readonly kind: "unreadable"; readonly path: string; readonly reason: string };

const LATER: Ahead = { kind: "nothing", complete: false };

export interface ChainWorld extends FileWorld {
  readonly log: Log;
}

export class Chain {
  readonly source: Source;
  readonly directory: string;
  /** Name of the file that grows: `0.log`. */
  readonly name: string;
  /** The instance is over: nothing more will be written. */
  ended = false;
  /** … because its pod was deleted. */
  deleted = false;
  /** Linear offset at which reading ends for good. */
  limit = Infinity;
  /** Counts changes of what `saved` returns, but for sizes. */
  version = 0;
  readonly #world: ChainWorld;
  readonly #files: Files;
  readonly #segments: Segment[];
  /** The furthest place that anybody asked for. */
  #reached = 0;

  constructor(source: Source, directory: string, name: string, world: ChainWorld, saved: readonly SavedFile[] = []) {
    this.source = source;
    this.directory = directory;
    this.name = name;
    this.#world = world;
    this.#files = new Files(directory, name, world);
    this.#segments = restoreSegments(saved, this.#files, directory, world.clock.now());
  }

  /** What the journal keeps. */
  saved(): SavedFile[] {
    for (const file of this.#files.all) this.#files.identify(file);
    return saveSegments(this.#segments);
  }

  /** Linear offset of the oldest byte known. */
  get start(): number {
    return this.#segments[0]?.base ?? 0;
  }

  /** Linear offset after the last byte, as of the last look at the sizes. */
  get end(): number {
    let end = 0;
    for (const { base, size } of this.#segments) end = (Number.isNaN(base) ? end : base) + size;
    return end;
  }

  /** All files were deleted. */
  get gone(): boolean {
    return this.#files.all.every((file) => file.gone);
  }

  /** Looks at the names: finds new, renamed, replaced and vanished files. Pass the directory's entries when they are at hand. */
  refresh(entries: readonly Entry[] | undefined = this.#files.list()): void {
    if (entries) {
      const { known, found } = this.#files.refresh(entries);
      for (const { file, size } of known) this.#resize(file, size);
      for (const one of found) this.#append(one);
      this.#giveUp();
    }
    const { trouble } = this.#files;
    if (trouble === undefined) return;
    this.#world.log.warn("can't look at log files, trying again", { path: this.directory, reason: trouble });
  }

  /** Makes sure that a place that a Position names lies in the chain: what was there and is not any more is lost, never skipped. */
  cover(linear: number): void {
    const index = this.#indexAt(linear);
    const segment = this.#segments[index];
    const missing = segment ? linear - segment.base - segment.size : this.#segments[0] ? 0 : linear;
    if (missing <= 0 || (segment?.sealed && this.#segments[index + 1])) return;
    if (segment && !segment.sealed) {
      segment.size += missing;
      segment.file.size += missing;
    } else this.#push(this.#lostFile(), missing, { sealed: true });
    this.version++;
  }

  /** What lies at `linear`, which must be a place that a reader reached; `tail`: bytes there that were found to hold no whole line. */
  look(linear: number, tail: number): Ahead {
    this.#reached = Math.max(this.#reached, linear);
    for (;;) {
      this.#measure(linear);
      const index = this.#indexAt(linear);
      const segment = this.#segments[index];
      // A Position that was kept while everything up to here was read by others and deleted.
      if (!segment && this.#segments[0]) return this.#skip(this.#segments[0].base);
      if (!segment) return { kind: "nothing", complete: this.ended };
      const all = segment.base + segment.size;
      const complete = segment.sealed && all <= this.limit;
      const bytes = Math.min(all, this.limit) - linear;
      if (bytes > tail || (complete && bytes > 0)) return this.#open(segment, bytes, complete);
      // The last line before the limit may have no end: it is left.
      if (all > this.limit) return { kind: "nothing", complete: this.ended && linear >= this.limit };
      if (!segment.sealed && !this.#sealQuiet(index)) return LATER;
      if (linear < all) continue;
      const next = this.#segments[index + 1];
      if (!next) return { kind: "nothing", complete: this.ended };
      if (next.base > linear) return this.#skip(next.base);
    }
  }

  /** Keeps the file at `linear` open, so that it can still be read when it is deleted. */
  hold(linear: number): void {
    const { descriptors } = this.#world;
    const segment = this.#segments[this.#indexAt(linear)];
    if (!segment || segment.file.fd >= 0 || descriptors.count >= descriptors.max) return;
    if (segment.base + segment.size > linear) this.#files.open(segment.file);
  }

  /** Reads at most `length` bytes at `linear` of a segment that `look` returned. Returns how many. Throws the disk's errors. */
  read(segment: Segment, linear: number, target: Uint8Array, offset: number, length: number): number {
    const { file, base, skip } = segment;
    const n = this.#world.disk.read(file.fd, target, offset, length, linear - base + skip);
    if (n < length) this.#measureFile(file);
    return n;
  }

  /**
   * Linear offset of the line that is being written at the end, found backwards. What lies before it is the past: all
   * segments but the last are sealed. Throws the disk's errors.
   */
  lastLine(): number {
    for (const segment of this.#segments.slice(0, -1)) this.#seal(segment);
    const last = this.#segments.at(-1);
    return last ? last.base + this.#lineStart(last) : 0;
  }

  /** Lets go of what lies before `linear`, the least place any taker may read again; when idle, of all descriptors. */
  release(linear: number, idle: boolean): void {
    const isSettled = ({ sealed, base, size }: Segment): boolean => sealed && base + size <= linear;
    const needed = new Set(this.#segments.flatMap((segment) => (isSettled(segment) ? [] : [segment.file])));
    for (const file of this.#files.all) if (!needed.has(file) || (idle && !file.gone)) this.#files.close(file);
    const isCrowded = this.#segments.length >= SEGMENTS_MAX;
    for (const segment of this.#segments.slice(0, -1)) {
      if (isSettled(segment) && (segment.file.gone || isCrowded))
        this.#segments.splice(this.#segments.indexOf(segment), 1);
    }
    this.#forget();
  }

  close(): void {
    for (const file of this.#files.all) this.#files.close(file);
  }

  #open(segment: Segment, bytes: number, complete: boolean): Ahead {
    const { file } = segment;
    const opening = this.#files.open(file);
    if (opening === "open") return { kind: "bytes", segment, bytes, complete };
    if (typeof opening === "object") return { kind: "unreadable", path: file.path, reason: opening.reason };
    this.refresh();
    const { trouble } = this.#files;
    if (file.gone && trouble !== undefined) return { kind: "unreadable", path: this.directory, reason: trouble };
    if (!this.#isGone(file)) return LATER;
    const isDeleted = this.deleted && file.lostReason === "RotatedBeforeRead";
    return this.#skip(segment.base + segment.size, isDeleted ? "PodDeletedBeforeRead" : file.lostReason);
  }

  #skip(to: number, reason = "RotatedBeforeRead"): Ahead {
    return { kind: "lost", to, reason };
  }

  /** The last segment that begins at or before `linear`; -1: none does. */
  #indexAt(linear: number): number {
    return this.#segments.findLastIndex(({ base }) => base <= linear);
  }

  /** Brings the size of the segment at `linear` up to date: when it may grow, and at the end even when it seemed finished. */
  #measure(linear: number): void {
    const segment = this.#segments[this.#indexAt(linear)];
    if (!segment || (segment.sealed && segment !== this.#segments.at(-1))) return;
    this.#measureFile(segment.file);
  }

  #measureFile(file: LogFile): void {
    const size = this.#files.measure(file);
    if (size === undefined) this.refresh();
    else this.#resize(file, size);
  }

  #resize(file: LogFile, size: number): void {
    if (size === file.size) return;
    if (size < file.size) return this.#shrink(file, size);
    const last = this.#segments.findLast((segment) => segment.file === file)!;
    if (last.sealed) return this.#resume(file, size);
    last.size += size - file.size;
    last.grewAt = this.#world.clock.now();
    file.size = size;
    if (file.fd >= 0 || !file.identity) this.#files.identify(file);
  }

  /** A file of which the end was sealed grew: the new bytes come behind what was written elsewhere so far. */
  #resume(file: LogFile, size: number): void {
    const growing = this.#segments.at(-1)!;
    const whole = growing.sealed ? growing.size : this.#wholeLines(growing);
    if (whole === undefined) return;
    this.#world.log.warn("a log file was written to after it seemed complete: those lines come late", {
      ...{ path: file.path, bytes: size - file.size },
    });
    const rest = growing.sealed ? undefined : growing.size - whole;
    growing.size = whole;
    this.#seal(growing);
    this.#push(file, size - file.size, { skip: file.size });
    file.size = size;
    if (rest !== undefined) this.#push(growing.file, rest, { skip: growing.skip + whole });
  }

  /** Bytes of whole lines in a growing segment; undefined: not known now, or somebody stands behind them, in a line that is too long to take. */
  #wholeLines(segment: Segment): number | undefined {
    try {
      const whole = this.#lineStart(segment);
      return segment.base + whole < this.#reached ? undefined : whole;
    } catch {
      return undefined;
    }
  }

  /** A file is shorter than it was, though it begins as before: the rest is lost, and what follows is a new segment. */
  #shrink(file: LogFile, size: number): void {
    for (const segment of this.#segments.filter((one) => one.file === file)) {
      const left = Math.max(0, Math.min(segment.size, size - segment.skip));
      if (left === segment.size) continue;
      const base = segment.sealed ? segment.base + left : NaN;
      const lost = { ...segment, file: this.#lostFile("TruncatedBeforeRead"), skip: 0, base };
      Object.assign(lost, { size: segment.size - left, sealed: true });
      this.#segments.splice(this.#segments.indexOf(segment) + 1, 0, lost);
      segment.size = left;
      this.#seal(segment);
    }
    file.size = size;
  }

  /** A file that nobody knew. */
  #append({ path, stat: { node, size, modifiedMs } }: Found): void {
    if (this.#segments.length >= SEGMENTS_MAX) {
      this.#world.log.warn("a container has very many log files: the rest of them is read when the first are done", {
        ...{ container: this.source.id, files: this.#segments.length },
      });
      return;
    }
    const now = this.#world.clock.now();
    const at = this.#world.clock.wall() - modifiedMs > SEAL_OLD_MS ? -Infinity : now;
    const file = this.#files.add({ path, node, size, modifiedMs });
    this.#push(file, size, { foundAt: at, grewAt: at });
    this.#files.identify(file);
  }

  #push(file: LogFile, size: number, more: Partial<Segment> = {}): void {
    const now = this.#world.clock.now();
    const last = this.#segments.at(-1);
    const base = !last ? 0 : last.sealed ? last.base + last.size : NaN;
    this.#segments.push({ file, skip: 0, base, size, foundAt: now, grewAt: now, sealed: false, ...more });
    this.version++;
  }

  #lostFile(lostReason = "RotatedBeforeRead"): LogFile {
    return this.#files.add({ size: 0, gone: true, missingSince: -Infinity, lostReason });
  }

  /** Seals the segment at `index` when nothing more can come; else false. */
  #sealQuiet(index: number): boolean {
    const segment = this.#segments[index]!;
    const { file } = segment;
    if (file.gone && file.fd < 0) {
      if (!this.#isGone(file)) return false;
      if (file.unseen) {
        this.#world.log.warn(
          "a log file is gone that the agent left unfinished: what was written to it since is not known",
          {
            ...{
              container: this.source.id,
              hint: "normal when the agent was down for longer than the runtime keeps files",
            },
          },
        );
      }
    } else {
      const next = this.#segments[index + 1];
      if (!next && !this.ended) return false;
      const since = Math.max(segment.grewAt, next?.foundAt ?? -Infinity);
      if (this.#world.clock.now() - since < SEAL_QUIET_MS) return false;
    }
    this.#seal(segment);
    return true;
  }

  #seal(segment: Segment): void {
    if (segment.sealed) return;
    segment.sealed = true;
    this.version++;
    let before = segment;
    for (const next of this.#segments.slice(this.#segments.indexOf(segment) + 1)) {
      if (!before.sealed || !Number.isNaN(next.base)) return;
      next.base = before.base + before.size;
      before = next;
    }
  }

  #isGone({ gone, fd, missingSince }: LogFile): boolean {
    const missing = this.#world.clock.now() - (missingSince ?? Infinity);
    return gone && fd < 0 && missing >= MISSING_MS && this.#files.trouble === undefined;
  }

  /** Files that nobody can read any more stop growing; where there are too many pieces, neighbours become one. */
  #giveUp(): void {
    for (const file of this.#files.all) {
      const held = file.fd >= 0 && this.#world.clock.now() - (file.missingSince ?? Infinity) >= HOLD_MS;
      if (held) this.#files.close(file);
    }
    for (const [index, { file, sealed }] of this.#segments.entries()) if (file.gone && !sealed) this.#sealQuiet(index);
    if (this.#segments.length < SEGMENTS_MAX) return;
    for (let i = this.#segments.length - 1; i > 0; i--) {
      const [before, segment] = [this.#segments[i - 1]!, this.#segments[i]!];
      const areGone = this.#isGone(before.file) && this.#isGone(segment.file);
      if (!areGone || before.file.lostReason !== segment.file.lostReason || before.base + before.size !== segment.base)
        continue;
      const size = before.size + segment.size;
      this.#segments.splice(i - 1, 2, { ...before, file: this.#lostFile(before.file.lostReason), skip: 0, size });
    }
    this.#forget();
  }

  #forget(): void {
    this.#files.keep(new Set(this.#segments.map(({ file }) => file)));
    this.version++;
  }

  /** Offset in a segment of the line that is being written at its end. Throws the disk's errors. */
  #lineStart({ file, skip, size }: Segment): number {
    if (size === 0) return 0;
    const opening = this.#files.open(file);
    if (opening !== "open")
      throw new Error(typeof opening === "object" ? opening.reason : `${file.path} is ${opening}`);
    const block = new Uint8Array(64 * 1024);
    for (let end = size; end > 0;) {
      if (size - end > LINE_SEARCH_BYTES_MAX) throw new Error(`the last line of ${file.path} has no beginning`);
      const from = Math.max(0, end - block.length);
      const n = this.#world.disk.read(file.fd, block, 0, end - from, skip + from);
      const newline = block.subarray(0, n).lastIndexOf(10);
      if (newline >= 0) return from + newline + 1;
      end = from;
    }
    return 0;
  }
}
