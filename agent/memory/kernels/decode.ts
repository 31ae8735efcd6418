import { RESULT, R_BITS, R_CONSUMED, R_INVALID, R_NANOS, R_SECONDS, result } from "./layout";

// What both decoders do with a line, whatever its framing.

/** A word of the result area, as the caller or the call before left it. */
export function resultOf(index: usize): u32 {
  return load<u32>(RESULT + (index << 2));
}

/** Writes a row whose first column is the word at `column`. */
export function storeRow(
  column: usize,
  stride: usize,
  text: usize,
  end: usize,
  seconds: u32,
  nanos: u32,
  bits: u32,
  at: usize,
  raw: usize,
): void {
  store<u32>(column, <u32>text);
  store<u32>((column += stride), <u32>end);
  store<u32>((column += stride), seconds);
  store<u32>((column += stride), nanos);
  store<u32>((column += stride), bits);
  store<u32>((column += stride), 1); // LINES
  store<u32>((column += stride), <u32>at);
  store<u32>((column += stride), <u32>raw);
  store<u32>((column += stride), 0); // no fields
  store<u32>(column + stride, 0);
}

/** Sets the result words of a decoder. */
export function report(consumed: usize, bits: u32, seconds: u32, nanos: u32, invalid: u32): void {
  result(R_CONSUMED, <u32>consumed);
  result(R_BITS, bits);
  result(R_SECONDS, seconds);
  result(R_NANOS, nanos);
  result(R_INVALID, invalid);
}
