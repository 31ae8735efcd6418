/**
 * What makes a file the same file across renames, restarts and new inodes: the hash of its first bytes. Container log
 * lines begin with a nanosecond time, so a kilobyte tells files apart.
 */
import { createHash } from "node:crypto";
import type { Disk } from "../disk.ts";

/** Hash of the first `length` (at most IDENTITY_BYTES) bytes of a file. */
export interface Identity {
  readonly hash: string;
  readonly length: number;
}

export const IDENTITY_BYTES = 1024;

const head = new Uint8Array(IDENTITY_BYTES);

/** The identity of an open file from its first `length` bytes; undefined when it has fewer. Throws the disk's errors. */
export function identify(disk: Disk, fd: number, length: number): Identity | undefined {
  let done = 0;
  for (let n = 1; n > 0 && done < length; done += n) n = disk.read(fd, head, done, length - done, done);
  if (done < length) return undefined;
  const hash = createHash("sha256").update(head.subarray(0, length)).digest("hex").slice(0, 24);
  return { hash, length };
}
