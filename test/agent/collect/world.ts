/** One container's log files in memory and a chain over them, read as a reader does but byte by byte and without takers. */
import { Buffer } from "node:buffer";
import { Chain, type Ahead, type SavedFile } from "../../../agent/collect/chain.ts";
import { Descriptors } from "../../../agent/collect/descriptors.ts";
import type { Source } from "../../../agent/collect/source.ts";
import type { Log } from "../../../agent/log.ts";
import { SimClock } from "../../support/sim-clock.ts";
import { SimDisk } from "../../support/sim-disk.ts";

export const DIRECTORY = "/logs/ns_pod_uid/app";
export const SOURCE: Source = {
  ...{ id: "uid/app/0", namespace: "ns", pod: "pod", uid: "uid", container: "app", restart: 0, node: "n" },
};

let count = 0;
/** A line that is like no other. */
export const line = (text = "x".repeat(count % 7)): string =>
  `2026-11-24T10:00:00.${String(count++).padStart(9, "0")}Z stdout F ${text}\n`;
export const lines = (n: number): string => Array.from({ length: n }, () => line()).join("");

/** A log that keeps its lines. */
export function memoryLog(lines: string[]): Log {
  const say =
    (level: string) =>
    (message: string, fields: object = {}): void =>
      void lines.push(`${level} ${message} ${JSON.stringify(fields)}`);
  return { info: say("info"), warn: say("warn"), error: say("error") };
}

export class ChainWorld {
  readonly clock = new SimClock();
  readonly disk = new SimDisk(
    () => this.clock.wall(),
    () => true,
  );
  readonly descriptors: Descriptors;
  readonly said: string[] = [];
  chain: Chain;
  /** Linear offset up to which `read` came, and what it saw. */
  at = 0;
  text = "";
  /** Lost bytes, by reason. */
  readonly lost: Record<string, number> = {};

  constructor(maxOpenFiles = 8) {
    this.descriptors = new Descriptors(this.disk, maxOpenFiles);
    this.disk.makeDirectory(DIRECTORY);
    this.chain = this.open();
  }

  open(saved: readonly SavedFile[] = []): Chain {
    const { clock, disk, descriptors } = this;
    return new Chain(SOURCE, DIRECTORY, "0.log", { clock, disk, descriptors, log: memoryLog(this.said) }, saved);
  }

  path(name = "0.log"): string {
    return `${DIRECTORY}/${name}`;
  }

  write(text: string, name = "0.log"): void {
    this.disk.append(this.path(name), text);
  }

  rotate(stamp: string): void {
    this.disk.rename(this.path(), this.path(`0.log.${stamp}`));
  }

  async wait(ms: number): Promise<void> {
    await this.clock.run(ms);
  }

  /** A new run of the agent: what was saved, other device numbers; reading goes on where it was. */
  restart(): void {
    const saved = JSON.parse(JSON.stringify(this.chain.saved())) as SavedFile[];
    this.chain.close();
    this.chain = this.open(saved);
    this.chain.refresh();
    this.chain.cover(this.at);
  }

  look(tail = 0): Ahead {
    return this.chain.look(this.at, tail);
  }

  /** Reads all that can be read now, whole lines only unless nothing follows them. Returns the new text. */
  read(): string {
    const before = this.text.length;
    const block = Buffer.alloc(100_000);
    for (let tail = 0; ;) {
      const ahead = this.look(tail);
      if (ahead.kind === "lost") {
        this.lost[ahead.reason] = (this.lost[ahead.reason] ?? 0) + ahead.to - this.at;
        this.at = ahead.to;
      } else if (ahead.kind === "bytes") {
        const n = this.chain.read(ahead.segment, this.at, block, 0, Math.min(ahead.bytes, block.length));
        const text = block.toString("latin1", 0, n);
        const whole = ahead.complete ? text : text.slice(0, text.lastIndexOf("\n") + 1);
        this.text += whole;
        this.at += whole.length;
        if (whole !== "") tail = 0;
        else if (n === 0) break;
        else tail = n;
      } else break;
    }
    return this.text.slice(before);
  }

  /** Reads, with time passing, until nothing more comes for a while. */
  async drain(): Promise<string> {
    let text = "";
    for (let quiet = 0; quiet < 6;) {
      this.chain.refresh();
      const more = this.read();
      text += more;
      quiet = more === "" ? quiet + 1 : 0;
      await this.wait(500);
    }
    return text;
  }
}

/** A world whose first file was read. */
export function reading(): ChainWorld {
  const world = new ChainWorld();
  world.write(lines(3));
  world.chain.refresh();
  world.read();
  return world;
}
