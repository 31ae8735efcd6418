/**
 * The open log files, at most `max` at once. The one read longest ago is closed first. A file that has no name any more
 * is kept, since nobody could open it again; but such files take at most half, then the one read longest ago is given up.
 */
import type { Disk } from "../disk.ts";

/** A file that can be opened by path, and closed again at any time. */
export interface Openable {
  path: string;
  fd: number;
  /** No name leads to it at present. */
  gone: boolean;
}

export class Descriptors {
  readonly max: number;
  readonly #disk: Disk;
  /** In the order of last use. */
  readonly #open = new Set<Openable>();

  constructor(disk: Disk, max: number) {
    this.#disk = disk;
    this.max = max;
  }

  get count(): number {
    return this.#open.size;
  }

  /** The file's descriptor, opened when it is not. Throws the disk's errors. */
  use(file: Openable): number {
    if (file.fd >= 0) {
      this.#open.delete(file);
      this.#open.add(file);
      return file.fd;
    }
    if (this.#open.size >= this.max) this.#closeOldest();
    file.fd = this.#disk.open(file.path);
    this.#open.add(file);
    return file.fd;
  }

  close(file: Openable): void {
    if (file.fd < 0) return;
    this.#disk.close(file.fd);
    file.fd = -1;
    this.#open.delete(file);
  }

  #closeOldest(): void {
    let named: Openable | undefined;
    let gone: Openable | undefined;
    let goneCount = 0;
    for (const file of this.#open) {
      if (file.gone) {
        goneCount++;
        gone ??= file;
      } else named ??= file;
    }
    const oldest = gone && goneCount > this.max / 2 ? gone : (named ?? gone);
    if (oldest) this.close(oldest);
  }
}
