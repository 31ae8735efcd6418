/**
 * Positions: what of the subscriptions and chains outlives the process, and for how long. Owns the journal's keys:
 *
 *     sink/<pipeline>/<sink>               {since}: first started then (ms since 1970)
 *     chain/<chain>                        the files of the chain
 *     at/<pipeline>/<sink> <chain>         a subscription's Position and totals
 *     gone/<chain>, removed/<pipeline>/<sink>   ms since 1970; what belongs to them is kept KEEP_MS longer
 *     departed/<pipeline>/<sink>           a ledger: the sum of what was kept long enough
 */
import type { Chain, SavedFile } from "./collect/chain.ts";
import type { Journal } from "./collect/journal.ts";
import type { Clock } from "./clock.ts";
import type { SavedSubscription, Subscription } from "./dispatcher/subscription.ts";
import { addLedger, addTo, emptyLedger, evict, settledLines, sumTotals, type Ledger } from "./ledger.ts";
import type { Log } from "./log.ts";

/** A vanished container's Position and a removed sink's state are kept this long: either may come back. */
const KEEP_MS = 24 * 3600 * 1000;
const SWEEP_MS = 600_000;
/** What nobody read of a container that vanished; taken back when it is there again. */
const UNREAD = "lost/PodDeletedBeforeRead";

const positionKey = (outlet: string, chain: string): string => `at/${outlet} ${chain}`;

export class Positions {
  readonly journal: Journal;
  readonly #clock: Clock;
  readonly #log: Log;
  /** Where a subscription's reader stands open. */
  readonly #openAt: (subscription: Subscription) => number;
  readonly #dirty = new Set<Subscription>();
  readonly #versions = new WeakMap<Chain, string>();
  /** By sink: the ledgers of containers that are not followed (any more). */
  readonly #departed = new Map<string, Ledger>();
  /** Source bytes found, since the start, to have vanished unread. */
  vanishedBytes = 0;
  #sweptAt = -Infinity;

  constructor(world: { clock: Clock; log: Log }, journal: Journal, openAt: (subscription: Subscription) => number) {
    this.journal = journal;
    this.#clock = world.clock;
    this.#log = world.log;
    this.#openAt = openAt;
  }

  files(chain: string): readonly SavedFile[] | undefined {
    return this.journal.get(`chain/${chain}`);
  }

  /** A container that is followed, as a sink left it. */
  find(outlet: string, chain: string): SavedSubscription | undefined {
    const key = positionKey(outlet, chain);
    const saved = this.journal.get<SavedSubscription>(key);
    const unread = saved?.totals[UNREAD];
    if (!saved || !unread) return saved;
    // Its log is there after all: what was not read of it is backlog again, or is found to be lost when it is read.
    delete saved.totals[UNREAD];
    this.journal.put(key, saved);
    const departed = this.#departed.get(outlet);
    if (departed) {
      addTo(departed.settled, UNREAD, 0, -unread.bytes);
      departed.end -= unread.bytes;
    }
    return saved;
  }

