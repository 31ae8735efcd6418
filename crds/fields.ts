/**
 * The building blocks of the schema. Each is a zod schema whose input side becomes a structural CRD schema (no unions of
 * objects, every string, list and map bounded) and whose output is what the agent works with: bytes, milliseconds, read
 * templates. What zod refines, a CEL rule says again for the CRD.
 *
 * Metadata keys: `description`, and where JSON Schema has no word for it, `shown` (the type as people say it), `bounds`,
 * `fallback` (a default that is not written into the object), `itemsMin` and `itemsMax` of maps, `listKey` and `rules`.
 */
import { z } from "zod";
import { has, matches, ruled, sizeWithin, type Rule } from "./cel.ts";
import { checkPattern, matchesEmpty, PATTERN_CHARS_MAX } from "./pattern.ts";
import {
  DURATION_CHARS_MAX,
  SIZE_CHARS_MAX,
  DURATION_PATTERN,
  formatDuration,
  formatSize,
  parseDuration,
  parseSize,
  SIZE_PATTERN,
} from "./quantity.ts";
import { NAMES, parseTemplate, TEMPLATE_PATTERN, TemplateError } from "./template.ts";
import type { Template } from "./template.ts";

export const STRING_CHARS_MAX = 1024;
export const URL_CHARS_MAX = 2048;
export const TEMPLATE_CHARS_MAX = 512;
/** Globs per list, headers, added fields and the like. */
export const ITEMS_MAX = 64;

/** Text of 1 to `charsMax` characters. */
export const text = (charsMax = STRING_CHARS_MAX) => z.string().min(1).max(charsMax);

/** Text of at most `charsMax` characters that a pattern describes; `sentence` says what it must be. */
export const worded = (pattern: RegExp, charsMax: number, sentence: string) =>
  ruled(z.string().max(charsMax).regex(pattern, { error: sentence }), {
    rule: matches("self", pattern),
    message: sentence,
  });

/** A number of bytes, written as a size (`8Mi`) or a plain number; the output is bytes. */
export function size(least: string, most: string) {
  const [bytesMin, bytesMax] = [parseSize(least)!, parseSize(most)!];
  const sentence = "must be a size such as 8Mi or 500k, or a whole number of bytes";
  const schema = z
    .union([z.int(), z.string().max(SIZE_CHARS_MAX).regex(SIZE_PATTERN, { error: sentence })], {
      error: sentence,
    })
    .transform((value, context) => {
      const bytes = parseSize(value) ?? Number.NaN;
      if (!(bytes >= bytesMin && bytes <= bytesMax)) {
        const message = `must be between ${least} and ${most}, not ${value}`;
        context.issues.push({ code: "custom", message, input: value });
      }
      return Math.ceil(bytes);
    });
  return ruled(schema, {
    rule: `type(self) == string ? ${sizeWithin(least, most)} : self >= ${bytesMin} && self <= ${bytesMax}`,
    message: `${sentence}, between ${least} and ${most}`,
  }).meta({ shown: "size", bounds: `${formatSize(bytesMin)} to ${formatSize(bytesMax)}` });
}

/** A duration (`1m30s`); the output is milliseconds. */
export function duration(least: string, most: string) {
  const [millisecondsMin, millisecondsMax] = [parseDuration(least)!, parseDuration(most)!];
  const sentence = "must be a duration such as 500ms, 30s or 1m30s (units: h, m, s, ms)";
  const schema = z
    .string({ error: sentence })
    .max(DURATION_CHARS_MAX)
    .regex(DURATION_PATTERN, { error: sentence })
    .transform((value, context) => {
      const milliseconds = parseDuration(value) ?? Number.NaN;
      if (!(milliseconds >= millisecondsMin && milliseconds <= millisecondsMax)) {
        const message = `must be between ${least} and ${most}, not ${value}`;
        context.issues.push({ code: "custom", message, input: value });
      }
      return milliseconds;
    });
  return ruled(schema, {
    rule: `${matches("self", DURATION_PATTERN)} && duration(self) >= duration('${least}') && duration(self) <= duration('${most}')`,
    message: `${sentence}, between ${least} and ${most}`,
  }).meta({ shown: "duration", bounds: `${formatDuration(millisecondsMin)} to ${formatDuration(millisecondsMax)}` });
}

/** Text with `{names}` in it; the output is the read Template. */
export function template() {
  const schema = text(TEMPLATE_CHARS_MAX).transform((value, context): Template => {
    try {
      return parseTemplate(value);
    } catch (error) {
      if (!(error instanceof TemplateError)) throw error;
      context.issues.push({ code: "custom", message: error.message, input: value });
      return z.NEVER;
    }
  });
  return ruled(schema, {
    rule: matches("self", TEMPLATE_PATTERN),
    message: `must be a text with names in braces, of which known are ${NAMES.map((name) => `{${name}}`)
      .join(", ")
      .replace("{fields}", "{fields.KEY}")}`,
  }).meta({ shown: "template" });
}

/**
 * A regular expression in RE2 syntax. One that is to be replaced may not also match the empty text: its replacement
 * would appear between all characters.
 */
