/**
 * The containers of the logs directory and the chains of their instances: finds new ones, keeps the names of all files up
 * to date, and notices those that are over.
 */
import { Chain, type ChainWorld, type SavedFile } from "./chain.ts";
import { Cursors } from "./cursor.ts";
import { readContainer, readLayout, type Container } from "./discovery.ts";
import type { Lines } from "./lines.ts";
import type { Source } from "./source.ts";
import { Watches, type Watcher } from "./watch.ts";

/** Everything is listed this often: watches drop events silently. */
export const RESCAN_MS = 30_000;
/** A new pod is looked for at most this often, and at most a tenth of the time. */
const SCAN_MS = 500;
const SCAN_SHARE = 1 / 10;
/** An instance whose files are missing for this long is over; a logs directory that is missing is looked for this often. */
const MISSING_MS = 2_000;

/** One container instance that is followed. */
export interface Followed {
  readonly chain: Chain;
  readonly cursors: Cursors;
  /** It is read in turns. */
  active: boolean;
  /** When something was last read or it was woken. */
  busyAt: number;
  listedAt: number;
  /** Nothing is looked at before this, unless it is woken. */
  idleUntil: number;
  /** Since when no listing shows it. */
  unseenSince: number | undefined;
  unwatch: (() => void) | undefined;
}

export interface ContainerWorld extends ChainWorld {
  readonly watcher: Watcher;
}

export interface ContainerHooks {
  /** The files of a chain as an earlier run saved them. */
  saved(source: Source): readonly SavedFile[] | undefined;
  /** A decoder at some place of a chain that was found at `startSeconds`. */
  open(startSeconds: number): Lines;
  /** An instance was found; `fresh`: after the first scan. */
  found(followed: Followed, fresh: boolean): void;
  /** Something of it is new: bytes, files, whether it is over. */
  changed(followed: Followed): void;
  /** It is over and read, and its files are gone: it is not followed any more. */
  gone(followed: Followed): void;
  /** A scan is due before it was. */
  due(): void;
}

export class Containers {
  readonly #world: ContainerWorld;
  readonly #root: string;
  readonly #node: string;
  readonly #hooks: ContainerHooks;
  readonly #followed = new Map<string, Followed>();
  /** Directories in which new ones appear. */
  readonly #above: Watches;
  #scannedAt = -Infinity;
  /** The next scan is due this long after the last. */
  #scanAfter = 0;
  /** The least time between two scans. */
  #scanGap = SCAN_MS;
  #first = true;

