/**
 * V8's regular expressions are fast, but backtrack: some patterns take hours on some texts. V8 can leave a search
 * that backtracks too much to its linear engine, for the patterns that this engine takes. It is an experiment of
 * V8's, behind flags (https://v8.dev/blog/non-backtracking-regexp), so whether it works is tried out once before it
 * is relied on.
 *
 * Steps over characters that no backtracking is counted for stay: at most one pass over the text from each place in it
 * and from each counted backtrack. So V8 only gets texts of V8_CHARS_MAX characters, which then take it about half a
 * millisecond at worst; longer ones are for re2js.
 */
import { setFlagsFromString } from "node:v8";
import { threadMilliseconds } from "./deadline.ts";

export const V8_CHARS_MAX = 1024;
/** V8's own default is 50,000: ten milliseconds, for a text of that length. */
const BACKTRACKS_MAX = 1000;
/** What the trial may take: far more than it needs (under 0.1 ms), far less than backtracking would (over 100 ms). */
const TRIAL_MS_MAX = 20;

let works: boolean | undefined;

/** A RegExp (flag g) that searches texts of up to V8_CHARS_MAX characters in bounded time; undefined: use re2js. */
export function boundedRegExp(source: string): RegExp | undefined {
  works ??= trial();
  if (!works) return undefined;
  try {
    // The flag l asks for the linear engine and is refused where that cannot run the pattern; itself it is slow.
    void new RegExp(source, "l");
    return new RegExp(source, "g");
  } catch {
    return undefined;
  }
}

function trial(): boolean {
  setFlagsFromString("--enable-experimental-regexp-engine");
  setFlagsFromString("--enable-experimental-regexp-engine-on-excessive-backtracks");
  setFlagsFromString(`--regexp-backtracks-before-fallback=${BACKTRACKS_MAX}`);
  try {
    void new RegExp("tailrace", "l");
  } catch {
    return false;
  }
  // Built from parts, so that no RegExp of this source was compiled before the flags were set.
  const evil = new RegExp(["(x+", "x+)+y"].join(""));
  const start = threadMilliseconds();
  evil.test(`${"x".repeat(24)}!`);
  return threadMilliseconds() - start < TRIAL_MS_MAX;
}
