import type { Views } from "./views.ts";

const FRAGMENT_BYTES = 65_536;
const HASH_BITS = 14;

/**
 * Snappy's block format, by the simplest matcher that finds repetitions: the last place with the same hash of four
 * bytes.
 */
export function snappy({ bytes }: Views, from: number, to: number, out: number, table: number): number {
  const start = out;
  const places = new Uint16Array(bytes.buffer, bytes.byteOffset + table, 1 << HASH_BITS);
  const literal = (at: number, end: number): void => {
    if (at === end) return;
    const length = end - at - 1;
    if (length < 60) bytes[out++] = length << 2;
    else {
      bytes[out++] = 61 << 2;
      out = bytes.writeUInt16LE(length, out);
    }
    out += bytes.copy(bytes, out, at, end);
  };
  let rest = to - from;
  for (; rest > 127; rest >>>= 7) bytes[out++] = (rest & 127) | 128;
  bytes[out++] = rest;
  for (let base = from; base < to; base += FRAGMENT_BYTES) {
    const end = Math.min(base + FRAGMENT_BYTES, to);
    places.fill(0);
    let emitted = base;
    for (let at = base; at + 4 <= end;) {
      const four = bytes.readUInt32LE(at);
      const slot = Math.imul(four, 0x1e35a7bd) >>> (32 - HASH_BITS);
      const match = base + places[slot]!;
      places[slot] = at - base;
      if (match >= at || bytes.readUInt32LE(match) !== four) {
        at++;
        continue;
      }
      literal(emitted, at);
      let length = 4;
      while (length < 64 && at + length < end && bytes[match + length] === bytes[at + length]) length++;
      bytes[out++] = ((length - 1) << 2) | 2;
      out = bytes.writeUInt16LE(at - match, out);
      at += length;
      emitted = at;
    }
    literal(emitted, end);
  }
  return out - start;
}
