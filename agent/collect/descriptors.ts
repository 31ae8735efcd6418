/**
 * The open log files. At most `max` at once: the one read longest ago is closed first, but a file that has no name any
 * more is kept, since nobody could open it again.
 */
import type { Disk } from "../disk.ts";

/** A file that can be opened by path, and closed again at any time. */
export interface Openable {
  path: string;
  fd: number;
  /** No name leads to it any more. */
  gone: boolean;
}

export class Descriptors {
  readonly #disk: Disk;
  readonly #max: number;
  /** In the order of last use. */
  readonly #open = new Set<Openable>();

  constructor(disk: Disk, max: number) {
    this.#disk = disk;
    this.#max = max;
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
    if (this.#open.size >= this.#max) this.#closeOldest();
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
    for (const file of this.#open) {
      if (file.gone) continue;
      this.close(file);
      return;
    }
  }
}
