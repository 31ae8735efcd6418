import { BITS, CLASS_MASK } from "../columns.ts";
import { RESULT } from "../kernels.ts";

/** The memory as the references see it: the same bytes as a Buffer, as words and as doubles. */
export interface Views {
  bytes: Buffer;
  words: Int32Array;
  floats: Float64Array;
}

export function viewsOf(memory: ArrayBuffer): Views {
  return {
    bytes: Buffer.from(memory),
    words: new Int32Array(memory),
    floats: new Float64Array(memory),
  };
}

/** Word of a column, unsigned. */
export function get(views: Views, block: number, cap: number, column: number, row: number): number {
  return views.words[(block >> 2) + column * cap + row]! >>> 0;
}

export function set(views: Views, block: number, cap: number, column: number, row: number, value: number): void {
  views.words[(block >> 2) + column * cap + row] = value;
}

export function setResult(views: Views, index: number, value: number): void {
  views.words[(RESULT >> 2) + index] = value;
}

export function isKept(views: Views, verdicts: number, row: number): boolean {
  return verdicts === 0 || views.bytes[verdicts + row] === 0;
}

/** The rows among [from, to) that an encoder takes: kept, and of the wanted key or class (see Kernels). */
export function* wanted(
  views: Views,
  block: number,
  cap: number,
  verdicts: number,
  keys: number,
  key: number,
  mask: number,
  from: number,
  to: number,
): Generator<number, void, void> {
  for (let row = from; row < to; row++) {
    if (!isKept(views, verdicts, row)) continue;
    const isWanted =
      keys === 0
        ? ((mask >>> (get(views, block, cap, BITS, row) & CLASS_MASK)) & 1) === 1
        : views.words[(keys >> 2) + row] === key;
    if (isWanted) yield row;
  }
}
