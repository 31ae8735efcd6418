// The programs that the bench runs: Tailrace, the raw limit, and vlagent where it is asked for.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildGo, freePorts } from "../servers/tool.ts";
import { buildHarness, type Harness, type ScenarioName } from "./harness.ts";

export type AgentName = "tailrace" | "raw" | "vlagent";

/** Where an agent runs: `root` holds pods/ and containers/, `state` is an empty folder that outlives a kill. */
export interface Place {
  scenario: ScenarioName;
  root: string;
  state: string;
  harness: Harness;
}

export interface Agent {
  name: AgentName;
  scenarios: readonly ScenarioName[];
  /** Writes its configuration and gives its command line and environment. */
  prepare(place: Place): Promise<{ command: string[]; env: string[] }>;
}

/** Tailrace as a user runs it; `binary` is bin/tailrace. */
export function tailrace(binary: string): Agent {
  return {
    name: "tailrace",
    scenarios: ["rest", "catchup", "steady", "idle", "sinkdown", "kill"],
    prepare: async ({ scenario, root, state, harness }) => {
      // A long pause after the sink is back would be measured as slowness of the catch-up.
      const dispatcher = scenario === "sinkdown" ? "\n  dispatcher: {retryBaseDelay: 200ms, retryMaxDelay: 2s}" : "";
      const pipeline = join(state, "pipeline.yaml");
      writeFileSync(
        pipeline,
        `apiVersion: tailrace.dev/v1alpha1
kind: ClusterLogPipeline
metadata: {name: bench}
spec:
  source: {startAt: Beginning}${dispatcher}
  sinks: [{name: loki, loki: {url: "${harness.sinkUrl}"}}]
`,
      );
      const [port] = await freePorts(1);
      const folders = ["--logs-dir", join(root, "pods"), "--data-dir", join(state, "data")];
      return { command: [binary, "run", "-f", pipeline, ...folders, "--listen", `127.0.0.1:${port}`], env: [] };
    },
  };
}

/** Reads the files and POSTs their bytes: what any agent could reach at most (harness/raw.go). It keeps no state. */
export const raw: Agent = {
  name: "raw",
  scenarios: ["rest", "catchup", "steady", "idle", "sinkdown"],
  prepare: async ({ root, harness }) => ({
    command: [await buildHarness(), "raw", "--pods", join(root, "pods"), "--sink", `${harness.sinkUrl}/raw`],
    env: [],
  }),
};

/** VictoriaMetrics' vlagent, pinned in peers/vlagent, with its own native format and its defaults. */
export const vlagent: Agent = {
  name: "vlagent",
  scenarios: ["rest", "catchup", "steady", "idle", "sinkdown", "kill"],
  prepare: async ({ root, state, harness }) => {
    const kubeconfig = join(state, "kubeconfig");
    writeFileSync(
      kubeconfig,
      `clusters: [{name: bench, cluster: {server: "${harness.kubeUrl}"}}]
users: [{name: bench, user: {token: none}}]
contexts: [{name: bench, context: {cluster: bench, user: bench}}]
current-context: bench
`,
    );
    const [port] = await freePorts(1);
    const command = [
      await buildVlagent(),
      "-kubernetesCollector",
      `-kubernetesCollector.logsPath=${join(root, "containers")}`,
      `-tmpDataPath=${join(state, "data")}`,
      `-httpListenAddr=127.0.0.1:${port}`,
      `-remoteWrite.url=${harness.sinkUrl}/insert/native`,
      "-remoteWrite.format=native",
    ];
    return { command, env: [`KUBECONFIG=${kubeconfig}`] };
  },
};

export function buildVlagent(): Promise<string> {
  const target = "github.com/VictoriaMetrics/VictoriaLogs/app/vlagent";
  return buildGo({ name: "vlagent", folder: join(import.meta.dirname, "peers", "vlagent"), target });
}
