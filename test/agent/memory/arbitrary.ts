/** Random input that several tests share. */
import fc from "fast-check";

/** Any bytes without a newline, often ASCII, often with what framings and escapes are made of. */
export function blob(maxLength: number): fc.Arbitrary<Buffer> {
  return bytes(maxLength).map((buffer) => buffer.map((byte) => (byte === 10 ? 0x20 : byte)) as Buffer);
}

/** Any bytes, likewise. */
export function bytes(maxLength: number): fc.Arbitrary<Buffer> {
  const piece = fc.oneof(
    { weight: 4, arbitrary: fc.string({ unit: "binary-ascii", maxLength: 24 }).map((s) => Buffer.from(s)) },
    { weight: 2, arbitrary: fc.string({ unit: "binary", maxLength: 8 }).map((s) => Buffer.from(s)) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 8 }).map((a) => Buffer.from(a)) },
    {
      weight: 3,
      arbitrary: fc
        .constantFrom(
          '"',
          "\\",
          "\\n",
          "\\u00e9",
          "\\ud83d\\ude00",
          "\\ud800",
          "\\x",
          "{",
          "}",
          "\t",
          "\r",
          "\0",
          " ",
          ":",
          ",",
        )
        .map((s) => Buffer.from(s)),
    },
    { weight: 1, arbitrary: fc.nat(120).map((n) => Buffer.from("a".repeat(n))) },
  );
  return fc.array(piece, { maxLength: 12 }).map((pieces) => Buffer.concat(pieces).subarray(0, maxLength));
}

/** Times as container runtimes write them, and times that are slightly wrong. */
export function instant(): fc.Arbitrary<string> {
  const number = (max: number, width: number): fc.Arbitrary<string> =>
    fc.nat(max).map((n) => String(n).padStart(width, "0"));
  const usual = fc.constantFrom("2026-11-23T10:00:00", "2026-11-23T10:00:01", "2026-11-23T10:01:00");
  const odd = fc
    .tuple(number(9999, 4), number(13, 2), number(32, 2), number(24, 2), number(60, 2), number(60, 2))
    .map(([year, month, day, hour, minute, second]) => `${year}-${month}-${day}T${hour}:${minute}:${second}`);
  const fraction = fc.oneof(
    fc.constant(""),
    fc
      .nat({ max: 10 })
      .chain((n) => number(10 ** n - 1, n))
      .map((d) => `.${d}`),
  );
  const zone = fc.oneof(
    fc.constant("Z"),
    fc.tuple(fc.constantFrom("+", "-"), number(25, 2), number(61, 2)).map(([s, h, m]) => `${s}${h}:${m}`),
  );
  return fc.tuple(fc.oneof({ weight: 3, arbitrary: usual }, odd), fraction, zone).map((parts) => parts.join(""));
}

/** The same bytes with one of them changed, left out or doubled. */
export function mutated(source: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> {
  return fc
    .tuple(source, fc.double({ min: 0, max: 1, noNaN: true }), fc.nat(255), fc.nat(2))
    .map(([bytes, where, byte, how]) => {
      const at = Math.floor(where * bytes.length);
      const changed = byte === 10 ? [] : [byte];
      const middle = how === 0 ? changed : how === 1 ? [] : [...bytes.subarray(at, at + 1), ...changed];
      return Buffer.concat([bytes.subarray(0, at), Buffer.from(middle), bytes.subarray(at + 1)]);
    });
}
