/** Forming batches: rows from the front of subscriptions, cut at the bounds, grouped by order key; and halving them. */
import { R_BYTES, R_ROWS, RESULT } from "../memory/kernels.ts";
import type { Memory } from "../memory/memory.ts";
import type { LiveKey } from "./keys.ts";
import type { Batch, Group, Slice } from "./sink.ts";
import type { Portion, Subscription } from "./subscription.ts";

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

/**
 * Takes from subscriptions, in the order given, until the bounds are reached. A subscription gives rows from its front only,
 * and only while none of their keys is on its way in another request; so each key's records stay in order, and each
 * subscription settles from the front.
 */
export function formLoad(memory: Memory, subscriptions: Iterable<Subscription>, bounds: Bounds): Load | undefined {
  const ranges: Range[] = [];
  let { rows, bytes } = bounds;
  for (const subscription of subscriptions) {
    if (rows <= 0 || bytes <= 0) break;
    // Records that were tried together are tried together again: their attempts are one count.
    let own = subscription.tried?.rows ?? Infinity;
    for (const portion of subscription.portions) {
      if (own <= 0 || portion.keys.entries.some(({ key }) => key.inFlight)) break;
      const range = cutRange(memory, subscription, portion, portion.from, { rows: Math.min(rows, own), bytes });
      if (ranges.length > 0 && range.bytes > bytes) return loadOf(ranges);
      ranges.push(range);
      rows -= range.rows;
      bytes -= range.bytes;
      own -= range.rows;
      if (range.to < portion.to || rows <= 0 || bytes <= 0) break;
    }
  }
  return ranges.length > 0 ? loadOf(ranges) : undefined;
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
export function batchOf(load: Load): { batch: Batch; owners: Map<Slice, Range> } {
  const groups = new Map<LiveKey, Slice[]>();
  const owners = new Map<Slice, Range>();
  for (const range of load.ranges) {
    const { portion, from, to } = range;
    for (const { key, mask } of portion.keys.entries) {
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
