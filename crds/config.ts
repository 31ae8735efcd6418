/**
 * Configuration files to what the agent runs: reads the YAML of all files, validates every document, resolves secrets,
 * fills in defaults and refuses what cannot be true together. Pure: environment and files come from the World.
 */
import type { z } from "zod";
import { checkDispatchers, checkLoki, narrowLoki } from "./rules.ts";
import { mergeDispatcher } from "./dispatcher.ts";
import type { DispatcherSettings } from "./dispatcher.ts";
import { check, lineAt, nearest } from "./problems.ts";
import { AGENT_DEFAULTS, API_VERSION, CLUSTER_KINDS, KIND_NAMES, KINDS, START_AT } from "./schema.ts";
import type { AgentSettings, ClusterLogPipelineDocument, LogPipelineDocument } from "./schema.ts";
import { SecretStore } from "./secrets.ts";
import type { Secret, World } from "./secrets.ts";
import type { AuthEntry, SecretEntry, SinkEntry } from "./sinks.ts";
import type { Level, StepEntry } from "./steps.ts";
import type { Template } from "./template.ts";
import { readYaml } from "./yaml.ts";
import type { Node, Problem } from "./yaml.ts";

export { sameConfig, Secret } from "./secrets.ts";
export type { World } from "./secrets.ts";
export type { AgentSettings } from "./schema.ts";
export type { DispatcherSettings } from "./dispatcher.ts";
export type { Level } from "./steps.ts";
export type { Problem } from "./yaml.ts";

export const PIPELINES_MAX = 1000;
/** Problems reported at once; more help nobody. */
const PROBLEMS_MAX = 100;

export interface Config {
  agent: AgentSettings;
  pipelines: Pipeline[];
}

export interface Pipeline {
  /** kind/namespace/name, as in "LogPipeline/shop/checkout" or "ClusterLogPipeline//all". */
  id: string;
  kind: "LogPipeline" | "ClusterLogPipeline";
  namespace: string | undefined;
  name: string;
  selection: Selection;
  startAt: "Beginning" | "End";
  process: Step[];
  sinks: SinkConfig[];
}

/** Names with * for any characters. An empty include takes all; exclude wins over include. */
export interface Selection {
  namespaces: { include: string[]; exclude: string[] };
  containers: { include: string[]; exclude: string[] };
}

export type SinkConfig = { name: string; dispatcher: DispatcherSettings } & (
  | { type: "loki"; options: LokiOptions }
  | { type: "http"; options: HttpOptions }
  | { type: "file"; options: FileOptions }
  | { type: "stdout"; options: StdoutOptions }
);

/** At most one of the two. */
export interface HttpAuth {
  basic?: { username: Secret; password: Secret };
  bearer?: Secret;
}

export interface LokiOptions {
  url: string;
  tenant?: string;
  /** At most 15, container streams told apart. */
  labels: Record<string, Template>;
  structuredMetadata: Record<string, Template>;
  format: "protobuf" | "json";
  /** Snappy only with protobuf. */
  compression: "snappy" | "none";
  auth?: HttpAuth;
  requestTimeoutMs: number;
}

export interface HttpOptions {
  url: string;
  method: "POST" | "PUT";
  /** json: one array of records. */
  format: "ndjson" | "json";
  headers: Record<string, string>;
  auth?: HttpAuth;
  requestTimeoutMs: number;
}

export interface FileOptions {
  path: Template;
  format: "ndjson" | "text";
}

export interface StdoutOptions {
  /** console: "namespace/pod/container  text", for people. */
  format: "ndjson" | "text" | "console";
}

export type Step =
  | {
      kind: "keep" | "drop";
      level?: Level[];
      text?: { contains?: string; matches?: string };
      field?: { name: string; equals?: string; matches?: string };
    }
  | { kind: "redact"; presets: ("email" | "creditCard")[]; patterns: { matches: string; replacement: string }[] }
  | { kind: "fields"; add: Record<string, Template>; remove: string[]; rename: Record<string, string> };

