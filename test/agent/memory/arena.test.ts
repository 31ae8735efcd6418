import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Arena, PAGE_BYTES } from "../../../agent/memory/arena.ts";

const FROM = PAGE_BYTES * 5;
const PAGES = 24;

test("runs lie one behind the other, and room that is freed is used first", () => {
  const arena = new Arena(FROM, FROM + 4 * PAGE_BYTES);
  const [a, b] = [arena.allocate(1), arena.allocate(PAGE_BYTES + 1)];
  assert.deepEqual([a, b], [FROM, FROM + PAGE_BYTES]);
  arena.free(a);
  assert.equal(arena.allocate(PAGE_BYTES * 2), 0, "two pages are free, but not side by side");
  assert.equal(arena.largestBytes, PAGE_BYTES);
  assert.equal(arena.allocate(PAGE_BYTES), a);
  arena.free(b);
  assert.equal(arena.allocate(3 * PAGE_BYTES), b);
  assert.equal(arena.freeBytes, 0);
  assert.equal(arena.allocate(1), 0);
});

test("freed neighbours are one run again", () => {
  const arena = new Arena(FROM, FROM + 3 * PAGE_BYTES);
  const runs = [1, 2, 3].map(() => arena.allocate(PAGE_BYTES));
  for (const run of [runs[1]!, runs[0]!, runs[2]!]) arena.free(run);
  assert.equal(arena.allocate(3 * PAGE_BYTES), FROM);
});

test("freeing twice, inside a run or outside of the arena throws", () => {
  const arena = new Arena(FROM, FROM + 4 * PAGE_BYTES);
  const run = arena.allocate(2 * PAGE_BYTES);
  for (const wrong of [run + PAGE_BYTES, run + 4, FROM - PAGE_BYTES, FROM + 4 * PAGE_BYTES, 0]) {
    assert.throws(() => arena.free(wrong), /BUG/);
  }
  arena.free(run);
  assert.throws(() => arena.free(run), /BUG/);
  assert.equal(arena.usedBytes, 0);
});

test("sizes that are no size, and places that are no place, throw", () => {
  const arena = new Arena(FROM, FROM + PAGE_BYTES);
  for (const bytes of [0, -1, Number.NaN]) assert.throws(() => arena.allocate(bytes), RangeError);
  assert.throws(() => new Arena(FROM + 1, FROM + PAGE_BYTES), RangeError);
  assert.throws(() => new Arena(0, PAGE_BYTES), RangeError);
  assert.throws(() => new Arena(FROM, FROM - PAGE_BYTES), RangeError);
});

/** A page map that tries every place in turn. */
class Model {
  readonly pages: number[] = Array(PAGES).fill(0) as number[];

  largest(): number {
    let largest = 0;
    for (let from = 0; from < PAGES; from++) {
      let length = 0;
      while (from + length < PAGES && this.pages[from + length] === 0) length++;
      largest = Math.max(largest, length);
    }
    return largest;
  }

  allocate(id: number, length: number): number | undefined {
    for (let from = 0; from + length <= PAGES; from++) {
      if (this.pages.slice(from, from + length).some((page) => page !== 0)) continue;
      this.pages.fill(id, from, from + length);
      return from;
    }
    return undefined;
  }

  free(id: number): void {
    this.pages.forEach((page, index) => {
      if (page === id) this.pages[index] = 0;
    });
  }
}

test("any sequence of calls gives what the simplest first fit gives", () => {
  const step = fc.oneof(
    fc.record({ allocate: fc.integer({ min: 1, max: 8 * PAGE_BYTES }) }),
    fc.record({ free: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const arena = new Arena(FROM, FROM + PAGES * PAGE_BYTES);
      const model = new Model();
      const live: { id: number; address: number }[] = [];
      steps.forEach((one, index) => {
        if ("allocate" in one) {
          const id = index + 1;
          const page = model.allocate(id, Math.ceil(one.allocate / PAGE_BYTES));
          const address = arena.allocate(one.allocate);
          assert.equal(address, page === undefined ? 0 : FROM + page * PAGE_BYTES);
          if (address !== 0) live.push({ id, address });
        } else if (live.length > 0) {
          const [gone] = live.splice(Math.floor(one.free * live.length), 1);
          arena.free(gone!.address);
          model.free(gone!.id);
        }
        const free = model.pages.filter((page) => page === 0).length;
        assert.equal(arena.freeBytes, free * PAGE_BYTES);
        assert.equal(arena.usedBytes, (PAGES - free) * PAGE_BYTES);
        assert.equal(arena.largestBytes, model.largest() * PAGE_BYTES);
      });
    }),
    { numRuns: 500 },
  );
});
