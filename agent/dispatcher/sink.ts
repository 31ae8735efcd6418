/**
 * What a sink must be. A sink encodes and classifies, nothing else: it gets a Batch, turns it into bytes with the
 * kernels, puts them on the wire and says in one Outcome what came back. Queueing, retrying, splitting, dead-lettering
 * and settling are the dispatcher's.
 */
import type { Template } from "../../crds/template.ts";
import type { Clock } from "../clock.ts";
import type { Source } from "../collect/source.ts";
import type { Log } from "../log.ts";
import type { Memory } from "../memory/memory.ts";
import type { Records } from "../memory/records.ts";

/** Records that must arrive in order among themselves: the label set, the path, the container. */
export interface OrderKey {
  /** The rendered values of the sink's order templates, in their order; for a sink without templates: none. */
  readonly values: readonly string[];
  /** What the sink has prepared for this key (an encoded label set, an open file), kept as long as the key. */
  prepared: unknown;
}

/** Rows [from, to) of one container's records that carry one order key; the `keys`, `key` and `mask` are the kernels' row filter. */
export interface Slice {
  readonly source: Source;
  readonly records: Records;
  readonly from: number;
  readonly to: number;
  readonly keys: number;
  readonly key: number;
  readonly mask: number;
}

export interface Group {
  readonly key: OrderKey;
  /** In the order in which they must arrive. */
  readonly slices: readonly Slice[];
}

export interface Batch {
  readonly groups: readonly Group[];
  /** Records in it. */
  readonly rows: number;
  /** Their text bytes and RECORD_OVERHEAD each. */
  readonly bytes: number;
}

/** One record that the destination refused. */
export interface Refused {
  readonly slice: Slice;
  readonly row: number;
  readonly reason: string;
  /** The destination says that it has this or a later record already: delivered, if it was sent before. */
  readonly outOfOrder: boolean;
}

export type Outcome =
  /** Accepted whole. */
  | { kind: "delivered" }
  /** Not now: connection, timeout, 408, 429, 5xx. `ambiguous`: the request was sent and its answer never came. */
  | { kind: "retry"; reason: string; afterMs?: number | undefined; ambiguous?: boolean }
  /** Too large, or one record of it is bad and the reply does not say which: 413, an anonymous 400 or 422. */
  | { kind: "split"; reason: string }
  /** The reply names the refused records; all others are stored. */
  | { kind: "reject"; refused: readonly Refused[] }
  /** Nothing is wrong with the records: 401, 403, 404, TLS, any other 3xx or 4xx. Kept and probed, never dead-lettered. */
  | { kind: "hold"; reason: string };

/** A batch turned into bytes; it holds arena room until `free`. */
export interface Request {
  /** Bytes on the wire. */
  readonly bytes: number;
  /** Records in which bytes that are no UTF-8 were replaced. */
  readonly replaced: number;
  /** Sends once. Never throws or rejects: whatever happens is an Outcome. An abort ends it at once, as an ambiguous retry. */
  send(signal: AbortSignal): Promise<Outcome>;
  free(): void;
}

export interface Sink {
  /**
   * Encodes a batch, synchronously. "no room": the arena has none now, ask again when something was freed.
   * "too large": the encoded batch passes the encode area; the dispatcher halves it (one record always fits).
   */
  encode(batch: Batch): Request | "no room" | "too large";
  /** Lets go of connections and files; nothing is in flight any more. */
  close(): Promise<void>;
}

export interface SinkContext {
  readonly memory: Memory;
  readonly clock: Clock;
  readonly log: Log;
  /** For messages: pipeline id and sink name. */
  readonly pipeline: string;
  readonly name: string;
}

/** A row of the sink table. */
export interface SinkRow<Options> {
  /** A refused request stored none of its records. When false, what is sent again after a split counts as ambiguous. */
  readonly atomic: boolean;
  /** The most text bytes (with RECORD_OVERHEAD) of one request, whatever batchBytes says. */
  readonly batchBytesMax: number;
  /** The templates whose values make the order key; undefined: the container. */
  order(options: Options): readonly Template[] | undefined;
  /** The encoding shows a record's level. */
  needsLevel(options: Options): boolean;
  open(options: Options, context: SinkContext): Sink;
}
