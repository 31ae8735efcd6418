/** A file system in memory that can be full, can crash and can lose what was not synced. */
import { Buffer } from "node:buffer";
import type { Disk, Entry, FileStat } from "../../agent/disk.ts";

interface Inode {
  readonly number: number;
  bytes: Buffer;
  size: number;
  modifiedMs: number;
  /** Size that survives a power cut. */
  syncedSize: number;
  links: number;
}

class SimError extends Error {
  readonly code: string;
  constructor(code: string, path: string) {
    super(`${code}: ${path}`);
    this.code = code;
  }
}

export class SimDisk implements Disk {
  /** Writes by the agent fail with ENOSPC while true. */
  full = false;
  readonly #files = new Map<string, Inode>();
  readonly #directories = new Set<string>();
  #open = new Map<number, { inode: Inode; path: string }>();
  #nextInode = 1;
  #nextFd = 10;
  readonly #wall: () => number;
  /** Names that survive a power cut although not synced: those of log files. */
  readonly #durable: (path: string) => boolean;

  constructor(wall: () => number, durable: (path: string) => boolean) {
    this.#wall = wall;
    this.#durable = durable;
  }

  get openCount(): number {
    return this.#open.size;
  }

  // What the world outside the agent does.

  append(path: string, text: Uint8Array | string): void {
    let inode = this.#files.get(path);
    if (!inode) {
      inode = this.#create(path);
    }
    this.#write(inode, typeof text === "string" ? Buffer.from(text, "latin1") : text);
    inode.syncedSize = inode.size;
  }

  rename(from: string, to: string): void {
    const inode = this.#files.get(from);
    if (!inode) throw new SimError("ENOENT", from);
    this.#files.delete(from);
    this.#files.set(to, inode);
  }

  deleteTree(path: string): void {
    for (const name of this.#files.keys()) if (name.startsWith(`${path}/`)) this.#files.delete(name);
    for (const name of this.#directories) if (name === path || name.startsWith(`${path}/`)) this.#directories.delete(name);
  }

  content(path: string): string {
    const inode = this.#files.get(path);
    return inode ? inode.bytes.toString("latin1", 0, inode.size) : "";
  }

  names(): string[] {
    return [...this.#files.keys()];
  }

  /** The process is gone; with `power`, so is what it had not synced. */
  crash(power: boolean): void {
    this.#open = new Map();
    this.full = false;
    if (!power) return;
    for (const [path, inode] of this.#files) {
      if (this.#durable(path)) continue;
      inode.size = Math.min(inode.size, inode.syncedSize);
      if (inode.syncedSize === 0) this.#files.delete(path);
    }
  }

  // What the agent asks for.

  list(path: string): Entry[] | undefined {
    const entries = new Map<string, Entry>();
    const prefix = `${path}/`;
    for (const name of this.#files.keys()) {
      if (!name.startsWith(prefix)) continue;
      const rest = name.slice(prefix.length);
      const slash = rest.indexOf("/");
      if (slash < 0) entries.set(rest, { name: rest, kind: "file" });
      else entries.set(rest.slice(0, slash), { name: rest.slice(0, slash), kind: "directory" });
    }
    for (const name of this.#directories) {
      if (!name.startsWith(prefix)) continue;
      const rest = name.slice(prefix.length).split("/")[0]!;
      entries.set(rest, { name: rest, kind: "directory" });
    }
    return entries.size > 0 || this.#directories.has(path) ? [...entries.values()] : undefined;
  }

  stat(path: string): FileStat | undefined {
    const inode = this.#files.get(path);
    return inode && stat(inode);
  }

  resolve(path: string): string | undefined {
    return this.#files.has(path) ? path : undefined;
  }

  open(path: string): number {
    const inode = this.#files.get(path);
    if (!inode) throw new SimError("ENOENT", path);
    return this.#descriptor(inode, path);
  }

  openAppend(path: string): number {
    if (this.full && !this.#files.has(path)) throw new SimError("ENOSPC", path);
    return this.#descriptor(this.#files.get(path) ?? this.#create(path), path);
  }

  statOpen(fd: number): FileStat {
    return stat(this.#of(fd));
  }

  read(fd: number, target: Uint8Array, offset: number, length: number, position: number): number {
    const inode = this.#of(fd);
    const n = Math.max(0, Math.min(length, inode.size - position));
    target.set(inode.bytes.subarray(position, position + n), offset);
    return n;
  }

  write(fd: number, bytes: Uint8Array): void {
    const inode = this.#of(fd);
    if (this.full) {
      // A full disk often takes a part.
      this.#write(inode, bytes.subarray(0, bytes.length >> 1));
      throw new SimError("ENOSPC", this.#open.get(fd)!.path);
    }
    this.#write(inode, bytes);
  }

  truncate(fd: number, size: number): void {
    const inode = this.#of(fd);
    inode.size = Math.min(inode.size, size);
    inode.syncedSize = Math.min(inode.syncedSize, size);
  }

  close(fd: number): void {
    if (!this.#open.delete(fd)) throw new SimError("EBADF", String(fd));
  }

  remove(path: string): void {
    this.#files.delete(path);
  }

  makeDirectory(path: string): void {
    this.#directories.add(path);
  }

  async sync(fd: number): Promise<void> {
    const inode = this.#of(fd);
    const { size } = inode;
    if (this.full) throw new SimError("EIO", String(fd));
    await Promise.resolve();
    inode.syncedSize = Math.max(inode.syncedSize, Math.min(size, inode.size));
  }

  async syncDirectory(): Promise<void> {
    await Promise.resolve();
  }

  #create(path: string): Inode {
    const inode = {
      ...{ number: this.#nextInode++, bytes: Buffer.alloc(1024), size: 0, links: 1 },
      ...{ modifiedMs: this.#wall(), syncedSize: 0 },
    };
    this.#files.set(path, inode);
    return inode;
  }

  #write(inode: Inode, bytes: Uint8Array): void {
    if (inode.size + bytes.length > inode.bytes.length) {
      const grown = Buffer.alloc((inode.size + bytes.length) * 2);
      inode.bytes.copy(grown, 0, 0, inode.size);
      inode.bytes = grown;
    }
    inode.bytes.set(bytes, inode.size);
    inode.size += bytes.length;
    inode.modifiedMs = this.#wall();
  }

  #descriptor(inode: Inode, path: string): number {
    const fd = this.#nextFd++;
    this.#open.set(fd, { inode, path });
    return fd;
  }

  #of(fd: number): Inode {
    const open = this.#open.get(fd);
    if (!open) throw new SimError("EBADF", String(fd));
    return open.inode;
  }
}

function stat(inode: Inode): FileStat {
  return { node: `1:${inode.number}`, size: inode.size, modifiedMs: inode.modifiedMs };
}
