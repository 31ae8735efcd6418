/**
 * The dispatcher's settings: of a pipeline (spec.dispatcher, with defaults) and of one sink (sinks[].dispatcher, which
 * overrides; without defaults of its own, they would shadow the pipeline's). 0 and false are values; what is left out
 * or null is not set.
 */
import { z } from "zod";
import { ruled, type Rule } from "./cel.ts";
import { duration, size } from "./fields.ts";
import { parseSize } from "./quantity.ts";

/** Effective settings of one sink. */
export interface DispatcherSettings {
  queueSize: number;
  queueBytes: number;
  workerCount: number;
  batchSize: number;
  batchBytes: number;
  batchTimeoutMs: number;
  /** undefined: hold and retry as long as the logs can be kept. */
  maxRetries: number | undefined;
  retryBaseDelayMs: number;
  retryMaxDelayMs: number;
  dlqEnabled: boolean;
  dlqBytes: number;
  drainTimeoutMs: number;
}

const fields = {
  queueSize: z
    .int()
    .min(1)
    .max(1_000_000)
    .meta({ description: "Lines that may wait for the sink; then reading stops until there is room." }),
  queueBytes: size("1Ki", "1Gi").meta({
    description: "Bytes that may wait for the sink; whichever of the two comes first.",
  }),
  workerCount: z.int().min(1).max(64).meta({ description: "Requests of the sink in flight at once, at most." }),
  batchSize: z.int().min(1).max(1_000_000).meta({ description: "Lines in one request, at most." }),
  batchBytes: size("1Ki", "4Mi").meta({
    description: "Bytes of log text in one request, at most; one longer line goes alone.",
  }),
  batchTimeout: duration("10ms", "5m").meta({ description: "How long a line may wait for its request to fill up." }),
  maxRetries: z.int().min(0).max(1000).meta({
    description:
      "Attempts after the first until a request's lines go to the dead-letter queue; 0 tries once, left out retries as long as the logs can be kept.",
  }),
  retryBaseDelay: duration("10ms", "1h").meta({
    description:
      "Wait before the first retry; it doubles with each, with random jitter, and a Retry-After of the sink is honoured.",
  }),
  retryMaxDelay: duration("10ms", "1h").meta({ description: "The longest wait between two attempts." }),
  dlqEnabled: z.boolean().meta({
    description:
      "Whether lines that the sink refuses are kept in the dead-letter queue on disk; otherwise they are dropped and counted.",
  }),
  dlqBytes: size("4Ki", "1Ti").meta({
    description: "Size of the dead-letter queue; beyond it the oldest lines are dropped and counted.",
  }),
  drainTimeout: duration("0s", "10m").meta({
    description: "How long shutdown and reload wait for answers of requests in flight.",
  }),
};

const defaults = {
  queueSize: 100_000,
  queueBytes: "8Mi",
  workerCount: 4,
  batchSize: 10_000,
  batchBytes: "1Mi",
  batchTimeout: "1s",
  retryBaseDelay: "1s",
  retryMaxDelay: "60s",
  dlqEnabled: true,
  dlqBytes: "256Mi",
  drainTimeout: "20s",
};

type WithDefaults<S extends Record<string, z.ZodType>, D> = {
  [K in keyof S]: K extends keyof D ? z.ZodPrefault<S[K]> : z.ZodExactOptional<S[K]>;
};

function withDefaults<S extends Record<string, z.ZodType>, D extends { [K in keyof S]?: z.input<S[K]> }>(
  shape: S,
  values: D,
): WithDefaults<S, D> {
  const entries = Object.entries(shape).map(([key, schema]) => {
    const value = (values as Record<string, unknown>)[key];
    return [key, value === undefined ? schema.exactOptional() : schema.prefault(value)];
  });
  return Object.fromEntries(entries) as WithDefaults<S, D>;
}

