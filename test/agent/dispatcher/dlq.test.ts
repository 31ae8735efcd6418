import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { DeadLetters, type DeadLetter, type Evicted } from "../../../agent/dispatcher/dlq.ts";
import { SimClock } from "../../support/sim-clock.ts";
import { SimDisk } from "../../support/sim-disk.ts";

const DIRECTORY = "/data/dlq/p/a";

let disk: SimDisk;
let said: string[];
let kept: number;
let evicted: Evicted[];
/** The books can be written. */
let written: boolean;

beforeEach(() => {
  disk = newDisk();
  said = [];
  kept = 0;
  evicted = [];
  written = true;
});

function newDisk(): SimDisk {
  const clock = new SimClock();
  return new SimDisk(
    () => clock.wall(),
    () => false,
  );
}

function open(bytesMax = 1024 * 1024): DeadLetters {
  const say = (message: string): void => void said.push(message);
  return new DeadLetters(disk, DIRECTORY, bytesMax, { info: say, warn: say, error: say });
}

function letters(chain: string, count: number, length = 0): DeadLetter[] {
  return Array.from({ length: count }, (_, i) => {
    const counts = { chain, lines: 1, bytes: 10 };
    const json = JSON.stringify({ text: `${chain} ${i} ${"x".repeat(length)}`, deadLetter: counts });
    return { ...counts, reason: "poison", json };
  });
}

function add(queue: DeadLetters, given: DeadLetter[], onKept: () => unknown = () => undefined): Promise<void> {
  return queue.add(given, {
    kept() {
      kept += given.length;
      onKept();
    },
    evicted(gone) {
      evicted.push(...gone);
      return written;
    },
  });
}

const files = (): string[] =>
  disk
    .names()
    .filter((name) => name.startsWith(DIRECTORY))
    .sort();
const content = (): string =>
  files()
    .map((name) => disk.content(name))
    .join("");
const evictedLines = (): number => evicted.reduce((sum, { lines }) => sum + lines, 0);
const linesKept = (): number => content().split("\n").length - 1;

test("letters are one line of JSON each, and count as kept when they survive a power cut", async () => {
  const queue = open();
  await add(queue, letters("web", 2), () => {
    disk.crash(true);
    assert.equal(linesKept(), 2);
  });
  assert.equal(kept, 2);
  assert.equal(files()[0], `${DIRECTORY}/00000001.ndjson`);
  assert.deepEqual(
    content()
      .trimEnd()
      .split("\n")
      .map((line) => (JSON.parse(line) as { text: string }).text),
    ["web 0 ", "web 1 "],
  );
});

test("what several workers add at once lies there whole, and none is kept before the one before it", async () => {
  const queue = open();
  const order: number[] = [];
  await Promise.all([0, 1, 2, 3].map((n) => add(queue, letters(`c${n}`, 50), () => order.push(n))));
  assert.deepEqual(order, [0, 1, 2, 3]);
  for (const line of content().trimEnd().split("\n")) JSON.parse(line);
  assert.equal(linesKept(), 200);
  await queue.close();
  assert.equal(disk.openCount, 0);
});

test("a letter is counted before anything that comes after it can evict it", async () => {
  const queue = open(4_096);
  const log: string[] = [];
  const adding = ["a", "b", "c", "d"].map((chain) =>
    queue.add(letters(chain, 1, 3_000), {
      kept: () => log.push(`kept ${chain}`),
      evicted(gone) {
        for (const one of gone) log.push(`evicted ${one.chain}`);
        return true;
      },
    }),
  );
  await Promise.all(adding);
  assert.deepEqual(log, ["kept a", "evicted a", "kept b", "evicted b", "kept c", "evicted c", "kept d"]);
});

test("over its size the oldest go, a part of the queue at a time, and are told by container", async () => {
  const queue = open(16_384);
  for (let i = 0; i < 200; i++) await add(queue, letters(i % 2 ? "odd" : "even", 1, 400));
  assert.equal(kept, 200);
  assert.equal(evictedLines() + linesKept(), 200);
  assert.ok(queue.bytes <= 16_384 && content().length === queue.bytes, `${queue.bytes} bytes`);
  assert.ok(queue.bytes > 16_384 / 2, "eviction leaves most of it");
  assert.deepEqual([...new Set(evicted.map(({ chain }) => chain))].sort(), ["even", "odd"]);
  const numbers = files().map((name) => Number(/(\d+)\.ndjson$/.exec(name)![1]));
  assert.deepEqual(
    numbers,
    numbers.map((_, i) => numbers[0]! + i),
    "and the rest are in a row",
  );
  assert.ok(said.some((message) => message.includes("evicted")));
});

