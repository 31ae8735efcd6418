/** The process steps: each entry of spec.process has exactly one of these keys. */
import { z } from "zod";
import { ruled } from "./cel.ts";
import { atLeastOne, bounded, exactlyOne, ITEMS_MAX, pattern, STRING_CHARS_MAX, template, text } from "./fields.ts";

/** Levels in rising severity; unknown is its own level. */
export const LEVELS = ["unknown", "trace", "debug", "info", "warn", "error", "fatal"] as const;
export type Level = (typeof LEVELS)[number];

const FIELD_CHARS_MAX = 256;
const FIELDS_MAX = 32;
const fieldName = () => text(FIELD_CHARS_MAX);

/** A map whose keys are names of fields. */
const byField = <V extends z.ZodType>(value: V) =>
  ruled(bounded(z.record(fieldName(), value), FIELDS_MAX, 1), {
    rule: `self.all(name, size(name) > 0 && size(name) <= ${FIELD_CHARS_MAX})`,
    message: `must have keys of 1 to ${FIELD_CHARS_MAX} characters`,
  });

const conditions = (what: string) =>
  atLeastOne(
    z.strictObject({
      level: z
        .array(z.enum(LEVELS))
        .min(1, { error: "is empty; name at least one level" })
        .max(LEVELS.length)
        .meta({ description: "The line has one of these levels." })
        .exactOptional(),
      text: exactlyOne(
        z.strictObject({
          contains: text().meta({ description: "The text holds this." }).exactOptional(),
          matches: pattern().meta({ description: "The text matches this pattern somewhere." }).exactOptional(),
        }),
        ["contains", "matches"],
        "text",
      )
        .meta({ description: "The line's text (its first 64 KiB) meets this; exactly one of contains, matches." })
        .exactOptional(),
      field: exactlyOne(
        z.strictObject({
          name: fieldName().meta({ description: "Name of the field; dots lead into nested fields." }),
          equals: z.string().max(STRING_CHARS_MAX).meta({ description: "The field is exactly this." }).exactOptional(),
          matches: pattern().meta({ description: "The field matches this pattern somewhere." }).exactOptional(),
        }),
        ["equals", "matches"],
        "field",
      )
        .meta({ description: "A field of the record meets this; exactly one of equals, matches." })
        .exactOptional(),
    }),
    ["level", "text", "field"],
    what,
  );

const redact = atLeastOne(
  z.strictObject({
    presets: z
      .array(z.enum(["email", "creditCard"]))
      .min(1, { error: "is empty; name at least one preset" })
      .max(ITEMS_MAX)
      .meta({ description: "Built-in patterns." })
      .exactOptional(),
    patterns: z
      .array(
        z.strictObject({
          matches: pattern("replace").meta({ description: "What to replace, wherever it is found." }),
          replacement: z
            .string()
            .max(STRING_CHARS_MAX)
            .meta({
              description:
                "What takes its place; $1 and $<name> stand for groups of the pattern, $& for all of it, $$ for a dollar sign.",
            })
            .prefault("***"),
        }),
      )
      .min(1, { error: "is empty; give at least one pattern" })
      .max(ITEMS_MAX)
      .meta({ description: "Own patterns." })
      .exactOptional(),
  }),
  ["presets", "patterns"],
  "redact",
);

const fields = atLeastOne(
  z.strictObject({
    add: byField(template()).meta({ description: "Fields to set, with templates for their values." }).exactOptional(),
    remove: z
      .array(fieldName())
      .min(1, { error: "is empty; leave it out" })
      .max(FIELDS_MAX)
      .meta({ description: "Fields to remove." })
      .exactOptional(),
    rename: byField(fieldName()).meta({ description: "Fields to rename: old name, new name." }).exactOptional(),
  }),
  ["add", "remove", "rename"],
  "fields",
);

/** The table of steps: a new one is its options above, one line here and one in Step (config.ts). */
export const stepOptions = {
  keep: conditions("keep").meta({ description: "Keeps only lines that meet all given conditions." }),
  drop: conditions("drop").meta({ description: "Drops lines that meet all given conditions." }),
  redact: redact.meta({ description: "Replaces what must not leave the machine." }),
  fields: fields.meta({ description: "Removes, renames and adds fields, in that order." }),
};
export const STEP_KINDS = Object.keys(stepOptions) as (keyof typeof stepOptions)[];

export const step = exactlyOne(
  z.strictObject({
    keep: stepOptions.keep.exactOptional(),
    drop: stepOptions.drop.exactOptional(),
    redact: stepOptions.redact.exactOptional(),
    fields: stepOptions.fields.exactOptional(),
  }),
  STEP_KINDS,
  "a step",
);

export type StepEntry = z.output<typeof step>;
