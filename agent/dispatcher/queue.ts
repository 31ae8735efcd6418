/**
 * A sink's queue: the outstanding records of all its subscriptions, its bounds, and what of it is to leave next. The
 * bounds decide before a reading; the reading that reaches one is taken whole.
 */
import type { DispatcherSettings } from "../../crds/config.ts";
import type { Memory } from "../memory/memory.ts";
import { formLoad, type Load } from "./batch.ts";
import { Rounds } from "./rounds.ts";
import type { Subscription } from "./subscription.ts";

/** Below this room (or a quarter of a small queue) reading is not worth its turn. */
const ROOM_BYTES_MIN = 64 * 1024;
/** The least that a line takes in a file: its time and stream. */
const LINE_BYTES_MIN = 40;
/**
 * What a queued record pins besides what is counted for a batch: the columns of its row and the framing of its line, less
 * the overhead that is counted.
 */
const PINNED_BYTES = 56;

export type QueueSettings = Pick<
  DispatcherSettings,
  "queueSize" | "queueBytes" | "batchSize" | "batchBytes" | "batchTimeoutMs"
>;

export class Queue {
  /** Outstanding records and their bytes, those in requests included. */
  rows = 0;
  bytes = 0;
  /** When the next batch is due by its age; Infinity: something else must happen first. */
  dueAt = Infinity;
  readonly #memory: Memory;
  readonly #settings: QueueSettings;
  /** Subscriptions with outstanding records that no request carries. */
  readonly #ready = new Set<Subscription>();
  readonly #rounds = new Rounds();
  #refused = false;

  /** `batchBytes` is what one request may carry at most, whatever bounds it. */
  constructor(memory: Memory, settings: QueueSettings) {
    this.#memory = memory;
    this.#settings = settings;
  }

  /** Subscriptions that hold records which no request carries. */
  get ready(): ReadonlySet<Subscription> {
    return this.#ready;
  }

  /** Bytes of memory that the queue holds, as near as it can know. */
  get pinnedBytes(): number {
    return this.bytes + this.rows * PINNED_BYTES;
  }

  /** Somebody wanted in and found no room since this was last asked. */
  takeRefused(): boolean {
    const refused = this.#refused;
    this.#refused = false;
    return refused;
  }

  changed(subscription: Subscription, rows: number, bytes: number): void {
    this.rows += rows;
    this.bytes += bytes;
    if (subscription.inFlight) return;
    if (subscription.portions.length > 0) this.#ready.add(subscription);
    else this.#ready.delete(subscription);
  }

  /** Source bytes that a subscription may take now. `shareBytes`: the queue's share of the memory. */
  room(subscription: Subscription, shareBytes: number, now: number): number {
    const { queueSize, queueBytes } = this.#settings;
    const left = Math.min(queueBytes - this.bytes, shareBytes - this.pinnedBytes);
    const least = Math.min(ROOM_BYTES_MIN, queueBytes / 4, shareBytes / 4);
    if (this.rows > 0 && (this.rows >= queueSize || left < least)) {
      this.#refused = true;
      this.#rounds.refuse(subscription, now);
      return 0;
    }
    if (!this.#rounds.admits(subscription, now)) return 0;
    return Math.min(left, (queueSize - this.rows) * LINE_BYTES_MIN);
  }

  /**
   * The next batch, oldest records first, if one is full or old enough, or in a `hurry`; undefined: not yet, see `dueAt`. Its
   * subscriptions and keys count as on their way until they are given back.
   */
  form(now: number, hurry: boolean): Load | undefined {
    const { batchSize, batchBytes, batchTimeoutMs } = this.#settings;
    this.dueAt = Infinity;
    if (this.#ready.size === 0) return undefined;
    let rows = 0;
    let bytes = 0;
    let oldest = Infinity;
    for (const subscription of this.#ready) {
      rows += subscription.rows;
      bytes += subscription.bytes;
      oldest = Math.min(oldest, subscription.takenAt);
    }
    const isDue = (takenAt: number): boolean => {
      if (hurry || now >= takenAt + batchTimeoutMs) return true;
      this.dueAt = takenAt + batchTimeoutMs;
      return false;
    };
    if (rows < batchSize && bytes < batchBytes && !isDue(oldest)) return undefined;
    const byAge = [...this.#ready].sort((a, b) => a.takenAt - b.takenAt);
    const load = formLoad(this.#memory, byAge, { rows: batchSize, bytes: batchBytes });
    // Without a load, all keys are on their way: what brings one back looks again.
    if (!load || (!load.full && !isDue(load.takenAt))) return undefined;
    for (const { subscription, portion } of load.ranges) {
      subscription.inFlight = true;
      this.#ready.delete(subscription);
      for (const { key } of portion.keys.entries) key.inFlight = true;
    }
    return load;
  }

  /** A load's subscriptions are free again, with whatever of them is not settled. Returns those that hold something. */
  giveBack(load: Load): Set<Subscription> {
    const holding = new Set<Subscription>();
    for (const { subscription, portion } of load.ranges) {
      subscription.inFlight = false;
      for (const { key } of portion.keys.entries) key.inFlight = false;
      if (subscription.portions.length > 0) holding.add(subscription);
    }
    for (const subscription of holding) this.#ready.add(subscription);
    return holding;
  }
}
