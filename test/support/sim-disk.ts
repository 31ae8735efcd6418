/** A file system in memory that can be full, can fail, can crash and can lose what was not synced. */
import { Buffer } from "node:buffer";
import type { Disk, Entry, FileStat } from "../../agent/disk.ts";

interface Inode {
  readonly number: number;
  bytes: Buffer;
  size: number;
  modifiedMs: number;
  /** Size that survives a power cut. */
  syncedSize: number;
}

/** What can fail. */
export type Operation = "list" | "stat" | "open" | "read" | "write" | "truncate" | "sync" | "remove";

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
  /** The code with which an operation of the agent fails, if it does. */
  fails: (operation: Operation, path: string) => string | undefined = () => undefined;
  /** The inode of a file that was removed goes to the next one, as on ext4. */
  reusesInodes = false;
  /** How often each was asked for. */
  readonly asked = { list: 0, stat: 0, open: 0, read: 0 };
  readonly #files = new Map<string, Inode>();
  readonly #directories = new Set<string>();
  readonly #links = new Map<string, string>();
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

  /** A directory and all below it under another name. */
  renameTree(from: string, to: string): void {
    const isBelow = (name: string): boolean => name === from || name.startsWith(`${from}/`);
    for (const [name, inode] of this.#files) {
      if (!isBelow(name)) continue;
      this.#files.delete(name);
      this.#files.set(to + name.slice(from.length), inode);
    }
    for (const name of this.#directories) {
      if (!isBelow(name)) continue;
      this.#directories.delete(name);
      this.#directories.add(to + name.slice(from.length));
    }
  }

  deleteTree(path: string): void {
    for (const name of this.#files.keys()) if (name.startsWith(`${path}/`)) this.#files.delete(name);
    for (const name of this.#directories) {
      if (name === path || name.startsWith(`${path}/`)) this.#directories.delete(name);
    }
  }

  /** Another file of the same content. */
  copy(from: string, to: string): void {
    const { bytes, size } = this.#files.get(from)!;
    this.append(to, bytes.subarray(0, size));
  }

  /** Shortens a file in place. */
  cut(path: string, size: number): void {
    const inode = this.#files.get(path)!;
    inode.size = inode.syncedSize = Math.min(inode.size, size);
    inode.modifiedMs = this.#wall();
  }

  link(path: string, target: string): void {
    this.#links.set(path, target);
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
    path = this.#followed(path);
    this.#ask("list", path);
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
    for (const name of this.#links.keys()) {
      if (!name.startsWith(prefix)) continue;
      const rest = name.slice(prefix.length);
      if (!rest.includes("/")) entries.set(rest, { name: rest, kind: "link" });
    }
    return entries.size > 0 || this.#directories.has(path) ? [...entries.values()] : undefined;
  }

  stat(path: string): FileStat | undefined {
    path = this.#followed(path);
    this.#ask("stat", path);
    const inode = this.#files.get(path);
    return inode && stat(inode);
  }

  resolve(path: string): string | undefined {
    const target = this.#links.get(path) ?? path;
    return this.#files.has(this.#followed(target)) ? target : undefined;
  }

  open(path: string): number {
    path = this.#followed(path);
    this.#ask("open", path);
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
    this.#ask("read", this.#open.get(fd)!.path);
    const n = Math.max(0, Math.min(length, inode.size - position));
    target.set(inode.bytes.subarray(position, position + n), offset);
    return n;
  }

  write(fd: number, bytes: Uint8Array): void {
    const inode = this.#of(fd);
    this.#fail("write", this.#open.get(fd)!.path);
    if (this.full) {
      // A full disk often takes a part.
      this.#write(inode, bytes.subarray(0, bytes.length >> 1));
      throw new SimError("ENOSPC", this.#open.get(fd)!.path);
    }
    this.#write(inode, bytes);
  }

  truncate(fd: number, size: number): void {
    const inode = this.#of(fd);
    this.#fail("truncate", this.#open.get(fd)!.path);
    inode.size = Math.min(inode.size, size);
    inode.syncedSize = Math.min(inode.syncedSize, size);
  }

  close(fd: number): void {
    if (!this.#open.delete(fd)) throw new SimError("EBADF", String(fd));
  }

  remove(path: string): void {
    this.#fail("remove", path);
    this.#files.delete(path);
  }

  makeDirectory(path: string): void {
    this.#directories.add(path);
  }

  async sync(fd: number): Promise<void> {
    const inode = this.#of(fd);
    const { size } = inode;
    if (this.full) throw new SimError("EIO", String(fd));
    this.#fail("sync", this.#open.get(fd)!.path);
    await Promise.resolve();
    inode.syncedSize = Math.max(inode.syncedSize, Math.min(size, inode.size));
  }

  async syncDirectory(): Promise<void> {
    await Promise.resolve();
  }

  #ask(operation: "list" | "stat" | "open" | "read", path: string): void {
    this.asked[operation]++;
    this.#fail(operation, path);
  }

  #fail(operation: Operation, path: string): void {
    const code = this.fails(operation, path);
    if (code) throw new SimError(code, path);
  }

  /** The path with its links followed, its last part's and one of a directory above it. */
  #followed(path: string): string {
    for (const [name, target] of this.#links) {
      if (path === name || path.startsWith(`${name}/`)) return this.#followed(target + path.slice(name.length));
    }
    return path;
  }

  #freeInode(): number {
    if (!this.reusesInodes) return this.#nextInode++;
    const used = new Set(
      [...this.#files.values(), ...[...this.#open.values()].map(({ inode }) => inode)].map((inode) => inode.number),
    );
    let number = 1;
    while (used.has(number)) number++;
    this.#nextInode = Math.max(this.#nextInode, number + 1);
    return number;
  }

  #create(path: string): Inode {
    const inode = {
      ...{ number: this.#freeInode(), bytes: Buffer.alloc(1024), size: 0 },
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
