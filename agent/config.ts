/** What of a new configuration differs from the running one, so that a reload restarts only that. */
import { createHash } from "node:crypto";
import { Secret, type Pipeline, type SinkConfig } from "../crds/config.ts";

/** A hash of everything that a value holds, secrets included. */
function fingerprint(value: unknown): string {
  return hash(JSON.stringify(unmask(value)));
}

function hash(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** Secrets turn into their hashes; by themselves they would all look alike. */
function unmask(value: unknown): unknown {
  if (value instanceof Secret) return { secret: hash(value.reveal()) };
  if (Array.isArray(value)) return value.map(unmask);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, unmask(inner)]));
}

/** What one sink of a pipeline runs on: when this is the same before and after a reload, the sink is not touched. */
export function sinkFingerprint(pipeline: Pipeline, sink: SinkConfig): string {
  const { selection, startAt, process } = pipeline;
  return fingerprint({ selection, startAt, process, sink });
}

/** `*` stands for any characters. */
function globMatches(pattern: string, name: string): boolean {
  const parts = pattern.split("*");
  if (parts.length === 1) return pattern === name;
  const first = parts.shift()!;
  const last = parts.pop()!;
  if (!name.startsWith(first) || !name.endsWith(last) || name.length < first.length + last.length) return false;
  let at = first.length;
  for (const part of parts) {
    const found = name.indexOf(part, at);
    if (found < 0 || found + part.length > name.length - last.length) return false;
    at = found + part.length;
  }
  return true;
}

function chosen(
  { include, exclude }: { include: readonly string[]; exclude: readonly string[] },
  name: string,
): boolean {
  const matches = (pattern: string): boolean => globMatches(pattern, name);
  return (include.length === 0 || include.some(matches)) && !exclude.some(matches);
}

/** True when a pipeline takes the logs of a container. */
export function selects(pipeline: Pipeline, source: { namespace: string; container: string }): boolean {
  const { namespaces, containers } = pipeline.selection;
  return chosen(namespaces, source.namespace) && chosen(containers, source.container);
}
