/**
 * What a file sink left behind over several lives of the agent. Which lines a request brought can't be seen in a file,
 * but a path takes one request at a time: so what a life repeats must be a run of lines at its beginning that ends
 * where the lines before it end, and no longer than one request.
 */
import assert from "node:assert/strict";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { ExactSet, type Delivered } from "../support/exact-set.ts";
import type { LoggingContainer } from "../support/log-writer.ts";

const NEWLINE = 10;

export class FileLives {
  readonly #folder: string;
  /** By life, by file name, where its whole lines ended. */
  readonly #ends: Map<string, number>[] = [];
  repeated = 0;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** The agent was killed: notes where each file's last whole line ends. */
  killed(): void {
    const ends = new Map<string, number>();
    for (const name of readdirSync(this.#folder)) {
      const content = readFileSync(join(this.#folder, name));
      ends.set(name, content.lastIndexOf(NEWLINE) + 1);
    }
    this.#ends.push(ends);
  }

  /** What all files hold now. */
  bytes(): number {
    return readdirSync(this.#folder).reduce((sum, name) => sum + statSync(join(this.#folder, name)).size, 0);
  }

  /** Fails unless every line is there, whole, in order, and repeated only as requests under way at a kill can be. */
  assertExact(containers: readonly LoggingContainer[], batchLines: number, workers: number): void {
    const set = new ExactSet();
    // Every repeat is allowed there: it is judged here.
    set.kills.push(...this.#ends.map(() => 0));
    /** Lines that were written by a life and then again by a later one. */
    const byLife = new Map<number, number>();
    for (const name of readdirSync(this.#folder)) this.#check(name, set, batchLines, byLife);
    set.assertExact(containers, Infinity);
    for (const [life, lines] of byLife) {
      assert.ok(lines <= batchLines * workers, `${lines} lines were repeated after kill ${life}`);
      this.repeated += lines;
    }
  }

  #check(name: string, set: ExactSet, batchLines: number, byLife: Map<number, number>): void {
    const content = readFileSync(join(this.#folder, name));
    assert.equal(content.at(-1), NEWLINE, `${name} ends in the middle of a line`);
    /** By text, which of the distinct lines it is and the life that wrote it last. */
    const distinct = new Map<string, { at: number; life: number }>();
    let from = 0;
    for (const [life, ends] of [...this.#ends, new Map([[name, content.length]])].entries()) {
      const to = ends.get(name) ?? from;
      const lines = content.toString("utf8", from, to).split("\n").slice(0, -1);
      from = to;
      const index = set.begin(life);
      let run = NaN;
      let isNew = false;
      for (const [row, line] of lines.entries()) {
        const record = parse(line, `${name}, life ${life}, row ${row}`);
        set.take(index, record);
        const known = distinct.get(record.text);
        if (!known) {
          assert.ok(Number.isNaN(run) || run === distinct.size || isNew, `${name}: life ${life} left lines out`);
          isNew = true;
          distinct.set(record.text, { at: distinct.size, life });
          continue;
        }
        const { at } = known;
        const where = `${name}: life ${life}, row ${row} repeats line ${at} of ${distinct.size}`;
        assert.ok(!isNew && (Number.isNaN(run) || at === run), `${where} out of turn`);
        assert.ok(distinct.size - at <= batchLines, `${where}, more than a request before its end`);
        run = at + 1;
        byLife.set(known.life, (byLife.get(known.life) ?? 0) + 1);
        known.life = life;
      }
    }
  }
}

function parse(line: string, where: string): Delivered {
  try {
    return JSON.parse(line) as Delivered;
  } catch {
    return assert.fail(`${where} is torn: ${line.slice(0, 200)}`);
  }
}
