/**
 * What a record says besides its time, text and fields depends on its source and its class alone: rendered once for
 * each, kept as long as the source.
 */
import { Buffer } from "node:buffer";
import type { Source } from "../collect/source.ts";
import {
  CLASSES,
  LEVEL_SHIFT,
  LEVELS,
  STREAM_MASK,
  STREAM_STDERR,
  STREAM_STDOUT,
  type Level,
} from "../memory/columns.ts";

/** `stdout`, `stderr`, or empty for a record that no framing names a stream for. */
export function streamOf(bits: number): string {
  const stream = bits & STREAM_MASK;
  return stream === STREAM_STDOUT ? "stdout" : stream === STREAM_STDERR ? "stderr" : "";
}

export function levelOf(bits: number): Level {
  return LEVELS[(bits >> LEVEL_SHIFT) & 7] ?? "unknown";
}

/** Renders what a record of `source` and class `bits` has in common with its like. */
export type Render = (source: Source, bits: number) => string | Buffer;

/** By source and class. */
export class Tails {
  readonly #render: Render;
  readonly #bySource = new WeakMap<Source, (Buffer | undefined)[]>();

  constructor(render: Render) {
    this.#render = render;
  }

  /** UTF-8; `bits` below CLASSES. */
  of(source: Source, bits: number): Buffer {
    let classes = this.#bySource.get(source);
    if (!classes) this.#bySource.set(source, (classes = new Array<undefined>(CLASSES).fill(undefined)));
    return (classes[bits] ??= asBytes(this.#render(source, bits)));
  }
}

function asBytes(rendered: string | Buffer): Buffer {
  return typeof rendered === "string" ? Buffer.from(rendered, "utf8") : rendered;
}

/** The members of the NDJSON record behind `text`, each with its comma; absent ones are left out. */
export const recordTail: Render = (source, bits) => {
  const { namespace, pod, container, node } = source;
  const members = { stream: streamOf(bits), level: levelOf(bits), namespace, pod, container, node };
  return Object.entries(members)
    .filter(([, value]) => value !== "")
    .map(([name, value]) => `,"${name}":${JSON.stringify(value.toWellFormed())}`)
    .join("");
};
