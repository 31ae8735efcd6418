/** The ledger as people read it: one line while the agent runs, a table when it ends. */
import { sumTotals, type Count, type Ledger } from "../agent/ledger.ts";
import type { Agent } from "../agent/main.ts";

/** The terms of a ledger in the order in which they are told. */
interface Terms {
  readLines: number;
  delivered: number;
  filtered: number;
  dropped: number;
  deadLettered: number;
  lost: Count;
  inFlight: number;
  backlogBytes: number;
}

function termsOf({ readLines, settled, inFlight, backlogBytes }: Ledger): Terms {
  const sum = (prefix: string): Count =>
    sumTotals(Object.fromEntries(Object.entries(settled).filter(([name]) => name.startsWith(prefix))));
  return {
    ...{ readLines, delivered: sum("delivered").lines, filtered: sum("filtered/").lines },
    ...{ dropped: sum("dropped/").lines, deadLettered: sum("deadLettered").lines, lost: sum("lost/") },
    ...{ inFlight: inFlight.lines, backlogBytes },
  };
}

/**
 * `read 12,345 lines · delivered 12,001 · filtered 300 · …`. Wider than `columns`, terms that are 0 are left out, and
 * what is still too wide is cut.
 */
export function ledgerLine(ledger: Ledger, columns = Infinity): string {
  const { readLines, delivered, filtered, dropped, deadLettered, lost, inFlight, backlogBytes } = termsOf(ledger);
  const terms: [name: string, value: string][] = [
    ["delivered", count(delivered)],
    ["filtered", count(filtered)],
    ["dropped", count(dropped)],
    ["dead-lettered", count(deadLettered)],
    ["lost", lostText(lost)],
    ["in flight", count(inFlight)],
    ["backlog", bytesText(backlogBytes)],
  ];
  const line = (kept: [string, string][]): string =>
    [`read ${count(readLines)} lines`, ...kept.map(([name, value]) => `${name} ${value}`)].join(" · ");
  const whole = line(terms);
  if (whole.length <= columns) return whole;
  const short = line(terms.filter(([, value]) => value !== "0"));
  return short.length <= columns ? short : `${short.slice(0, Math.max(0, columns - 1))}…`;
}

const HEAD = ["sink", "read", "delivered", "filtered", "dropped", "dead-lettered", "lost", "in flight", "backlog"];

/** A row of lines for each sink (lost: bytes), then what was filtered, dropped and lost, by reason. */
export function ledgerTable(agent: Agent): string {
  const ledgers = agent.ledgers();
  const rows = ledgers.map(({ sink, ledger }) => {
    const { readLines, delivered, filtered, dropped, deadLettered, lost, inFlight, backlogBytes } = termsOf(ledger);
    const lines = [readLines, delivered, filtered, dropped, deadLettered].map(count);
    return [sink, ...lines, lostText(lost), count(inFlight), bytesText(backlogBytes)];
  });
  const reasons = ledgers.flatMap(({ sink, ledger }) =>
    Object.entries(ledger.settled)
      .filter(([name, { bytes }]) => name.includes("/") && bytes > 0)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, { lines, bytes }]) => `${sink}: ${name} ${count(lines)} lines, ${bytesText(bytes)}`),
  );
  return [...aligned([HEAD, ...rows]), ...reasons].join("\n");
}

/** Rows with their columns below each other, the first to the left, the others to the right. */
function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!))).join("  "),
  );
}

const count = (number: number): string => number.toLocaleString("en-US");

/** Lines where they were seen, else bytes. */
function lostText({ lines, bytes }: Count): string {
  return bytes > 0 ? bytesText(bytes) : count(lines);
}

/** `0`, `312 B`, `1.2 MiB`. */
export function bytesText(bytes: number): string {
  if (bytes < 1024) return bytes === 0 ? "0" : `${bytes} B`;
  let value = bytes;
  let unit = "";
  for (const larger of ["KiB", "MiB", "GiB", "TiB"]) {
    if (value < 1023.95) break;
    value /= 1024;
    unit = larger;
  }
  return `${value.toFixed(1)} ${unit}`;
}
