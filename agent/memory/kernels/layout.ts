// The numbers of columns.ts and kernels.ts that kernels need. AssemblyScript cannot import those files; a test keeps
// both equal.

export const START: usize = 0;
export const END: usize = 1;
export const SECONDS: usize = 2;
export const NANOS: usize = 3;
export const BITS: usize = 4;
export const LINES: usize = 5;
export const RAW: usize = 7;
export const FIELDS_START: usize = 8;
export const FIELDS_END: usize = 9;
export const COLUMNS: usize = 10;
export const ROW_BYTES: usize = 40;

export const STREAM_STDOUT: u32 = 1;
export const STREAM_STDERR: u32 = 2;
export const LEVEL_SHIFT: u32 = 2;
export const CLASS_MASK: u32 = 31;
export const PARTIAL: u32 = 32;
export const TRUNCATED: u32 = 64;
export const INVALID: u32 = 128;
export const NON_ASCII: u32 = 256;
export const BROKEN_UTF8: u32 = 512;

export const UNKNOWN: u32 = 0;
export const TRACE: u32 = 1;
export const DEBUG: u32 = 2;
export const INFO: u32 = 3;
export const WARN: u32 = 4;
export const ERROR: u32 = 5;
export const FATAL: u32 = 6;

export const VERDICTS: u32 = 64;
export const RECORD_OVERHEAD: u32 = 32;

export const RESULT: usize = 61440;
export const TALLY: usize = 62464;
export const R_CONSUMED: usize = 0;
export const R_BITS: usize = 1;
export const R_SECONDS: usize = 2;
export const R_NANOS: usize = 3;
export const R_INVALID: usize = 4;
export const R_ROWS: usize = 0;
export const R_BYTES: usize = 1;
export const R_OUT: usize = 0;
export const R_REPLACED: usize = 1;

/** Sets word `index` of the result area. */
export function result(index: usize, value: u32): void {
  store<u32>(RESULT + (index << 2), value);
}
