/**
 * The door of collect: finds containers, follows their chains and reads them in turns.
 *
 * Promises: a container's bytes are handed on in order, each once per reading; a taker without room holds up nobody but
 * itself; nothing is read that the arena has no room for. Costs: a chain that grows is looked at once per poll; one that
 * was quiet for IDLE_MS costs a directory watch and a look at every rescan.
 */
import type { Clock } from "../clock.ts";
import type { Disk } from "../disk.ts";
import type { Log } from "../log.ts";
import type { Chain, SavedFile } from "./chain.ts";
import { Containers, type Followed } from "./containers.ts";
import { Descriptors } from "./descriptors.ts";
import type { LinesWorld } from "./lines.ts";
import { Reader, type Hand } from "./reader.ts";
import type { Source } from "./source.ts";
import type { Taker } from "./taker.ts";
import type { Watcher } from "./watch.ts";

/** How often growing files are looked at, and how much earlier at most: timers are not exact. */
export const POLL_MS = 100;
const POLL_EARLY_MS = 5;
/** A chain without growth for this long is watched instead. */
const IDLE_MS = 10_000;
/** A quiet chain's directory is listed this often until then: a restarted container begins a new file. */
const LIST_MS = 1_000;
/** How long one turn may read before others get theirs. */
const TURN_MS = 8;

export interface CollectWorld {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly log: Log;
  readonly watcher: Watcher;
  readonly lines: LinesWorld;
  readonly hand: Hand;
  readonly reserveBytes: number;
}

export interface CollectSettings {
  readonly logsDir: string;
  readonly node: string;
  readonly maxOpenFiles: number;
}

export interface CollectHooks {
  /** The files of a chain as an earlier run saved them. */
  saved(source: Source): readonly SavedFile[] | undefined;
  /** A chain was found (`fresh`: after the first scan); its takers are to be added by `add`. */
  found(chain: Chain, fresh: boolean): void;
  /** A chain is over, read, and its files are gone. */
  gone(chain: Chain): void;
  /** There may be something to read: a turn is due. */
  wake(): void;
}

export class Collector {
  readonly descriptors: Descriptors;
  readonly reader: Reader;
  readonly #world: CollectWorld;
  readonly #hooks: CollectHooks;
  readonly #containers: Containers;
  /** Chains that are read in turns, in the order of their turns. */
  readonly #active = new Set<Followed>();
  /** The last turn could not read for want of memory. */
  short = false;

