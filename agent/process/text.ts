/**
 * Texts as strings and back, without losing a byte: bytes that are no UTF-8 become lone low surrogates (0x80 is
 * U+DC80), which valid UTF-8 never gives, and become the same bytes again when the text is written.
 */
import { BROKEN_UTF8, NON_ASCII } from "../memory/columns.ts";
import type { Memory } from "../memory/memory.ts";

const ESCAPE = 0xdc00;

/** The text at [start, end), exactly; `bits` are those of its row. */
export function readText(memory: Memory, start: number, end: number, bits: number): string {
  if ((bits & NON_ASCII) === 0) return memory.buffer.toString("latin1", start, end);
  if ((bits & BROKEN_UTF8) === 0) return memory.buffer.toString("utf8", start, end);
  return readBroken(memory.buffer, start, end);
}

/** Bytes that writeText takes for the text. */
export function textBytes(text: string): number {
  // An escaped byte is counted as the three of a lone surrogate.
  return Buffer.byteLength(text) - (text.isWellFormed() ? 0 : 2 * countEscapes(text));
}

/** Writes a text of `bytes` (see textBytes) to an address; returns NON_ASCII and BROKEN_UTF8 as they are for it. */
export function writeText(memory: Memory, address: number, text: string, bytes: number): number {
  const { buffer } = memory;
  if (text.isWellFormed()) {
    const ascii = bytes === text.length;
    buffer.write(text, address, ascii ? "latin1" : "utf8");
    return ascii ? 0 : NON_ASCII;
  }
  let at = address;
  for (const run of text.split(ESCAPED)) {
    if (ESCAPED.test(run)) buffer[at++] = run.charCodeAt(0) - ESCAPE;
    else at += buffer.write(run, at, "utf8");
  }
  return NON_ASCII | BROKEN_UTF8;
}

/** Cuts a text to at most `bytesMax` bytes, between characters. */
export function cutText(text: string, bytesMax: number): string {
  let bytes = 0;
  let end = 0;
  for (const character of text) {
    bytes += textBytes(character);
    if (bytes > bytesMax) break;
    end += character.length;
  }
  return text.slice(0, end);
}

/** A lone low surrogate (with the flag u, a pair is one character). */
const ESCAPED = /([\udc80-\udcff])/u;

function countEscapes(text: string): number {
  return text.match(/[\udc80-\udcff]/gu)?.length ?? 0;
}

function readBroken(bytes: Buffer, start: number, end: number): string {
  let text = "";
  let valid = start;
  for (let at = start; at < end;) {
    const length = sequenceLength(bytes, at, end);
    if (length > 0) {
      at += length;
      continue;
    }
    text += bytes.toString("utf8", valid, at) + String.fromCharCode(ESCAPE + bytes[at]!);
    valid = ++at;
  }
  return text + bytes.toString("utf8", valid, end);
}

/** Length of the UTF-8 sequence at `at` (Unicode standard, table 3-7), or 0 when there is none. */
function sequenceLength(bytes: Buffer, at: number, end: number): number {
  const first = bytes[at]!;
  if (first < 0x80) return 1;
  const length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (length === 0 || at + length > end) return 0;
  const second = bytes[at + 1]!;
  const least = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const most = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  if (second < least || second > most) return 0;
  for (let i = 2; i < length; i++) if ((bytes[at + i]! & 0xc0) !== 0x80) return 0;
  return length;
}
