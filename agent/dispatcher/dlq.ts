/**
 * The writing half of a sink's dead-letter queue: segments of NDJSON that people can read,
 *
 *     <data-dir>/dlq/<pipeline>/<sink>/00000001.ndjson
 *
 * A record is settled only after its line was fsynced. Over `bytesMax` the oldest segments are evicted, and what lay in
 * them is told, so that the ledger moves it to dropped.
 */
import { Buffer } from "node:buffer";
import { dirname } from "node:path";
import { readWhole, type Disk } from "../disk.ts";
import type { Log } from "../log.ts";

const SEGMENT_BYTES = 4 * 1024 * 1024;
/** A small queue has at least this many segments: eviction takes a part of it. */
const SEGMENTS_MIN = 8;
const NAME = /^(\d{8,15})\.ndjson$/;
/** Directories of ours above a sink's segments: its own, the pipeline's, `dlq`. */
const LEVELS = 3;

/** One dead-lettered record as its line holds it, beside the NDJSON members of every record. */
export interface DeadLetter {
  readonly chain: string;
  readonly lines: number;
  /** Source bytes. */
  readonly bytes: number;
  readonly reason: string;
  readonly json: string;
}

/** What left the queue of one chain. */
export interface Evicted {
  readonly chain: string;
  readonly lines: number;
  readonly bytes: number;
}

/** What the queue tells whoever keeps the books. */
export interface Books {
  /** Letters are on stable storage; nothing was added or evicted since. */
  kept(): void;
  /** These leave the queue. True: it is written down, so that no crash can hide it. */
  evicted(evicted: readonly Evicted[]): boolean;
}

interface Segment {
  readonly number: number;
  bytes: number;
  /** What lies in it was told as evicted, though it could not be written down yet. */
  told?: boolean;
}

export class DeadLetters {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #log: Log;
  readonly #bytesMax: number;
  readonly #segmentBytes: number;
  #segments: Segment[] = [];
  #bytes = 0;
  #lastNumber = 0;
  #fd = -1;
  #opened = false;
  /** The open segment's name is on stable storage. */
  #named = false;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(disk: Disk, directory: string, bytesMax: number, log: Log) {
    this.#disk = disk;
    this.#directory = directory;
    this.#bytesMax = bytesMax;
    this.#segmentBytes = Math.min(SEGMENT_BYTES, bytesMax / SEGMENTS_MIN);
    this.#log = log;
    try {
      this.#find();
    } catch {
      // The first letter tries again, and says what is wrong.
    }
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Appends letters and makes room for them. Rejects with the disk's error: then nothing was kept. */
  add(letters: readonly DeadLetter[], books: Books): Promise<void> {
    const adding = this.#tail.then(() => this.#add(letters, books));
    this.#tail = adding.catch(() => undefined);
    return adding;
  }

  /** Waits for what is being written. */
  async close(): Promise<void> {
    await this.#tail;
    this.#shut();
  }

  async #add(letters: readonly DeadLetter[], books: Books): Promise<void> {
    if (!this.#opened) await this.#open();
    const lines = letters.map(({ json }) => Buffer.from(`${json}\n`));
    let bytes = lines.reduce((sum, { length }) => sum + length, 0);
    let from = 0;
    while (bytes > this.#bytesMax && from < lines.length - 1) bytes -= lines[from++]!.length;
    this.#evict(bytes, books);
    const segment = await this.#segment();
    try {
      this.#disk.write(this.#fd, Buffer.concat(lines.slice(from)));
      await this.#disk.sync(this.#fd);
    } catch (error) {
      this.#takeBack(segment);
      throw error;
    }
    segment.bytes += bytes;
    this.#bytes += bytes;
    books.kept();
    if (from === 0) return;
    books.evicted(countByChain(letters.slice(0, from)));
    this.#say(this.#directory, letters.slice(0, from));
  }

  /** Nothing torn and nothing twice: what was written of a failed addition goes. */
  #takeBack(segment: Segment): void {
    try {
      this.#disk.truncate(this.#fd, segment.bytes);
    } catch {
      this.#shut();
      this.#opened = false;
    }
  }

