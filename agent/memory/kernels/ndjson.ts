import {
  BITS,
  BROKEN_UTF8,
  CLASS_MASK,
  END,
  FIELDS_END,
  FIELDS_START,
  NANOS,
  R_OUT,
  R_REPLACED,
  SECONDS,
  START,
  TRUNCATED,
  result,
} from "./layout";
import { copy } from "./bytes";
import { writeNine, writeTime } from "./digits";
import { ESCAPE_RATIO, ESCAPE_SLACK, escape, escapeEach, escapedLength } from "./json";
import { ascii } from "./literals";
import { counts } from "./rows";

// {"time":"2026-11-23T10:00:00.123456789Z","text":"…"<tail>,"truncated":true,"fields":{…}}<separator>
const HEAD_LENGTH: usize = 29; // up to the dot before the nanoseconds
const TEXT_LENGTH: usize = 11;
const TRUNCATED_LENGTH: usize = 17;
const FIELDS_LENGTH: usize = 10;
const REST_LENGTH: usize = 12; // nine digits, quote, brace, separator
const head = ascii(memory.data(32, 16), '{"time":"2026-11-23T10:00:00.');
const textMember = ascii(memory.data(16), 'Z","text":"');
const truncatedMember = ascii(memory.data(32), ',"truncated":true');
const fieldsMember = ascii(memory.data(16), ',"fields":');
let headSeconds: u32 = 0; // the second that `head` shows, once it was written
let headWritten: bool = false;

export function ndjson(
  out: usize,
  outEnd: usize,
  block: usize,
  cap: u32,
  verdicts: usize,
  keys: usize,
  key: u32,
  mask: u32,
  from: u32,
  to: u32,
  tails: usize,
  separator: u32,
): u32 {
  const stride = (<usize>cap) << 2;
  let replaced: u32 = 0;
  let row = from;
  for (; row < to; ++row) {
    const column = block + ((<usize>row) << 2);
    const bits = load<u32>(column + BITS * stride);
    if (!counts(row, bits, verdicts, keys, key, mask)) continue;
    const start = <usize>load<u32>(column + START * stride);
    const end = <usize>load<u32>(column + END * stride);
    const fields = <usize>load<u32>(column + FIELDS_START * stride);
    const fieldsLength = fields ? <usize>load<u32>(column + FIELDS_END * stride) - fields : 0;
    const pair = tails + ((<usize>(bits & CLASS_MASK)) << 3);
    const tailLength = <usize>load<u32>(pair, 4);
    const broken = (bits & BROKEN_UTF8) != 0;
    let room = HEAD_LENGTH + TEXT_LENGTH + REST_LENGTH + tailLength;
    if (bits & TRUNCATED) room += TRUNCATED_LENGTH;
    if (fields) room += FIELDS_LENGTH + fieldsLength;
    const ample = out + room + (end - start) * ESCAPE_RATIO + ESCAPE_SLACK <= outEnd;
    if (!ample && out + room + escapedLength(start, end) > outEnd) break;

    const seconds = load<u32>(column + SECONDS * stride);
    if (seconds != headSeconds || !headWritten) {
      writeTime(head + 9, seconds);
      headSeconds = seconds;
      headWritten = true;
    }
    out = copy(out, head, HEAD_LENGTH);
    out = writeNine(out, load<u32>(column + NANOS * stride));
    out = copy(out, textMember, TEXT_LENGTH);
    out = ample && !broken ? escape(out, start, end) : escapeEach(out, start, end);
    if (broken) ++replaced;
    store<u8>(out++, 0x22);
    out = copy(out, load<u32>(pair), tailLength);
    if (bits & TRUNCATED) out = copy(out, truncatedMember, TRUNCATED_LENGTH);
    if (fields) {
      out = copy(out, fieldsMember, FIELDS_LENGTH);
      out = copy(out, fields, fieldsLength);
    }
    store<u16>(out, <u16>(0x7d | (separator << 8)));
    out += 2;
  }
  result(R_OUT, <u32>out);
  result(R_REPLACED, replaced);
  return row;
}
