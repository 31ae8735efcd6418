// Entry of the module: one export for each member of Kernels in ../kernels.ts.
export { contains } from "./contains";
export { decodeCri } from "./decode-cri";
export { decodeJsonFile } from "./decode-json";
export { levels } from "./level";
export { lineLength } from "./bytes";
export { lokiSize, lokiWrite } from "./loki";
export { lokiJson } from "./loki-json";
export { ndjson } from "./ndjson";
export { classes, copyColumns, copyTexts, cut, tally, textBytes } from "./rows";
export { snappy } from "./snappy";
export { text } from "./text";
export { utf8 } from "./utf8";

/** Where the static area of the module ends; below RESULT, or the areas would collide. */
export const staticEnd: usize = __heap_base;
