/**
 * Paths made from a template. What a record says may name a file or a folder, but never lead elsewhere: a value keeps
 * to its own segment, and no segment it takes part in is empty, `.` or `..`.
 */
import { Buffer } from "node:buffer";
import { resolve } from "node:path";
import type { Template } from "../../crds/template.ts";

/** Longest file name on Linux, in bytes. */
const SEGMENT_BYTES_MAX = 255;

/** Each name of the template as a template of its own: the sink is given their values, unmixed with the path. */
export function pathNames(path: Template): Template[] {
  return path.parts.flatMap((part) => {
    if (typeof part === "string") return [];
    const { name, key } = part;
    const varies = {
      stream: name === "stream",
      level: name === "level",
      time: name === "date" || name === "hour",
      fields: name === "fields",
    };
    return [{ source: key === undefined ? `{${name}}` : `{${name}[${key}]}`, parts: [part], varies }];
  });
}

/** The absolute path for the values of pathNames(), in their order. */
export function renderPath(path: Template, values: readonly string[]): string {
  let at = 0;
  // A segment is text with its own slashes; made ones are marked by where a value stands.
  const segments: { text: string; made: boolean }[] = [{ text: "", made: false }];
  for (const part of path.parts) {
    if (typeof part === "string") {
      const [first = "", ...rest] = part.split("/");
      segments[segments.length - 1]!.text += first;
      for (const text of rest) segments.push({ text, made: false });
    } else {
      const last = segments[segments.length - 1]!;
      // eslint-disable-next-line no-control-regex
      last.text += (values[at++] ?? "").replaceAll(/[/\x00-\x1f\x7f]/g, "_");
      last.made = true;
    }
  }
  return resolve(segments.map(({ text, made }) => (made ? safe(text) : text)).join("/"));
}

function safe(segment: string): string {
  if (segment === "" || segment === "." || segment === "..") return "_".repeat(Math.max(segment.length, 1));
  let text = segment;
  while (Buffer.byteLength(text, "utf8") > SEGMENT_BYTES_MAX) text = text.slice(0, -1);
  return text.toWellFormed();
}
