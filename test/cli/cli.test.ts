import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));
const BIN = fileURLToPath(new URL("../../bin/tailrace", import.meta.url));
const directory = mkdtempSync(join(tmpdir(), "tailrace-cli-"));
after(() => rmSync(directory, { recursive: true }));

const PIPELINE = `apiVersion: tailrace.dev/v1alpha1
kind: LogPipeline
metadata: {name: checkout, namespace: shop}
spec:
  sinks:
  - name: loki
    loki: {url: http://loki:3100, labels: {app: "{container}", pod: "{pod}"}}
  - {name: out, stdout: {}}
`;

function file(name: string, content: string | Buffer): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

async function run(args: string[], stdin = "", command = [process.execPath, MAIN]) {
  const start = performance.now();
  const child = spawn(command[0]!, [...command.slice(1), ...args], { cwd: directory });
  child.stdin.on("error", () => {}); // a command that does not read it closes it
  child.stdin.end(stdin);
  const [stdout, stderr, [code, signal]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, "exit"),
  ]);
  return {
    stdout,
    stderr,
    code: code as number | null,
    signal: signal as string | null,
    seconds: (performance.now() - start) / 1000,
  };
}

test("a good file is valid, and what was added to it is noted", async () => {
  file("good.yaml", PIPELINE);
  const { code, stdout, stderr } = await run(["validate", "-f", "good.yaml"]);
  assert.equal(stdout, "LogPipeline/shop/checkout is valid; sinks: loki (loki), out (stdout)\n");
  assert.equal(
    stderr,
    "note: good.yaml:7: spec.sinks[0].loki.labels: no label tells container streams apart by stream; the label stream is added\n",
  );
  assert.equal(code, 0);
});

test("every problem is one line with file, line and field on standard error, and the exit code is 2", async () => {
  file("bad.yaml", PIPELINE.replace("stdout: {}", "stdout: {formt: text}").replace("name: checkout", "name: Checkout"));
  const { code, stdout, stderr } = await run(["validate", "-f", "bad.yaml", "-f", "nowhere.yaml"]);
  assert.deepEqual([code, stdout, stderr], [2, "", "nowhere.yaml: cannot be read: there is no such file\n"]);
  const again = await run(["validate", "-f", "bad.yaml"]);
  assert.equal(
    again.stderr,
    "bad.yaml:3: metadata.name: must be a name of small letters, digits, dots and dashes\n" +
      "bad.yaml:8: spec.sinks[1].stdout.formt: is no known field; did you mean format?\n",
  );
  assert.deepEqual([again.code, again.stdout], [2, ""]);
});

test("-o json tells the same to programs", async () => {
  const good = await run(["validate", "-f", "-", "-o", "json"], PIPELINE);
  const notes = JSON.parse(good.stdout) as { notes: unknown[] };
  assert.deepEqual(notes, { valid: true, problems: [], notes: notes.notes });
  assert.equal(notes.notes.length, 1);
  const bad = await run(["validate", "-o", "json", "-f", "-"], "kind: Pod\n");
  assert.equal(bad.code, 2);
  assert.deepEqual(JSON.parse(bad.stdout), {
    valid: false,
    problems: [
      {
        file: "-",
        line: 1,
        path: "kind",
        message:
          "is a Pod, which Tailrace does not read; known are LogPipeline, ClusterLogPipeline, AgentConfig, Secret",
      },
    ],
    notes: [],
  });
});

test("a directory is all its YAML and JSON files, several -f are one configuration", async () => {
  const folder = mkdtempSync(join(directory, "conf-"));
  writeFileSync(
    join(folder, "b.yml"),
    PIPELINE.replace("http://loki:3100", "http://l, auth: {bearer: {secretKeyRef: {name: s, key: k}}}"),
  );
  writeFileSync(join(folder, "a.json"), JSON.stringify({ apiVersion: "tailrace.dev/v1alpha1", kind: "AgentConfig" }));
  writeFileSync(join(folder, "notes.txt"), "not: [yaml");
  writeFileSync(join(folder, ".hidden.yaml"), "not: [yaml");
  const secret = file(
    "secret.yaml",
    "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: shop}\nstringData: {k: v}\n",
  );
  const { code, stdout } = await run(["validate", "-f", folder, secret]);
  assert.match(stdout, /^LogPipeline\/shop\/checkout is valid/);
  assert.equal(code, 0);
  const without = await run(["validate", "-f", folder]);
  assert.match(
    without.stderr,
    /b\.yml:7: spec\.sinks\[0\]\.loki\.auth\.bearer: Secret s in namespace shop is not among the files$/m,
  );
});

test("what is no configuration file is refused at once, whatever its size", async () => {
  const big = file("big.yaml", `a: ${"x".repeat(2 << 20)}`);
  const latin = file("latin.yaml", Buffer.from("a: \xe9", "latin1"));
  const empty = mkdtempSync(join(directory, "empty-"));
  const { code, stderr, seconds } = await run(["validate", "-f", "/dev/zero", big, latin, empty]);
  assert.deepEqual(stderr.split("\n"), [
    "/dev/zero: cannot be read: it has more than 1 MiB (1048576 bytes); split it",
    `${big}: cannot be read: it has more than 1 MiB (1048576 bytes); split it`,
    `${latin}: cannot be read: it is not UTF-8 text`,
    `${empty}: cannot be read: the directory has no .yaml, .yml or .json files`,
    "",
  ]);
  assert.equal(code, 2);
  assert.ok(seconds < 5, `took ${seconds} s`);
});

