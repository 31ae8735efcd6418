import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { CLASSES, CLASS_MASK, TRUNCATED } from "../../../../agent/memory/columns.ts";
import { R_OUT, R_REPLACED } from "../../../../agent/memory/kernels.ts";
import { decoded, encoderCase, lay, taken, type EncoderCase } from "../encoder-rows.ts";
import { Pair, unwritten, type Row } from "../pair.ts";

const pair = new Pair();

/** Tails for ndjson: every third class has none. Returns the table's address and the next free one. */
function writeTails(at: number): { tails: number; end: number } {
  const tails = Math.ceil(at / 4) * 4;
  let end = tails + CLASSES * 8;
  for (let which = 0; which < CLASSES; which++) {
    const start = end;
    end = pair.write(start, which % 3 === 0 ? "" : `,"class":${which},"name":"é"`);
    pair.writeWord(tails + which * 8, start);
    pair.writeWord(tails + which * 8 + 4, end - start);
  }
  return { tails, end };
}

function time(row: Row): string {
  return `${new Date(row.seconds! * 1000).toISOString().slice(0, 19)}.${String(row.nanos).padStart(9, "0")}Z`;
}

function expectedRecord(row: Row): Record<string, unknown> {
  const which = row.bits! & CLASS_MASK;
  return {
    time: time(row),
    text: decoded(row),
    ...(which % 3 === 0 ? {} : { class: which, name: "é" }),
    ...(row.bits! & TRUNCATED ? { truncated: true } : {}),
    ...(row.fields === undefined ? {} : { fields: JSON.parse(row.fields) as unknown }),
  };
}

function replacedIn(rows: Row[]): number {
  return rows.filter((row) => !Buffer.from(decoded(row)).equals(row.text as Buffer)).length;
}

const room = fc.oneof(fc.constant(30_000), fc.nat(3000));

test("NDJSON records are what JSON.parse reads back, in order, as many as fit", () => {
  fc.assert(
    fc.property(encoderCase, room, (input, roomBytes) => {
      const { args, end } = lay(pair, input);
      const { tails, end: out } = writeTails(end);
      const outEnd = out + roomBytes;
      const next = pair.call((kernels) => kernels.ndjson(out, outEnd, ...args, tails, 10), unwritten(outEnd));
      const written = { ...input, to: next };
      const lines = pair.text(out, pair.result(R_OUT)).split("\n").slice(0, -1);
      assert.deepEqual(
        lines.map((line) => JSON.parse(line) as unknown),
        taken(written).map(expectedRecord),
      );
      assert.equal(pair.result(R_REPLACED), replacedIn(taken(written)));
      if (roomBytes === 30_000) assert.equal(next, args[7]);
    }),
    { numRuns: 1000 },
  );
});

test("Loki's JSON entries are what JSON.parse reads back, in order, as many as fit", () => {
  fc.assert(
    fc.property(encoderCase, room, fc.constantFrom("", ',{"trace":"é"}'), (input, roomBytes, tail) => {
      const { args, end: tailAt } = lay(pair, input);
      const out = pair.write(tailAt, tail);
      const outEnd = out + roomBytes;
      const next = pair.call(
        (kernels) => kernels.lokiJson(out, outEnd, ...args, tailAt, out - tailAt),
        unwritten(outEnd),
      );
      const written = { ...input, to: next };
      const entries = JSON.parse(`[${pair.text(out, pair.result(R_OUT)).slice(0, -1)}]`) as unknown[];
      const expected = taken(written).map((row) => [
        String(BigInt(row.seconds!) * 1_000_000_000n + BigInt(row.nanos!)),
        decoded(row),
        ...(tail === "" ? [] : [{ trace: "é" }]),
      ]);
      assert.deepEqual(entries, expected);
      assert.equal(pair.result(R_REPLACED), replacedIn(taken(written)));
    }),
    { numRuns: 1000 },
  );
});

function single(text: Uint8Array): EncoderCase {
  const row = { text, seconds: 1_795_428_000, nanos: 5, bits: 0x100, isKept: true, key: 0 };
  return { rows: [row], filter: "all", mask: -1, from: 0, to: 1 };
}

/** The text of the NDJSON record of one row, written with `room` bytes, or undefined when it does not fit. */
function roundTrip(text: Uint8Array, roomBytes: number): { text: string; length: number } | undefined {
  const { args, end } = lay(pair, single(text));
  const { tails, end: out } = writeTails(end);
  const outEnd = out + roomBytes;
  const next = pair.call((kernels) => kernels.ndjson(out, outEnd, ...args, tails, 10), unwritten(outEnd));
  const length = pair.result(R_OUT) - out;
  if (next === 0) return undefined;
  return { text: (JSON.parse(pair.text(out, out + length)) as { text: string }).text, length };
}

test("every byte value comes back, at every place in a block", () => {
  for (let byte = 0; byte < 256; byte++) {
    for (const before of [0, 1, 7, 8, 14, 15, 16, 17]) {
      for (const after of [0, 3, 20]) {
        const text = Buffer.concat([Buffer.alloc(before, "a"), Buffer.of(byte), Buffer.alloc(after, "b")]);
        assert.equal(roundTrip(text, 4096)?.text, new TextDecoder("utf-8", { ignoreBOM: true }).decode(text));
      }
    }
  }
});

test("rows that fit exactly are written, with one byte less the last is not", () => {
  fc.assert(
    fc.property(encoderCase, fc.boolean(), (input, isLoki) => {
      const write = (room: number): { next: number; length: number } => {
        const { args, end } = lay(pair, input);
        const { tails, end: out } = writeTails(end);
        const next = pair.call(
          (kernels) =>
            isLoki
              ? kernels.lokiJson(out, out + room, ...args, tails, 3)
              : kernels.ndjson(out, out + room, ...args, tails, 10),
          unwritten(out + room),
        );
        return { next, length: pair.result(R_OUT) - out };
      };
      const ample = write(30_000);
      assert.deepEqual(write(ample.length), ample);
      if (ample.length > 0) assert.ok(write(ample.length - 1).length < ample.length);
    }),
    { numRuns: 500 },
  );
});

test("nothing is written behind the end of the room", () => {
  const text = Buffer.from('"quotes" and \x01 controls '.repeat(20));
  const { length } = roundTrip(text, 4096)!;
  for (let roomBytes = length; roomBytes < length + 40; roomBytes++) {
    const { args, end } = lay(pair, single(text));
    const { tails, end: out } = writeTails(end);
    pair.call((kernels) => kernels.ndjson(out, out + roomBytes, ...args, tails, 44), unwritten(out + roomBytes));
    const behind = pair.wasm.bytes.subarray(out + roomBytes, out + roomBytes + 64);
    assert.ok(behind.every((byte) => byte === 0xee));
    assert.equal(pair.text(out + length - 1, out + length), ",");
  }
});

test("times are right on both sides of every midnight of the 32-bit range", () => {
  const { args, end } = lay(pair, single(Buffer.from("x")));
  const { tails, end: out } = writeTails(end);
  const check = (seconds: number): void => {
    pair.writeWord(args[0] + 2 * args[1] * 4, seconds);
    pair.wasm.kernels.ndjson(out, out + 4096, ...args, tails, 10);
    const { time } = JSON.parse(pair.text(out, pair.result(R_OUT))) as { time: string };
    assert.equal(time, `${new Date(seconds * 1000).toISOString().slice(0, 19)}.000000005Z`);
  };
  for (let day = 86_400; day <= 0xffffffff; day += 86_400) {
    check(day - 1);
    check(day);
  }
  check(0);
  check(0xffffffff);
});
