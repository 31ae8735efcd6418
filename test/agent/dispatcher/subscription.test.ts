import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import fc from "fast-check";
import type { Chain } from "../../../agent/collect/chain.ts";
import { Subscription, type Host, type SavedSubscription } from "../../../agent/dispatcher/subscription.ts";
import { imbalance, type Count } from "../../../agent/ledger.ts";
import type { Memory } from "../../../agent/memory/memory.ts";
import { lay, rawOf, testMemory, testSource, type Row } from "./rows.ts";

const CLOSED = { at: Infinity, raw: 0 };

let memory: Memory;
let held: { rows: number; bytes: number };
let done: string[];
let noKeys: boolean;

beforeEach(() => {
  memory = testMemory();
  held = { rows: 0, bytes: 0 };
  done = [];
  noKeys = false;
});

function open(
  options: { end?: number; before?: Subscription; saved?: SavedSubscription; restart?: number } = {},
): Subscription {
  const { end = 0, before, saved, restart = 0 } = options;
  const host: Host = {
    memory,
    steps: ["0/drop", "1/drop"],
    keysOf: () => (noKeys ? undefined : { entries: [], column: 0, chunk: undefined }),
    dropKeys: () => undefined,
    room: () => 1_000,
    changed: (_, rows, bytes) => {
      held.rows += rows;
      held.bytes += bytes;
    },
    dirty: () => undefined,
    done: ({ chain }) => done.push(chain.source.id),
    now: () => 1,
  };
  const chain = { source: testSource("web", restart), end } as Chain;
  return new Subscription("p/a", chain, host, 0, before, saved);
}

/** Reads rows that lie behind each other. */
function read(subscription: Subscription, rows: Row[], base = subscription.read): boolean {
  const records = lay(memory, base, rows)!;
  const taken = subscription.take(records);
  for (const chunk of records.chunks) chunk.release();
  const last = rows.at(-1);
  if (taken && last) subscription.read = (last.at ?? base + sum(rows.slice(0, -1))) + rawOf(last);
  return taken;
}

const total = (subscription: Subscription, name: string): Count | undefined => subscription.totals[name];
const sum = (rows: readonly Row[]): number => rows.reduce((bytes, row) => bytes + rawOf(row), 0);

function balanced(subscription: Subscription, openRaw = 0): void {
  const ledger = subscription.ledger(openRaw);
  assert.deepEqual(imbalance(ledger), { lines: 0, bytes: 0 }, JSON.stringify(ledger));
  assert.ok(ledger.backlogBytes >= 0, JSON.stringify(ledger));
}

test("what is taken is in flight until it is settled, from the front", () => {
  const rows = [{ text: "one" }, { text: "two" }, { text: "three" }];
  const subscription = open({ end: sum(rows) });
  read(subscription, rows);
  assert.deepEqual(subscription.ledger(0).inFlight, { lines: 3, bytes: sum(rows) });
  const [portion] = subscription.portions;
  subscription.settle(portion!, 2, "delivered");
  assert.deepEqual(subscription.totals, { delivered: { lines: 2, bytes: sum(rows.slice(0, 2)) } });
  assert.equal(subscription.saved(Infinity).from, sum(rows.slice(0, 2)));
  balanced(subscription);
  subscription.settle(portion!, 3, "deadLettered");
  assert.deepEqual(total(subscription, "deadLettered"), { lines: 1, bytes: rawOf(rows[2]!) });
  assert.deepEqual(held, { rows: 0, bytes: 0 });
  assert.equal(memory.arena.usedBytes, 0, "and then it holds no memory");
  balanced(subscription);
});