/** A document that has the shape of its kind, and where its fields lie. */
interface Read<D> {
  file: string;
  node: Node;
  document: D;
}
type PipelineDocument = LogPipelineDocument | ClusterLogPipelineDocument;

/** Reads pipelines as a cluster takes them: by the schema of the CRDs, instead of that of a single machine. */
export interface InCluster {
  /**
   * Whether Secrets that are not among the files are taken to lie in the cluster. What is read then is good for checking
   * only: such a secret cannot be revealed.
   */
  secretsElsewhere: boolean;
  /** Whether LogPipelines may write files, which the chart decides; undefined where nobody knows: a note says so. */
  fileSinks: boolean | undefined;
}

/**
 * Reads all files as one configuration. `config` is there only when `problems` is empty. `notes` tell what is done
 * that nobody asked for; they stop nothing.
 */
export function readConfig(
  files: readonly { file: string; text: string }[],
  world: World,
  cluster?: InCluster,
): { config?: Config; problems: Problem[]; notes: Problem[] } {
  const reading = new Reading(world, cluster);
  for (const { file, text } of files) reading.readFile(file, text);
  const config = reading.config(files[0]?.file ?? "");
  const problems = reading.problems;
  if (problems.length === 0) return { config, problems, notes: reading.notes };
  if (problems.length > PROBLEMS_MAX) {
    const { file, line } = problems[PROBLEMS_MAX]!;
    problems.splice(PROBLEMS_MAX, Infinity, {
      file,
      line,
      path: "",
      message: "has more problems; mend those above first",
    });
  }
  return { problems, notes: reading.notes };
}

class Reading {
  readonly problems: Problem[] = [];
  readonly notes: Problem[] = [];
  readonly #pipelines: Read<PipelineDocument>[] = [];
  readonly #secrets: SecretStore;
  readonly #cluster: InCluster | undefined;
  #agent: { file: string; line: number; settings: AgentSettings } | undefined;

  constructor(world: World, cluster: InCluster | undefined) {
    this.#secrets = new SecretStore(world, cluster?.secretsElsewhere ?? false);
    this.#cluster = cluster;
  }

  readFile(file: string, text: string): void {
    const { documents, problems } = readYaml(file, text);
    this.problems.push(...problems);
    if (documents.length === 0 && problems.length === 0) {
      this.#say(file, 1, "", `holds no document; write a LogPipeline (apiVersion: ${API_VERSION}) into it`);
    }
    for (const node of documents) this.#readDocument(file, node);
  }

