// A real Loki for tests: 1.6.1, a release under the Apache licence (Loki left it in April 2021). It is stricter than
// today's: what is older than the newest entry of its stream is refused, which is the point. It does not know
// structured metadata, and ignores it: see victorialogs.ts for that.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildGo, freePorts, type Running, startServer } from "./tool.ts";

const folder = join(import.meta.dirname, "loki");
const pageEntries = 5_000; // Loki's own maximum for one query
const lookBackHours = 170; // older entries are refused (reject_old_samples_max_age)

/** One stored entry; `ts` is Loki's own form, decimal nanoseconds since 1970. */
export interface LokiEntry {
  labels: Record<string, string>;
  ts: string;
  line: string;
}

export interface Loki extends Running {
  /** Base URL; pushes go to `${url}/loki/api/v1/push`. */
  url: string;
  /**
   * Every entry that a stream selector matches for a tenant, oldest first, page by page: the exact set. (Loki itself
   * keeps one of two entries with equal labels, time and line.) Throws when a page cannot hold the entries of one time.
   */
  queryAll(selector: string, tenant: string): Promise<LokiEntry[]>;
}

/**
 * Builds Loki if need be (two to four minutes, once), starts it empty on free ports and waits until it is ready.
 * `flags` are Loki's own and win over loki/loki.yaml: `-distributor.ingestion-rate-limit-mb=1`.
 */
export async function startLoki(flags: string[] = []): Promise<Loki> {
  const binary = await buildGo({ name: "loki", folder, target: "github.com/grafana/loki/cmd/loki" });
  const [httpPort, grpcPort] = await freePorts(2);
  const url = `http://127.0.0.1:${httpPort}`;
  const server = await startServer("loki", binary, `${url}/ready`, (data) => {
    const values: Record<string, string> = { HTTP_PORT: String(httpPort), GRPC_PORT: String(grpcPort), FOLDER: data };
    const template = readFileSync(join(folder, "loki.yaml"), "utf8");
    writeFileSync(
      join(data, "loki.yaml"),
      template.replace(/\$([A-Z_]+)/g, (_, name: string) => values[name] ?? ""),
    );
    for (const name of ["index", "chunks"]) mkdirSync(join(data, name));
    return [`-config.file=${join(data, "loki.yaml")}`, ...flags];
  });
  return { ...server, url, queryAll: (selector, tenant) => queryAll(url, selector, tenant) };
}

async function queryAll(url: string, selector: string, tenant: string): Promise<LokiEntry[]> {
  const all: LokiEntry[] = [];
  const end = `${Date.now() + 3_600_000}000000`;
  for (let start = `${Date.now() - lookBackHours * 3_600_000}000000`; ;) {
    const page = await queryPage(url, tenant, { query: selector, start, end });
    if (page.length < pageEntries) return all.concat(page);
    // The page may end in the middle of the entries of one time: those are asked for again.
    const last = page.at(-1)?.ts ?? start;
    const whole = page.filter((entry) => entry.ts !== last);
    if (whole.length === 0) throw new Error(`over ${pageEntries} entries at ${last}: Loki cannot page through them`);
    all.push(...whole);
    start = last;
  }
}

async function queryPage(url: string, tenant: string, query: Record<string, string>): Promise<LokiEntry[]> {
  const parameters = new URLSearchParams({ ...query, limit: String(pageEntries), direction: "forward" });
  const response = await fetch(`${url}/loki/api/v1/query_range?${parameters.toString()}`, {
    headers: { "X-Scope-OrgID": tenant },
    signal: AbortSignal.timeout(30_000),
  });
  const body = await response.text();
  if (response.status !== 200) throw new Error(`Loki answered ${response.status}: ${body.slice(0, 1_000)}`);
  const { data } = JSON.parse(body) as {
    data: { result: { stream: Record<string, string>; values: [string, string][] }[] };
  };
  const entries = data.result.flatMap(({ stream, values }) =>
    values.map(([ts, line]) => ({ labels: stream, ts, line })),
  );
  return entries.sort((a, b) => (a.ts === b.ts ? 0 : a.ts.padStart(20, "0") < b.ts.padStart(20, "0") ? -1 : 1));
}
