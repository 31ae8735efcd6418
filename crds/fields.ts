/**
 * The building blocks of the schema. Each is a zod schema whose input side can become a structural CRD schema (no
 * unions of objects, every string, list and map bounded) and whose output is what the agent works with: bytes,
 * milliseconds, read templates.
 *
 * Metadata keys read by the reference generator: `description`, and where JSON Schema has no word for it, `shown` (the
 * type as people say it) and `bounds`.
 */
import { z } from "zod";
import { checkPattern, matchesEmpty, PATTERN_CHARS_MAX } from "./pattern.ts";
import { DURATION_PATTERN, formatDuration, formatSize, parseDuration, parseSize, SIZE_PATTERN } from "./quantity.ts";
import { parseTemplate, TemplateError } from "./template.ts";
import type { Template } from "./template.ts";

export const STRING_CHARS_MAX = 1024;
export const URL_CHARS_MAX = 2048;
/** Globs per list, headers, added fields and the like. */
export const ITEMS_MAX = 64;

/** Text of 1 to `charsMax` characters. */
export const text = (charsMax = STRING_CHARS_MAX) => z.string().min(1).max(charsMax);

/** A number of bytes, written as a size (`8Mi`) or a plain number; the output is bytes. */
export function size(least: string, most: string) {
  const [bytesMin, bytesMax] = [parseSize(least)!, parseSize(most)!];
  const sentence = "must be a size such as 8Mi or 500k, or a whole number of bytes";
  return z
    .union([z.int().min(0), z.string().max(24).regex(SIZE_PATTERN, { error: sentence })], { error: sentence })
    .transform((value, context) => {
      const bytes = parseSize(value);
      if (bytes === undefined) context.issues.push({ code: "custom", message: sentence, input: value });
      else if (bytes < bytesMin || bytes > bytesMax) {
        const message = `must be between ${least} and ${most}, not ${value}`;
        context.issues.push({ code: "custom", message, input: value });
      }
      return bytes ?? 0;
    })
    .meta({ shown: "size", bounds: `${formatSize(bytesMin)} to ${formatSize(bytesMax)}` });
}

/** A duration (`1m30s`); the output is milliseconds. */
export function duration(least: string, most: string) {
  const [millisecondsMin, millisecondsMax] = [parseDuration(least)!, parseDuration(most)!];
  const sentence = "must be a duration such as 500ms, 30s or 1m30s (units: h, m, s, ms)";
  return z
    .string({ error: sentence })
    .max(32)
    .regex(DURATION_PATTERN, { error: sentence })
    .transform((value, context) => {
      const milliseconds = parseDuration(value) ?? Number.NaN;
      if (!(milliseconds >= millisecondsMin && milliseconds <= millisecondsMax)) {
        const message = `must be between ${least} and ${most}, not ${value}`;
        context.issues.push({ code: "custom", message, input: value });
      }
      return milliseconds;
    })
    .meta({ shown: "duration", bounds: `${formatDuration(millisecondsMin)} to ${formatDuration(millisecondsMax)}` });
}

/** Text with `{names}` in it; the output is the read Template. */
export function template() {
  return text()
    .transform((value, context): Template => {
      try {
        return parseTemplate(value);
      } catch (error) {
        if (!(error instanceof TemplateError)) throw error;
        context.issues.push({ code: "custom", message: error.message, input: value });
        return z.NEVER;
      }
    })
    .meta({ shown: "template" });
}

/**
 * A regular expression in RE2 syntax. One that is to be replaced may not also match the empty text: its replacement
 * would appear between all characters.
 */
export const pattern = (use: "search" | "replace" = "search") =>
  text(PATTERN_CHARS_MAX)
    .superRefine((value, context) => {
      if (value === "" || value.length > PATTERN_CHARS_MAX) return; // said by the bounds
      let trouble = checkPattern(value);
      if (trouble === undefined && use === "replace" && matchesEmpty(value)) {
        trouble = "also matches the empty text; use + instead of *, or name what it must hold";
      }
      if (trouble !== undefined) context.addIssue({ code: "custom", message: trouble });
    })
    .meta({ shown: "pattern" });

/** A list of names where * stands for any characters. Empty is refused: it would read as "none" and mean "all". */
export const globs = () =>
  z
    .array(
      z
        .string()
        .max(253)
        .regex(/^[a-z0-9*]([a-z0-9.*-]*[a-z0-9*])?$/, {
          error: "must be a name of small letters, digits, dots and dashes, with * for any characters",
        }),
    )
    .min(1, { error: "is empty; leave it out to set no condition" })
    .max(ITEMS_MAX)
    .meta({ shown: "list of globs" });

/** The name of an object, as Kubernetes takes it (a DNS subdomain). */
export const objectName = () =>
  z
    .string()
    .max(253)
    .regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/, { error: "must be a name of small letters, digits, dots and dashes" });

/** The name of a namespace or sink (a DNS label). */
export const labelName = () =>
  z
    .string()
    .max(63)
    .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, { error: "must be a name of small letters, digits and dashes" });

/** An http or https URL without userinfo and fragment. */
export const url = () =>
  z
    .string()
    .max(URL_CHARS_MAX)
    .regex(/^https?:\/\/[^\s/]/i, { error: "must be a URL that starts with http:// or https://" })
    .superRefine((value, context) => {
      const trouble = urlTrouble(value);
      if (trouble !== undefined) context.addIssue({ code: "custom", message: trouble });
    })
    .meta({ shown: "URL" });

function urlTrouble(value: string): string | undefined {
  if (!/^https?:\/\/[^\s/]/i.test(value)) return undefined; // said by the pattern
  const parsed = URL.parse(value);
  if (parsed === null || /\s/.test(value)) return "is no valid URL";
  if (parsed.username !== "" || parsed.password !== "")
    return "holds a user name or password; put them into auth.basic";
  if (value.includes("#")) return "has a fragment (#…), which is never sent; leave it out";
  return undefined;
}

/** Refuses objects that do not have exactly one of the keys. In a CRD this becomes a rule on the object. */
export function exactlyOne<S extends z.ZodType<object>>(schema: S, keys: readonly string[], what: string): S {
  const present = (value: object): string[] => keys.filter((key) => Object.hasOwn(value, key));
  return schema.refine((value) => present(value).length === 1, {
    error: ({ input }) => {
      const names = present(input as object);
      if (names.length === 0) return `${what} needs one of ${keys.join(", ")}`;
      return `${what} has ${names.join(" and ")}; it takes exactly one of ${keys.join(", ")}`;
    },
  });
}

/** Refuses objects that have none of the keys: what narrows or protects may not be empty. */
export function atLeastOne<S extends z.ZodType<object>>(schema: S, keys: readonly string[], what: string): S {
  return schema.refine((value) => keys.some((key) => Object.hasOwn(value, key)), {
    error: `${what} is empty; it needs at least one of ${keys.join(", ")}`,
  });
}

/** Refuses maps with more than `itemsMax` entries, or fewer than `itemsMin`. */
export function bounded<S extends z.ZodType<Record<string, unknown>>>(schema: S, itemsMax: number, itemsMin = 0): S {
  const count = (value: object | undefined): number => Object.keys(value ?? {}).length;
  return schema
    .refine((value) => count(value) >= itemsMin, { error: "is empty; leave it out" })
    .refine((value) => count(value) <= itemsMax, {
      error: ({ input }) => `must have at most ${itemsMax} entries, not ${count(input as object)}`,
    })
    .meta({ itemsMax });
}
