import { BITS, BROKEN_UTF8, END, NANOS, R_OUT, R_REPLACED, SECONDS, START, result } from "./layout";
import { copy } from "./bytes";
import { counts } from "./rows";
import { copyReplaced, replacedLength } from "./utf8";

// logproto.proto of Loki: StreamAdapter.entries = 2; EntryAdapter.timestamp = 1, line = 2; Timestamp.seconds = 1,
// nanos = 2. Fields that are 0 or empty are left out, as proto3 does.
const ENTRIES: u8 = 0x12;
const TIMESTAMP: u8 = 0x0a;
const LINE: u8 = 0x12;
const TIME_SECONDS: u8 = 0x08;
const TIME_NANOS: u8 = 0x10;

/** Bytes of the varint of v. */
function varintLength(v: u32): u32 {
  // 7 bits a byte: (bits * 9 + 64) / 64 is bits / 7 rounded up for 1..32 bits.
  return ((32 - clz(v | 1)) * 9 + 64) >> 6;
}

function writeVarint(out: usize, v: u32): usize {
  while (v > 0x7f) {
    store<u8>(out++, v | 0x80);
    v >>= 7;
  }
  store<u8>(out, v);
  return out + 1;
}

/** Bytes of a Timestamp message without its tag and length. */
function timeLength(seconds: u32, nanos: u32): u32 {
  return (seconds ? 1 + varintLength(seconds) : 0) + (nanos ? 1 + varintLength(nanos) : 0);
}

/** Bytes of an EntryAdapter without its tag and length. */
function entryLength(time: u32, line: u32, metaLength: u32): u32 {
  return 2 + time + (line ? 1 + varintLength(line) + line : 0) + metaLength;
}

export function lokiSize(
  block: usize,
  cap: u32,
  verdicts: usize,
  keys: usize,
  key: u32,
  mask: u32,
  from: u32,
  to: u32,
  metaLength: u32,
): usize {
  const stride = (<usize>cap) << 2;
  let bytes: usize = 0;
  for (let row = from; row < to; ++row) {
    const column = block + ((<usize>row) << 2);
    const bits = load<u32>(column + BITS * stride);
    if (!counts(row, bits, verdicts, keys, key, mask)) continue;
    const start = load<u32>(column + START * stride);
    const end = load<u32>(column + END * stride);
    const line = bits & BROKEN_UTF8 ? <u32>replacedLength(start, end) : end - start;
    const time = timeLength(load<u32>(column + SECONDS * stride), load<u32>(column + NANOS * stride));
    const entry = entryLength(time, line, metaLength);
    bytes += 1 + varintLength(entry) + entry;
  }
  return bytes;
}

export function lokiWrite(
  out: usize,
  block: usize,
  cap: u32,
  verdicts: usize,
  keys: usize,
  key: u32,
  mask: u32,
  from: u32,
  to: u32,
  meta: usize,
  metaLength: u32,
): usize {
  const stride = (<usize>cap) << 2;
  let replaced: u32 = 0;
  for (let row = from; row < to; ++row) {
    const column = block + ((<usize>row) << 2);
    const bits = load<u32>(column + BITS * stride);
    if (!counts(row, bits, verdicts, keys, key, mask)) continue;
    const start = load<u32>(column + START * stride);
    const end = load<u32>(column + END * stride);
    const seconds = load<u32>(column + SECONDS * stride);
    const nanos = load<u32>(column + NANOS * stride);
    const broken = (bits & BROKEN_UTF8) != 0;
    const line = broken ? <u32>replacedLength(start, end) : end - start;
    const time = timeLength(seconds, nanos);
    store<u8>(out, ENTRIES);
    out = writeVarint(out + 1, entryLength(time, line, metaLength));
    store<u8>(out, TIMESTAMP);
    store<u8>(out, <u8>time, 1);
    out += 2;
    if (seconds) {
      store<u8>(out, TIME_SECONDS);
      out = writeVarint(out + 1, seconds);
    }
    if (nanos) {
      store<u8>(out, TIME_NANOS);
      out = writeVarint(out + 1, nanos);
    }
    if (line) {
      store<u8>(out, LINE);
      out = writeVarint(out + 1, line);
      if (broken) {
        out = copyReplaced(out, start, end);
        ++replaced;
      } else {
        out = copy(out, start, line);
      }
    }
    if (metaLength) out = copy(out, meta, metaLength);
  }
  result(R_OUT, <u32>out);
  result(R_REPLACED, replaced);
  return out;
}
