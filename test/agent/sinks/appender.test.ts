import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { AppendError, Appender, OPEN_MAX } from "../../../agent/sinks/appender.ts";
import { keptLog, smallDisk } from "./support.ts";

const never = new AbortController().signal;
const bytes = (text: string): Buffer => Buffer.from(text);
const read = (path: string): string => fs.readFileSync(path, "utf8");

interface Made {
  folder: string;
  appender: Appender;
  log: ReturnType<typeof keptLog>;
}

function make(t: TestContext): Made {
  const folder = fs.mkdtempSync(join(tmpdir(), "tailrace-appender-"));
  const log = keptLog();
  const appender = new Appender(log, { pipeline: "p", sink: "s" });
  t.after(async () => {
    await appender.close();
    fs.rmSync(folder, { recursive: true });
  });
  return { folder, appender, log };
}

test("parts of one path are appended in their order, folders are made", async (t) => {
  const { folder, appender } = make(t);
  const path = join(folder, "a/b/c.log");
  await appender.append(
    [
      { path, bytes: bytes("1\n") },
      { path, bytes: bytes("2\n") },
    ],
    never,
  );
  await appender.append(
    [
      { path, bytes: bytes("3\n") },
      { path: join(folder, "d"), bytes: bytes("x\n") },
    ],
    never,
  );
  assert.equal(read(path), "1\n2\n3\n");
  assert.equal(read(join(folder, "d")), "x\n");
});

test("requests for one path do not mix, also from two sinks", async (t) => {
  const { folder, appender } = make(t);
  const other = new Appender(keptLog(), { pipeline: "p", sink: "other" });
  t.after(async () => other.close());
  const path = join(folder, "one");
  const blocks = Array.from({ length: 20 }, (_, i) => `${i}${"x".repeat(100_000)}\n`);
  await Promise.all(
    blocks.map(async (block, i) => {
      const parts = [
        { path: join(folder, i % 2 ? "z" : "a"), bytes: bytes("n\n") },
        { path, bytes: bytes(block) },
      ];
      return (i % 3 ? appender : other).append(parts, never);
    }),
  );
  assert.deepEqual(
    read(path)
      .split(/(?<=\n)/)
      .sort(),
    blocks.toSorted(),
  );
});

test("the torn last line of a file is cut when it is opened, and said", async (t) => {
  const { folder, appender, log } = make(t);
  const cases: [string, string][] = [
    ["whole\ntorn", "whole\n"],
    ["whole\n", "whole\n"],
    ["", ""],
    ["torn", ""],
    [`whole\n${"t".repeat(200_000)}`, "whole\n"],
    [`${"w".repeat(65_535)}\n${"t".repeat(65_536)}`, `${"w".repeat(65_535)}\n`],
  ];
  for (const [i, [before, kept]] of cases.entries()) {
    const path = join(folder, String(i));
    fs.writeFileSync(path, before);
    await appender.append([{ path, bytes: bytes("new\n") }], never);
    assert.equal(read(path), `${kept}new\n`, `case ${i}`);
    assert.equal(
      log.lines.some((line) => line.includes(`"${path}"`)),
      before !== kept,
      `case ${i}`,
    );
  }
});

test("a file that was moved away or removed is made anew", async (t) => {
  const { folder, appender } = make(t);
  const path = join(folder, "a");
  await appender.append([{ path, bytes: bytes("1\n") }], never);
  fs.renameSync(path, `${path}.1`);
  await appender.append([{ path, bytes: bytes("2\n") }], never);
  assert.equal(read(`${path}.1`), "1\n");
  assert.equal(read(path), "2\n");
  fs.rmSync(path);
  await appender.append([{ path, bytes: bytes("3\n") }], never);
  assert.equal(read(path), "3\n");
  fs.truncateSync(path);
  await appender.append([{ path, bytes: bytes("4\n") }], never);
  assert.equal(read(path), "4\n");
});

test("at most so many files stay open, and closed ones are opened again", async (t) => {
  const { folder, appender } = make(t);
  const parts = Array.from({ length: OPEN_MAX + 50 }, (_, i) => ({ path: join(folder, `${i}`), bytes: bytes("x\n") }));
  const descriptors = (): number => fs.readdirSync("/proc/self/fd").length;
  const before = descriptors();
  for (let i = 0; i < 2; i++) {
    await appender.append(parts, never);
    assert.equal(appender.openFiles, OPEN_MAX);
    assert.ok(descriptors() <= before + OPEN_MAX + 2);
  }
  await Promise.all(parts.map(async (part) => appender.append([part], never)));
  assert.equal(appender.openFiles, OPEN_MAX);
  for (const { path } of parts) assert.equal(read(path), "x\nx\nx\n");
  await appender.close();
  assert.ok(descriptors() <= before + 2);
});

test("a file that is being written stays open, however many others there are", async (t) => {
  const { folder, appender } = make(t);
  const path = join(folder, "long");
  const block = bytes("x\n");
  const long = appender.append(
    Array.from({ length: 5_000 }, () => ({ path, bytes: block })),
    never,
  );
  const others = Array.from({ length: OPEN_MAX + 20 }, (_, i) => ({ path: join(folder, `${i}`), bytes: bytes("x\n") }));
  await Promise.all([long, ...others.map(async (part) => appender.append([part], never))]);
  assert.equal(fs.statSync(path).size, 5_000 * block.length);
  assert.ok(appender.openFiles <= OPEN_MAX);
});