test("what a step filtered is settled as soon as nothing is outstanding before it", () => {
  const rows = [
    { text: "a", verdict: 2 },
    { text: "b" },
    { text: "c", verdict: 1 },
    { text: "d" },
    { text: "e", verdict: 1 },
  ];
  const subscription = open({ end: sum(rows) });
  read(subscription, rows);
  assert.deepEqual(subscription.totals, { "filtered/1/drop": { lines: 1, bytes: rawOf(rows[0]!) } });
  assert.deepEqual([subscription.rows, subscription.portions[0]!.from], [2, 1]);
  subscription.settle(subscription.portions[0]!, 2, "delivered");
  assert.deepEqual(total(subscription, "filtered/0/drop"), { lines: 1, bytes: rawOf(rows[2]!) });
  subscription.settle(subscription.portions[0]!, 4, "delivered");
  assert.equal(subscription.portions.length, 0);
  balanced(subscription);
});

test("a reading of which nothing was kept is settled at once and leaves nothing behind", () => {
  const subscription = open({ end: 94 });
  read(subscription, [
    { text: "a", verdict: 1 },
    { text: "b", verdict: 1 },
  ]);
  assert.deepEqual([subscription.portions.length, subscription.takenAt, memory.arena.usedBytes], [0, Infinity, 0]);
  balanced(subscription);
});

test("without room for its keys nothing of a reading is taken", () => {
  const subscription = open({ end: 47 });
  noKeys = true;
  assert.equal(read(subscription, [{ text: "a" }]), false);
  assert.deepEqual([held.rows, memory.arena.usedBytes, subscription.ledger(0).readLines], [0, 0, 0]);
});

test("released, it holds nothing, and reads again from its Position what was not settled", () => {
  const rows = [{ text: "one" }, { text: "two" }, { text: "three" }];
  const subscription = open({ end: sum(rows) });
  read(subscription, rows);
  subscription.settle(subscription.portions[0]!, 1, "delivered");
  assert.equal(subscription.release(CLOSED), rawOf(rows[0]!));
  assert.deepEqual([subscription.rows, held.rows, memory.arena.usedBytes], [0, 0, 0]);
  balanced(subscription);
  read(subscription, rows.slice(1));
  assert.equal(subscription.rows, 2);
  balanced(subscription);
});

test("a line of another stream that is still open is read again; what was settled behind it is not taken again", () => {
  // stderr holds a line open at 0; stdout's lines behind it are delivered.
  const opened = { at: 0, raw: 50 };
  const rows = [
    { text: "a", at: 50 },
    { text: "b", at: 97 },
  ];
  const subscription = open({ end: 144 });
  read(subscription, rows, 50);
  subscription.settle(subscription.portions[0]!, 2, "delivered");
  balanced(subscription, 50);
  assert.equal(subscription.release(opened), 0);
  balanced(subscription);
  read(subscription, [...rows, { text: "the end", stream: "stderr", at: 0, raw: 90, joined: true }], 50);
  assert.deepEqual([subscription.rows, subscription.portions[0]!.from], [1, 2]);
  assert.equal(subscription.at(subscription.portions[0]!.records, subscription.portions[0]!.from), 0);
});

for (const [what, joined] of [
  ["joined from parts", true],
  ["longer than a reading", false],
] as const) {
  test(`a line ${what} that was settled is known again though it comes out of a later reading`, () => {
    // stderr is open at 0; stdout's line from 50 to 200 was delivered.
    const line = { text: "settled", at: 50, raw: 150, joined };
    const subscription = open({ end: 200 });
    read(subscription, [line], 50);
    subscription.settle(subscription.portions[0]!, 1, "delivered");
    subscription.release({ at: 0, raw: 50 });
    subscription.read = 150;
    // The second reading begins at 150: behind every mark, but the line begins before it.
    read(subscription, [line], 150);
    assert.equal(subscription.rows, 0, "it is not taken again");
    assert.equal(subscription.ahead, 0);
    assert.deepEqual(subscription.totals, { delivered: { lines: 1, bytes: 150 } });
  });
}

