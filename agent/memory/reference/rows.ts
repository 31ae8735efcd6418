import {
  BITS,
  CLASS_MASK,
  COLUMNS,
  END,
  FIELDS_END,
  FIELDS_START,
  LINES,
  RAW,
  RECORD_OVERHEAD,
  START,
  VERDICTS,
  BROKEN_UTF8,
  NON_ASCII,
} from "../columns.ts";
import { R_BYTES, R_ROWS, TALLY } from "../kernels.ts";
import { get, isKept, set, setResult, type Views } from "./views.ts";

export function lineLength({ bytes }: Views, from: number, to: number): number {
  const newline = bytes.indexOf(10, from);
  return newline >= 0 && newline < to ? newline + 1 - from : 0;
}

export function utf8(views: Views, block: number, cap: number, from: number, to: number): number {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let broken = 0;
  for (let row = from; row < to; row++) {
    const bits = get(views, block, cap, BITS, row);
    if (!(bits & NON_ASCII)) continue;
    const text = views.bytes.subarray(get(views, block, cap, START, row), get(views, block, cap, END, row));
    try {
      decoder.decode(text);
      set(views, block, cap, BITS, row, bits & ~BROKEN_UTF8);
    } catch {
      set(views, block, cap, BITS, row, bits | BROKEN_UTF8);
      broken++;
    }
  }
  return broken;
}

export function classes(views: Views, block: number, cap: number, verdicts: number, from: number, to: number): number {
  let set = 0;
  for (let row = from; row < to; row++) {
    if (isKept(views, verdicts, row)) set |= 1 << (get(views, block, cap, BITS, row) & CLASS_MASK);
  }
  return set;
}

export function tally(views: Views, block: number, cap: number, verdicts: number, from: number, to: number): void {
  const pairs = views.floats.subarray(TALLY >> 3, (TALLY >> 3) + VERDICTS * 2).fill(0);
  for (let row = from; row < to; row++) {
    const verdict = verdicts === 0 ? 0 : views.bytes[verdicts + row]! % VERDICTS;
    pairs[verdict * 2]! += get(views, block, cap, LINES, row);
    pairs[verdict * 2 + 1]! += get(views, block, cap, RAW, row);
  }
}

export function cut(
  views: Views,
  block: number,
  cap: number,
  verdicts: number,
  from: number,
  to: number,
  maxRows: number,
  maxBytes: number,
): number {
  let rows = 0;
  let bytes = 0;
  let row = from;
  for (; row < to; row++) {
    if (!isKept(views, verdicts, row)) continue;
    const cost = get(views, block, cap, END, row) - get(views, block, cap, START, row) + RECORD_OVERHEAD;
    if (rows > 0 && (rows >= maxRows || bytes + cost > maxBytes)) break;
    rows++;
    bytes += cost;
  }
  setResult(views, R_ROWS, rows);
  setResult(views, R_BYTES, bytes);
  return row;
}

export function contains(
  views: Views,
  block: number,
  cap: number,
  verdicts: number,
  from: number,
  to: number,
  needle: number,
  length: number,
  head: number,
  hits: number,
): void {
  for (let row = from; row < to; row++) {
    const start = get(views, block, cap, START, row);
    const end = Math.min(get(views, block, cap, END, row), start + head);
    const isHit =
      isKept(views, verdicts, row) &&
      views.bytes.subarray(start, end).includes(views.bytes.subarray(needle, needle + length));
    views.bytes[hits + row] = isHit ? 1 : 0;
  }
}

export function copyColumns(
  { words }: Views,
  block: number,
  cap: number,
  n: number,
  target: number,
  targetCap: number,
): void {
  for (let column = 0; column < COLUMNS; column++) {
    const from = (block >> 2) + column * cap;
    words.copyWithin((target >> 2) + column * targetCap, from, from + n);
  }
}

export function copyTexts(
  views: Views,
  block: number,
  cap: number,
  verdicts: number,
  from: number,
  to: number,
  target: number,
): number {
  let out = target;
  let shared: { start: number; end: number; at: number } | undefined;
  const copyRange = (start: number, end: number): number => {
    const at = out;
    out += views.bytes.copy(views.bytes, out, start, end);
    return at;
  };
  for (let row = from; row < to; row++) {
    const setRow = (values: [start: number, end: number, fieldsStart: number, fieldsEnd: number]): void =>
      [START, END, FIELDS_START, FIELDS_END].forEach((column, i) => set(views, block, cap, column, row, values[i]!));
    if (!isKept(views, verdicts, row)) {
      setRow([target, target, 0, 0]);
      continue;
    }
    const start = copyRange(get(views, block, cap, START, row), get(views, block, cap, END, row));
    const end = out;
    const fields = { start: get(views, block, cap, FIELDS_START, row), end: get(views, block, cap, FIELDS_END, row) };
    if (fields.start === 0) {
      setRow([start, end, 0, fields.end]);
      continue;
    }
    if (shared?.start !== fields.start || shared.end !== fields.end) {
      shared = { ...fields, at: copyRange(fields.start, fields.end) };
    }
    setRow([start, end, shared.at, shared.at + fields.end - fields.start]);
  }
  return out;
}

export function textBytes(
  views: Views,
  block: number,
  cap: number,
  verdicts: number,
  from: number,
  to: number,
): number {
  let bytes = 0;
  let shared = "";
  for (let row = from; row < to; row++) {
    if (!isKept(views, verdicts, row)) continue;
    bytes += get(views, block, cap, END, row) - get(views, block, cap, START, row);
    const start = get(views, block, cap, FIELDS_START, row);
    const end = get(views, block, cap, FIELDS_END, row);
    if (start === 0 || shared === `${start}-${end}`) continue;
    shared = `${start}-${end}`;
    bytes += end - start;
  }
  return bytes;
}
