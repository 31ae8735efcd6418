/**
 * The writing half of a sink's dead-letter queue: segments of NDJSON that people can read,
 *
 *     <data-dir>/dlq/<pipeline>/<sink>/00000001.ndjson
 *
 * A record is settled only after its line was fsynced. Over `bytesMax` the oldest segments are evicted, and what lay in them
 * is returned so that the ledger moves it to dropped.
 */
import { Buffer } from "node:buffer";
import { readWhole, type Disk } from "../disk.ts";
import type { Log } from "../log.ts";

const SEGMENT_BYTES = 4 * 1024 * 1024;
const SEGMENTS_MAX = 10_000;
const NAME = /^(\d{8})\.ndjson$/;

/** One dead-lettered record as its line holds it, beside the NDJSON members of every record. */
export interface DeadLetter {
  readonly chain: string;
  readonly lines: number;
  /** Source bytes. */
  readonly bytes: number;
  readonly reason: string;
  readonly json: string;
}

/** What an evicted segment held of one chain. */
export interface Evicted {
  readonly chain: string;
  readonly lines: number;
  readonly bytes: number;
}

export class DeadLetters {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #log: Log;
  readonly #bytesMax: number;
  readonly #segments: { number: number; bytes: number }[] = [];
  #fd = -1;
  #opened = false;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(disk: Disk, directory: string, bytesMax: number, log: Log) {
    this.#disk = disk;
    this.#directory = directory;
    this.#bytesMax = bytesMax;
    this.#log = log;
  }

  get bytes(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.bytes, 0);
  }

  /** Appends and syncs; returns what had to be evicted for it. Rejects with the disk's error: then nothing of it was kept. */
  add(letters: readonly DeadLetter[]): Promise<Evicted[]> {
    const adding = this.#tail.then(() => this.#add(letters));
    this.#tail = adding.catch(() => undefined);
    return adding;
  }

  /** Waits for what is being written. */
  async close(): Promise<void> {
    await this.#tail;
    if (this.#fd >= 0) this.#disk.close(this.#fd);
    this.#fd = -1;
  }

  async #add(letters: readonly DeadLetter[]): Promise<Evicted[]> {
    if (!this.#opened) this.#open();
    const bytes = Buffer.from(letters.map((letter) => `${letter.json}\n`).join(""));
    const evicted = this.#evict(bytes.length);
    let segment = this.#segments.at(-1);
    if (this.#fd < 0 || !segment || segment.bytes >= SEGMENT_BYTES) segment = await this.#next();
    try {
      this.#disk.write(this.#fd, bytes);
      await this.#disk.sync(this.#fd);
    } catch (error) {
      // Nothing torn and nothing twice: what was written of it goes.
      this.#disk.truncate(this.#fd, segment.bytes);
      throw error;
    }
    segment.bytes += bytes.length;
    return evicted;
  }

  /** Finds the segments of earlier runs and cuts a torn last line. */
  #open(): void {
    this.#disk.makeDirectory(this.#directory);
    for (const { name } of this.#disk.list(this.#directory) ?? []) {
      const number = NAME.exec(name)?.[1];
      if (!number) continue;
      this.#segments.push({ number: Number(number), bytes: this.#disk.stat(`${this.#directory}/${name}`)?.size ?? 0 });
    }
    this.#segments.sort((a, b) => a.number - b.number);
    const last = this.#segments.at(-1);
    if (last && last.bytes > 0) {
      const content = readWhole(this.#disk, this.#path(last.number), Infinity)!;
      const whole = content.lastIndexOf(10) + 1;
      if (whole < content.length) {
        const fd = this.#disk.openAppend(this.#path(last.number));
        this.#disk.truncate(fd, whole);
        this.#disk.close(fd);
        last.bytes = whole;
        this.#log.warn("the last line of a dead-letter segment was torn by a crash and is cut off", {
          path: this.#path(last.number),
        });
      }
    }
    this.#opened = true;
  }

  async #next(): Promise<{ number: number; bytes: number }> {
    const last = this.#segments.at(-1);
    const reuse = last && this.#fd < 0 && last.bytes < SEGMENT_BYTES;
    const segment = reuse ? last : { number: (last?.number ?? 0) + 1, bytes: 0 };
    const fd = this.#disk.openAppend(this.#path(segment.number));
    if (this.#fd >= 0) this.#disk.close(this.#fd);
    this.#fd = fd;
    if (!reuse) this.#segments.push(segment);
    await this.#disk.syncDirectory(this.#directory);
    return segment;
  }

  /** Removes the oldest segments until `coming` bytes fit. */
  #evict(coming: number): Evicted[] {
    const evicted: Evicted[] = [];
    let bytes = this.bytes + coming;
    while (this.#segments.length > 0 && (bytes > this.#bytesMax || this.#segments.length > SEGMENTS_MAX)) {
      const oldest = this.#segments[0]!;
      const path = this.#path(oldest.number);
      const counts = countLetters(readWhole(this.#disk, path, Infinity) ?? Buffer.alloc(0));
      if (this.#segments.length === 1 && this.#fd >= 0) {
        this.#disk.close(this.#fd);
        this.#fd = -1;
      }
      this.#disk.remove(path);
      this.#segments.shift();
      bytes -= oldest.bytes;
      evicted.push(...counts);
      const lines = counts.reduce((sum, count) => sum + count.lines, 0);
      this.#log.error("the oldest dead letters were evicted: the queue has reached dlqBytes", {
        ...{ path, lines, hint: "raise dlqBytes, or mend what the sink refuses" },
      });
    }
    return evicted;
  }

  #path(number: number): string {
    return `${this.#directory}/${String(number).padStart(8, "0")}.ndjson`;
  }
}

/** Lines and source bytes in a segment, by chain. */
function countLetters(content: Buffer): Evicted[] {
  const counts = new Map<string, { lines: number; bytes: number }>();
  for (let at = 0, end; (end = content.indexOf(10, at)) >= 0; at = end + 1) {
    const { deadLetter } = JSON.parse(content.toString("utf8", at, end)) as { deadLetter: Evicted };
    const count = counts.get(deadLetter.chain) ?? { lines: 0, bytes: 0 };
    count.lines += deadLetter.lines;
    count.bytes += deadLetter.bytes;
    counts.set(deadLetter.chain, count);
  }
  return [...counts].map(([chain, count]) => ({ chain, ...count }));
}
