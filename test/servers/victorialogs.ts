// VictoriaLogs for tests: it takes Loki pushes with structured metadata, which Loki 1.6.1 does not know. It is milder
// than Loki (any order, any age within the retention, no labels, equal entries twice), so what it accepts proves
// little; what it gives back proves that labels, metadata, times and lines arrived as they were. Two traps: it stores an empty
// line as a text of its own, and scales a time in milliseconds to nanoseconds without a word.

import { join } from "node:path";
import { buildGo, freePorts, type Running, startServer } from "./tool.ts";

const folder = join(import.meta.dirname, "victorialogs");

/** One stored entry; `ts` is decimal nanoseconds since 1970, as Loki writes it. */
export interface VictoriaLogsEntry {
  labels: Record<string, string>;
  metadata: Record<string, string>;
  ts: string;
  line: string;
}

export interface VictoriaLogs extends Running {
  /** Base URL of its Loki API; pushes go to `${url}/loki/api/v1/push`. */
  url: string;
  /**
   * Every entry that a LogsQL filter matches (a stream selector is one), oldest first; those of equal time in no order.
   * `tenant` is the X-Scope-OrgID of the push, which has to be a number here; the default is 0.
   */
  queryAll(filter: string, tenant?: string): Promise<VictoriaLogsEntry[]>;
  /** Rows that were taken and thrown away for their time: assert that this is 0. */
  rowsDropped(): Promise<number>;
}

/**
 * Builds VictoriaLogs if need be (about a minute, once), starts it empty on a free port and waits until it is ready.
 * `flags` are its own: `-httpAuth.username=u`, `-storage.minFreeDiskSpaceBytes=900GB` (then it answers 429).
 */
export async function startVictoriaLogs(flags: string[] = []): Promise<VictoriaLogs> {
  const target = "github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs";
  const binary = await buildGo({ name: "victoria-logs", folder, target });
  const [port] = await freePorts(1);
  const root = `http://127.0.0.1:${port}`;
  const server = await startServer("victoria-logs", binary, `${root}/health`, (data) => [
    `-storageDataPath=${join(data, "data")}`,
    `-httpListenAddr=127.0.0.1:${port}`,
    "-retentionPeriod=100y",
    "-futureRetention=10y",
    "-loki.disableMessageParsing",
    "-loggerLevel=ERROR",
    ...flags,
  ]);
  return {
    ...server,
    url: `${root}/insert`,
    queryAll: async (filter, tenant = "0") => {
      await get(`${root}/internal/force_flush`);
      const query = `${filter} | sort by (_time)`;
      const text = await get(`${root}/select/logsql/query`, { query }, { AccountID: tenant });
      return text.split("\n").filter(Boolean).map(parseRow);
    },
    rowsDropped: async () => {
      let rows = 0;
      for (const [, count] of (await get(`${root}/metrics`)).matchAll(/^vl_rows_dropped_total\{.*\} (\d+)$/gm))
        rows += Number(count);
      return rows;
    },
  };
}

async function get(url: string, form?: Record<string, string>, headers: Record<string, string> = {}): Promise<string> {
  const response = await fetch(url, {
    signal: AbortSignal.timeout(30_000),
    ...(form ? { method: "POST", headers, body: new URLSearchParams(form) } : {}),
  });
  const body = await response.text();
  if (response.status !== 200) throw new Error(`VictoriaLogs answered ${response.status}: ${body.slice(0, 1_000)}`);
  return body;
}

/** A row has `_time`, `_msg`, `_stream` (`{a="b",c="d"}`), `_stream_id`, and labels and metadata side by side. */
function parseRow(row: string): VictoriaLogsEntry {
  const { _time = "", _msg = "", _stream = "", _stream_id, ...fields } = JSON.parse(row) as Record<string, string>;
  void _stream_id;
  const labels: Record<string, string> = {};
  for (const [, name = "", quoted = ""] of _stream.matchAll(/([^{,=\s]+)=("(?:[^"\\]|\\.)*")/g)) {
    labels[name] = JSON.parse(quoted) as string;
    delete fields[name];
  }
  return { labels, metadata: fields, ts: nanoseconds(_time), line: _msg };
}

/** `2026-11-23T10:00:00.123456789Z`, its fraction 0 to 9 digits long, as decimal nanoseconds since 1970. */
function nanoseconds(time: string): string {
  const [, seconds = "", fraction = ""] = /^([^.Z]+)(?:\.(\d+))?Z$/.exec(time) ?? [];
  return `${Date.parse(`${seconds}Z`) / 1000}${fraction.padEnd(9, "0")}`;
}
