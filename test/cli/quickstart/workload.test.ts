import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { FILE_BYTES, FILES_KEPT, Workload } from "../../../cli/quickstart/workload.ts";

const LINE = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) F .+$/;
const POD = /^(shop|jobs)_[a-z0-9-]+_[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

function folder(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "tailrace-workload-"));
  t.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

const logs = (directory: string): string[] =>
  readdirSync(directory, { recursive: true, encoding: "utf8" }).filter((path) => /\d\.log/.test(path));

test("it writes CRI lines of three containers, laid out as /var/log/pods", (t) => {
  const directory = folder(t);
  let now = Date.parse("2026-11-24T15:12:03Z");
  const workload = new Workload(directory, () => now);
  for (let i = 0; i < 600; i++, now += 100) workload.tick();
  const texts = logs(directory).map((path) => {
    const [pod, , name] = path.split("/");
    assert.match(pod!, POD);
    assert.equal(name, "0.log");
    const lines = readFileSync(join(directory, path), "utf8").split("\n");
    assert.equal(lines.pop(), "");
    for (const line of lines) assert.match(line, LINE);
    return lines.join("\n");
  });
  assert.equal(texts.length, 3);
  const all = texts.join("\n");
  for (const seen of [
    '"status":200',
    "\tat com.example.orders",
    "Caused by: ",
    "level=debug",
    "level=info",
    "@example.",
  ]) {
    assert.ok(all.includes(seen), `${seen} is among what it writes`);
  }
  const entry = /F (\{"time":.*\})$/m.exec(all)![1]!;
  assert.equal((JSON.parse(entry) as { method: string }).method, "GET");
});

test("rotation keeps it within its bound, and loses no line before the kept files are over", (t) => {
  const directory = folder(t);
  let now = Date.parse("2026-11-24T15:12:03Z");
  const workload = new Workload(directory, () => now);
  for (let i = 0; i < 30_000; i++, now += 500) {
    workload.tick();
    if (i % 200 > 0) continue;
    const bytes = logs(directory).reduce((sum, path) => sum + statSync(join(directory, path)).size, 0);
    assert.ok(bytes <= 3 * (FILES_KEPT + 1) * FILE_BYTES, `${bytes} bytes`);
  }
  const rotated = logs(directory).filter((path) => !path.endsWith("0.log"));
  assert.ok(rotated.length > 2 * FILES_KEPT, `${rotated.length} rotated files`);
  for (const path of rotated) assert.match(path, /\/0\.log\.\d{8}-\d{6}$/);
  // The shards of the debug logger's kept lines follow each other without a gap.
  const sync = logs(directory)
    .filter((path) => path.includes("sync-"))
    .sort((a, b) => a.length - b.length || (a < b ? -1 : 1));
  const [growing, ...old] = sync;
  const lines = [...old, growing!].flatMap((path) => readFileSync(join(directory, path), "utf8").trimEnd().split("\n"));
  const offsets = lines.flatMap((line) => /offset=(\d+)/.exec(line)?.[1] ?? []).map(Number);
  for (const [i, offset] of offsets.entries()) {
    if (i > 0) assert.ok(offset - offsets[i - 1]! <= 128, `a gap before ${offset}`);
  }
});

test("a second workload goes on in the files of the first, and a long pause is not made up for", (t) => {
  const directory = folder(t);
  let now = Date.parse("2026-11-24T15:12:03Z");
  new Workload(directory, () => now).tick();
  const before = logs(directory).map((path) => readFileSync(join(directory, path), "utf8"));
  const second = new Workload(directory, () => now);
  second.tick();
  now += 3_600_000;
  second.tick();
  for (const [i, path] of logs(directory).entries()) {
    const text = readFileSync(join(directory, path), "utf8");
    assert.ok(text.startsWith(before[i]!));
    assert.ok(text.split("\n").length < 20, `${text.split("\n").length} lines`);
  }
});
