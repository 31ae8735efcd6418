/**
 * The kernels: all per-line work, in WebAssembly over the one memory. Each has a plain TypeScript reference in
 * reference.ts with the same signature, kept equal by property tests. All numbers are 32-bit; all addresses are bytes
 * in the memory. Kernels that have more than one result write the rest into the words at RESULT.
 *
 * `Rows` arguments that many kernels share, in this order:
 *   block, cap   the columns (see columns.ts)
 *   verdicts     address of one byte per row, 0: every row counts as kept
 *   keys, key    address of one word per row, only rows with that word count; keys 0: `mask` decides instead
 *   mask         bit c set: rows of class c count (used when keys is 0; -1: all)
 *   from, to     row range, `to` excluded
 */

/**
 * Byte addresses of fixed areas at the end of the first 64 KiB; what lies before them belongs to the kernels' own
 * static data, and createMemory in memory.ts lays the rest out behind.
 */
export const RESULT = 61_440; // 16 words, little endian
export const TALLY = 62_464; // VERDICTS pairs of float64: lines, raw bytes
/** Kernels may read, never write, up to this many bytes behind a range: ranges end that far before the memory's end. */
export const OVERREAD_BYTES = 64;

/** Words at RESULT after decodeCri / decodeJsonFile. SECONDS and NANOS are also read: the time of the line before. */
export const R_CONSUMED = 0; // bytes of whole lines taken from `from`
export const R_BITS = 1; // the OR of all BITS of the rows
export const R_SECONDS = 2;
export const R_NANOS = 3;
export const R_INVALID = 4; // rows whose framing did not parse
/** Words at RESULT after cut. */
export const R_ROWS = 0; // kept rows in [from, returned)
export const R_BYTES = 1; // their text bytes + RECORD_OVERHEAD each
/** Words at RESULT after an encoder. */
export const R_OUT = 0; // address after the last byte written
export const R_REPLACED = 1; // records in which bytes that are no UTF-8 were replaced by U+FFFD

export interface Kernels {
  /**
   * CRI lines `<RFC3339Nano> <stdout|stderr> <P|F[:tags]> <text>\n` in [from, to) into rows at block. Only whole lines
   * are taken. Stops before a line when `cap` rows are full or when columns laid behind the taken text would pass
   * `limit`, that is when align4(end of the line) + (rows + 1) * ROW_BYTES > limit. AT is the line's offset from
   * `from`. A tag P sets PARTIAL. A line that does not parse becomes a row of STREAM_NONE with INVALID, the whole line
   * as text and the time of the line before (words R_SECONDS, R_NANOS, which are updated). Times may end in Z or
   * ±hh:mm, have 0 to 9 digits of fraction and lie between 1970-01-01 and 2106-02-07. NON_ASCII is set. LINES is 1,
   * RAW the line with its newline, no fields. Returns the rows.
   */
  decodeCri(from: number, to: number, block: number, cap: number, limit: number): number;
  /**
   * Docker json-file lines `{"log":"text\n","stream":"stdout","time":"2026-…Z"}` likewise: log, stream and time in any
   * order, the last of several, further members such as "attrs" skipped without a look at their values. The text of a
   * line that is taken is unescaped in place (never longer; what follows it in the line is garbage then); a log
   * without the final \n is PARTIAL, with it the \n is left out. Lone surrogates become U+FFFD.
   */
  decodeJsonFile(from: number, to: number, block: number, cap: number, limit: number): number;
  /** Bytes of the first line of [from, to) with its newline, or 0 when there is none. */
  lineLength(from: number, to: number): number;
  /**
   * Sets the level bits of rows [from, to). A text that begins with { has the level of its own (not nested) member
   * level, lvl, severity, log.level and the like, one that begins with `name=` that of such a pair outside of quotes.
   * Others: klog and syslog heads, `error:` at the start, the first upper-case or bracketed word that begins within
   * 128 bytes, or a `level=…` before it. Names of fields begin within the first 4 KiB. In doubt: unknown.
   */
  levels(block: number, cap: number, from: number, to: number): void;
  /**
   * Sets BROKEN_UTF8 where a NON_ASCII row is no valid UTF-8, else takes it back. Returns how many are broken. Encoders
   * that replace bytes look at that bit only, so this has run on every row that they get.
   */
  utf8(block: number, cap: number, from: number, to: number): number;
  /** Bit c set for each class c among the kept rows (as an int32). */
  classes(block: number, cap: number, verdicts: number, from: number, to: number): number;
  /** Sums LINES and RAW of rows [from, to) by verdict into TALLY (zeroed first). verdicts 0: all KEPT. */
  tally(block: number, cap: number, verdicts: number, from: number, to: number): void;
  /**
   * The first row after a batch that starts at `from`: at most maxRows kept rows and maxBytes (text + RECORD_OVERHEAD
   * each), at least one kept row; trailing rows that are not kept are taken along. R_ROWS, R_BYTES.
   */
  cut(
    block: number,
    cap: number,
    verdicts: number,
    from: number,
    to: number,
    maxRows: number,
    maxBytes: number,
  ): number;
  /**
   * Writes 1 to hits + row where the text (its first `head` bytes) of a kept row holds the needle, else 0. The needle
   * has `length` >= 1 bytes.
   */
  contains(
    block: number,
    cap: number,
    verdicts: number,
    from: number,
    to: number,
    needle: number,
    length: number,
    head: number,
    hits: number,
  ): void;
  /** Copies n rows of columns to another block of another capacity. */
  copyColumns(block: number, cap: number, n: number, target: number, targetCap: number): void;
  /**
   * Copies the texts and fields of kept rows one behind the other to target, which overlaps none of them, and points
   * START, END, FIELDS_* there; texts of other rows become empty (START = END = target) and their fields none. Fields
   * that a row shares with the last one that had fields are written once. Returns the address after the last byte.
   */
  copyTexts(block: number, cap: number, verdicts: number, from: number, to: number, target: number): number;
  /** Bytes that copyTexts would write. */
  textBytes(block: number, cap: number, verdicts: number, from: number, to: number): number;

