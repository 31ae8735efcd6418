/**
 * What makes a file the same file across renames, restarts and new inodes: the hash of its first bytes, its head.
 * Container log lines begin with a nanosecond time, so a kilobyte tells files apart.
 */
import { hash } from "node:crypto";
import type { Disk } from "../disk.ts";

/** Hash of the first `length` (at most IDENTITY_BYTES) bytes of a file. */
export interface Identity {
  readonly hash: string;
  readonly length: number;
}

export const IDENTITY_BYTES = 1024;

const buffer = new Uint8Array(IDENTITY_BYTES);

/** The first bytes of an open file, at most `length`; a view, valid until the next call. Throws the disk's errors. */
export function readHead(disk: Disk, fd: number, length = IDENTITY_BYTES): Uint8Array {
  let done = 0;
  for (let n = 1; n > 0 && done < length; done += n) n = disk.read(fd, buffer, done, length - done, done);
  return buffer.subarray(0, done);
}

/** The identity of a file of which these are the first bytes; undefined when they are fewer than `length`. */
export function identityOf(head: Uint8Array, length: number): Identity | undefined {
  if (head.length < length) return undefined;
  return { hash: hash("sha256", head.subarray(0, length), "hex").slice(0, 24), length };
}

/** True when a file that begins with `head` may be the one with this identity. */
export function isHead(head: Uint8Array, identity: Identity): boolean {
  return identityOf(head, identity.length)?.hash === identity.hash;
}
