/**
 * User patterns are RE2 syntax: everything in it can run in time linear to the text, so no pattern can hang the agent.
 * https://github.com/google/re2/wiki/Syntax
 */
import { RE2JS } from "re2js";

/** Characters that a pattern may have; also a CRD bound. */
export const PATTERN_CHARS_MAX = 512;
/**
 * Instructions that a pattern may compile to: room for a text of PATTERN_CHARS_MAX letter by letter. A search takes time in proportion to
 * instructions times characters, and counted repeats multiply them.
 */
export const PATTERN_SIZE_MAX = 600;

/** What is wrong with a pattern, in one sentence, or undefined when it is good. */
export function checkPattern(source: string): string | undefined {
  if (source.length > PATTERN_CHARS_MAX) return `has ${source.length} characters; at most ${PATTERN_CHARS_MAX}`;
  try {
    const size = RE2JS.compile(source).programSize();
    if (size <= PATTERN_SIZE_MAX) return undefined;
    return `compiles to ${size} instructions; at most ${PATTERN_SIZE_MAX}: use smaller counts in {…}, or + instead`;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    if (/\(\?<?[=!]/.test(source))
      return "uses lookaround ((?=, (?!, (?<=, (?<!), which the linear-time engine does not have";
    if (/\\[1-9]/.test(source)) return "uses a backreference (\\1), which the linear-time engine does not have";
    return `is no regular expression in RE2 syntax: ${reason.replace(/^error parsing regexp: /, "")}`;
  }
}

/** Whether the pattern also finds the empty text, as `a*` does. The pattern must be one that checkPattern accepts. */
export function matchesEmpty(source: string): boolean {
  return RE2JS.compile(source).test("");
}