test("a line that was joined from parts holds the Position where it begins until it is settled", () => {
  const subscription = open({ end: 300 });
  read(
    subscription,
    [
      { text: "b", stream: "stderr", at: 100, raw: 50 },
      { text: "a", at: 0, raw: 200, joined: true },
    ],
    0,
  );
  subscription.settle(subscription.portions[0]!, 1, "delivered");
  assert.equal(subscription.saved(Infinity).from, 0);
  subscription.settle(subscription.portions[0]!, 2, "delivered");
  assert.equal(subscription.saved(Infinity).from, subscription.read);
});

test("read again from the middle of a joined line that was settled, its other parts are known", () => {
  // stdout's line from 0 was joined with the part at 100; between them stderr began a line that is open.
  const subscription = open({ end: 150 });
  read(subscription, [{ text: "whole", at: 0, raw: 100, joined: true, lastAt: 100 }], 0);
  subscription.settle(subscription.portions[0]!, 1, "delivered");
  subscription.read = 150;
  const saved = structuredClone(subscription.saved(50));
  assert.equal(saved.from, 50);
  subscription.release({ at: 50, raw: 50 });
  for (const one of [subscription, open({ end: 150, saved })]) {
    balanced(one);
    read(
      one,
      [
        { text: "its end", at: 100, raw: 50 },
        { text: "new", at: 150, raw: 50 },
      ],
      50,
    );
    assert.deepEqual([one.rows, one.ahead], [1, 0]);
    assert.equal(one.at(one.portions[0]!.records, one.portions[0]!.from), 150);
  }
});

test("bytes that are gone are lost, but not those that were settled before", () => {
  const subscription = open({ end: 500 });
  read(subscription, [{ text: "a", at: 100, raw: 100 }], 100);
  subscription.settle(subscription.portions[0]!, 1, "delivered");
  subscription.release({ at: 0, raw: 100 });
  subscription.lost(0, 400, "RotatedBeforeRead");
  subscription.read = 400;
  assert.deepEqual(subscription.totals["lost/RotatedBeforeRead"], { lines: 0, bytes: 300 });
  balanced(subscription);
});

test("what was settled behind the bytes that are gone does not count for them", () => {
  // Lost are [0, 100); settled was what lies behind.
  const rows = [{ text: "a", at: 100, raw: 100 }];
  const subscription = open({ end: 200 });
  read(subscription, rows, 100);
  subscription.settle(subscription.portions[0]!, 1, "delivered");
  subscription.release({ at: 0, raw: 100 });
  subscription.lost(0, 100, "RotatedBeforeRead");
  subscription.read = 100;
  balanced(subscription);
  const again = open({ end: 200, saved: structuredClone(subscription.saved(Infinity)) });
  for (const one of [subscription, again]) {
    read(one, rows, 100);
    assert.deepEqual(one.totals["lost/RotatedBeforeRead"], { lines: 0, bytes: 100 });
    assert.equal(one.ledger(0).backlogBytes, 0);
    balanced(one);
  }
});

test("a later instance takes nothing before the earlier ones are over and settled", () => {
  const first = open({ end: 47 });
  const second = open({ before: first, restart: 1 });
  read(first, [{ text: "a" }]);
  assert.equal(second.room(), 0);
  first.finished();
  assert.equal(second.room(), 0, "read, but not settled");
  first.settle(first.portions[0]!, 1, "delivered");
  assert.deepEqual(done, [first.chain.source.id]);
  assert.ok(second.room() > 0);
});

test("a container that restarts for ever leaves nothing behind of its instances", () => {
  const begun = open();
  begun.finished();
  let last = begun;
  for (let restart = 1; restart < 30_000; restart++) {
    last = open({ before: last, restart });
    last.finished();
  }
  assert.equal(last.done, true);
});

test("an end that was not settled before a release comes again", () => {
  const subscription = open({ end: 47 });
  read(subscription, [{ text: "a" }]);
  subscription.finished();
  subscription.release(CLOSED);
  assert.equal(subscription.done, false);
  read(subscription, [{ text: "a" }], 0);
  subscription.finished();
  subscription.settle(subscription.portions[0]!, 1, "delivered");
  assert.equal(subscription.done, true);
});

