/**
 * Who got which line how often: the exact set of the lines of log-writer.ts, as one destination saw them come.
 *
 * A line that comes for the first time after a later one of the same container and stream is **reordered**. One that
 * comes again is **repeated**, and that is **allowed** when the request that brought it before is uncertain: it had no
 * answer when the agent was killed, or got it less than GRACE_MS before, so that the agent can't have known.
 */
import assert from "node:assert/strict";
import { streamOf, textOf, type LoggingContainer } from "./log-writer.ts";

const GRACE_MS = 200;
const COMPLAINTS_MAX = 20;

/** One delivered record. */
export interface Delivered {
  text: string;
  time?: string;
  stream?: string;
  pod?: string;
}

export interface Request {
  /** Lives of the agent before the one that sent it. */
  readonly life: number;
  readonly receivedAt: number;
  /** When its answer had been handed to the kernel; Infinity: never. */
  answeredAt: number;
  status: number;
  lines: number;
}

interface Seen {
  /** By number: 1 + the index of the request that brought it last. */
  last: Uint32Array;
  /** By stream, 1 + the highest number. */
  newest: { stdout: number; stderr: number };
  count: number;
}

export class ExactSet {
  readonly requests: Request[] = [];
  /** When each life of the agent was ended, by the clock of `performance`. */
  readonly kills: number[] = [];
  lines = 0;
  repeated = 0;
  allowed = 0;
  /** By life, the requests of it that were sent again. */
  readonly repeatedRequests = new Map<number, Set<number>>();
  /** What is wrong, the first few. */
  readonly complaints: string[] = [];
  reordered = 0;
  damaged = 0;
  readonly #seen = new Map<string, Seen>();

  /** A request of that life came whole. Returns its index. */
  begin(life: number): number {
    this.requests.push({ life, receivedAt: performance.now(), answeredAt: Infinity, status: 0, lines: 0 });
    return this.requests.length - 1;
  }

  /** How many of a container's lines came. */
  count(name: string): number {
    return this.#seen.get(name)?.count ?? 0;
  }

  /** The highest number that came of a container; -1: none. */
  lastOf(name: string): number {
    const seen = this.#seen.get(name);
    return seen ? Math.max(seen.newest.stdout, seen.newest.stderr) - 1 : -1;
  }

  /** Numbers of a container's lines that did not come. */
  missing({ name, lines }: LoggingContainer): number[] {
    const last = this.#seen.get(name)?.last;
    const missing: number[] = [];
    for (let number = 0; number < lines; number++) if (!last?.[number]) missing.push(number);
    return missing;
  }

  take(index: number, { text, time, stream, pod }: Delivered): void {
    const [name = "", digits = "", nanos = ""] = text.slice(0, text.indexOf(" ")).split(":");
    const number = Number(digits);
    const request = this.requests[index]!;
    request.lines++;
    const isGood =
      text === textOf(name, number, nanos) &&
      (stream === undefined || stream === streamOf(number)) &&
      (pod === undefined || pod === name) &&
      (time === undefined ||
        time === `${new Date(Number(nanos.slice(0, -6))).toISOString().slice(0, 23)}${nanos.slice(-6)}Z`);
    if (!isGood) {
      this.damaged++;
      this.#complain(`damaged: ${JSON.stringify({ text, time, stream, pod })}`);
      return;
    }
    const seen = this.#of(name, number);
    const before = seen.last[number]!;
    seen.last[number] = index + 1;
    if (before > 0) return this.#again(name, number, before - 1, index);
    this.lines++;
    seen.count++;
    const way = streamOf(number);
    if (number >= seen.newest[way]) seen.newest[way] = number + 1;
    else {
      this.reordered++;
      this.#complain(`reordered: ${name}:${number} came after ${seen.newest[way] - 1}`);
    }
  }

  isUncertain({ life, answeredAt }: Request): boolean {
    const killedAt = this.kills[life];
    return killedAt !== undefined && answeredAt > killedAt - GRACE_MS;
  }

  /** Fails unless every written line came, in order, undamaged, and no repeat but an allowed one. */
  assertExact(containers: readonly LoggingContainer[], requestsPerKillMax: number): void {
    const missing = containers.flatMap((container) =>
      this.missing(container).map((number) => `${container.name}:${number}`),
    );
    const lost = missing.length;
    const off = { lost, reordered: this.reordered, damaged: this.damaged, repeated: this.repeated - this.allowed };
    const all = { lost: 0, reordered: 0, damaged: 0, repeated: 0 };
    const told = [...missing.slice(0, COMPLAINTS_MAX).map((line) => `lost: ${line}`), ...this.complaints];
    assert.deepEqual(off, all, told.join("\n"));
    for (const [life, requests] of this.repeatedRequests) {
      assert.ok(requests.size <= requestsPerKillMax, `${requests.size} requests were repeated after kill ${life}`);
    }
  }

  #again(name: string, number: number, before: number, index: number): void {
    this.repeated++;
    const request = this.requests[before]!;
    if (request.life < this.requests[index]!.life && this.isUncertain(request)) {
      this.allowed++;
      const requests = this.repeatedRequests.get(request.life) ?? new Set();
      this.repeatedRequests.set(request.life, requests.add(before));
      return;
    }
    const ago = (this.kills[request.life] ?? NaN) - request.answeredAt;
    const after = `request ${before} of life ${request.life}, answered ${Math.round(ago)} ms before its end`;
    this.#complain(`repeated: ${name}:${number} by request ${index} after ${after}`);
  }

  #of(name: string, number: number): Seen {
    let seen = this.#seen.get(name);
    if (!seen) {
      seen = { last: new Uint32Array(4096), newest: { stdout: 0, stderr: 0 }, count: 0 };
      this.#seen.set(name, seen);
    }
    if (number >= seen.last.length) {
      const larger = new Uint32Array(Math.max(number + 1, seen.last.length * 2));
      larger.set(seen.last);
      seen.last = larger;
    }
    return seen;
  }

  #complain(what: string): void {
    if (this.complaints.length < COMPLAINTS_MAX) this.complaints.push(what);
  }
}
