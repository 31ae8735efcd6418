/**
 * Containers that write logs as a container runtime lays them out: CRI lines in
 *
 *     <pods>/<namespace>_<pod>_<uid>/<container>/<restart>.log
 *
 * Every text names its container and its number, so that whoever gets it can tell lost, repeated, reordered and damaged
 * lines apart (exact-set.ts):
 *
 *     <container>:<number>:<nanoseconds> <words>
 */
import { closeSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";

const WORDS =
  "picked the next order from the queue, checked stock in warehouse north, reserved three items, asked billing for a " +
  "quote and answered before the deadline; retries none, cache hit, region eu-1, build 4711, customer tier standard ";
const WORDS_MIN = 20;

/** The text of a line. */
export function textOf(name: string, number: number, nanos: string): string {
  const from = (number * 13) % 60;
  return `${name}:${number}:${nanos} ${WORDS.slice(from, from + WORDS_MIN + ((number * 37) % 140))}`;
}

/** One line in 16 is an error. */
export function streamOf(number: number): "stdout" | "stderr" {
  return number % 16 === 7 ? "stderr" : "stdout";
}

/** `2026-11-23T10:00:00.123456789Z` and the same as nanoseconds since 1970. */
function stamp(ms: number, nanosBelow: number): { time: string; nanos: string } {
  const below = String(nanosBelow).padStart(6, "0");
  return { time: `${new Date(ms).toISOString().slice(0, 23)}${below}Z`, nanos: `${ms}${below}` };
}

let clockBelow = 0;

/** A CRI line; `tag`: F whole or last part, P a part that others follow. */
export function criLine(text: string, { stream = "stdout", tag = "F", time = stamp(Date.now(), 0).time } = {}): string {
  return `${time} ${stream} ${tag} ${text}\n`;
}

export interface ContainerOptions {
  namespace?: string;
  container?: string;
  /** Every so many-th line comes in two parts; 0: none. */
  splitEvery?: number;
  /** Bytes after which a file is rotated; 0: never by itself. */
  rotateBytes?: number;
}

interface Rotated {
  path: string;
  /** Its lines have numbers from `after` on and below `before`. */
  after: number;
  before: number;
}

/** A container that writes numbered lines. */
export class LoggingContainer {
  /** Names the pod and begins its texts. */
  readonly name: string;
  readonly folder: string;
  readonly rotated: Rotated[] = [];
  restart = 0;
  /** Lines and bytes written. */
  lines = 0;
  bytes = 0;
  rotations = 0;
  readonly #splitEvery: number;
  readonly #rotateBytes: number;
  #fd = -1;
  #fileBytes = 0;
  #fileFrom = 0;
  #renamed = false;
  /** The last part of a line whose first part is written. */
  #held = "";

  constructor(pods: string, name: string, options: ContainerOptions = {}) {
    const { namespace = "shop", container = "app", splitEvery = 0, rotateBytes = 0 } = options;
    this.name = name;
    this.folder = join(pods, `${namespace}_${name}_uid-${name}`, container);
    this.#splitEvery = splitEvery;
    this.#rotateBytes = rotateBytes;
    mkdirSync(this.folder, { recursive: true });
  }

  get path(): string {
    return join(this.folder, `${this.restart}.log`);
  }

  /** Appends so many lines in one write; of a last one in two parts the second comes with the next, or `finish`. */
  write(count: number): void {
    let block = this.#held;
    this.#held = "";
    const now = Date.now();
    for (let i = 0; i < count; i++) {
      const number = this.lines++;
      clockBelow = (clockBelow + 1) % 1_000_000;
      const { time, nanos } = stamp(now, clockBelow);
      const stream = streamOf(number);
      const text = textOf(this.name, number, nanos);
      if (this.#splitEvery === 0 || number % this.#splitEvery < this.#splitEvery - 1) {
        block += criLine(text, { stream, time });
        continue;
      }
      const half = text.length >> 1;
      block += criLine(text.slice(0, half), { stream, time, tag: "P" });
      const last = criLine(text.slice(half), { stream, time });
      if (i < count - 1) block += last;
      else this.#held = last;
    }
    this.raw(block);
    if (this.#rotateBytes === 0) return;
    // A runtime goes on with the renamed file for a moment, until it is told to open a new one.
    if (this.#renamed) this.#reopen();
    else if (this.#fileBytes >= this.#rotateBytes) this.#rename();
  }

  /** Ends a line that is open. */
  finish(): void {
    if (this.#held !== "") this.raw(this.#held);
    this.#held = "";
  }

  /** Appends bytes as they are. */
  raw(bytes: string | Uint8Array): void {
    if (this.#fd < 0) this.#fd = openSync(this.path, "a");
    const buffer = Buffer.from(bytes as string);
    for (let done = 0; done < buffer.length;) done += writeSync(this.#fd, buffer, done);
    this.bytes += buffer.length;
    this.#fileBytes += buffer.length;
  }

  /** Renames the file and goes on in a new one. */
  rotate(): void {
    this.#rename();
    this.#reopen();
  }

  /** The container ended and runs again: a new instance with a file of its own. */
  startAgain(): void {
    this.finish();
    this.close();
    this.restart++;
  }

  /** Removes the oldest rotated file when all of its lines are `below` this number, but for the `keep` newest. */
  prune(below: number, keep: number): void {
    const oldest = this.rotated[0];
    if (this.rotated.length <= keep || !oldest || oldest.before > below) return;
    rmSync(oldest.path);
    this.rotated.shift();
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
    this.#fileBytes = 0;
    this.#renamed = false;
  }

  #rename(): void {
    const at = new Date(Date.UTC(2026, 10, 24) + this.rotations++ * 1_000).toISOString();
    const path = `${this.path}.${at.slice(0, 10).replaceAll("-", "")}-${at.slice(11, 19).replaceAll(":", "")}`;
    renameSync(this.path, path);
    this.rotated.push({ path, after: this.#fileFrom, before: Infinity });
    this.#renamed = true;
  }

  #reopen(): void {
    this.rotated.at(-1)!.before = this.#fileFrom = this.lines;
    this.close();
    this.#fd = openSync(this.path, "a");
  }
}

/** Containers that write at a steady rate until `stop`. */
export class Load {
  readonly containers: LoggingContainer[];
  readonly #timer: NodeJS.Timeout;
  readonly #startedAt = performance.now();
  #done = 0;

  /** `linesPerSecond` for all together. `tick` is called after each round, every 20 ms. */
  constructor(containers: LoggingContainer[], linesPerSecond: number, tick = (): void => {}) {
    this.containers = containers;
    this.#timer = setInterval(() => {
      const due = Math.floor(((performance.now() - this.#startedAt) / 1000) * linesPerSecond);
      const each = Math.floor((due - this.#done) / containers.length);
      if (each < 1) return;
      this.#done += each * containers.length;
      for (const container of containers) container.write(each);
      tick();
    }, 20);
  }

  stop(): void {
    clearInterval(this.#timer);
    for (const container of this.containers) container.finish();
  }
}
