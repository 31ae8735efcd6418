/**
 * Lines -> scratch rows: how the lines of a file are framed, and the time of the line before for those that are not. The
 * format is that of the file's first line that parses.
 */
import { BITS, INVALID, NANOS, SECONDS, AT } from "../memory/columns.ts";
import { RESULT, R_CONSUMED, R_INVALID, R_NANOS, R_SECONDS } from "../memory/kernels.ts";
import type { Memory } from "../memory/memory.ts";

const NO_LIMIT = 0x7fffffff;

export class Framing {
  /** The time of the line before is known. */
  timed = false;
  readonly #memory: Memory;
  #format: "cri" | "json-file" | undefined;
  #seconds: number;
  #nanos = 0;

  /** `startSeconds` (since 1970) is the time of lines that do not parse when none before or behind them has one. */
  constructor(memory: Memory, startSeconds: number) {
    this.#memory = memory;
    this.#seconds = startSeconds;
  }

  /** Another file begins, whose format is to be found out. */
  nextFile(): void {
    this.#format = undefined;
  }

  /**
   * Frames whole lines of [from, to) as rows of the scratch columns (capacity `rowsMax`), as the kernels do; `limit` is
   * theirs. Returns the rows; R_CONSUMED, R_BITS and R_INVALID are theirs.
   */
  run(from: number, to: number, limit: number): number {
    const { words } = this.#memory;
    let rows = this.#kernel(this.#format ?? "cri", from, to, limit);
    if (rows > 0 && this.#format === undefined) rows = this.#detect(rows, from, to, limit);
    if (rows === 0) return 0;
    this.#seconds = words[(RESULT >> 2) + R_SECONDS]! >>> 0;
    this.#nanos = words[(RESULT >> 2) + R_NANOS]!;
    if (!this.timed && this.#invalid < rows) this.#timeLeading(rows);
    return rows;
  }

  /** [from, to) lies right before what comes next: the time of its last line counts. `isWhole`: it begins where a line does. */
  before(from: number, to: number, isWhole: boolean): void {
    const { words, kernels } = this.#memory;
    let at = isWhole ? from : from + kernels.lineLength(from, to);
    if (at === from && !isWhole) return;
    while (at < to && this.run(at, to, NO_LIMIT) > 0) at += words[(RESULT >> 2) + R_CONSUMED]!;
  }

  get(row: number, column: number): number {
    const { words, rows, rowsMax } = this.#memory;
    return words[(rows >> 2) + column * rowsMax + row]!;
  }

  set(row: number, column: number, value: number): void {
    const { words, rows, rowsMax } = this.#memory;
    words[(rows >> 2) + column * rowsMax + row] = value;
  }

  get #invalid(): number {
    return this.#memory.words[(RESULT >> 2) + R_INVALID]!;
  }

  #kernel(format: "cri" | "json-file", from: number, to: number, limit: number): number {
    const { words, kernels, rows, rowsMax } = this.#memory;
    words[(RESULT >> 2) + R_SECONDS] = this.#seconds;
    words[(RESULT >> 2) + R_NANOS] = this.#nanos;
    return format === "cri"
      ? kernels.decodeCri(from, to, rows, rowsMax, limit)
      : kernels.decodeJsonFile(from, to, rows, rowsMax, limit);
  }

  /** The scratch holds what CRI makes of the lines. Those before the first that parses as such may be of the other format. */
  #detect(rows: number, from: number, to: number, limit: number): number {
    let first = 0;
    while (first < rows && this.get(first, BITS) & INVALID) first++;
    const { words } = this.#memory;
    const end = from + (first < rows ? this.get(first, AT) : words[(RESULT >> 2) + R_CONSUMED]!);
    const leading = first > 0 ? this.#kernel("json-file", from, end, limit) : 0;
    if (leading > 0 && this.#invalid < leading) {
      this.#format = "json-file";
      return leading;
    }
    if (first < rows) this.#format = "cri";
    // Lines that do not parse were not changed.
    return first > 0 ? this.#kernel("cri", from, to, limit) : rows;
  }

  /** Lines before the first that has a time get that one's, so that time does not go backwards. */
  #timeLeading(rows: number): void {
    let first = 0;
    while (first < rows && this.get(first, BITS) & INVALID) first++;
    for (let row = 0; row < first; row++) {
      this.set(row, SECONDS, this.get(first, SECONDS));
      this.set(row, NANOS, this.get(first, NANOS));
    }
    this.timed = true;
  }
}
