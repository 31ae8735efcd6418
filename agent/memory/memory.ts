/**
 * The one memory of the agent. It never grows, because growing would detach every view of it, and its size is the byte
 * budget: what does not fit has to wait in the files.
 *
 *     0          64 KiB      320 KiB
 *     | kernels' | constants | arena: chunks … | rows | encode | snappyTable |
 *       statics
 *
 * The arena does not lie last: kernels may read a few bytes behind what they are given (OVERREAD_BYTES).
 */
import { readFileSync } from "node:fs";
import { Arena, PAGE_BYTES } from "./arena.ts";
import { ROW_BYTES } from "./columns.ts";
import { RESULT, type Kernels } from "./kernels.ts";
import { createReference } from "./reference.ts";

/** Rows that one call of a decoder makes at most. */
export const ROWS_MAX = 16_384;
const CONSTANTS_BYTES = 256 * 1024;
const SNAPPY_TABLE_BYTES = 32 * 1024;
const ARENA_BYTES_MIN = 4 * 1024 * 1024;

export interface Memory {
  /** All of it, as bytes, as a Buffer over the same bytes, as 32-bit words and as doubles. */
  readonly bytes: Uint8Array;
  readonly buffer: Buffer;
  readonly words: Int32Array;
  readonly floats: Float64Array;
  readonly kernels: Kernels;
  /** Scratch columns of `rowsMax` rows, for the rows of one synchronous step. */
  readonly rows: number;
  readonly rowsMax: number;
  /** Scratch of snappy(). */
  readonly snappyTable: number;
  /** Room for needles, tails and label bytes within one synchronous step. */
  readonly constants: number;
  readonly constantsEnd: number;
  /** Room for one request's bytes while they are made. */
  readonly encode: number;
  readonly encodeEnd: number;
  readonly arena: Arena;
}

export interface MemoryOptions {
  /** Bytes of the whole memory, rounded up to 64 KiB. */
  memoryLimit: number;
  /** Bytes of `encode`. */
  encodeBytes: number;
  /** "reference": the kernels in TypeScript, for tests. */
  kernels?: "wasm" | "reference";
}

/** Throws RangeError when memoryLimit leaves less than 4 MiB for chunks, and Error when the kernels were not built. */
export function createMemory(options: MemoryOptions): Memory {
  const pages = Math.ceil(options.memoryLimit / PAGE_BYTES);
  const constants = PAGE_BYTES;
  const constantsEnd = constants + CONSTANTS_BYTES;
  const snappyTable = pages * PAGE_BYTES - SNAPPY_TABLE_BYTES;
  const encode = floorTo(snappyTable - options.encodeBytes, 16);
  const rows = floorTo(encode - ROWS_MAX * ROW_BYTES, 16);
  const arenaEnd = floorTo(rows, PAGE_BYTES);
  if (arenaEnd - constantsEnd < ARENA_BYTES_MIN) {
    const needed = options.memoryLimit + ARENA_BYTES_MIN - (arenaEnd - constantsEnd);
    throw new RangeError(`memoryLimit ${options.memoryLimit} is too small: at least ${needed} bytes are needed`);
  }
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  return {
    bytes: new Uint8Array(memory.buffer),
    buffer: Buffer.from(memory.buffer),
    words: new Int32Array(memory.buffer),
    floats: new Float64Array(memory.buffer),
    kernels: options.kernels === "reference" ? createReference(memory.buffer) : instantiate(memory),
    rows,
    rowsMax: ROWS_MAX,
    snappyTable,
    constants,
    constantsEnd,
    encode,
    encodeEnd: encode + options.encodeBytes,
    arena: new Arena(constantsEnd, arenaEnd),
  };
}

function floorTo(value: number, step: number): number {
  return Math.floor(value / step) * step;
}

/** The part of WebAssembly that is used here; TypeScript only knows it together with the DOM. */
declare const WebAssembly: {
  Memory: new (descriptor: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer };
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object, imports: object) => { readonly exports: object };
};

let compiled: object | undefined;

function instantiate(memory: object): Kernels {
  compiled ??= new WebAssembly.Module(readKernels());
  const { exports } = new WebAssembly.Instance(compiled, { env: { memory } });
  const { staticEnd } = exports as { staticEnd: { value: number } };
  if (staticEnd.value > RESULT) throw new Error(`BUG: static data of the kernels ends at ${staticEnd.value}`);
  return exports as Kernels;
}

/** In a bundle the kernels lie beside it in dist/, in a clone this file is two folders from dist/. */
const KERNEL_FILES = ["./kernels.wasm", "../../dist/kernels.wasm"];

function readKernels(): Uint8Array {
  for (const file of KERNEL_FILES) {
    try {
      return readFileSync(new URL(file, import.meta.url));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  throw new Error("dist/kernels.wasm is missing: npm run build:kernels makes it");
}
