/** What collect needs of whoever turns bytes into records at one place of one chain; decode provides it. */
import type { Chunk } from "../memory/chunk.ts";
import type { Memory } from "../memory/memory.ts";
import type { Records } from "../memory/records.ts";

/** `records` may be absent though bytes were consumed: parts of a line that is still open. */
export interface Decoded {
  readonly records: Records | undefined;
  /** Bytes of the input that were taken; the rest is to be given again with more behind it. */
  readonly consumed: number;
}

/**
 * Which open lines end: `stale`, parts without a new one for too long; `unended`, a line too long to take whole whose
 * newline is still missing; or all.
 */
export type Ending = "stale" | "unended" | "all";

export interface Lines {
  /** Linear offset of the first byte that is still open; Infinity when nothing is. */
  readonly openAt: number;
  /** Source bytes of all open lines. */
  readonly openRaw: number;
  /** A line is open of which the newline is missing: it ends with its file at the latest. */
  readonly unended: boolean;
  /** The time of the line before is known. */
  readonly timed: boolean;
  /** Open lines of all hold more than they may, and these more than their share. */
  readonly over: boolean;
  /** A new file of the chain begins. */
  nextFile(): void;
  /** Gives back what open lines hold. */
  drop(): void;
  /** [from, to) of the memory lies right before what is decoded next: its last line's time counts. `isWhole`: a line begins it. */
  before(from: number, to: number, isWhole: boolean): void;
  /**
   * Decodes [from, to) of a chunk, whose first byte lies at linear offset `base`. The bytes must be the last taken from
   * the chunk, with `rowsRoom` bytes of room behind them; the rows are laid behind the consumed ones, and what was not
   * consumed is given back to the chunk. `complete`: no byte will follow. Each chunk of the returned records is retained
   * for the caller. Throws NoRoom; then these Lines are of no use any more: open others at `openAt` as it was before.
   */
  decode(chunk: Chunk, from: number, to: number, base: number, complete: boolean, now: number): Decoded;
  /**
   * Ends open lines whose end never came. Returns their records, marked truncated, or undefined when there are none.
   * `chunk` gives `rowsRoom`; AT refers to `base`. Throws NoRoom.
   */
  flush(chunk: Chunk, base: number, now: number, ending: Ending): Records | undefined;
  /** True when `flush` of what is stale would end a line. */
  stale(now: number): boolean;
}

/** How lines are made. */
export interface LinesWorld {
  readonly memory: Memory;
  /** Source bytes that one line may take before it is cut. */
  readonly lineBytesMax: number;
  /** Room for rows that must be free behind the bytes to decode. */
  readonly rowsRoom: number;
  /** How many lines of all did not parse, and were cut. */
  readonly counts: { readonly invalid: number; readonly truncated: number };
  /** `startSeconds` (since 1970) is the time of lines that do not parse when no line before them had one. */
  open(startSeconds: number): Lines;
}