export const pattern = (use: "search" | "replace" = "search") =>
  ruled(
    text(PATTERN_CHARS_MAX).superRefine((value, context) => {
      if (value === "" || value.length > PATTERN_CHARS_MAX) return; // said by the bounds
      let trouble = checkPattern(value);
      if (trouble === undefined && use === "replace" && matchesEmpty(value)) {
        trouble = "also matches the empty text; use + instead of *, or name what it must hold";
      }
      if (trouble !== undefined) context.addIssue({ code: "custom", message: trouble });
    }),
    use === "replace"
      ? {
          rule: "!''.matches(self)",
          message: "must be a regular expression in RE2 syntax that does not match the empty text",
        }
      : // Evaluating it fails, with the reason, where it is none.
        { rule: "''.matches(self) ? true : true", message: "must be a regular expression in RE2 syntax" },
  ).meta({ shown: "pattern" });

/** A list of names where * stands for any characters. Empty is refused: it would read as "none" and mean "all". */
export const globs = () =>
  z
    .array(
      worded(
        /^[a-z0-9*]([a-z0-9.*-]*[a-z0-9*])?$/,
        253,
        "must be a name of small letters, digits, dots and dashes, with * for any characters",
      ),
    )
    .min(1, { error: "is empty; leave it out to set no condition" })
    .max(ITEMS_MAX)
    .meta({ shown: "list of globs" });

/** The name of an object, as Kubernetes takes it (a DNS subdomain). */
export const objectName = () =>
  worded(
    /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/,
    253,
    "must be a name of small letters, digits, dots and dashes",
  );

/** The name of a namespace or sink (a DNS label). */
export const labelName = () =>
  worded(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, 63, "must be a name of small letters, digits and dashes");

/** What is left of a URL without userinfo, spaces, backslashes and fragment. */
const URL_PATTERN = /^[hH][tT][tT][pP][sS]?:\/\/[^\s/?#@\\]+([/?][^\s#\\]*)?$/;

/** An http or https URL without userinfo and fragment. */
export const url = () =>
  ruled(
    z
      .string()
      .max(URL_CHARS_MAX)
      .superRefine((value, context) => {
        const trouble = urlTrouble(value);
        if (trouble !== undefined) context.addIssue({ code: "custom", message: trouble });
      }),
    {
      rule: `${matches("self", URL_PATTERN)} && isURL(self)`,
      message: "must be a URL that starts with http:// or https://, without user name, password and fragment (#…)",
    },
  ).meta({ shown: "URL" });

function urlTrouble(value: string): string | undefined {
  if (!/^https?:\/\/[^\s/]/i.test(value)) return "must be a URL that starts with http:// or https://";
  const parsed = URL.parse(value);
  if (parsed === null || /[\s\\]/.test(value)) return "is no valid URL";
  if (parsed.username !== "" || parsed.password !== "")
    return "holds a user name or password; put them into auth.basic";
  if (value.includes("#")) return "has a fragment (#…), which is never sent; leave it out";
  return URL_PATTERN.test(value) ? undefined : "is no valid URL";
}

/** Refuses objects that do not have exactly one of the keys. In a CRD this becomes a rule on the object. */
export function exactlyOne<S extends z.ZodType<object>>(schema: S, keys: readonly string[], what: string): S {
  const present = (value: object): string[] => keys.filter((key) => Object.hasOwn(value, key));
  const refined = schema.refine((value) => present(value).length === 1, {
    error: ({ input }) => {
      const names = present(input as object);
      if (names.length === 0) return `${what} needs one of ${keys.join(", ")}`;
      return `${what} has ${names.join(" and ")}; it takes exactly one of ${keys.join(", ")}`;
    },
  });
  return ruled(refined, {
    rule: `[${keys.map((key) => has(key)).join(", ")}].exists_one(given, given)`,
    message: `${what} takes exactly one of ${keys.join(", ")}`,
  });
}

/** Refuses objects that have none of the keys: what narrows or protects may not be empty. */
export function atLeastOne<S extends z.ZodType<object>>(schema: S, keys: readonly string[], what: string): S {
  const message = `${what} is empty; it needs at least one of ${keys.join(", ")}`;
  const refined = schema.refine((value) => keys.some((key) => Object.hasOwn(value, key)), { error: message });
  return ruled(refined, { rule: keys.map((key) => has(key)).join(" || "), message });
}

/** Refuses maps with more than `itemsMax` entries, or fewer than `itemsMin`. */
export function bounded<S extends z.ZodType<Record<string, unknown>>>(schema: S, itemsMax: number, itemsMin = 0): S {
  const count = (value: object | undefined): number => Object.keys(value ?? {}).length;
  return schema
    .refine((value) => count(value) >= itemsMin, { error: "is empty; leave it out" })
    .refine((value) => count(value) <= itemsMax, {
      error: ({ input }) => `must have at most ${itemsMax} entries, not ${count(input as object)}`,
    })
    .meta({ itemsMax, ...(itemsMin > 0 ? { itemsMin } : {}) });
}

/** A rule on a map: what its keys must be. zod judges each key, at its own path. */
export const keysMatch = (pattern: RegExp, sentence: string): Rule => ({
  rule: `self.all(name, ${matches("name", pattern)})`,
  message: sentence,
});