test("what is no file is refused with its path", async (t) => {
  const { folder, appender } = make(t);
  fs.mkdirSync(join(folder, "folder"));
  execFileSync("mkfifo", [join(folder, "pipe")]);
  fs.writeFileSync(join(folder, "file"), "");
  for (const name of ["folder", "pipe", "file/below"]) {
    const path = join(folder, name);
    await assert.rejects(appender.append([{ path, bytes: bytes("x\n") }], never), (error: Error) => {
      assert.ok(error instanceof AppendError);
      assert.ok(error.message.startsWith(`${path}: `), error.message);
      return true;
    });
  }
});

test("when one of several files fails, nothing stays in the others", async (t) => {
  const { folder, appender } = make(t);
  fs.mkdirSync(join(folder, "b"));
  fs.writeFileSync(join(folder, "a"), "old\n");
  const parts = ["a", "b", "c"].map((name) => ({ path: join(folder, name), bytes: bytes("x\n") }));
  await assert.rejects(appender.append(parts, never), AppendError);
  assert.equal(read(join(folder, "a")), "old\n");
  assert.ok(!fs.existsSync(join(folder, "c")));
});

test("an abort takes back what was written", async (t) => {
  const { folder, appender } = make(t);
  const paths = ["a", "b"].map((name) => join(folder, name));
  for (const path of paths) fs.writeFileSync(path, "old\n");
  const abort = new AbortController();
  const appending = appender.append(
    paths.map((path) => ({ path, bytes: bytes("x\n".repeat(1 << 20)) })),
    abort.signal,
  );
  abort.abort(new Error("stop"));
  await assert.rejects(appending, /stop/);
  for (const path of paths) assert.equal(read(path), "old\n");
});

test("an abort during the last write takes it back, too", async (t) => {
  const { folder, appender } = make(t);
  const path = join(folder, "a");
  await appender.append([{ path, bytes: bytes("old\n") }], never);
  const abort = new AbortController();
  const appending = appender.append([{ path, bytes: bytes("x\n".repeat(1 << 22)) }], abort.signal);
  while (fs.statSync(path).size === 4) await new Promise(setImmediate);
  abort.abort(new Error("stop"));
  await assert.rejects(appending, /stop/);
  assert.equal(read(path), "old\n");
});

test("what one request takes back is its own alone", async (t) => {
  const { folder, appender } = make(t);
  const path = join(folder, "a");
  const requests = Array.from({ length: 40 }, async (_, i) => {
    const abort = new AbortController();
    const appending = appender.append([{ path, bytes: bytes(`${i}${"x".repeat(200_000)}\n`) }], abort.signal);
    if (i % 2) setImmediate(() => abort.abort(new Error("stop")));
    return appending.then(
      () => i,
      () => undefined,
    );
  });
  const kept = (await Promise.all(requests)).filter((i) => i !== undefined);
  const found = read(path)
    .trimEnd()
    .split("\n")
    .map((text) => Number(text.replaceAll("x", "")));
  assert.deepEqual(
    found.sort((a, b) => a - b),
    kept,
  );
  assert.ok(kept.length >= 20);
});

test("on a full disk what does not fit is taken back, and goes in when there is room", async (t) => {
  const disk = smallDisk(t);
  if (disk === undefined) return;
  const { appender } = make(t);
  const path = join(disk, "a");
  await appender.append([{ path, bytes: bytes("old\n") }], never);
  fs.writeFileSync(join(disk, "ballast"), Buffer.alloc(12 << 20));
  const block = bytes("0123456789abcde\n".repeat(512 * 1024));
  for (let i = 0; i < 3; i++) {
    await assert.rejects(appender.append([{ path, bytes: block }], never), (error: Error) => {
      assert.ok(error instanceof AppendError);
      assert.equal(error.code, "ENOSPC");
      assert.equal(error.left, false);
      return true;
    });
    assert.equal(read(path), "old\n");
  }
  fs.rmSync(join(disk, "ballast"));
  await appender.append([{ path, bytes: block }], never);
  assert.ok(fs.readFileSync(path).equals(Buffer.concat([bytes("old\n"), block])));
});

test("what was appended is on disk before it counts, with the names of new files and folders", async (t) => {
  const { folder, appender } = make(t);
  const steps: string[] = [];
  const handle = await fs.promises.open(folder);
  const prototype = Object.getPrototypeOf(handle) as fs.promises.FileHandle;
  await handle.close();
  for (const step of ["write", "datasync", "sync"] as const) {
    const real = prototype[step] as (...given: unknown[]) => Promise<unknown>;
    t.mock.method(prototype, step, async function (this: fs.promises.FileHandle, ...given: unknown[]) {
      const name = fs.readlinkSync(`/proc/self/fd/${this.fd}`).slice(folder.length);
      const result = await real.apply(this, given);
      steps.push(`${step} ${name}`);
      return result;
    });
  }
  const path = join(folder, "a/b");
  await appender.append([{ path, bytes: bytes("x\n") }], never);
  assert.deepEqual(steps, ["sync ", "sync /a", "write /a/b", "datasync /a/b"]);
  steps.length = 0;
  await appender.append([{ path, bytes: bytes("x\n") }], never);
  assert.deepEqual(steps, ["write /a/b", "datasync /a/b"]);
});
