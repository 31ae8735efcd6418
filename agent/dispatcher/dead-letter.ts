/** A record as a dead letter: the NDJSON record, and in `deadLetter` why it lies here and where it came from. */
import type { Buffer } from "node:buffer";
import type { Source } from "../collect/source.ts";
import { BROKEN_UTF8 } from "../memory/columns.ts";
import * as columns from "../memory/columns.ts";
import type { Memory } from "../memory/memory.ts";
import { recordAt, textOf, type Records } from "../memory/records.ts";
import type { DeadLetter } from "./dlq.ts";

export interface Details {
  readonly pipeline: string;
  readonly sink: string;
  readonly reason: string;
  /** Requests that carried it. */
  readonly attempts: number;
  /** Linear offset in its chain. */
  readonly offset: number;
  readonly wallMs: number;
}

const REASON_MAX = 500;

/** Renders one row. Text that is no UTF-8 is given whole in `base64` as well. */
export function deadLetter(
  memory: Memory,
  source: Source,
  records: Records,
  row: number,
  details: Details,
): DeadLetter {
  const record = recordAt(memory, records, row);
  const bits = memory.words[(records.block >> 2) + columns.BITS * records.cap + row]!;
  const text: Buffer = textOf(memory, records, row);
  const seconds = new Date(record.seconds * 1000).toISOString().slice(0, 19);
  const json = JSON.stringify({
    time: `${seconds}.${String(record.nanos).padStart(9, "0")}Z`,
    text: text.toString("utf8"),
    ...(bits & BROKEN_UTF8 ? { base64: text.toString("base64") } : {}),
    ...(record.stream ? { stream: record.stream } : {}),
    level: record.level,
    ...{ namespace: source.namespace, pod: source.pod, container: source.container, node: source.node },
    ...(record.truncated ? { truncated: true } : {}),
    ...(record.fields ? { fields: record.fields } : {}),
    deadLetter: {
      ...{ pipeline: details.pipeline, sink: details.sink, reason: details.reason.slice(0, REASON_MAX) },
      ...{ attempts: details.attempts, chain: source.id, offset: details.offset },
      ...{ lines: record.lines, bytes: record.raw, deadLetteredAt: new Date(details.wallMs).toISOString() },
    },
  });
  return { chain: source.id, lines: record.lines, bytes: record.raw, reason: details.reason, json };
}
