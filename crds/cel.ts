/**
 * Rules in CEL for the CRDs: what a zod schema refuses and JSON Schema has no word for, or no sentence. A builder in
 * fields.ts puts a rule on the schema it belongs to (`ruled`), and crd.ts writes it out.
 */
import type { z } from "zod";

/** One entry of x-kubernetes-validations. */
export interface Rule {
  /** True for what is allowed; `self` is the value that the rule is on. */
  rule: string;
  /** Said after the path of the value, or of the field that `fieldPath` names (`.compression`). */
  message: string;
  fieldPath?: string;
}

/** The schema with more rules. They are said again here because the API server cannot run what zod refines with. */
export function ruled<S extends z.ZodType>(schema: S, ...rules: readonly Rule[]): S {
  return schema.meta({ rules: [...rulesOf(schema), ...rules] });
}

export function rulesOf(schema: z.ZodType): readonly Rule[] {
  return (schema.meta()?.["rules"] as readonly Rule[] | undefined) ?? [];
}

/** A CEL string literal. */
export function quoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

/** Whether a CEL text matches a pattern: RE2 syntax, without flags. */
export function matches(subject: string, pattern: RegExp): string {
  if (pattern.flags !== "") throw new Error(`BUG: a pattern with flags cannot stand in a CRD: ${pattern}`);
  return `${subject}.matches(${quoted(pattern.source)})`;
}

/** Whether an object has a field. */
export function has(field: string, object = "self"): string {
  return `has(${object}.${field})`;
}

/**
 * Whether a text of an int-or-string is a size within bounds such as `8Mi`. It is read only once: Kubernetes 1.30 takes
 * such a text for one of three megabytes when it estimates what a rule costs.
 */
export function sizeWithin(least: string, most: string): string {
  const compare = (bound: string, sign: string): string => `size.compareTo(quantity('${bound}')) ${sign} 0`;
  return `[quantity(self)].all(size, ${compare(least, ">=")} && ${compare(most, "<=")})`;
}
