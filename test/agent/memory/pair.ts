/**
 * Two memories of one layout, one with the WebAssembly kernels and one with their references, kept equal by every call.
 */
import assert from "node:assert/strict";
import { COLUMNS } from "../../../agent/memory/columns.ts";
import { R_OUT, RESULT, type Kernels } from "../../../agent/memory/kernels.ts";
import { createMemory, type Memory } from "../../../agent/memory/memory.ts";

const MiB = 1024 * 1024;
const WINDOW_BYTES = 96 * 1024;
const FIXED_END = 65_536;

export interface Row {
  text?: string | Uint8Array;
  seconds?: number;
  nanos?: number;
  bits?: number;
  lines?: number;
  at?: number;
  raw?: number;
  fields?: string | undefined;
}

export class Pair {
  readonly wasm: Memory = createMemory({ memoryLimit: 6 * MiB, encodeBytes: 64 * 1024 });
  readonly reference: Memory = createMemory({ memoryLimit: 6 * MiB, encodeBytes: 64 * 1024, kernels: "reference" });
  /** The window that a test may use; it begins at the arena. */
  readonly from = this.wasm.constantsEnd;
  readonly to = this.from + WINDOW_BYTES;

  /** Fills windows and results with bytes that no kernel expects. */
  reset(): void {
    for (const { bytes } of this.#sides) {
      bytes.fill(0xee, this.from, this.to + 64);
      bytes.fill(0, RESULT, FIXED_END);
    }
  }

  get #sides(): Memory[] {
    return [this.wasm, this.reference];
  }

  write(address: number, bytes: Uint8Array | string): number {
    const content = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
    for (const side of this.#sides) side.bytes.set(content, address);
    return address + content.length;
  }

  writeWord(address: number, value: number): void {
    for (const side of this.#sides) side.words[address >> 2] = value;
  }

  /** Writes columns of capacity `cap` at block, their texts and fields behind `at`; returns the address behind them. */
  writeRows(block: number, cap: number, at: number, rows: readonly Row[]): number {
    let end = at;
    let fieldsBefore: { json: string; start: number; end: number } | undefined;
    rows.forEach((row, index) => {
      const start = end;
      end = this.write(start, row.text ?? "");
      if (row.fields !== undefined && row.fields !== fieldsBefore?.json) {
        fieldsBefore = { json: row.fields, start: end, end: end + Buffer.byteLength(row.fields) };
        this.write(fieldsBefore.start, row.fields);
      }
      const fields = row.fields === undefined ? { start: 0, end: 0 } : fieldsBefore!;
      const values = [
        start,
        end,
        row.seconds ?? 0,
        row.nanos ?? 0,
        row.bits ?? 0,
        row.lines ?? 1,
        row.at ?? 0,
        row.raw ?? 0,
        fields.start,
        fields.end,
      ];
      if (fields.end > end) end = fields.end;
      values.forEach((value, column) => this.writeWord(block + (column * cap + index) * 4, value));
    });
    return end;
  }

  /** Columns of a row on the WebAssembly side, unsigned. */
  row(block: number, cap: number, row: number): number[] {
    return Array.from({ length: COLUMNS }, (_, c) => this.wasm.words[(block >> 2) + c * cap + row]! >>> 0);
  }

  text(from: number, to: number): string {
    return this.wasm.buffer.toString("utf8", from, to);
  }

  result(index: number): number {
    return this.wasm.words[(RESULT >> 2) + index]! >>> 0;
  }

  /**
   * Makes the call on both sides: both must return the same and leave the same memory behind, once `forget` has wiped
   * on each what a kernel may leave as it likes.
   */
  call(kernel: (kernels: Kernels) => number | void, forget?: (memory: Memory, returned: number) => void): number {
    const [returned, expected] = this.#sides.map((side) => {
      const result = kernel(side.kernels) ?? 0;
      forget?.(side, result);
      return result;
    });
    assert.equal(returned, expected, "returned value");
    this.#compare(RESULT, FIXED_END);
    this.#compare(this.from, this.to + 64);
    return returned!;
  }

  #compare(from: number, to: number): void {
    if (this.wasm.buffer.compare(this.reference.buffer, from, to, from, to) === 0) return;
    let at = from;
    while (this.wasm.bytes[at] === this.reference.bytes[at]) at++;
    const near = ({ buffer }: Memory): string => JSON.stringify(buffer.toString("latin1", at - 24, at + 24));
    assert.fail(`memory differs at ${at}: ${near(this.wasm)}, expected ${near(this.reference)}`);
  }
}

/** For encoders that may overwrite what lies between their result and the end of their room. */
export function unwritten(outEnd: number): (memory: Memory) => void {
  return ({ bytes, words }) => {
    bytes.fill(0xee, words[(RESULT >> 2) + R_OUT], outEnd);
  };
}
