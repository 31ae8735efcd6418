/** Random rows for the encoders, and a place where they lie with their filter. */
import fc from "fast-check";
import { CLASS_MASK, NON_ASCII, TRUNCATED } from "../../../agent/memory/columns.ts";
import { bytes } from "./arbitrary.ts";
import type { Pair, Row } from "./pair.ts";

const CAP = 16;

/** The arguments that encoders share. */
export type RowArguments = [
  block: number,
  cap: number,
  verdicts: number,
  keys: number,
  key: number,
  mask: number,
  from: number,
  to: number,
];

export interface EncoderCase {
  rows: (Row & { isKept: boolean; key: number })[];
  filter: "all" | "verdicts" | "mask" | "keys" | "verdicts and keys";
  mask: number;
  from: number;
  to: number;
}

const uint32 = fc.oneof(fc.nat(300), fc.integer({ min: 0, max: 0xffffffff }), fc.constant(1_795_428_000));

const row = fc.record({
  text: fc.oneof(bytes(120), fc.constant(Buffer.alloc(0)), fc.constant(Buffer.from("x".repeat(300)))),
  seconds: uint32,
  nanos: fc.oneof(fc.constant(0), fc.nat(200), fc.nat(999_999_999)),
  bits: fc.tuple(fc.nat(CLASS_MASK), fc.constantFrom(0, 0, TRUNCATED)).map(([which, flag]) => which | flag | NON_ASCII),
  fields: fc.constantFrom(undefined, undefined, '{"user":"é","n":[1,2]}'),
  isKept: fc.boolean(),
  key: fc.nat(2),
});

export const encoderCase: fc.Arbitrary<EncoderCase> = fc
  .record({
    rows: fc.array(row, { maxLength: CAP }),
    filter: fc.constantFrom<EncoderCase["filter"][]>("all", "all", "verdicts", "mask", "keys", "verdicts and keys"),
    mask: fc.oneof(fc.constant(-1), fc.integer()),
    from: fc.nat(3),
    to: fc.nat(CAP),
  })
  .map(({ rows, from, to, ...rest }) => {
    const end = Math.min(to, rows.length);
    return { ...rest, rows, from: Math.min(from, end), to: end };
  });

/** Lays the rows down, with `utf8` run over them; returns their arguments and the next free address. */
export function lay(pair: Pair, { rows, filter, mask, from, to }: EncoderCase): { args: RowArguments; end: number } {
  const block = pair.from;
  const verdicts = block + 1024;
  const keys = block + 1280;
  pair.reset();
  const end = pair.writeRows(block, CAP, block + 2048, rows);
  pair.write(
    verdicts,
    Uint8Array.from(rows, ({ isKept }) => (isKept ? 0 : 7)),
  );
  rows.forEach(({ key }, index) => pair.writeWord(keys + index * 4, key));
  pair.call((kernels) => kernels.utf8(block, CAP, 0, rows.length));
  const args: RowArguments = [
    block,
    CAP,
    filter.startsWith("verdicts") ? verdicts : 0,
    filter.endsWith("keys") ? keys : 0,
    1,
    filter === "mask" ? mask : -1,
    from,
    to,
  ];
  return { args, end };
}

/** The rows of a case that its filter takes, in order. */
export function taken({ rows, filter, mask, from, to }: EncoderCase): Row[] {
  return rows
    .slice(from, to)
    .filter(({ isKept }) => isKept || !filter.startsWith("verdicts"))
    .filter(({ key }) => key === 1 || !filter.endsWith("keys"))
    .filter(({ bits }) => filter !== "mask" || ((mask >>> (bits! & CLASS_MASK)) & 1) === 1);
}

/** What a WHATWG decoder makes of a row's bytes. */
export function decoded(row: Row): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Buffer.from(row.text as Uint8Array));
}