test("an alias bomb ends in one line, within a second of work", async () => {
  const names = "abcdefghijklmnopqrst".split("");
  const lines = names.map(
    (name, index) =>
      `${name}: &${name} [${Array(10)
        .fill(index === 0 ? "x" : `*${names[index - 1]}`)
        .join(", ")}]`,
  );
  const { code, stderr, seconds } = await run(["validate", "-f", "-"], `${lines.join("\n")}\n`);
  assert.equal(stderr, "-:5: e[7]: holds more than 100000 keys and values, its aliases expanded\n");
  assert.equal(code, 2);
  assert.ok(seconds < 5, `took ${seconds} s`); // mostly starting Node on a busy machine
});

test("render prints what validate takes, with secrets masked", async () => {
  const text = PIPELINE.replace("http://loki:3100,", "http://loki:3100, auth: {bearer: {value: hunter2}},");
  const { code, stdout } = await run(["render", "-f", "-"], text);
  assert.equal(code, 0);
  assert.match(stdout, /^apiVersion: tailrace\.dev\/v1alpha1\nkind: AgentConfig\nspec:\n {2}memoryLimit: 32Mi\n/);
  assert.ok(!stdout.includes("hunter2"));
  const again = await run(["validate", "-f", "-"], stdout);
  assert.deepEqual([again.code, again.stderr], [0, ""]);
  const json = JSON.parse((await run(["render", "-f", "-", "-o", "json"], text)).stdout) as { kind: string }[];
  assert.deepEqual(
    json.map(({ kind }) => kind),
    ["AgentConfig", "LogPipeline"],
  );
  assert.equal((await run(["render", "-f", "-"], "")).code, 2);
});

test("a secret in the environment or a file is found, and named when it is not", async () => {
  const token = file("token", "s3cret\n");
  const text = (auth: string) => PIPELINE.replace("http://loki:3100,", `http://loki:3100, auth: {bearer: ${auth}},`);
  assert.equal((await run(["validate", "-f", "-"], text(`{file: ${token}}`))).code, 0);
  assert.equal((await run(["validate", "-f", "-"], text("{env: PATH}"))).code, 0);
  const { stderr } = await run(["validate", "-f", "-"], text("{file: /nowhere}"));
  assert.match(stderr, /bearer: file \/nowhere cannot be read: ENOENT/);
});

test("help shows every verb, and each verb its options and examples", async () => {
  const { code, stdout } = await run(["--help"]);
  assert.equal(code, 0);
  for (const verb of ["run", "validate", "render"]) assert.match(stdout, new RegExp(`^  ${verb} +[a-z]`, "m"));
  assert.match(stdout, /Examples:/);
  for (const args of [
    ["validate", "--help"],
    ["help", "render"],
  ]) {
    const help = await run(args);
    assert.equal(help.code, 0);
    assert.match(help.stdout, /--file <path\.\.\.>[^]*--output <format>[^]*Examples:\n {2}tailrace /);
  }
});

test("bad arguments are one line and exit code 2", async () => {
  const wrong: [string[], RegExp][] = [
    [["bogus"], /^error: unknown command 'bogus'\n$/],
    [["validat", "-f", "x"], /^error: unknown command 'validat'\n\(Did you mean validate\?\)\n$/],
    [["validate"], /^error: required option '-f, --file <path\.\.\.>' not specified\n$/],
    [["validate", "-f"], /^error: option '-f, --file <path\.\.\.>' argument missing\n$/],
    [["validate", "-f", "x", "--bogus"], /^error: unknown option '--bogus'\n$/],
    [["validate", "-f", "x", "-o", "xml"], /^error: option '-o, --output <format>' argument 'xml' is invalid/],
    [[], /^Usage: tailrace/],
  ];
  for (const [args, said] of wrong) {
    const { code, stdout, stderr } = await run(args);
    assert.match(stderr, said);
    assert.deepEqual([code, stdout], [2, ""], args.join(" "));
  }
});

test("bin/tailrace runs from anywhere, also through a link, with arguments untouched", async () => {
  const link = join(directory, "linked");
  symlinkSync(BIN, link);
  const odd = file("two words 'and' $HOME.yaml", PIPELINE);
  const { code, stdout } = await run(["validate", "-f", odd], "", [link]);
  assert.equal(code, 0);
  assert.match(stdout, /^LogPipeline\/shop\/checkout is valid/);
  assert.match((await run(["--version"], "", [BIN])).stdout, /^\d+\.\d+\.\d+\n$/);
});

test("bin/tailrace becomes Node itself, so signals reach it", async () => {
  const child = spawn(BIN, ["validate", "-f", "-"], { stdio: ["pipe", "ignore", "inherit"] });
  const deadline = performance.now() + 20_000;
  while (!readlinkSync(`/proc/${child.pid}/exe`).endsWith("/node")) {
    assert.ok(performance.now() < deadline, "is still the shell");
    await wait(10);
  }
  child.kill("SIGTERM");
  assert.deepEqual(await once(child, "exit"), [null, "SIGTERM"]);
});

test("a reader that goes away is no failure", async () => {
  const many = Array.from({ length: 400 }, (_, i) => PIPELINE.replace("checkout", `c${i}`)).join("---\n");
  const child = spawn(process.execPath, [MAIN, "render", "-f", "-"], { stdio: ["pipe", "pipe", "pipe"] });
  child.stdin.end(many);
  child.stdout.once("data", () => child.stdout.destroy());
  const [stderr, [code]] = await Promise.all([text(child.stderr), once(child, "exit")]);
  assert.equal(code, 0);
  assert.ok(!stderr.includes("EPIPE"), stderr);
});
