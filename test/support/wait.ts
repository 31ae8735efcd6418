/** Waiting in tests that watch real processes: always for something, never longer than a limit. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

const LOOK_MS = 20;

/** Waits until `holds` returns something true, and returns it. After `ms` it fails with `what` and `details`. */
export async function eventually<T>(
  what: string,
  holds: () => T | Promise<T>,
  { ms = 15_000, details = (): string => "" } = {},
): Promise<Exclude<T, false | undefined | null>> {
  for (const deadline = performance.now() + ms; ; await sleep(LOOK_MS)) {
    const value = await holds();
    if (value) return value as Exclude<T, false | undefined | null>;
    if (performance.now() > deadline) assert.fail(`waited ${ms / 1000} s, but ${what} did not come\n${details()}`);
  }
}