  #say(file: string, line: number, path: string, message: string): void {
    this.problems.push({ file, line, path, message });
  }

  #readDocument(file: string, node: Node): void {
    if (node.kind !== "mapping") {
      this.#say(file, node.line, "", "must be a mapping with apiVersion, kind, metadata and spec");
      return;
    }
    const kind = kindOf(node);
    if (!isKind(kind)) {
      const near = kind === undefined ? undefined : nearest(kind, KIND_NAMES);
      const given = kind === undefined ? "has no kind" : `is a ${kind.slice(0, 64)}, which Tailrace does not read`;
      const known = near === undefined ? `known are ${KIND_NAMES.join(", ")}` : `did you mean ${near}?`;
      this.#say(file, lineAt(node, ["kind"]), "kind", `${given}; ${known}`);
      return;
    }
    if (kind === "Secret") {
      const read = this.#check(KINDS.Secret, file, node);
      if (read !== undefined && !this.#secrets.add(read)) {
        this.#say(
          file,
          lineAt(node, ["metadata", "name"]),
          "metadata.name",
          `Secret ${read.metadata.name} is there twice`,
        );
      }
    } else if (kind === "AgentConfig") {
      const read = this.#check(KINDS.AgentConfig, file, node);
      if (read !== undefined && this.#agent !== undefined) {
        const message = `a second AgentConfig; the first is in ${this.#agent.file}:${this.#agent.line}`;
        this.#say(file, node.line, "", message);
      } else if (read !== undefined) this.#agent = { file, line: node.line, settings: read.spec };
    } else {
      const document = this.#check(
        this.#cluster === undefined ? KINDS[kind] : CLUSTER_KINDS[kind],
        file,
        node,
        KINDS[kind],
      );
      if (document !== undefined) this.#pipelines.push({ file, node, document });
    }
  }

  #check<S extends z.ZodType>(schema: S, file: string, node: Node, wider?: z.ZodType): z.output<S> | undefined {
    const { value, problems } = check(schema, node, file, wider);
    this.problems.push(...problems);
    return value;
  }

  config(firstFile: string): Config {
    const pipelines = this.#pipelines.map((read) => this.#pipeline(read));
    if (pipelines.length === 0 && this.problems.length === 0) {
      this.#say(firstFile, 1, "", "no LogPipeline or ClusterLogPipeline in the files; at least one is needed");
    }
    if (pipelines.length > PIPELINES_MAX) {
      const { file, node } = this.#pipelines[PIPELINES_MAX]!;
      this.#say(file, node.line, "", `${pipelines.length} pipelines; at most ${PIPELINES_MAX}`);
    }
    this.#refuseTwins(pipelines);
    return { agent: this.#agent?.settings ?? AGENT_DEFAULTS, pipelines };
  }

  /** The id keys Positions, dead letters and ledger: two pipelines may not share one. */
  #refuseTwins(pipelines: readonly Pipeline[]): void {
    const first = new Map<string, Read<PipelineDocument>>();
    for (const [index, { id, kind }] of pipelines.entries()) {
      const read = this.#pipelines[index]!;
      const twin = first.get(id);
      if (twin === undefined) first.set(id, read);
      else {
        const message = `a second ${kind} of this namespace and name; the first is in ${twin.file}:${twin.node.line}`;
        this.#say(read.file, lineAt(read.node, ["metadata", "name"]), "metadata.name", message);
      }
    }
  }

  #pipeline(read: Read<PipelineDocument>): Pipeline {
    const { document, node, file } = read;
    const { kind, metadata, spec } = document;
    const namespace = document.kind === "LogPipeline" ? document.metadata.namespace : undefined;
    const names = new Map<string, number>();
    for (const [index, { name }] of spec.sinks.entries()) {
      const path = ["spec", "sinks", index, "name"];
      const twin = names.get(name);
      if (twin === undefined) names.set(name, index);
      else
        this.#say(
          file,
          lineAt(node, path),
          `spec.sinks[${index}].name`,
          `is also the name of spec.sinks[${twin}]; sinks need different names`,
        );
    }
    checkDispatchers(spec.dispatcher, spec.sinks, read, this);
    return {
      id: `${kind}/${namespace ?? ""}/${metadata.name}`,
      kind,
      namespace,
      name: metadata.name,
      selection: selectionOf(document, namespace),
      startAt: spec.source?.startAt ?? START_AT,
      process: spec.process.map(stepOf),
      sinks: spec.sinks.map((entry, index) => this.#sink(read, entry, index, namespace)),
    };
  }

  #sink(read: Read<PipelineDocument>, entry: SinkEntry, index: number, namespace: string | undefined): SinkConfig {
    const { file, node, document } = read;
    const rooms = { problems: this.problems, notes: this.notes };
    const place = { file, node, sink: index };
    const dispatcher = mergeDispatcher(document.spec.dispatcher, entry.dispatcher);
    const base = { name: entry.name, dispatcher };
    const auth = (type: string, given: AuthEntry | undefined): { auth?: HttpAuth } =>
      given === undefined
        ? {}
        : {
            auth: this.#auth(read, `spec.sinks[${index}].${type}.auth`, ["spec", "sinks", index, type, "auth"], given),
          };
    if (entry.loki !== undefined) {
      const { requestTimeout, auth: given, compression, ...rest } = entry.loki;
      // In a cluster a LogPipeline always has a namespace, if only the one that kubectl gives it.
      const isOfOne = namespace !== undefined || (this.#cluster !== undefined && document.kind === "LogPipeline");
      const labels = narrowLoki(rest.labels, isOfOne, place, rooms);
      checkLoki(labels, place, rooms);
      const options = {
        ...rest,
        labels,
        compression: compression ?? (rest.format === "json" ? "none" : "snappy"),
        ...auth("loki", given),
        requestTimeoutMs: requestTimeout,
      };
      return { ...base, type: "loki", options };
    }
    if (entry.http !== undefined) {
      const { requestTimeout, auth: given, ...rest } = entry.http;
      return { ...base, type: "http", options: { ...rest, ...auth("http", given), requestTimeoutMs: requestTimeout } };
    }
    if (entry.file !== undefined) {
      this.#checkFileSink(read, index);
      return { ...base, type: "file", options: entry.file };
    }
    if (entry.stdout !== undefined) return { ...base, type: "stdout", options: entry.stdout };
    throw new Error("BUG: a sink without options passed the schema");
  }

  #checkFileSink({ file, node, document }: Read<PipelineDocument>, index: number): void {
    if (document.kind !== "LogPipeline" || this.#cluster === undefined || this.#cluster.fileSinks === true) return;
    const place = { file, line: lineAt(node, ["spec", "sinks", index, "file"]), path: `spec.sinks[${index}].file` };
    if (this.#cluster.fileSinks === false) {
      this.problems.push({ ...place, message: "is off for LogPipelines in this cluster; its chart can allow it" });
    } else
      this.notes.push({ ...place, message: "works only where the cluster's chart allows LogPipelines to write files" });
  }

  #auth(read: Read<PipelineDocument>, path: string, keys: readonly (string | number)[], auth: AuthEntry): HttpAuth {
    const secret = (entry: SecretEntry, ...inside: string[]): Secret | undefined => {
      const { kind, metadata } = read.document;
      const namespace = "namespace" in metadata ? metadata.namespace : undefined;
      const found = this.#secrets.resolve(entry, namespace, kind === "ClusterLogPipeline");
      if (typeof found !== "string") return found;
      this.#say(read.file, lineAt(read.node, [...keys, ...inside]), [path, ...inside].join("."), found);
      return undefined;
    };
    if (auth.bearer !== undefined) {
      const bearer = secret(auth.bearer, "bearer");
      return bearer === undefined ? {} : { bearer };
    }
    const { username, password } = auth.basic!;
    const basic = { username: secret(username, "basic", "username"), password: secret(password, "basic", "password") };
    return basic.username === undefined || basic.password === undefined
      ? {}
      : { basic: { username: basic.username, password: basic.password } };
  }
}

