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
import { Chain, type SavedFile } from "./chain.ts";
import { Cursors } from "./cursor.ts";
import { Descriptors } from "./descriptors.ts";
import { readContainer, readLayout, type Container } from "./discovery.ts";
import type { LinesWorld } from "./lines.ts";
import { Reader, type Hand } from "./reader.ts";
import type { Source } from "./source.ts";
import type { Taker } from "./taker.ts";
import type { Watcher } from "./watch.ts";

/** How often growing files are looked at. */
export const POLL_MS = 100;
/** A chain without growth for this long is watched instead. */
const IDLE_MS = 10_000;
/** A quiet chain's directory is listed this often until then: a restarted container begins a new file. */
const LIST_MS = 1_000;
export const RESCAN_MS = 30_000;
/** A new pod is looked for at most this often. */
const SCAN_MS = 500;
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

interface Followed {
  readonly chain: Chain;
  readonly cursors: Cursors;
  active: boolean;
  /** When something was last read or the chain was woken. */
  busyAt: number;
  listedAt: number;
  unwatch: (() => void) | undefined;
}

export class Collector {
  readonly descriptors: Descriptors;
  readonly reader: Reader;
  readonly #world: CollectWorld;
  readonly #settings: CollectSettings;
  readonly #hooks: CollectHooks;
  readonly #followed = new Map<string, Followed>();
  /** Chains that are read in turns, in the order of their turns. */
  readonly #active = new Set<Followed>();
  /** Directories in which new ones appear, with what ends their watch; undefined: it has told of something and is over. */
  readonly #watchedAbove = new Map<string, (() => void) | undefined>();
  /** The last turn could not read for want of memory. */
  short = false;
  #scanDue = true;
  #scannedAt = -Infinity;
  #first = true;

  constructor(world: CollectWorld, settings: CollectSettings, hooks: CollectHooks) {
    this.#world = world;
    this.#settings = settings;
    this.#hooks = hooks;
    this.descriptors = new Descriptors(world.disk, settings.maxOpenFiles);
    this.reader = new Reader(world);
  }