test("what was sent is known by stream, and taken back when it was certainly not stored", () => {
  const rows: Row[] = [{ text: "a" }, { text: "b", stream: "stderr" }, { text: "c" }];
  const subscription = open({ end: sum(rows) });
  read(subscription, rows);
  const portion = subscription.portions[0]!;
  const before = subscription.sending([{ portion, from: 0, to: 2 }]);
  const sent = [0, 1, 2].map((row) => subscription.wasSent(subscription.saved(Infinity).sent, portion.records, row));
  assert.deepEqual(sent, [true, true, false]);
  assert.ok(
    [0, 1, 2].every((row) => !subscription.wasSent(before, portion.records, row)),
    "the marks from before do not know them",
  );
  subscription.notSent(before);
  assert.deepEqual(subscription.saved(Infinity).sent, [0, 0, 0]);
});

test("dead letters that were evicted are dropped, but never more of them than were counted", () => {
  const subscription = open({ end: 47 });
  read(subscription, [{ text: "a" }]);
  subscription.settle(subscription.portions[0]!, 1, "deadLettered");
  subscription.evicted(2, 94);
  assert.deepEqual(subscription.totals, {
    deadLettered: { lines: 0, bytes: 0 },
    "dropped/DeadLetterEvicted": { lines: 1, bytes: 47 },
  });
  balanced(subscription);
});

interface Step {
  do: "read" | "settle" | "release" | "rewind" | "restart";
  count: number;
}

const steps = fc.array(
  fc.record<Step>({
    do: fc.constantFrom("read", "read", "read", "settle", "settle", "release", "rewind", "restart"),
    count: fc.integer({ min: 1, max: 12 }),
  }),
  { minLength: 5, maxLength: 60 },
);

test("however it is read, released, rewound and restarted, each line is settled once and in order", () => {
  const rows: (Row & { at: number })[] = [];
  let end = 0;
  for (let i = 0; i < 60; i++) {
    rows.push({ text: `line ${i}`, stream: i % 3 === 0 ? "stderr" : "stdout", at: end, verdict: i % 7 === 5 ? 1 : 0 });
    end += rawOf(rows[i]!);
  }
  fc.assert(
    fc.property(steps, (plan) => {
      memory = testMemory();
      let subscription = open({ end });
      const settled: string[] = [];
      const settleFront = (count: number): void => {
        for (let i = 0; i < count; i++) {
          const [portion] = subscription.portions;
          if (!portion) return;
          const { records, from } = portion;
          settled.push(rows.find((row) => row.at === subscription.at(records, from))!.text);
          subscription.settle(portion, from + 1, "delivered");
        }
      };
      const readOn = (count: number): void => {
        const first = rows.findIndex((row) => row.at === subscription.read);
        if (first >= 0) read(subscription, rows.slice(first, first + count));
      };
      for (const step of plan) {
        if (step.do === "read") readOn(step.count);
        else if (step.do === "settle") settleFront(step.count);
        else if (step.do === "release") subscription.read = subscription.release(CLOSED);
        else if (step.do === "rewind") {
          // As a cursor does that goes back; what was taken stays taken.
          const at = rows.findIndex((row) => row.at >= subscription.read);
          const to = rows[Math.max(0, (at < 0 ? rows.length : at) - step.count)]!.at;
          if (to >= subscription.read) continue;
          subscription.ahead += subscription.read - to;
          subscription.rewound(to);
          subscription.read = to;
        } else {
          const saved = structuredClone(subscription.saved(Infinity));
          subscription.release(CLOSED);
          subscription = open({ end, saved });
        }
        balanced(subscription);
      }
      for (let i = 0; subscription.read < end && i < 100; i++) readOn(60);
      settleFront(60);
      assert.deepEqual(
        settled,
        rows.filter((row) => !row.verdict).map((row) => row.text),
      );
      assert.equal(subscription.ledger(0).backlogBytes, 0);
      balanced(subscription);
      assert.equal(memory.arena.usedBytes, 0);
    }),
    { numRuns: 300 },
  );
});