test("of more than fits at once the last are kept, the others are counted and told", async () => {
  const queue = open(4_096);
  await add(queue, letters("old", 1));
  await add(queue, letters("new", 100, 200));
  assert.ok(queue.bytes <= 4_096);
  assert.equal(kept, 101);
  assert.equal(evictedLines() + linesKept(), 101);
  assert.match(content(), /"new 99 /);
});

test("one letter larger than the queue is kept alone", async () => {
  const queue = open(4_096);
  await add(queue, letters("old", 2));
  await add(queue, letters("huge", 1, 10_000));
  assert.deepEqual([linesKept(), evictedLines()], [1, 2]);
  await add(queue, letters("next", 1));
  assert.deepEqual([linesKept(), evictedLines()], [1, 3]);
});

test("on a full disk nothing is kept, torn or counted; with room again it goes on", async () => {
  const queue = open();
  await add(queue, letters("a", 1));
  disk.full = true;
  await assert.rejects(add(queue, letters("b", 5, 100)), /ENOSPC/);
  assert.deepEqual([kept, linesKept()], [1, 1]);
  disk.full = false;
  await add(queue, letters("b", 5, 100));
  assert.deepEqual([kept, linesKept()], [6, 6]);
  for (const line of content().trimEnd().split("\n")) JSON.parse(line);
  assert.equal(queue.bytes, content().length);
});

test("what was evicted for letters that then could not be written is told all the same", async () => {
  const queue = open(4_096);
  await add(queue, letters("old", 1, 3_000));
  disk.full = true;
  await assert.rejects(add(queue, letters("new", 1, 3_000)));
  assert.deepEqual(evicted, [{ chain: "old", lines: 1, bytes: 10 }]);
});

test("nothing is evicted before it is written down, and nothing is counted twice for that", async () => {
  const queue = open(4_096);
  await add(queue, letters("old", 1, 3_000));
  written = false;
  await assert.rejects(add(queue, letters("new", 1, 3_000)), /journal/);
  await assert.rejects(add(queue, letters("new", 1, 3_000)), /journal/);
  assert.match(content(), /"old 0/);
  written = true;
  await add(queue, letters("new", 1, 3_000));
  assert.match(content(), /"new 0/);
  assert.deepEqual([evictedLines(), linesKept()], [1, 1]);
});

test("a segment that can't be shortened after a failed write is left as a crash would leave it", async () => {
  const queue = open();
  await add(queue, letters("a", 1));
  disk.full = true;
  const truncate = disk.truncate.bind(disk);
  disk.truncate = () => {
    throw new Error("EIO");
  };
  await assert.rejects(add(queue, letters("b", 1, 100)), /ENOSPC/);
  disk.truncate = truncate;
  disk.full = false;
  await add(queue, letters("c", 1));
  assert.deepEqual(
    content()
      .trimEnd()
      .split("\n")
      .map((line) => (JSON.parse(line) as { text: string }).text),
    ["a 0 ", "c 0 "],
  );
});

test("a directory that can't be made or read is an error, and no reason to forget what lies there", async () => {
  await add(open(), letters("a", 1));
  const queue = open();
  const makeDirectory = disk.makeDirectory.bind(disk);
  disk.makeDirectory = () => {
    throw new Error("EROFS");
  };
  await assert.rejects(add(queue, letters("b", 1)), /EROFS/);
  disk.makeDirectory = makeDirectory;
  const list = disk.list.bind(disk);
  disk.list = () => {
    throw new Error("EIO");
  };
  await assert.rejects(add(queue, letters("b", 1)), /EIO/);
  disk.list = list;
  await add(queue, letters("b", 1));
  assert.equal(linesKept(), 2);
  assert.equal(queue.bytes, content().length);
});

test("a later run goes on in the same segment, knows its size at once, and cuts a torn last line", async () => {
  const first = open();
  await add(first, letters("a", 2));
  await first.close();
  const whole = content();
  disk.append(files()[0]!, '{"text":"torn');
  const second = open();
  assert.ok(second.bytes > 0);
  await add(second, letters("b", 1));
  assert.equal(files().length, 1);
  assert.equal(second.bytes, content().length);
  assert.ok(content().startsWith(whole) && linesKept() === 3);
  assert.ok(said.some((message) => message.includes("torn")));
});

test("a segment that somebody damaged is evicted like any other", async () => {
  await add(open(4_096), letters("a", 1, 200));
  disk.append(files()[0]!, 'not json\n{"deadLetter":null}\n{"deadLetter":{"chain":1}}\n');
  const queue = open(4_096);
  for (let i = 0; i < 20; i++) await add(queue, letters("b", 1, 400));
  assert.deepEqual(evicted[0], { chain: "a", lines: 1, bytes: 10 });
  assert.ok(queue.bytes <= 4_096);
});

test("a number is never used twice while the queue is open, whatever was evicted", async () => {
  const queue = open(4_096);
  const seen = new Set<string>();
  for (let i = 0; i < 10; i++) {
    await add(queue, letters("a", 1, 3_900));
    seen.add(files().join());
  }
  assert.equal(seen.size, 10);
});
