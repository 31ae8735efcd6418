/** The two judges of a manifest: a real API server with the CRDs in it, and `tailrace validate` for a cluster. */
import { readConfig } from "../../crds/config.ts";
import { pluralOf } from "../../crds/crd.ts";
import type { Kind } from "../../crds/crd.ts";
import { API_VERSION } from "../../crds/schema.ts";
import type { ApiServer } from "../cluster/api-server.ts";

/** What a judge says of a manifest: nothing, when it is good. */
export interface Said {
  path: string;
  message: string;
}

/** Where objects of a kind are created. */
export function collection(kind: Kind, namespace = "default"): string {
  const place = kind === "LogPipeline" ? `namespaces/${namespace}/` : "";
  return `/apis/${API_VERSION}/${place}${pluralOf(kind)}`;
}

/**
 * What the API server says of a manifest (YAML or JSON) when it is created, without creating it. `validation` is kubectl's:
 * "Strict" refuses unknown fields, with "Ignore" they are left out in silence.
 */
export async function askApiServer(
  api: ApiServer,
  kind: Kind,
  yaml: string,
  validation: "Strict" | "Ignore" = "Strict",
): Promise<Said[]> {
  const path = `${collection(kind)}?dryRun=All&fieldValidation=${validation}`;
  const type = yaml.startsWith("{") ? "application/json" : "application/yaml";
  const { status, body } = await api.request("POST", path, yaml, type);
  if (status === 201) return [];
  return causesOf(body, status);
}

interface Refusal {
  message?: string;
  details?: { causes?: { field?: string; message?: string }[] };
}

function causesOf(body: unknown, status: number): Said[] {
  const { message = String(body), details } = body as Refusal;
  const unknown = [...message.matchAll(/unknown field "([^"]*)"/g)].map(([, path = ""]) => path);
  if (unknown.length > 0) return unknown.map((path) => ({ path, message: "unknown field" }));
  const causes = details?.causes ?? [];
  if (status !== 422 || causes.length === 0) return [{ path: "", message: `${status} ${message}` }];
  // Of what has the wrong type it says more, without a field.
  const named = causes.filter(({ field }) => field !== "<nil>");
  return (named.length > 0 ? named : causes).map(({ field = "", message: words = "" }) => ({
    path: dotted(field),
    message: words,
  }));
}

/** labels[app] and labels.app are one field. */
const dotted = (path: string): string => path.replace(/\[([^\]0-9][^\]]*)\]/g, ".$1");

const world = {
  env: () => undefined,
  readFile: (path: string) => {
    throw new Error(`${path} is not for clusters`);
  },
};

/** What `tailrace validate` says of the same manifest. */
export function askValidate(yaml: string): Said[] {
  const cluster = { secretsElsewhere: true, fileSinks: undefined };
  return readConfig([{ file: "f", text: yaml }], world, cluster).problems;
}

/** A table of manifests: a title after ##, YAML, and lines that begin with =. Words that begin with @ are written out. */
export interface Case {
  title: string;
  kind: Kind;
  yaml: string;
  /** The lines that begin with =, by what follows it up to the first space: `=> path: words`, `=v path`. */
  marks: { mark: string; path: string; words: string }[];
}

const WORDS: Record<string, string> = {
  "@log": `apiVersion: ${API_VERSION}\nkind: LogPipeline\nmetadata: {name: a}\nspec:`,
  "@cluster": `apiVersion: ${API_VERSION}\nkind: ClusterLogPipeline\nmetadata: {name: a}\nspec:`,
  "@sink": "  sinks: [{name: x, http: {url: http://h}}]",
  "@http": "  sinks:\n  - name: x\n    http:\n      url: http://h",
  "@loki": "  sinks:\n  - name: x\n    loki:\n      url: http://l:3100",
};

export function readCases(table: string): Case[] {
  const [, ...blocks] = table.split("\n## ");
  return blocks.map((block) => {
    const [title = "", ...lines] = block.split("\n");
    const yaml = lines
      .filter((line) => !/^=\S /.test(line))
      .map((line) => WORDS[line] ?? line)
      .join("\n");
    const marks = lines.flatMap((line) => {
      const [, mark = "", path = "", words = ""] = /^(=\S) ([^:]*)(?:: (.*))?$/.exec(line) ?? [];
      return mark === "" ? [] : [{ mark, path, words }];
    });
    return {
      title,
      kind: yaml.includes("kind: ClusterLogPipeline") ? "ClusterLogPipeline" : "LogPipeline",
      yaml,
      marks,
    };
  });
}
