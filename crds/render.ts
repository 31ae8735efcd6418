/**
 * The effective configuration as YAML or JSON: defaults filled in, overrides merged into each sink, secrets masked.
 * Without secrets in the open, what is rendered reads back as the same configuration.
 */
import { dump } from "js-yaml";
import type { AgentSettings, Config, HttpAuth, Pipeline, SinkConfig, Step } from "./config.ts";
import type { DispatcherSettings } from "./dispatcher.ts";
import { formatDuration, formatSize } from "./quantity.ts";
import { API_VERSION } from "./schema.ts";
import type { Template } from "./template.ts";

type Rendered = Record<string, unknown>;

/** Headers whose value may be a credential. */
const SECRET_HEADER = /auth|key|token|secret|cookie|password|credential/i;

/** All documents of a configuration, the AgentConfig first. */
export function renderConfig({ agent, pipelines }: Config): Rendered[] {
  return [renderAgent(agent), ...pipelines.map(renderPipeline)];
}

/** Documents as YAML text. */
export function toYaml(documents: readonly Rendered[]): string {
  return documents.map((document) => dump(document, { noRefs: true, lineWidth: 120 })).join("---\n");
}

export function renderAgent({ memoryLimit, maxLineBytes, maxOpenFiles }: AgentSettings): Rendered {
  const spec = { memoryLimit: formatSize(memoryLimit), maxLineBytes: formatSize(maxLineBytes), maxOpenFiles };
  return { apiVersion: API_VERSION, kind: "AgentConfig", spec };
}

/** One pipeline as a document. */
export function renderPipeline({ kind, namespace, name, selection, startAt, process, sinks }: Pipeline): Rendered {
  const source = {
    ...(kind === "ClusterLogPipeline" ? named("namespaces", filled(selection.namespaces)) : {}),
    ...named("containers", filled(selection.containers)),
    startAt,
  };
  return {
    apiVersion: API_VERSION,
    kind,
    metadata: { name, ...named("namespace", namespace) },
    spec: { source, process: process.map(renderStep), sinks: sinks.map(renderSink) },
  };
}

function named(key: string, value: unknown): Rendered {
  return value === undefined ? {} : { [key]: value };
}

/** Only the lists that have something in them: an empty one would be refused. */
function filled({ include, exclude }: { include: string[]; exclude: string[] }): Rendered | undefined {
  if (include.length === 0 && exclude.length === 0) return undefined;
  return { ...(include.length > 0 ? { include } : {}), ...(exclude.length > 0 ? { exclude } : {}) };
}

function renderStep(step: Step): Rendered {
  switch (step.kind) {
    case "keep":
    case "drop": {
      const { kind, ...conditions } = step;
      return { [kind]: conditions };
    }
    case "redact":
      return {
        redact: {
          ...(step.presets.length > 0 ? { presets: step.presets } : {}),
          ...(step.patterns.length > 0 ? { patterns: step.patterns } : {}),
        },
      };
    case "fields":
      return {
        fields: {
          ...(step.remove.length > 0 ? { remove: step.remove } : {}),
          ...(Object.keys(step.rename).length > 0 ? { rename: step.rename } : {}),
          ...(Object.keys(step.add).length > 0 ? { add: sources(step.add) } : {}),
        },
      };
  }
}

function sources(templates: Record<string, Template>): Record<string, string> {
  return Object.fromEntries(Object.entries(templates).map(([key, { source }]) => [key, source]));
}

function renderSink(sink: SinkConfig): Rendered {
  return { name: sink.name, [sink.type]: renderOptions(sink), dispatcher: renderDispatcher(sink.dispatcher) };
}

function renderOptions(sink: SinkConfig): Rendered {
  switch (sink.type) {
    case "loki": {
      const { requestTimeoutMs, labels, structuredMetadata, auth, ...rest } = sink.options;
      return {
        ...rest,
        labels: sources(labels),
        structuredMetadata: sources(structuredMetadata),
        ...named("auth", renderAuth(auth)),
        requestTimeout: formatDuration(requestTimeoutMs),
      };
    }
    case "http": {
      const { requestTimeoutMs, headers, auth, ...rest } = sink.options;
      const masked = Object.entries(headers).map(([name, value]) => [name, SECRET_HEADER.test(name) ? "***" : value]);
      return {
        ...rest,
        headers: Object.fromEntries(masked) as Rendered,
        ...named("auth", renderAuth(auth)),
        requestTimeout: formatDuration(requestTimeoutMs),
      };
    }
    case "file":
      return { ...sink.options, path: sink.options.path.source };
    case "stdout":
      return { ...sink.options };
  }
}

function renderAuth(auth: HttpAuth | undefined): Rendered | undefined {
  if (auth?.bearer !== undefined) return { bearer: auth.bearer.source };
  if (auth?.basic === undefined) return undefined;
  return { basic: { username: auth.basic.username.source, password: auth.basic.password.source } };
}

function renderDispatcher(settings: DispatcherSettings): Rendered {
  return {
    queueSize: settings.queueSize,
    queueBytes: formatSize(settings.queueBytes),
    workerCount: settings.workerCount,
    batchSize: settings.batchSize,
    batchBytes: formatSize(settings.batchBytes),
    batchTimeout: formatDuration(settings.batchTimeoutMs),
    ...named("maxRetries", settings.maxRetries),
    retryBaseDelay: formatDuration(settings.retryBaseDelayMs),
    retryMaxDelay: formatDuration(settings.retryMaxDelayMs),
    dlqEnabled: settings.dlqEnabled,
    dlqBytes: formatSize(settings.dlqBytes),
    drainTimeout: formatDuration(settings.drainTimeoutMs),
  };
}