  /** Bytes that lokiWrite would write for these rows. */
  lokiSize(
    block: number,
    cap: number,
    verdicts: number,
    keys: number,
    key: number,
    mask: number,
    from: number,
    to: number,
    metaLength: number,
  ): number;
  /**
   * Loki push protobuf (push.proto of Loki): for each row one `entries` member of StreamAdapter (field 2): timestamp
   * {1: seconds, 2: nanos}, line, then the `metaLength` bytes at meta (structuredMetadata members, already encoded).
   * What is 0 or empty is left out, but for the timestamp. Bytes that are no UTF-8 are replaced. `out` has lokiSize()
   * bytes of room. Returns the address after; R_OUT, R_REPLACED.
   */
  lokiWrite(
    out: number,
    block: number,
    cap: number,
    verdicts: number,
    keys: number,
    key: number,
    mask: number,
    from: number,
    to: number,
    meta: number,
    metaLength: number,
  ): number;
  /**
   * Loki push JSON: for each row `["<unix nanoseconds>","<text>"<tail>],`. Stops before the row that would pass outEnd;
   * bytes between R_OUT and outEnd may be overwritten. Returns the next row; R_OUT, R_REPLACED.
   */
  lokiJson(
    out: number,
    outEnd: number,
    block: number,
    cap: number,
    verdicts: number,
    keys: number,
    key: number,
    mask: number,
    from: number,
    to: number,
    tail: number,
    tailLength: number,
  ): number;
  /**
   * NDJSON records: `{"time":"2026-11-23T10:00:00.123456789Z","text":"…"` + tail of the row's class +
   * `,"truncated":true` where TRUNCATED + `,"fields":{…}` where it has fields + `}` + the separator byte. `tails` is
   * the address of CLASSES pairs of words (address, length); a tail begins with a comma or is empty. Time always with
   * nine digits. Stops before the row that would pass outEnd; bytes between R_OUT and outEnd may be overwritten.
   * Returns the next row; R_OUT, R_REPLACED.
   */
  ndjson(
    out: number,
    outEnd: number,
    block: number,
    cap: number,
    verdicts: number,
    keys: number,
    key: number,
    mask: number,
    from: number,
    to: number,
    tails: number,
    separator: number,
  ): number;
  /**
   * For each row the bytes of its class's head (`heads`: CLASSES pairs of words address, length; 0: no heads), its
   * text as it is, a newline. Stops before the row that would pass outEnd. Returns the next row; R_OUT.
   */
  text(
    out: number,
    outEnd: number,
    block: number,
    cap: number,
    verdicts: number,
    keys: number,
    key: number,
    mask: number,
    from: number,
    to: number,
    heads: number,
  ): number;
  /**
   * Snappy block format (with the length before it) of [from, to) to out, which has snappyBound(to - from) bytes of
   * room. table: 32 KiB of scratch. Returns the length.
   */
  snappy(from: number, to: number, out: number, table: number): number;
}

/** The most bytes that snappy() can write for n bytes (format description: 32 + n + n / 6). */
export function snappyBound(n: number): number {
  return 32 + n + Math.ceil(n / 6);
}