  get chains(): Chain[] {
    return [...this.#followed.values()].map((followed) => followed.chain);
  }

  get activeCount(): number {
    return this.#active.size;
  }

  /** Puts a taker of a followed chain at a linear offset. */
  add(taker: Taker, at: number): void {
    const followed = this.#followed.get(taker.chain.source.id)!;
    followed.cursors.place(taker, at);
    this.#wake(followed);
  }

  remove(taker: Taker): void {
    this.#followed.get(taker.chain.source.id)?.cursors.remove(taker);
  }

  /** Takes a taker to an earlier place; the caller has set its counts. */
  move(taker: Taker, at: number): void {
    this.remove(taker);
    this.add(taker, at);
  }

  /** What the reader of a taker holds open: where it begins (Infinity: nothing) and its source bytes. */
  open(taker: Taker): { at: number; raw: number } {
    const cursor = this.#followed.get(taker.chain.source.id)?.cursors.of(taker);
    return { at: cursor?.lines.openAt ?? Infinity, raw: cursor?.lines.openRaw ?? 0 };
  }

  /** A taker has room again. */
  wake(taker: Taker): void {
    const followed = this.#followed.get(taker.chain.source.id);
    if (followed) this.#wake(followed);
  }

  /** All chains that have a limit were read up to it (a last line without its end is left). */
  get exhausted(): boolean {
    for (const { chain, cursors } of this.#followed.values()) {
      if (cursors.all.some((cursor) => !cursor.finished && cursor.at + cursor.tail < chain.limit)) return false;
    }
    return true;
  }

  /** Brings the sizes of all files up to date (for a look at the ledger). */
  measure(): void {
    for (const { chain } of this.#followed.values()) chain.refresh();
  }

  /** Milliseconds until a rescan is due. */
  dueIn(now: number): number {
    return this.#scannedAt + (this.#scanDue ? SCAN_MS : RESCAN_MS) - now;
  }

  /**
   * One turn: rescans when due, then reads each active chain once, in order, until the time is up or nobody can go on.
   * Returns "more" when another turn would find something to read at once, else "idle".
   */
  turn(): "more" | "idle" {
    const { clock } = this.#world;
    const start = clock.now();
    this.short = false;
    if (this.dueIn(start) <= 0) this.scan();
    let more = false;
    for (const followed of [...this.#active]) {
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
    const { disk, clock, log } = this.#world;
    this.#scanDue = false;
    this.#scannedAt = clock.now();
    for (const [path, stop] of this.#watchedAbove) if (!stop) this.#watchAbove(path);
    const layout = readLayout(disk, this.#settings.logsDir, (path, error) =>
      log.warn("can't list a log directory", { path, reason: String(error) }),
    );
    const seen = new Set<string>();
    // A container's directory stands before its first log file.
    const empty = layout.containers.filter((directory) => !this.#scanContainer(directory, seen));
    const above = new Set([...layout.above, ...empty]);
    for (const [path, stop] of this.#watchedAbove) {
      if (above.has(path)) continue;
      stop?.();
      this.#watchedAbove.delete(path);
    }
    for (const path of above) {
      if (this.#watchedAbove.has(path)) continue;
      this.#watchAbove(path);
      // What came between the listing and the watch is found by listing once more.
      this.#scanDue = true;
    }
    for (const followed of this.#followed.values()) {
      if (!seen.has(followed.chain.source.id)) this.#unseen(followed);
      else followed.chain.release(followed.cursors.oldest(), false);
    }
    this.#first = false;
  }

  close(): void {
    for (const stop of this.#watchedAbove.values()) stop?.();
    for (const followed of this.#followed.values()) {
      followed.unwatch?.();
      for (const cursor of followed.cursors.all) cursor.lines.drop();
      followed.chain.close();
    }
    this.reader.rest();
  }

  #watchAbove(path: string): void {
    const stop = this.#world.watcher.once(path, () => {
      this.#watchedAbove.set(path, undefined);
      this.#scanDue = true;
      this.#hooks.wake();
    });
    this.#watchedAbove.set(path, stop);
  }

  /** Brings the chains of one container up to date; false: it has no log files. */
  #scanContainer(directory: string, seen: Set<string>): boolean {
    const { disk, log } = this.#world;
    let container;
    try {
      container = readContainer(disk, directory, this.#settings.node);
    } catch (error) {
      log.warn("can't list a log directory", { path: directory, reason: String(error) });
      return false;
    }
    if (!container) return false;
    container.instances.forEach(({ name, source }, index) => {
      seen.add(source.id);
      const over = index < container.instances.length - 1;
      const followed = this.#followed.get(source.id);
      if (!followed) return this.#follow(container, name, source, over);
      const { chain } = followed;
      const { end, version, ended } = chain;
      chain.refresh(container.entries);
      // A later instance has begun: nothing more comes in this one.
      if (over) chain.ended = true;
      if (chain.end !== end || chain.version !== version || chain.ended !== ended) this.#wake(followed);
    });
    return container.instances.length > 0;
  }

  #follow(container: Container, name: string, source: Source, over: boolean): void {
    const { clock, lines } = this.#world;
    const world = { ...this.#world, descriptors: this.descriptors };
    const chain = new Chain(source, container.directory, name, world, this.#hooks.saved(source));
    chain.ended = over;
    const seconds = Math.floor(clock.wall() / 1000);
    const cursors = new Cursors(chain, () => lines.open(seconds));
    const followed = { chain, cursors, active: false, busyAt: 0, listedAt: clock.now(), unwatch: undefined };
    this.#followed.set(source.id, followed);
    chain.refresh(container.entries);
    this.#hooks.found(chain, !this.#first);
  }

  /** A chain whose files no listing shows: its pod was deleted. */
  #unseen(followed: Followed): void {
    const { chain, cursors } = followed;
    chain.refresh();
    if (!chain.ended) {
      chain.ended = true;
      this.#wake(followed);
      return;
    }
    if (cursors.all.some((cursor) => !cursor.finished) || !chain.files.every((file) => file.gone)) return;
    if (cursors.oldest() < chain.end) return;
    followed.unwatch?.();
    this.#active.delete(followed);
    this.#followed.delete(chain.source.id);
    this.#hooks.gone(chain);
    chain.close();
  }

  #wake(followed: Followed): void {
    if (followed.cursors.all.length === 0) return;
    followed.busyAt = this.#world.clock.now();
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
    if (now - followed.busyAt < LIST_MS || now - followed.listedAt < LIST_MS) return false;
    followed.listedAt = now;
    this.#scanContainer(chain.directory, new Set());
    if (now - followed.busyAt >= IDLE_MS || cursors.all.length === 0) this.#rest(followed);
    return false;
  }

  /** Watches a quiet chain instead of looking at it, then looks once more at what may have come in between. */
  #rest(followed: Followed): void {
    const { chain, cursors } = followed;
    followed.active = false;
    this.#active.delete(followed);
    if (cursors.all.length === 0) return;
    const { end } = chain;
    followed.unwatch = this.#world.watcher.once(chain.directory, () => this.#wake(followed));
    chain.release(cursors.oldest(), true);
    chain.refresh();
    if (chain.end !== end || cursors.all.some((cursor) => cursor.lines.openAt < Infinity)) this.#wake(followed);
  }
}