  constructor(world: ContainerWorld, root: string, node: string, hooks: ContainerHooks) {
    this.#world = world;
    this.#root = root;
    this.#node = node;
    this.#hooks = hooks;
    this.#above = new Watches(world.watcher, () => {
      this.#scanAfter = this.#scanGap;
      hooks.due();
    });
  }

  get all(): Iterable<Followed> {
    return this.#followed.values();
  }

  /** The instance with this source id, when it is followed. */
  get(id: string): Followed | undefined {
    return this.#followed.get(id);
  }

  /** Milliseconds until a scan is due. */
  dueIn(now: number): number {
    return this.#scannedAt + this.#scanAfter - now;
  }

  /** Lists all directories: finds new containers, and growth and rotation that no watch told of. */
  scan(): void {
    const { disk, clock } = this.#world;
    const start = clock.now();
    this.#scannedAt = start;
    this.#above.renew();
    const unreadable: string[] = [];
    const layout = readLayout(disk, this.#root, (path, error) => {
      unreadable.push(path);
      this.#unreadable(path, error);
    });
    const seen = new Set<string>();
    // A container's directory stands before its first log file.
    const empty = layout.containers.filter((directory) => !this.#scanContainer(directory, seen));
    const isNew = this.#above.keep(new Set([...layout.above, ...empty]));
    const isHidden = (directory: string): boolean =>
      unreadable.some((path) => path === this.#root || directory.startsWith(`${path}/`));
    let isMissing = layout.above.length === 0;
    for (const followed of this.#followed.values()) {
      const { chain, cursors } = followed;
      chain.release(cursors.oldest(), false);
      if (seen.has(chain.source.id) || isHidden(chain.directory)) continue;
      if (this.#unseen(followed, start)) isMissing = true;
    }
    this.#first = false;
    this.#scanGap = Math.max(SCAN_MS, (clock.now() - start) / SCAN_SHARE);
    this.#scanAfter = isNew ? this.#scanGap : isMissing ? Math.max(MISSING_MS, this.#scanGap) : RESCAN_MS;
  }

  /** Brings the sizes of all files up to date. */
  measure(): void {
    for (const followed of this.#followed.values()) {
      followed.chain.refresh();
      if (!followed.active && !followed.cursors.isRead) this.#changed(followed);
    }
  }

  /** Lists the directory of one container. */
  look(directory: string): void {
    this.#scanContainer(directory, new Set());
  }

  close(): void {
    this.#above.close();
    for (const { unwatch, cursors, chain } of this.#followed.values()) {
      unwatch?.();
      for (const cursor of cursors.all) cursor.lines.drop();
      chain.close();
    }
  }

  #unreadable(path: string, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    this.#world.log.warn("can't list a log directory", { path, reason });
  }

  /** Brings the chains of one container up to date; false: it has no log files. */
  #scanContainer(directory: string, seen: Set<string>): boolean {
    let container;
    try {
      container = readContainer(this.#world.disk, directory, this.#node);
    } catch (error) {
      this.#unreadable(directory, error);
      // What can't be listed is not known to be gone.
      for (const { chain } of this.#followed.values()) if (chain.directory === directory) seen.add(chain.source.id);
      return true;
    }
    if (!container) return false;
    for (const [index, { name, source }] of container.instances.entries()) {
      seen.add(source.id);
      // A later instance has begun: nothing more comes in this one.
      const over = index < container.instances.length - 1;
      const followed = this.#followed.get(source.id);
      if (followed) this.#update(followed, container, over);
      else this.#follow(container, name, source, over);
    }
    return container.instances.length > 0;
  }

  #follow(container: Container, name: string, source: Source, over: boolean): void {
    const { clock } = this.#world;
    const chain = new Chain(source, container.directory, name, this.#world, this.#hooks.saved(source));
    chain.ended = over;
    const seconds = Math.floor(clock.wall() / 1000);
    const cursors = new Cursors(chain, () => this.#hooks.open(seconds));
    const followed: Followed = {
      ...{ chain, cursors, active: false, busyAt: 0, listedAt: clock.now(), idleUntil: 0 },
      ...{ unseenSince: undefined, unwatch: undefined },
    };
    this.#followed.set(source.id, followed);
    chain.refresh(container.entries);
    this.#hooks.found(followed, !this.#first);
  }

  #update(followed: Followed, { entries }: Container, over: boolean): void {
    const { chain, cursors } = followed;
    const { end, version, ended } = chain;
    chain.refresh(entries);
    chain.ended = over;
    chain.deleted = false;
    followed.unseenSince = undefined;
    const isSame = chain.end === end && chain.version === version && chain.ended === ended;
    if (!isSame || !cursors.isRead) this.#changed(followed);
  }

  #changed(followed: Followed): void {
    followed.cursors.revive();
    this.#hooks.changed(followed);
  }

  /** An instance that no listing shows: its pod was deleted, unless the files come back soon; true: that is not known yet. */
  #unseen(followed: Followed, now: number): boolean {
    const { chain, cursors } = followed;
    chain.refresh();
    followed.unseenSince ??= now;
    if (now - followed.unseenSince < MISSING_MS) return true;
    if (!chain.deleted) {
      chain.ended = chain.deleted = true;
      this.#changed(followed);
      return true;
    }
    if (cursors.all.some((cursor) => !cursor.finished) || !chain.gone || cursors.oldest() < chain.end) return false;
    followed.unwatch?.();
    this.#followed.delete(chain.source.id);
    this.#hooks.gone(followed);
    chain.close();
    return false;
  }
}
