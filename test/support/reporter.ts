/**
 * The test report: one line per test file, every failure in full at once, every skipped test with its reason, and
 * `N passed, N failed` as the last line.
 */
import { relative } from "node:path";
import { inspect } from "node:util";
import type { TestEvent } from "node:test/reporters";

/** An error as people read it: the assertion's own message and where it was thrown, without the runner's frames. */
function explain(error: Error): string {
  const cause = error.cause instanceof Error ? error.cause : error;
  const text = cause.stack ?? inspect(cause);
  return text
    .split("\n")
    .filter((line) => !line.includes("(node:internal/"))
    .map((line) => `      ${line}`)
    .join("\n");
}

export default async function* report(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const { type, data } of events) {
    if (type === "test:fail" && data.details.type !== "suite") {
      const where = data.file === undefined ? "" : `${relative(process.cwd(), data.file)}:${data.line ?? 0} `;
      yield `  FAILED ${where}${data.name}\n${explain(data.details.error)}\n`;
    } else if (type === "test:pass" && data.skip !== undefined) {
      const reason = typeof data.skip === "string" ? `: ${data.skip}` : "";
      yield `  skipped ${data.name}${reason}\n`;
    } else if (type === "test:stdout" || type === "test:stderr") {
      yield data.message;
    } else if (type === "test:summary") {
      const { tests, passed, skipped, todo } = data.counts;
      const line = `${passed} passed, ${tests - passed - skipped - todo} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
      if (data.file === undefined) yield `${line}\n`;
      else yield `${relative(process.cwd(), data.file)}: ${line} (${(data.duration_ms / 1000).toFixed(1)} s)\n`;
    }
  }
}