/** Pairs of settings of which the first may not be above the second, and why. */
export const ORDERED_SETTINGS = [
  { low: "batchSize", high: "queueSize", as: "number", why: "a batch could never fill up" },
  { low: "batchBytes", high: "queueBytes", as: "size", why: "a batch could never fill up" },
  {
    low: "retryBaseDelay",
    high: "retryMaxDelay",
    as: "duration",
    why: "the first wait would be longer than the longest",
  },
] as const;

/** CEL: a field as what compares with <=, a value written in that form, and where the field cannot be read so. */
const COMPARABLE = {
  number: { of: (field: string) => field, literal: String, unreadable: undefined },
  size: {
    of: (field: string) => `(type(${field}) == int ? double(${field}) : quantity(${field}).asApproximateFloat())`,
    literal: (value: string | number) => `${parseSize(value)}.0`,
    unreadable: (field: string) => `type(${field}) != int && !isQuantity(${field})`,
  },
  duration: {
    of: (field: string) => `duration(${field})`,
    literal: (value: string | number) => `duration('${value}')`,
    unreadable: (field: string) => `!${field}.matches('^([0-9]{1,10}(ms|s|m|h))+$')`,
  },
};

/**
 * The rules for the pairs that one dispatcher holds itself; what needs the merge is judged by rules.ts alone. The path
 * is the one that rules.ts says: the higher setting or, where that has its default, the lower.
 */
function orderRules(place: "pipeline" | "sink"): Rule[] {
  // Two sizes, once per sink, cost more than Kubernetes 1.30 allows (cel.ts).
  const pairs = ORDERED_SETTINGS.filter(({ as }) => place === "pipeline" || as !== "size");
  return pairs.flatMap(({ low, high, as, why }) => {
    const both = [low, high].map((name) => `self.${name}`);
    const { of, literal, unreadable } = COMPARABLE[as];
    const [lowValue, highValue] = both.map(of);
    const ordered = `${lowValue} <= ${highValue}`;
    const guards = [
      ...(place === "sink" ? both.map((field) => `!has(${field})`) : []),
      ...(unreadable === undefined ? [] : both.map(unreadable)),
    ];
    const rule = (path: string, other: string, side: string, extra: readonly string[]): Rule => ({
      rule: [...guards, ...extra, ordered].join(" || "),
      message: `must not be ${side} ${other}: ${why}`,
      fieldPath: `.${path}`,
    });
    if (place === "sink") return [rule(high, low, "below", [])];
    const fallback = literal(defaults[high]);
    return [
      rule(high, low, "below", [`${highValue} == ${fallback}`]),
      rule(low, high, "above", [`${highValue} != ${fallback}`]),
    ];
  });
}

/** spec.dispatcher: what is left out has its default. */
export const pipelineDispatcher = ruled(z.strictObject(withDefaults(fields, defaults)), ...orderRules("pipeline"));
/** sinks[].dispatcher: what is left out is the pipeline's. */
export const sinkDispatcher = ruled(z.strictObject(withDefaults(fields, {})), ...orderRules("sink"));
/** What spec.dispatcher is when nothing is said. */
export const DISPATCHER_DEFAULTS: PipelineDispatcher = pipelineDispatcher.parse({});

export type PipelineDispatcher = z.output<typeof pipelineDispatcher>;
export type SinkDispatcher = z.output<typeof sinkDispatcher>;

/** The settings of one sink: its own over the pipeline's. */
export function mergeDispatcher(pipeline: PipelineDispatcher, sink: SinkDispatcher | undefined): DispatcherSettings {
  const { batchTimeout, retryBaseDelay, retryMaxDelay, drainTimeout, maxRetries, ...same } = { ...pipeline, ...sink };
  return {
    ...same,
    maxRetries,
    batchTimeoutMs: batchTimeout,
    retryBaseDelayMs: retryBaseDelay,
    retryMaxDelayMs: retryMaxDelay,
    drainTimeoutMs: drainTimeout,
  };
}