function kindOf(node: Node): string | undefined {
  const kind = node.kind === "mapping" ? node.entries.get("kind")?.value : undefined;
  return kind?.kind === "scalar" && typeof kind.value === "string" ? kind.value : undefined;
}

function isKind(kind: string | undefined): kind is keyof typeof KINDS {
  return kind !== undefined && Object.hasOwn(KINDS, kind);
}

function selectionOf(document: PipelineDocument, namespace: string | undefined): Selection {
  const both = (lists: { include?: string[]; exclude?: string[] } | undefined) => ({
    include: lists?.include ?? [],
    exclude: lists?.exclude ?? [],
  });
  const namespaces =
    document.kind === "ClusterLogPipeline"
      ? both(document.spec.source?.namespaces)
      : { include: namespace === undefined ? [] : [namespace], exclude: [] };
  return { namespaces, containers: both(document.spec.source?.containers) };
}

function stepOf(entry: StepEntry): Step {
  if (entry.keep !== undefined) return { kind: "keep", ...entry.keep };
  if (entry.drop !== undefined) return { kind: "drop", ...entry.drop };
  if (entry.redact !== undefined)
    return { kind: "redact", presets: entry.redact.presets ?? [], patterns: entry.redact.patterns ?? [] };
  const { add = {}, remove = [], rename = {} } = entry.fields ?? {};
  return { kind: "fields", add, remove, rename };
}