  async #open(): Promise<void> {
    this.#disk.makeDirectory(this.#directory);
    for (let path = this.#directory, i = 0; i < LEVELS; i++) {
      path = dirname(path);
      await this.#disk.syncDirectory(path);
    }
    this.#find();
    this.#cutTorn();
    this.#opened = true;
  }

  /** Finds the segments of earlier runs. */
  #find(): void {
    const segments: Segment[] = [];
    for (const { name } of this.#disk.list(this.#directory) ?? []) {
      const number = NAME.exec(name)?.[1];
      if (!number) continue;
      segments.push({ number: Number(number), bytes: this.#disk.stat(`${this.#directory}/${name}`)?.size ?? 0 });
    }
    this.#segments = segments.sort((a, b) => a.number - b.number);
    this.#bytes = segments.reduce((sum, { bytes }) => sum + bytes, 0);
    this.#lastNumber = Math.max(this.#lastNumber, segments.at(-1)?.number ?? 0);
  }

  #cutTorn(): void {
    const last = this.#segments.at(-1);
    if (!last || last.bytes === 0) return;
    const path = this.#path(last.number);
    const content = readWhole(this.#disk, path, Infinity)!;
    const whole = content.lastIndexOf(10) + 1;
    if (whole === content.length) return;
    const fd = this.#disk.openAppend(path);
    this.#disk.truncate(fd, whole);
    this.#disk.close(fd);
    this.#bytes -= last.bytes - whole;
    last.bytes = whole;
    this.#log.warn("the last line of a dead-letter segment was torn by a crash and is cut off", { path });
  }

  /** The segment to append to, open and with a name that survives a power cut. */
  async #segment(): Promise<Segment> {
    let segment = this.#segments.at(-1);
    if (!segment || segment.bytes >= this.#segmentBytes || this.#fd < 0) {
      const full = !segment || segment.bytes >= this.#segmentBytes;
      if (!segment || full) segment = { number: this.#lastNumber + 1, bytes: 0 };
      const fd = this.#disk.openAppend(this.#path(segment.number));
      this.#shut();
      this.#fd = fd;
      this.#named = false;
      this.#lastNumber = segment.number;
      if (full) this.#segments.push(segment);
    }
    if (!this.#named) await this.#disk.syncDirectory(this.#directory);
    this.#named = true;
    return segment;
  }

  /** Removes the oldest segments until `coming` bytes fit; each only when the books know. */
  #evict(coming: number, books: Books): void {
    while (this.#segments.length > 0 && this.#bytes + coming > this.#bytesMax) {
      const oldest = this.#segments[0]!;
      const path = this.#path(oldest.number);
      const letters = oldest.told ? [] : lettersIn(readWhole(this.#disk, path, Infinity) ?? Buffer.alloc(0));
      if (!oldest.told) this.#say(path, letters);
      oldest.told = true;
      if (!books.evicted(countByChain(letters))) throw new Error("it is full, and the journal can't be written");
      if (this.#segments.length === 1) this.#shut();
      this.#disk.remove(path);
      this.#segments.shift();
      this.#bytes -= oldest.bytes;
    }
  }

  #say(path: string, letters: readonly Evicted[]): void {
    const lines = letters.reduce((sum, letter) => sum + letter.lines, 0);
    this.#log.error("the oldest dead letters were evicted: the queue has reached dlqBytes", {
      ...{ path, lines, hint: "raise dlqBytes, or mend what the sink refuses" },
    });
  }

  #shut(): void {
    if (this.#fd >= 0) this.#disk.close(this.#fd);
    this.#fd = -1;
  }

  #path(number: number): string {
    return `${this.#directory}/${String(number).padStart(8, "0")}.ndjson`;
  }
}

/** The letters of a segment. A line that somebody damaged counts as nothing: it must not end the queue. */
function lettersIn(content: Buffer): Evicted[] {
  const letters: Evicted[] = [];
  for (let at = 0, end; (end = content.indexOf(10, at)) >= 0; at = end + 1) {
    try {
      const { deadLetter } = JSON.parse(content.toString("utf8", at, end)) as { deadLetter: Evicted };
      const { chain, lines, bytes } = deadLetter;
      if (typeof chain === "string" && lines >= 0 && bytes >= 0) letters.push({ chain, lines, bytes });
    } catch {
      continue;
    }
  }
  return letters;
}

function countByChain(letters: readonly Evicted[]): Evicted[] {
  const counts = new Map<string, { chain: string; lines: number; bytes: number }>();
  for (const { chain, lines, bytes } of letters) {
    const count = counts.get(chain) ?? { chain, lines: 0, bytes: 0 };
    counts.set(chain, count);
    count.lines += lines;
    count.bytes += bytes;
  }
  return [...counts.values()];
}
