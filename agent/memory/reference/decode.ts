import {
  AT,
  BITS,
  END,
  FIELDS_END,
  FIELDS_START,
  INVALID,
  LINES,
  NANOS,
  NON_ASCII,
  PARTIAL,
  RAW,
  ROW_BYTES,
  SECONDS,
  START,
  STREAM_STDERR,
  STREAM_STDOUT,
} from "../columns.ts";
import { RESULT, R_BITS, R_CONSUMED, R_INVALID, R_NANOS, R_SECONDS } from "../kernels.ts";
import { parseLogLine } from "./json-file.ts";
import { parseTime } from "./time.ts";
import { set, setResult, type Views } from "./views.ts";

/** What a framing makes of a line. */
interface Framed {
  seconds: number;
  nanos: number;
  bits: number;
  start: number;
  end: number;
}

type Framing = (views: Views, line: number, end: number) => Framed | undefined;

/** The rows of whole lines in [from, to), framed one by one: see Kernels.decodeCri. */
function decode(
  views: Views,
  framing: Framing,
  from: number,
  to: number,
  block: number,
  cap: number,
  limit: number,
): number {
  const { bytes, words } = views;
  let seconds = words[(RESULT >> 2) + R_SECONDS]! >>> 0;
  let nanos = words[(RESULT >> 2) + R_NANOS]!;
  let allBits = 0;
  let invalid = 0;
  let row = 0;
  let line = from;
  while (row < cap) {
    const end = bytes.indexOf(10, line);
    if (end < 0 || end >= to) break;
    const next = end + 1;
    if (Math.ceil(next / 4) * 4 + (row + 1) * ROW_BYTES > limit) break;
    const framed = framing(views, line, end);
    if (framed) ({ seconds, nanos } = framed);
    else invalid++;
    const { start, end: textEnd, ...rest } = framed ?? { bits: INVALID, start: line, end };
    let { bits } = rest;
    if (bytes.subarray(start, textEnd).some((byte) => byte > 127)) bits |= NON_ASCII;
    allBits |= bits;
    const values: [column: number, value: number][] = [
      [START, start],
      [END, textEnd],
      [SECONDS, seconds],
      [NANOS, nanos],
      [BITS, bits],
      [LINES, 1],
      [AT, line - from],
      [RAW, next - line],
      [FIELDS_START, 0],
      [FIELDS_END, 0],
    ];
    for (const [column, value] of values) set(views, block, cap, column, row, value);
    row++;
    line = next;
  }
  setResult(views, R_CONSUMED, line - from);
  setResult(views, R_BITS, allBits);
  setResult(views, R_SECONDS, seconds);
  setResult(views, R_NANOS, nanos);
  setResult(views, R_INVALID, invalid);
  return row;
}

const CRI = /^(\S+) (stdout|stderr) ([PF])(?::[^ ]*)? /;

function frameCri({ bytes }: Views, line: number, end: number): Framed | undefined {
  const match = CRI.exec(bytes.toString("latin1", line, end));
  if (!match) return undefined;
  const [header, timeText, stream, tag] = match;
  const time = parseTime(timeText!);
  if (!time) return undefined;
  const bits = (stream === "stdout" ? STREAM_STDOUT : STREAM_STDERR) | (tag === "P" ? PARTIAL : 0);
  return { ...time, bits, start: line + header.length, end };
}

function frameJson({ bytes }: Views, line: number, end: number): Framed | undefined {
  const found = parseLogLine(bytes.toString("latin1", line, end));
  if (!found) return undefined;
  const start = line + found.textAt;
  bytes.set(found.text, start);
  const isWhole = found.text.at(-1) === 10;
  const bits = (found.stream === "stdout" ? STREAM_STDOUT : STREAM_STDERR) | (isWhole ? 0 : PARTIAL);
  return { ...found.time, bits, start, end: start + found.text.length - (isWhole ? 1 : 0) };
}

export function decodeCri(views: Views, from: number, to: number, block: number, cap: number, limit: number): number {
  return decode(views, frameCri, from, to, block, cap, limit);
}

export function decodeJsonFile(
  views: Views,
  from: number,
  to: number,
  block: number,
  cap: number,
  limit: number,
): number {
  return decode(views, frameJson, from, to, block, cap, limit);
}
