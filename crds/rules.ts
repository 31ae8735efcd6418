/** Rules that need more than one field's value: what cannot be true together, and Loki's labels. */
import { DISPATCHER_DEFAULTS, ORDERED_SETTINGS } from "./dispatcher.ts";
import type { PipelineDispatcher, SinkDispatcher } from "./dispatcher.ts";
import { lineAt } from "./problems.ts";
import { formatDuration, formatSize } from "./quantity.ts";
import { LOKI_LABELS_MAX } from "./sinks.ts";
import { parseTemplate } from "./template.ts";
import type { Name, Template } from "./template.ts";
import type { Node, Problem } from "./yaml.ts";

/** Which sink of which document is judged. */
export interface Place {
  file: string;
  node: Node;
  sink: number;
}
/** Where findings go. */
export interface Findings {
  problems: Problem[];
  notes: Problem[];
}

/**
 * Refuses pairs of settings of which one contradicts the other: in the pipeline's dispatcher, whatever the sinks make of
 * it (a CRD rule can see no further), and in each sink's, wherever the two come from.
 */
export function checkDispatchers(
  pipeline: PipelineDispatcher,
  sinks: readonly { dispatcher?: SinkDispatcher }[],
  { file, node }: Pick<Place, "file" | "node">,
  { problems }: Findings,
): void {
  for (const { low, high, why } of ORDERED_SETTINGS) {
    for (const [index, own] of [undefined, ...sinks.map(({ dispatcher }) => dispatcher)].entries()) {
      const isOwn = (key: typeof low | typeof high): boolean => own !== undefined && Object.hasOwn(own, key);
      if (index > 0 && !isOwn(low) && !isOwn(high)) continue;
      const lowValue = own?.[low] ?? pipeline[low];
      const highValue = own?.[high] ?? pipeline[high];
      if (lowValue <= highValue) continue;
      const from = (key: typeof low | typeof high) =>
        origin(index - 1, key, isOwn(key), pipeline[key] === DISPATCHER_DEFAULTS[key]);
      const [lowFrom, highFrom] = [from(low), from(high)];
      const named = highFrom.written || !lowFrom.written ? highFrom : lowFrom;
      const message =
        `${lowFrom.path} (${shown(low, lowValue)}${lowFrom.note}) is above ` +
        `${highFrom.path} (${shown(high, highValue)}${highFrom.note}): ${why}; change one of the two`;
      problems.push({ file, line: lineAt(node, named.keys), path: named.path, message });
    }
  }
}

/**
 * Where a setting's value comes from. A default counts as not written even where it is: in a cluster the API server
 * writes all of them into the object.
 */
function origin(index: number, key: string, ofSink: boolean, isDefault: boolean) {
  const keys = ofSink ? ["spec", "sinks", index, "dispatcher", key] : ["spec", "dispatcher", key];
  const path = ofSink ? `spec.sinks[${index}].dispatcher.${key}` : `spec.dispatcher.${key}`;
  const written = ofSink || !isDefault;
  return { keys, path, written, ofSink, note: written ? "" : " by default" };
}

function shown(key: string, value: number): string {
  if (key.endsWith("Bytes")) return formatSize(value);
  return key.endsWith("Delay") ? formatDuration(value) : String(value);
}

/**
 * Loki keeps order within a stream (a label set), so two container streams must never share one. Returns the labels
 * with those added that tell them apart when none of the given does.
 */
export function narrowLoki(
  labels: Record<string, Template>,
  isOfOneNamespace: boolean,
  { file, node, sink }: Place,
  { problems, notes }: Findings,
): Record<string, Template> {
  const needed: Name[] = ["namespace", "pod", "container", "stream"];
  const used = new Set(
    Object.values(labels).flatMap(({ parts }) => parts.map((part) => (typeof part === "string" ? "" : part.name))),
  );
  const missing = needed.filter((name) => !used.has(name) && !(name === "namespace" && isOfOneNamespace));
  if (missing.length === 0) return labels;
  const path = `spec.sinks[${sink}].loki.labels`;
  const line = lineAt(node, ["spec", "sinks", sink, "loki", "labels"]);
  const taken = missing.filter((name) => Object.hasOwn(labels, name));
  for (const name of taken) {
    const message = `must use {${name}}, or another label must: without it container streams share a Loki stream and lose their order`;
    problems.push({
      file,
      line: lineAt(node, ["spec", "sinks", sink, "loki", "labels", name]),
      path: `${path}.${name}`,
      message,
    });
  }
  if (taken.length > 0) return labels;
  const words = missing.length === 1 ? `the label ${missing[0]} is` : `the labels ${missing.join(", ")} are`;
  notes.push({
    file,
    line,
    path,
    message: `no label tells container streams apart by ${missing.join(", ")}; ${words} added`,
  });
  return { ...labels, ...Object.fromEntries(missing.map((name) => [name, parseTemplate(`{${name}}`)])) };
}

/** Refuses more labels than Loki takes, those added included. */
export function checkLoki(labels: Record<string, Template>, { file, node, sink }: Place, { problems }: Findings): void {
  const count = Object.keys(labels).length;
  if (count <= LOKI_LABELS_MAX) return;
  const line = lineAt(node, ["spec", "sinks", sink, "loki", "labels"]);
  const message = `has ${count} labels, those added included; Loki takes at most ${LOKI_LABELS_MAX}; move some to structuredMetadata`;
  problems.push({ file, line, path: `spec.sinks[${sink}].loki.labels`, message });
}
