/**
 * The shape of Records: columns of 32-bit integers over the one WebAssembly memory. A block of `cap` rows holds
 * COLUMNS columns one after the other, each `cap` words long, so word `row` of column `c` lies at byte
 * `block + (c * cap + row) * 4`. Nothing here is an object per line: kernels read and write the words directly.
 */

/** Column numbers. */
export const START = 0; // address of the first byte of the text
export const END = 1; // address after the last byte of the text
export const SECONDS = 2; // unsigned seconds since 1970, the source's own time
export const NANOS = 3; // nanoseconds within that second
export const BITS = 4; // class and flags, below
export const LINES = 5; // how many source lines the record stands for
export const AT = 6; // where its first byte lies in the chain, relative to Records.base (signed)
export const RAW = 7; // bytes it takes in the source files, framing and newline included, over all its parts
export const FIELDS_START = 8; // address of a JSON object with the record's fields; 0: none
export const FIELDS_END = 9;
export const COLUMNS = 10;
export const ROW_BYTES = COLUMNS * 4;

/** BITS, low five bits: the class, all that a record varies in besides its text. stream | level << 2. */
export const STREAM_MASK = 3;
export const STREAM_NONE = 0; // a line that no framing names a stream for
export const STREAM_STDOUT = 1;
export const STREAM_STDERR = 2;
export const LEVEL_SHIFT = 2;
export const CLASS_MASK = 31;
export const CLASSES = 32;

/** Levels in rising severity. Unknown is its own level, never "info". */
export const LEVELS = ["unknown", "trace", "debug", "info", "warn", "error", "fatal"] as const;
export type Level = (typeof LEVELS)[number];

/** BITS, flags. */
export const PARTIAL = 1 << 5; // a part whose end is still to come; never leaves decode
export const TRUNCATED = 1 << 6; // cut at maxLineBytes, or its end never came
export const INVALID = 1 << 7; // the framing did not parse: the text is the whole line
export const NON_ASCII = 1 << 8; // some byte of the text is 0x80 or above
export const BROKEN_UTF8 = 1 << 9; // the text is no valid UTF-8 (set by `utf8` on NON_ASCII rows)
export const JOINED = 1 << 10; // made of more than one source line

/** A verdict is one byte per row: what became of it. 0 is kept; 1..32 is the process step that filtered it. */
export const KEPT = 0;
export const STEPS_MAX = 32;
export const DEAD_LETTERED = 40;
export const DROPPED = 41;
export const SKIPPED = 42; // below the subscription's mark: settled by an earlier reading
export const VERDICTS = 64;

/** What one record costs in a batch besides its text, in bytes: time, framing, lengths. */
export const RECORD_OVERHEAD = 32;
