import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import protobuf from "protobufjs";
import { labelPairs, member, metadataMembers, metadataTail, renderLabels } from "../../../agent/sinks/loki-labels.ts";

const { root } = protobuf.parse(`syntax = "proto3";
  message Entry { repeated Pair structuredMetadata = 3; }
  message Pair { string name = 1; string value = 2; }
  message Text { string text = 1; }`);

test("labels keep the order of their names, and empty values are none", () => {
  assert.equal(renderLabels(labelPairs(["a", "b", "c"], ["1", "", "3"])), '{a="1", c="3"}');
});

test("a stream without any label gets one, because Loki takes none without", () => {
  assert.equal(renderLabels(labelPairs(["a"], [""])), '{job="tailrace"}');
});

test("values are quoted so that Go reads them back", () => {
  assert.equal(renderLabels([["a", 'x"\\\n\t\r\x00\x7fé😀']]), '{a="x\\"\\\\\\n\\t\\r\\x00\\x7fé😀"}');
});

test("no value leads out of its quotes", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (value) => {
      const text = renderLabels([["a", value]]);
      assert.match(text, /^\{a="(?:[^"\\\n]|\\.)*"\}$/u);
      const back = text
        .slice(4, -2)
        .replaceAll(/\\(x..|.)/gu, (_, code: string) =>
          code.startsWith("x")
            ? String.fromCharCode(Number.parseInt(code.slice(1), 16))
            : ({ n: "\n", t: "\t", r: "\r" }[code] ?? code),
        );
      assert.equal(back, value);
    }),
  );
});

test("structured metadata reads back as protobuf and as JSON", () => {
  const text = fc.string({ unit: "binary", maxLength: 300 });
  fc.assert(
    fc.property(fc.uniqueArray(fc.tuple(text, text), { selector: ([name]) => name }), (pairs) => {
      const decoded = root.lookupType("Entry").decode(metadataMembers(pairs)).toJSON();
      const wanted = pairs.map(([name, value]) => ({
        ...(name !== "" && { name: name.toWellFormed() }),
        ...(value !== "" && { value: value.toWellFormed() }),
      }));
      // protobufjs leaves out what is default only when it was not sent: compare by value.
      const got = ((decoded["structuredMetadata"] as { name?: string; value?: string }[] | undefined) ?? []).map(
        ({ name = "", value = "" }) => ({ ...(name !== "" && { name }), ...(value !== "" && { value }) }),
      );
      assert.deepEqual(got, wanted);
      const tail = metadataTail(pairs);
      if (pairs.length === 0) assert.equal(tail, "");
      else assert.deepEqual(Object.entries(JSON.parse(`[0${tail}]`)[1] as object).length, pairs.length);
    }),
  );
});

test("lengths of any size are written", () => {
  for (const length of [0, 127, 128, 16_383, 16_384, 2_097_152]) {
    const decoded = root
      .lookupType("Text")
      .decode(member(1, Buffer.alloc(length, "x")))
      .toJSON();
    assert.equal(String(decoded["text"] ?? "").length, length);
  }
});
