/** The pieces that a chain is made of, and how the journal keeps them. */
import { basename } from "node:path";
import type { Files, LogFile } from "./files.ts";

/** A run of a file's bytes that lies in one piece in the chain: the whole file, unless it was written to after it was sealed. */
export interface Segment {
  readonly file: LogFile;
  /** Where it begins in the file. */
  readonly skip: number;
  /** Linear offset of its first byte; NaN until the segment before is sealed. */
  base: number;
  size: number;
  /** When it was found, and when `size` last changed, by the monotonic clock; -Infinity: long before we looked. */
  readonly foundAt: number;
  grewAt: number;
  sealed: boolean;
}

/** A segment as the journal keeps it. */
export interface SavedFile {
  readonly hash: string;
  /** Bytes that `hash` is of; 0: the file could not be read yet and is known by its name. */
  readonly length: number;
  readonly name?: string;
  /** 0 when left out. */
  readonly skip?: number;
  /** -1: not known yet. */
  readonly base: number;
  readonly size: number;
  readonly sealed: boolean;
}

/** Segments that are empty or lost are left out: nothing can stand in them. */
export function saveSegments(segments: readonly Segment[]): SavedFile[] {
  const saved: SavedFile[] = [];
  let after = NaN;
  for (const { file, skip, size, sealed, ...segment } of segments) {
    const base = Number.isNaN(segment.base) ? after : segment.base;
    // Behind an empty segment the base is known although that is not sealed.
    after = size === 0 ? base : NaN;
    const named = file.identity ?? (!file.unreadable ? undefined : { hash: "", length: 0, name: basename(file.path) });
    if (!named || skip + size === 0) continue;
    saved.push({ ...named, ...(skip > 0 && { skip }), base: Number.isNaN(base) ? -1 : base, size, sealed });
  }
  return saved;
}

/** The segments that were saved, of files that are still to be found. */
export function restoreSegments(saved: readonly SavedFile[], files: Files, directory: string, now: number): Segment[] {
  const segments: Segment[] = [];
  for (const { hash, length, name, skip = 0, base, size, sealed } of saved) {
    const identity = length > 0 ? { hash, length } : undefined;
    const path = name === undefined ? "" : `${directory}/${name}`;
    const same = skip > 0 && files.all.findLast((other) => other.identity?.hash === hash);
    const file = same || files.add({ identity, path, gone: true, missingSince: now, size: 0, unseen: true });
    file.size = skip + size;
    const before = segments.at(-1);
    const known = base >= 0 ? base : !before ? 0 : before.sealed ? before.base + before.size : NaN;
    segments.push({ file, skip, base: known, size, foundAt: -Infinity, grewAt: now, sealed });
  }
  return segments;
}
