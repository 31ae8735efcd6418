import {
  BITS,
  BROKEN_UTF8,
  CLASS_MASK,
  END,
  FIELDS_END,
  FIELDS_START,
  NANOS,
  SECONDS,
  START,
  TRUNCATED,
} from "../columns.ts";
import { R_OUT, R_REPLACED } from "../kernels.ts";
import { formatTime } from "./time.ts";
import { get, setResult, wanted, type Views } from "./views.ts";

// `rows` below are the arguments that many kernels share: block, cap, verdicts, keys, key, mask, from, to.
type Rows = [
  block: number,
  cap: number,
  verdicts: number,
  keys: number,
  key: number,
  mask: number,
  from: number,
  to: number,
];

/** U+FFFD for what is no UTF-8; a byte order mark is text like any other. */
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

function textOf(views: Views, block: number, cap: number, row: number): Buffer {
  const text = views.bytes.subarray(get(views, block, cap, START, row), get(views, block, cap, END, row));
  const isBroken = (get(views, block, cap, BITS, row) & BROKEN_UTF8) !== 0;
  return isBroken ? Buffer.from(decoder.decode(text)) : text;
}

function varint(value: number): number[] {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value & 127) | 128);
  return [...bytes, value];
}

/** A length-delimited member, or none when it is empty. */
function member(tag: number, content: Uint8Array | number[]): Buffer {
  return content.length === 0
    ? Buffer.alloc(0)
    : Buffer.concat([Buffer.from([tag, ...varint(content.length)]), Buffer.from(content)]);
}

function lokiEntry(views: Views, block: number, cap: number, row: number, meta: Buffer): Buffer {
  const seconds = get(views, block, cap, SECONDS, row);
  const nanos = get(views, block, cap, NANOS, row);
  const time = [...(seconds ? [0x08, ...varint(seconds)] : []), ...(nanos ? [0x10, ...varint(nanos)] : [])];
  // The timestamp is there even when it is empty: Loki's own encoder always writes it.
  const timestamp = Buffer.from([0x0a, time.length, ...time]);
  return member(0x12, Buffer.concat([timestamp, member(0x12, textOf(views, block, cap, row)), meta]));
}

export function lokiSize(views: Views, ...[block, cap, ...rest]: [...rows: Rows, metaLength: number]): number {
  const [verdicts, keys, key, mask, from, to, metaLength] = rest;
  let bytes = 0;
  for (const row of wanted(views, block, cap, verdicts, keys, key, mask, from, to)) {
    bytes += lokiEntry(views, block, cap, row, Buffer.alloc(metaLength)).length;
  }
  return bytes;
}

export function lokiWrite(
  views: Views,
  out: number,
  ...[block, cap, verdicts, keys, key, mask, from, to, meta, metaLength]: [
    ...rows: Rows,
    meta: number,
    metaLength: number,
  ]
): number {
  let replaced = 0;
  for (const row of wanted(views, block, cap, verdicts, keys, key, mask, from, to)) {
    out += lokiEntry(views, block, cap, row, views.bytes.subarray(meta, meta + metaLength)).copy(views.bytes, out);
    if (get(views, block, cap, BITS, row) & BROKEN_UTF8) replaced++;
  }
  setResult(views, R_OUT, out);
  setResult(views, R_REPLACED, replaced);
  return out;
}

/** Writes what `encode` makes of each row until one does not fit; returns the next row and counts what was replaced. */
function writeRows(
  views: Views,
  out: number,
  outEnd: number,
  [block, cap, verdicts, keys, key, mask, from, to]: Rows,
  encode: (row: number) => Buffer,
): { next: number; replaced: number } {
  let replaced = 0;
  let next = to;
  for (const row of wanted(views, block, cap, verdicts, keys, key, mask, from, to)) {
    const bytes = encode(row);
    if (out + bytes.length > outEnd) {
      next = row;
      break;
    }
    out += bytes.copy(views.bytes, out);
    if (get(views, block, cap, BITS, row) & BROKEN_UTF8) replaced++;
  }
  setResult(views, R_OUT, out);
  return { next, replaced };
}

/** The same for encoders that replace bytes. */
function writeReplaced(...args: Parameters<typeof writeRows>): number {
  const { next, replaced } = writeRows(...args);
  setResult(args[0], R_REPLACED, replaced);
  return next;
}

/** Bytes of the pair (address, length) of a row's class. */
function ofClass({ bytes, words }: Views, pairs: number, bits: number): Buffer {
  const pair = (pairs >> 2) + (bits & CLASS_MASK) * 2;
  const start = words[pair]!;
  return bytes.subarray(start, start + words[pair + 1]!);
}

export function lokiJson(
  views: Views,
  out: number,
  outEnd: number,
  ...args: [...rows: Rows, tail: number, tailLength: number]
): number {
  const [block, cap, verdicts, keys, key, mask, from, to, tail, tailLength] = args;
  return writeReplaced(views, out, outEnd, [block, cap, verdicts, keys, key, mask, from, to], (row) => {
    const seconds = BigInt(get(views, block, cap, SECONDS, row));
    const time = String(seconds * 1_000_000_000n + BigInt(get(views, block, cap, NANOS, row)));
    const text = JSON.stringify(textOf(views, block, cap, row).toString());
    const tailBytes = views.bytes.subarray(tail, tail + tailLength);
    return Buffer.concat([Buffer.from(`["${time}",${text}`), tailBytes, Buffer.from("],")]);
  });
}

export function ndjson(
  views: Views,
  out: number,
  outEnd: number,
  ...args: [...rows: Rows, tails: number, separator: number]
): number {
  const [block, cap, verdicts, keys, key, mask, from, to, tails, separator] = args;
  return writeReplaced(views, out, outEnd, [block, cap, verdicts, keys, key, mask, from, to], (row) => {
    const bits = get(views, block, cap, BITS, row);
    const time = formatTime(get(views, block, cap, SECONDS, row), get(views, block, cap, NANOS, row));
    const text = JSON.stringify(textOf(views, block, cap, row).toString());
    const fields = get(views, block, cap, FIELDS_START, row);
    return Buffer.concat([
      Buffer.from(`{"time":"${time}","text":${text}`),
      ofClass(views, tails, bits),
      Buffer.from(bits & TRUNCATED ? ',"truncated":true' : ""),
      Buffer.from(fields ? ',"fields":' : ""),
      fields ? views.bytes.subarray(fields, get(views, block, cap, FIELDS_END, row)) : Buffer.alloc(0),
      Buffer.from([0x7d, separator]),
    ]);
  });
}

export function text(views: Views, out: number, outEnd: number, ...args: [...rows: Rows, heads: number]): number {
  const [block, cap, verdicts, keys, key, mask, from, to, heads] = args;
  return writeRows(views, out, outEnd, [block, cap, verdicts, keys, key, mask, from, to], (row) => {
    const line = views.bytes.subarray(get(views, block, cap, START, row), get(views, block, cap, END, row));
    const head = heads ? ofClass(views, heads, get(views, block, cap, BITS, row)) : Buffer.alloc(0);
    return Buffer.concat([head, line, Buffer.from("\n")]);
  }).next;
}