  /** A sink starts; true when it never ran here before. */
  start(outlet: string): boolean {
    this.journal.remove(`removed/${outlet}`);
    if (this.journal.get(`sink/${outlet}`)) return false;
    this.journal.put(`sink/${outlet}`, { since: this.#clock.wall() });
    return true;
  }

  /** A sink is no longer configured. */
  removed(outlet: string): void {
    this.journal.put(`removed/${outlet}`, this.#clock.wall());
    this.#departed.delete(outlet);
  }

  dirty(subscription: Subscription): void {
    this.#dirty.add(subscription);
  }

  /** Forgets that something is to be saved: the subscription has ended. */
  drop(subscription: Subscription): void {
    if (this.#dirty.has(subscription)) this.#put(subscription);
    this.#dirty.delete(subscription);
  }

  /** Writes these subscriptions, and all that is dirty, to the journal: one write. False: it failed, the next save tries again. */
  save(subscriptions: Iterable<Subscription> = []): boolean {
    for (const subscription of subscriptions) this.#dirty.add(subscription);
    for (const subscription of this.#dirty) this.#put(subscription);
    this.#dirty.clear();
    this.journal.flush();
    return this.journal.trouble === undefined;
  }

  /** The ledger of a sink's containers that are not followed. */
  departed(outlet: string): Ledger {
    return this.#departed.get(outlet) ?? emptyLedger();
  }

  /**
   * Counts what was saved of a sink's containers that it does not read now. Of those that are not there any more (not among `followed`), what
   * nobody read is lost.
   */
  settleVanished(
    outlet: { readonly id: string; readonly subscriptions: ReadonlyMap<string, unknown> },
    followed: ReadonlySet<string>,
  ): void {
    const { id } = outlet;
    const ledger = this.journal.get<Ledger>(`departed/${id}`) ?? emptyLedger();
    for (const key of this.journal.keys(`at/${id} `)) {
      const chain = key.slice(key.indexOf(" ") + 1);
      if (outlet.subscriptions.has(chain)) continue;
      const saved = this.journal.get<SavedSubscription>(key)!;
      if (!followed.has(chain)) this.#settleGone(id, chain, key, saved);
      addLedger(ledger, ledgerOf(saved));
    }
    this.#departed.set(id, ledger);
  }

  #settleGone(outlet: string, chain: string, key: string, saved: SavedSubscription): void {
    if (!this.journal.get(`gone/${chain}`)) this.journal.put(`gone/${chain}`, this.#clock.wall());
    const end = (this.files(chain) ?? []).reduce((at, file) => Math.max(at, file.base) + file.size, 0);
    const missing = end - saved.start - sumTotals(saved.totals).bytes;
    if (missing <= 0) return;
    this.vanishedBytes += missing;
    addTo(saved.totals, UNREAD, 0, missing);
    this.journal.put(key, saved);
    this.#log.error("a container was deleted before its log was read", {
      ...{ container: chain, bytes: missing, sink: outlet },
      hint: "normal when pods are deleted while the agent is down",
    });
  }

  /** A followed container is over and settled. */
  gone(chain: Chain, subscriptions: readonly { outlet: string; subscription: Subscription }[]): void {
    for (const { outlet, subscription } of subscriptions) {
      this.#put(subscription);
      this.#dirty.delete(subscription);
      const ledger = this.#departed.get(outlet) ?? emptyLedger();
      addLedger(ledger, subscription.ledger(0));
      this.#departed.set(outlet, ledger);
    }
    // After the Positions: what they write takes it for followed.
    this.journal.put(`gone/${chain.source.id}`, this.#clock.wall());
  }

  /** A container came back within the time: its ledger is live again. */
  returned(outlet: string, chain: string): void {
    if (!this.journal.get(`gone/${chain}`)) return;
    const saved = this.find(outlet, chain);
    const departed = this.#departed.get(outlet);
    if (saved && departed) addLedger(departed, negative(ledgerOf(saved)));
  }

  /** Dead letters of a chain that is not followed were evicted. */
  evicted(outlet: string, chain: string, lines: number, bytes: number): void {
    const departed = this.#departed.get(outlet);
    if (departed) evict(departed.settled, lines, bytes);
    const position = positionKey(outlet, chain);
    const saved = this.journal.get<SavedSubscription>(position);
    const folded = this.journal.get<Ledger>(`departed/${outlet}`);
    if (saved) {
      evict(saved.totals, lines, bytes);
      this.journal.put(position, saved);
    } else if (folded) {
      evict(folded.settled, lines, bytes);
      this.journal.put(`departed/${outlet}`, folded);
    }
  }

  /**
   * Lets go of what was kept long enough; does its work only now and then. Returns the removed sinks of which nothing is known any more:
   * what else lies on disk for them may go.
   */
  sweep(): string[] {
    const now = this.#clock.now();
    if (now - this.#sweptAt < SWEEP_MS) return [];
    this.#sweptAt = now;
    const removed = this.#old("removed/");
    for (const outlet of removed) {
      for (const key of [
        `removed/${outlet}`,
        `sink/${outlet}`,
        `departed/${outlet}`,
        ...this.journal.keys(`at/${outlet} `),
      ])
        this.journal.remove(key);
    }
    const gone = new Set(this.#old("gone/"));
    if (gone.size === 0) return removed;
    for (const key of this.journal.keys("at/")) {
      const at = key.indexOf(" ");
      if (!gone.has(key.slice(at + 1))) continue;
      const outlet = key.slice("at/".length, at);
      const ledger = this.journal.get<Ledger>(`departed/${outlet}`) ?? emptyLedger();
      addLedger(ledger, ledgerOf(this.journal.get<SavedSubscription>(key)!));
      this.journal.put(`departed/${outlet}`, ledger);
      this.journal.remove(key);
    }
    for (const chain of gone) {
      this.journal.remove(`chain/${chain}`);
      this.journal.remove(`gone/${chain}`);
    }
    return removed;
  }

  /** What the keys with this prefix name, where it was noted more than KEEP_MS ago. */
  #old(prefix: string): string[] {
    const before = this.#clock.wall() - KEEP_MS;
    const keys = this.journal.keys(prefix).filter((key) => this.journal.get<number>(key)! <= before);
    return keys.map((key) => key.slice(prefix.length));
  }

  /** Notes how far the files of chains reach by now, so that what vanishes while no agent runs is told with its bytes. */
  saveSizes(chains: Iterable<Chain>): void {
    for (const chain of chains) {
      const files = chain.saved();
      const key = `chain/${chain.source.id}`;
      if (JSON.stringify(files) !== JSON.stringify(this.journal.get(key))) this.journal.put(key, files);
    }
  }

  #put(subscription: Subscription): void {
    const { chain } = subscription;
    this.journal.put(positionKey(subscription.id, chain.source.id), subscription.saved(this.#openAt(subscription)));
    const files = chain.saved();
    const version = files.map(({ length, base, sealed }) => `${length} ${base} ${sealed}`).join();
    if (this.#versions.get(chain) === version) return;
    this.#versions.set(chain, version);
    this.journal.put(`chain/${chain.source.id}`, files);
    this.journal.remove(`gone/${chain.source.id}`);
  }
}

/** The ledger of a saved subscription that nobody reads: all it was ever to read is settled. */
function ledgerOf(saved: SavedSubscription): Ledger {
  const end = saved.start + sumTotals(saved.totals).bytes;
  return {
    ...{ start: saved.start, end, readLines: settledLines(saved.totals) },
    ...{ settled: saved.totals, inFlight: { lines: 0, bytes: 0 }, backlogBytes: 0 },
  };
}

function negative(ledger: Ledger): Ledger {
  const settled = Object.fromEntries(
    Object.entries(ledger.settled).map(([name, { lines, bytes }]) => [name, { lines: -lines, bytes: -bytes }]),
  );
  return { ...emptyLedger(), start: -ledger.start, end: -ledger.end, readLines: -ledger.readLines, settled };
}
