import type { Kernels } from "./kernels.ts";
import * as decode from "./reference/decode.ts";
import * as encode from "./reference/encode.ts";
import { levels } from "./reference/level.ts";
import * as rows from "./reference/rows.ts";
import { snappy } from "./reference/snappy.ts";
import { viewsOf, type Views } from "./reference/views.ts";

/**
 * The kernels in plain TypeScript: what each one means, written to be read. Tests keep the WebAssembly ones equal to
 * these; they are 10 to 100 times slower.
 */
export function createReference(memory: ArrayBuffer): Kernels {
  const views = viewsOf(memory);
  const on =
    <Arguments extends unknown[], Result>(kernel: (views: Views, ...rest: Arguments) => Result) =>
    (...rest: Arguments): Result =>
      kernel(views, ...rest);
  return {
    decodeCri: on(decode.decodeCri),
    decodeJsonFile: on(decode.decodeJsonFile),
    lineLength: on(rows.lineLength),
    levels: on(levels),
    utf8: on(rows.utf8),
    classes: on(rows.classes),
    tally: on(rows.tally),
    cut: on(rows.cut),
    contains: on(rows.contains),
    copyColumns: on(rows.copyColumns),
    copyTexts: on(rows.copyTexts),
    textBytes: on(rows.textBytes),
    lokiSize: on(encode.lokiSize),
    lokiWrite: on(encode.lokiWrite),
    lokiJson: on(encode.lokiJson),
    ndjson: on(encode.ndjson),
    text: on(encode.text),
    snappy: on(snappy),
  };
}