  constructor(world: CollectWorld, settings: CollectSettings, hooks: CollectHooks) {
    this.#world = world;
    this.#hooks = hooks;
    this.descriptors = new Descriptors(world.disk, settings.maxOpenFiles);
    this.reader = new Reader(world);
    const { logsDir, node } = settings;
    this.#containers = new Containers({ ...world, descriptors: this.descriptors }, logsDir, node, {
      saved: (source) => hooks.saved(source),
      open: (startSeconds) => world.lines.open(startSeconds),
      found: ({ chain }, fresh) => hooks.found(chain, fresh),
      changed: (followed) => this.#wake(followed),
      gone: (followed) => this.#gone(followed),
      due: () => hooks.wake(),
    });
  }

  get chains(): Chain[] {
    return [...this.#containers.all].map(({ chain }) => chain);
  }

  get activeCount(): number {
    return this.#active.size;
  }

  /** Puts a taker of a followed chain at a linear offset. */
  add(taker: Taker, at: number): void {
    const followed = this.#containers.get(taker.chain.source.id)!;
    taker.chain.cover(at);
    followed.cursors.place(taker, at);
    this.#wake(followed);
  }

  remove(taker: Taker): void {
    this.#containers.get(taker.chain.source.id)?.cursors.remove(taker);
  }

  /** Takes a taker to an earlier place; the caller has set its counts. */
  move(taker: Taker, at: number): void {
    this.remove(taker);
    this.add(taker, at);
  }

  /** What the reader of a taker holds open: where it begins (Infinity: nothing) and its source bytes. */
  open(taker: Taker): { at: number; raw: number } {
    const cursor = this.#containers.get(taker.chain.source.id)?.cursors.of(taker);
    return { at: cursor?.lines.openAt ?? Infinity, raw: cursor?.lines.openRaw ?? 0 };
  }

  /** All chains that have a limit were read up to it (a last line without its end is left). */
  get exhausted(): boolean {
    for (const { chain, cursors } of this.#containers.all) {
      if (cursors.all.some((cursor) => !cursor.finished && cursor.at + cursor.tail < chain.limit)) return false;
    }
    return true;
  }

  /** Brings the sizes of all files up to date (for a look at the ledger). */
  measure(): void {
    this.#containers.measure();
  }

  /** Milliseconds until a rescan is due. */
  dueIn(now: number): number {
    return this.#containers.dueIn(now);
  }

  /**
   * One turn: rescans when due, then reads each active chain once, in order, until the time is up or nobody can go on.
   * Returns "more" when another turn would find something to read at once, else "idle".
   */
  turn(): "more" | "idle" {
    const { clock } = this.#world;
    const start = clock.now();
    this.short = false;
    if (this.#containers.dueIn(start) <= 0) this.scan();
    let more = false;
    for (const followed of [...this.#active]) {
      if (followed.idleUntil > start) continue;
      if (clock.now() - start > TURN_MS) return "more";
      // Those that had their turn go to the end.
      this.#active.delete(followed);
      this.#active.add(followed);
      if (this.#readChain(followed)) more = true;
    }
    if (this.#active.size === 0) this.reader.rest();
    return more ? "more" : "idle";
  }

  /** Lists all directories: finds new containers, and growth and rotation that no watch told of. */
  scan(): void {
    this.#containers.scan();
  }

  close(): void {
    this.#containers.close();
    this.reader.rest();
  }

  #gone(followed: Followed): void {
    this.#active.delete(followed);
    this.#hooks.gone(followed.chain);
  }

  #wake(followed: Followed): void {
    if (followed.cursors.all.length === 0) return;
    followed.busyAt = this.#world.clock.now();
    followed.idleUntil = 0;
    if (followed.active) return;
    followed.active = true;
    followed.unwatch?.();
    followed.unwatch = undefined;
    this.#active.add(followed);
    this.#hooks.wake();
  }

  /** Reads once at each cursor of a chain; true when there may be more at once. */
  #readChain(followed: Followed): boolean {
    const { clock } = this.#world;
    const { chain, cursors } = followed;
    const now = clock.now();
    let more = false;
    let blocked = false;
    for (const cursor of [...cursors.all]) {
      const reading = this.reader.read(cursors, cursor);
      if (reading === "read") more = true;
      else if (reading === "short") this.short = true;
      if (reading === "blocked" || reading === "short") blocked = true;
    }
    if (more) followed.busyAt = now;
    if (more || blocked) return more;
    followed.idleUntil = now + POLL_MS - POLL_EARLY_MS;
    if (now - followed.busyAt < LIST_MS || now - followed.listedAt < LIST_MS) return false;
    followed.listedAt = now;
    this.#containers.look(chain.directory);
    if (cursors.all.length === 0 || (cursors.isRead && now - followed.busyAt >= IDLE_MS)) this.#rest(followed);
    return false;
  }

  /** Watches a quiet chain instead of looking at it, then looks once more at what may have come in between. */
  #rest(followed: Followed): void {
    const { chain, cursors } = followed;
    followed.active = false;
    this.#active.delete(followed);
    chain.release(cursors.oldest(), true);
    if (cursors.all.length === 0) return;
    followed.unwatch = this.#world.watcher.once(chain.directory, () => this.#wake(followed));
    chain.refresh();
    if (!cursors.isRead || cursors.all.some((cursor) => cursor.lines.openAt < Infinity)) this.#wake(followed);
  }
}
