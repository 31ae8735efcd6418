import {
  BITS,
  CLASS_MASK,
  COLUMNS,
  END,
  FIELDS_START,
  LINES,
  RAW,
  RECORD_OVERHEAD,
  R_BYTES,
  R_ROWS,
  START,
  TALLY,
  VERDICTS,
  result,
} from "./layout";
import { copy } from "./bytes";

/** Whether a row with these BITS counts: kept, and of the wanted key or class (see "Rows" in ../kernels.ts). */
export function counts(row: u32, bits: u32, verdicts: usize, keys: usize, key: u32, mask: u32): bool {
  if (verdicts && load<u8>(verdicts + row)) return false;
  if (keys) return load<u32>(keys + ((<usize>row) << 2)) == key;
  return ((mask >> (bits & CLASS_MASK)) & 1) != 0;
}

export function classes(block: usize, cap: u32, verdicts: usize, from: u32, to: u32): u32 {
  const bits = block + ((<usize>cap * BITS) << 2);
  let set: u32 = 0;
  for (let row = from; row < to; ++row) {
    if (verdicts && load<u8>(verdicts + row)) continue;
    const which = load<u32>(bits + ((<usize>row) << 2)) & CLASS_MASK;
    set |= 1 << which;
  }
  return set;
}

export function tally(block: usize, cap: u32, verdicts: usize, from: u32, to: u32): void {
  memory.fill(TALLY, 0, (<usize>VERDICTS) << 4);
  const lines = block + ((<usize>cap * LINES) << 2);
  const raw = block + ((<usize>cap * RAW) << 2);
  let row = from;
  while (row < to) {
    // Rows of one verdict mostly lie together: sum a run in registers.
    const verdict = verdicts ? <u32>load<u8>(verdicts + row) : 0;
    let lineSum: u64 = 0;
    let rawSum: u64 = 0;
    do {
      lineSum += load<u32>(lines + ((<usize>row) << 2));
      rawSum += load<u32>(raw + ((<usize>row) << 2));
      ++row;
    } while (row < to && (!verdicts || <u32>load<u8>(verdicts + row) == verdict));
    const pair = TALLY + ((<usize>(verdict & (VERDICTS - 1))) << 4);
    store<f64>(pair, load<f64>(pair) + <f64>lineSum);
    store<f64>(pair, load<f64>(pair, 8) + <f64>rawSum, 8);
  }
}

export function cut(block: usize, cap: u32, verdicts: usize, from: u32, to: u32, maxRows: u32, maxBytes: u32): u32 {
  const starts = block + ((<usize>cap * START) << 2);
  const ends = block + ((<usize>cap * END) << 2);
  let rows: u32 = 0;
  let bytes: u64 = 0;
  let row = from;
  for (; row < to; ++row) {
    if (verdicts && load<u8>(verdicts + row)) continue;
    const at = (<usize>row) << 2;
    const more = bytes + <u64>(load<u32>(ends + at) - load<u32>(starts + at) + RECORD_OVERHEAD);
    if (rows && (rows >= maxRows || more > <u64>maxBytes)) break;
    bytes = more;
    ++rows;
  }
  result(R_ROWS, rows);
  result(R_BYTES, <u32>bytes);
  return row;
}

export function copyColumns(block: usize, cap: u32, n: u32, target: usize, targetCap: u32): void {
  for (let column: usize = 0; column < COLUMNS; ++column) {
    memory.copy(target + ((column * targetCap) << 2), block + ((column * cap) << 2), (<usize>n) << 2);
  }
}

export function copyTexts(block: usize, cap: u32, verdicts: usize, from: u32, to: u32, target: usize): usize {
  const stride = (<usize>cap) << 2;
  let out = target;
  // The fields range copied last and where its copy lies: rows made of one event share it.
  let sharedFrom: usize = 0;
  let sharedTo: usize = 0;
  let shared: usize = 0;
  for (let row = from; row < to; ++row) {
    const column = block + ((<usize>row) << 2);
    const fieldsColumn = column + FIELDS_START * stride;
    if (verdicts && load<u8>(verdicts + row)) {
      store<u32>(column, target);
      store<u32>(column + stride, target);
      store<u32>(fieldsColumn, 0);
      store<u32>(fieldsColumn + stride, 0);
      continue;
    }
    const start = <usize>load<u32>(column);
    const end = <usize>load<u32>(column + stride);
    store<u32>(column, out);
    out = copy(out, start, end - start);
    store<u32>(column + stride, out);
    const fields = <usize>load<u32>(fieldsColumn);
    if (!fields) continue;
    const fieldsEnd = <usize>load<u32>(fieldsColumn + stride);
    if (fields != sharedFrom || fieldsEnd != sharedTo) {
      sharedFrom = fields;
      sharedTo = fieldsEnd;
      shared = out;
      out = copy(out, fields, fieldsEnd - fields);
    }
    store<u32>(fieldsColumn, shared);
    store<u32>(fieldsColumn + stride, shared + (fieldsEnd - fields));
  }
  return out;
}

export function textBytes(block: usize, cap: u32, verdicts: usize, from: u32, to: u32): usize {
  const stride = (<usize>cap) << 2;
  let bytes: usize = 0;
  let sharedFrom: usize = 0;
  let sharedTo: usize = 0;
  for (let row = from; row < to; ++row) {
    if (verdicts && load<u8>(verdicts + row)) continue;
    const column = block + ((<usize>row) << 2);
    bytes += load<u32>(column + stride) - load<u32>(column);
    const fieldsColumn = column + FIELDS_START * stride;
    const fields = <usize>load<u32>(fieldsColumn);
    if (!fields) continue;
    const fieldsEnd = <usize>load<u32>(fieldsColumn + stride);
    if (fields != sharedFrom || fieldsEnd != sharedTo) {
      sharedFrom = fields;
      sharedTo = fieldsEnd;
      bytes += fieldsEnd - fields;
    }
  }
  return bytes;
}
