import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { CLASSES, CLASS_MASK } from "../../../../agent/memory/columns.ts";
import { R_OUT } from "../../../../agent/memory/kernels.ts";
import { encoderCase, lay, taken } from "../encoder-rows.ts";
import { Pair } from "../pair.ts";

const pair = new Pair();

test("each row is its head, its bytes as they are and a newline, as many as fit", () => {
  fc.assert(
    fc.property(encoderCase, fc.boolean(), fc.oneof(fc.constant(20_000), fc.nat(1000)), (input, hasHeads, room) => {
      const { args, end } = lay(pair, input);
      const heads = Math.ceil(end / 4) * 4;
      let out = heads + CLASSES * 8;
      for (let which = 0; which < CLASSES; which++) {
        const start = out;
        out = pair.write(start, which % 3 === 0 ? "" : `shop/pod-${which}/app  `);
        pair.writeWord(heads + which * 8, start);
        pair.writeWord(heads + which * 8 + 4, out - start);
      }
      const next = pair.call((kernels) => kernels.text(out, out + room, ...args, hasHeads ? heads : 0));
      const expected = taken({ ...input, to: next }).map(({ text, bits }) => {
        const which = bits! & CLASS_MASK;
        const head = hasHeads && which % 3 !== 0 ? `shop/pod-${which}/app  ` : "";
        return Buffer.concat([Buffer.from(head), text as Buffer, Buffer.from("\n")]);
      });
      assert.deepEqual(pair.wasm.buffer.subarray(out, pair.result(R_OUT)), Buffer.concat(expected));
      if (room === 20_000) assert.equal(next, args[7]);
    }),
    { numRuns: 500 },
  );
});

test("a line that fits exactly is written, with one byte less it is not", () => {
  const rows = [{ text: Buffer.from("hello"), bits: 0, isKept: true, key: 0 }];
  const { args, end: out } = lay(pair, { rows, filter: "all", mask: -1, from: 0, to: 1 });
  assert.equal(
    pair.call((kernels) => kernels.text(out, out + 5, ...args, 0)),
    0,
  );
  assert.equal(
    pair.call((kernels) => kernels.text(out, out + 6, ...args, 0)),
    1,
  );
  assert.equal(pair.text(out, out + 6), "hello\n");
});
