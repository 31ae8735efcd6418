/** Forming batches: rows from the front of subscriptions, cut at the bounds, grouped by order key; and halving them. */
import { KEPT } from "../memory/columns.ts";
import { R_BYTES, R_ROWS, RESULT } from "../memory/kernels.ts";
import type { Memory } from "../memory/memory.ts";
import type { LiveKey } from "./keys.ts";
import type { Batch, Group, Slice } from "./sink.ts";
import type { Portion } from "./portion.ts";
import type { Subscription } from "./subscription.ts";

/** Rows [from, to) of a portion, on their way to the sink. */
export interface Range {
  readonly subscription: Subscription;
  readonly portion: Portion;
  readonly from: number;
  readonly to: number;
  /** Kept rows in it, and their text bytes with overhead. */
  readonly rows: number;
  readonly bytes: number;
}

/** What one request is to carry, in the order in which it settles. */
export interface Load {
  readonly ranges: readonly Range[];
  readonly rows: number;
  readonly bytes: number;
}

export interface Bounds {
  readonly rows: number;
  readonly bytes: number;
}

export function loadOf(ranges: readonly Range[]): Load {
  let rows = 0;
  let bytes = 0;
  for (const range of ranges) {
    rows += range.rows;
    bytes += range.bytes;
  }
  return { ranges, rows, bytes };
}

/** Rows from `from` on that fit the bounds, at least one kept row. */
export function cutRange(
  memory: Memory,
  subscription: Subscription,
  portion: Portion,
  from: number,
  bounds: Bounds,
): Range {
  const { block, cap, verdicts } = portion.records;
  const to = memory.kernels.cut(block, cap, verdicts, from, portion.to, bounds.rows, bounds.bytes);
  const rows = memory.words[(RESULT >> 2) + R_ROWS]!;
  const bytes = memory.words[(RESULT >> 2) + R_BYTES]!;
  return { subscription, portion, from, to, rows, bytes };
}

/** A load with what decides whether it is to leave now. */
export interface Formed extends Load {
  /** More was there than the bounds let in. */
  readonly full: boolean;
  /** When its oldest record was taken. */
  readonly takenAt: number;
}

/**
 * Takes from subscriptions, in the order given (oldest first), until the bounds are reached. A subscription gives rows from its front
 * only, and only while none of their keys is on its way in another request; so each key's records stay in order, and each
 * subscription settles from the front. undefined: none can give anything now.
 */
export function formLoad(memory: Memory, subscriptions: Iterable<Subscription>, bounds: Bounds): Formed | undefined {
  const ranges: Range[] = [];
  let { rows, bytes } = bounds;
  let full = false;
  for (const subscription of subscriptions) {
    if (rows <= 0 || bytes <= 0) full = true;
    if (full) break;
    const own = frontOf(memory, subscription, { rows, bytes }, ranges.length === 0);
    full = own.full;
    for (const range of own.ranges) {
      ranges.push(range);
      rows -= range.rows;
      bytes -= range.bytes;
    }
  }
  const [first] = ranges;
  return first && { ...loadOf(ranges), full: full || rows <= 0 || bytes <= 0, takenAt: first.portion.takenAt };
}

/** What a subscription gives to a load that has so much room; of the `first` in it at least one row is taken. */
function frontOf(
  memory: Memory,
  subscription: Subscription,
  bounds: Bounds,
  first: boolean,
): { ranges: Range[]; full: boolean } {
  const ranges: Range[] = [];
  let { rows, bytes } = bounds;
  let full = false;
  // Records that were tried together are tried together again: their attempts are one count.
  const together = Math.min(subscription.tried?.rows ?? 0, subscription.rows);
  let own = subscription.tried?.rows ?? Infinity;
  let blocked = false;
  for (const portion of subscription.portions) {
    if (own <= 0) break;
    full = rows <= 0 || bytes <= 0;
    blocked = portion.keys.entries.some(({ key }) => key.inFlight);
    if (full || blocked) break;
    const range = cutRange(memory, subscription, portion, portion.from, { rows: Math.min(rows, own), bytes });
    full = range.bytes > bytes && !(first && ranges.length === 0);
    if (full) break;
    ranges.push(range);
    rows -= range.rows;
    bytes -= range.bytes;
    own -= range.rows;
    full = range.to < portion.to && own > 0;
    if (range.to < portion.to) break;
  }
  const taken = ranges.reduce((sum, range) => sum + range.rows, 0);
  if (taken < together && (blocked || !first)) return { ranges: [], full };
  return { ranges, full };
}

/** The two halves of a load of at least two rows. */
export function halve(memory: Memory, load: Load): [Load, Load] {
  const first: Range[] = [];
  const second: Range[] = [];
  let left = load.rows >> 1;
  for (const range of load.ranges) {
    const { subscription, portion, from, to } = range;
    if (left >= range.rows) first.push(range);
    else if (left === 0) second.push(range);
    else {
      const head = cutRange(memory, subscription, portion, from, { rows: left, bytes: 0x7fffffff });
      first.push(head);
      second.push({ ...range, from: head.to, to, rows: range.rows - head.rows, bytes: range.bytes - head.bytes });
    }
    left = Math.max(0, left - range.rows);
  }
  return [loadOf(first), loadOf(second)];
}

/** A load as the sink sees it; `owners` finds the range behind a slice again. */
export function batchOf(memory: Memory, load: Load): { batch: Batch; owners: Map<Slice, Range> } {
  const groups = new Map<LiveKey, Slice[]>();
  const owners = new Map<Slice, Range>();
  for (const range of load.ranges) {
    const { portion, from, to } = range;
    const ids = portion.keys.column ? idsIn(memory, range) : undefined;
    for (const { key, mask } of portion.keys.entries) {
      if (ids && !ids.has(key.id)) continue;
      const slice: Slice = {
        source: range.subscription.chain.source,
        records: portion.records,
        ...{ from, to, keys: portion.keys.column, key: key.id, mask },
      };
      owners.set(slice, range);
      const slices = groups.get(key);
      if (slices) slices.push(slice);
      else groups.set(key, [slice]);
    }
  }
  const list: Group[] = [...groups].map(([key, slices]) => ({ key, slices }));
  return { batch: { groups: list, rows: load.rows, bytes: load.bytes }, owners };
}

/** The ids that the key column has for kept rows of a range: of a portion's many keys a sink looks at each row for each. */
function idsIn({ words, bytes }: Memory, { portion: { records, keys }, from, to }: Range): Set<number> {
  const ids = new Set<number>();
  for (let row = from; row < to; row++) {
    if (!records.verdicts || bytes[records.verdicts + row] === KEPT) ids.add(words[(keys.column >> 2) + row]!);
  }
  return ids;
}
