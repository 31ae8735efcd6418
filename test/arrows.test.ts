import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join, normalize, relative } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

/** Who may import whom, and what every file keeps to. ARCHITECTURE.md tells why. */
const ROOT = fileURLToPath(new URL("..", import.meta.url));
const STAGES = ["collect", "decode", "process", "dispatcher", "sinks"];
/** Who puts the stages together: in order, per pipeline, and with the real machine. */
const WIRING = ["agent/main.ts", "agent/pipelines.ts", "agent/machine.ts"];
/** What every stage may use. */
const SHARED = /^agent\/(memory\/.*|ledger\.ts|log\.ts|clock\.ts|disk\.ts)$/;
/** Files that may reach no disk, socket or process, not even through others of ours. */
const PURE = /^(agent\/(decode|process)\/|agent\/dispatcher\/retry\.ts$|crds\/(?!generate\.ts$))/;
const IO =
  /^(node:)?(fs|net|tls|http|https|http2|dgram|dns|child_process|cluster|worker_threads|readline|process)(\/|$)|^(undici|fastify)$/;
const LINES_MAX = 400;

interface Import {
  target: string;
  typesOnly: boolean;
}

/** The imports of a source file, relative ones as paths from the root. */
function importsOf(path: string, source: string): Import[] {
  const found: Import[] = [];
  const statement =
    /^(?:import|export)\s+(type\s+)?([^"';]*?)\bfrom\s+"([^"]+)"|^import\s+"([^"]+)"|\bimport\(\s*"([^"]+)"/gm;
  for (const [, type, names = "", from, bare, dynamic] of source.matchAll(statement)) {
    const target = from ?? bare ?? dynamic ?? "";
    const braced = /^\{([^}]*)\}\s*$/.exec(names)?.[1];
    const each = braced
      ?.split(",")
      .map((name) => name.trim())
      .filter((name) => name !== "");
    const typesOnly = type !== undefined || (each !== undefined && each.every((name) => name.startsWith("type ")));
    found.push({ target: target.startsWith(".") ? normalize(join(path, "..", target)) : target, typesOnly });
  }
  return found;
}

/** Sentences about the imports of a file that break the rules. */
function broken(path: string, source: string): string[] {
  const sentences: string[] = [];
  for (const { target, typesOnly } of importsOf(path, source)) {
    const complain = (rule: string): void => void sentences.push(`${path} imports ${target}: ${rule}`);
    if (PURE.test(path) && IO.test(target) && !typesOnly) complain("it may do no I/O");
    if (!/^(crds|kube|agent|cli|test|package\.json)\b/.test(target)) continue;
    if (target.startsWith("test/")) {
      if (!path.startsWith("test/")) complain("nothing imports tests");
    } else if (path.startsWith("crds/")) {
      if (!target.startsWith("crds/")) complain("crds/ imports nothing of ours");
    } else if (path.startsWith("kube/")) {
      if (!target.startsWith("kube/")) complain("kube/ imports nothing of ours");
    } else if (path.startsWith("agent/")) {
      if (target.startsWith("cli/")) complain("agent/ never imports cli/");
      else checkAgent(path, target, typesOnly, complain);
    } else if (path.startsWith("cli/") && !/^(cli\/|crds\/|kube\/|agent\/[^/]+$|package\.json$)/.test(target)) {
      complain("cli/ imports no stage, only agent/*.ts, kube/ and crds/");
    }
  }
  return sentences;
}

function checkAgent(path: string, target: string, typesOnly: boolean, complain: (rule: string) => void): void {
  if (WIRING.includes(path) || target.startsWith("crds/") || SHARED.test(target)) return;
  const [from, to] = [path.split("/")[1]!, target.split("/")[1]!];
  if (target.startsWith("kube/")) {
    if (STAGES.includes(from) || SHARED.test(path))
      complain("a stage, and what all stages share, knows no Kubernetes API");
  } else if (SHARED.test(path)) {
    if (!typesOnly) complain("what all stages share imports no stage");
  } else if (!STAGES.includes(from)) {
    if (STAGES.includes(to) && !typesOnly) complain(`only ${WIRING.join(", ")} know the stages; others import types`);
  } else if (from === to) return;
  else if (!STAGES.includes(to)) complain("a stage imports its own folder, memory/, ledger, log and crds/");
  else if (STAGES.indexOf(to) > STAGES.indexOf(from)) complain("a stage imports no later stage");
  else if (!typesOnly) complain("of stages before it a stage imports types only");
}

/** Files of the repository, as paths from the root; `under` "" is everything. */
function filesOf(under: string): string[] {
  return readdirSync(join(ROOT, under), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)));
}
const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");
const sources = ["crds", "kube", "agent", "cli", "test"].flatMap(filesOf).filter((path) => path.endsWith(".ts"));

test("imports follow the arrows", () => {
  assert.deepEqual(
    sources.flatMap((path) => broken(path, read(path))),
    [],
  );
});

test("an import against an arrow is noticed", () => {
  const wrong: [path: string, source: string][] = [
    ["crds/a.ts", 'import { x } from "../agent/log.ts";'],
    ["crds/a.ts", 'import { readFileSync } from "node:fs";'],
    ["agent/a.ts", 'import { x } from "../cli/main.ts";'],
    ["agent/admin.ts", 'import { x } from "./collect/chain.ts";'],
    ["agent/collect/a.ts", 'import type { X } from "../sinks/loki.ts";'],
    ["agent/sinks/a.ts", 'import { type X, y } from "../dispatcher/sink.ts";'],
    ["agent/sinks/a.ts", 'import {\n  type X,\n  y,\n} from "../collect/chain.ts";'],
    ["agent/sinks/a.ts", 'import * as all from "../collect/chain.ts";'],
    ["agent/sinks/a.ts", 'export { x } from "../collect/chain.ts";'],
    ["agent/sinks/a.ts", 'import "../main.ts";'],
    ["agent/decode/a.ts", 'import fs from "node:fs/promises";'],
    ["agent/dispatcher/retry.ts", 'import { Pool } from "undici";'],
    ["agent/memory/a.ts", 'import { x } from "../collect/chain.ts";'],
    ["cli/a.ts", 'const { x } = await import("../agent/sinks/loki.ts");'],
    ["cli/a.ts", 'import { x } from "../test/support/x.ts";'],
    ["kube/a.ts", 'import type { Clock } from "../agent/clock.ts";'],
    ["kube/a.ts", 'import { x } from "../crds/config.ts";'],
    ["crds/a.ts", 'import { x } from "../kube/client.ts";'],
    ["agent/collect/a.ts", 'import type { KubeObject } from "../../kube/objects.ts";'],
    ["agent/sinks/a.ts", 'import { x } from "../../kube/http.ts";'],
    ["agent/ledger.ts", 'import { x } from "../kube/client.ts";'],
  ];
  for (const [path, source] of wrong) assert.equal(broken(path, source).length, 1, `${path}: ${source}`);
  const right: [path: string, source: string][] = [
    ["crds/a.ts", 'import { z } from "zod";\nimport { x } from "./b.ts";'],
    ["agent/main.ts", 'import { x } from "./sinks/loki.ts";'],
    [
      "agent/sinks/a.ts",
      'import { type X } from "../dispatcher/sink.ts";\nimport type { Y } from "../collect/chain.ts";',
    ],
    ["agent/sinks/a.ts", 'import { x } from "../memory/memory.ts";\nimport { y } from "../../crds/template.ts";'],
    ["cli/a.ts", 'import { x } from "../agent/main.ts";\nimport p from "../package.json" with { type: "json" };'],
    ["test/agent/a.ts", 'import { x } from "../../agent/sinks/loki.ts";'],
    ["kube/a.ts", 'import { Pool } from "undici";\nimport { x } from "./b.ts";'],
    ["agent/pods.ts", 'import { x } from "../kube/watch.ts";'],
    ["agent/main.ts", 'import { x } from "../kube/client.ts";'],
    ["cli/a.ts", 'import { x } from "../kube/client.ts";'],
  ];
  for (const [path, source] of right) assert.deepEqual(broken(path, source), []);
});

test("no folder or file is a place for whatever", () => {
  const vague = sources.filter((path) => /(^|\/)(utils?|helpers?|common|misc|shared)(\/|\.ts$)/.test(path));
  assert.deepEqual(vague, []);
});

test(`no source has more than ${LINES_MAX} lines`, () => {
  const long = sources
    .map((path) => [path, read(path).split("\n").length - 1] as const)
    .filter(([, lines]) => lines > LINES_MAX);
  assert.deepEqual(long, []);
});

test("no file names a package registry's host", () => {
  // In pieces, so that this file names none either.
  const hosts = [
    ["registry", "npmjs", "org"],
    ["registry", "yarnpkg", "com"],
    ["pypi", "org"],
    ["files", "pythonhosted", "org"],
    ["proxy", "golang", "org"],
    ["sum", "golang", "org"],
    ["crates", "io"],
    ["repo1", "maven", "org"],
    ["deb", "debian", "org"],
  ].map((parts) => parts.join("."));
  const top = readdirSync(ROOT, { withFileTypes: true }).filter(
    ({ name }) => !/^(\.git|node_modules|dist|out)$/.test(name),
  );
  const files = top.flatMap((entry) => (entry.isDirectory() ? filesOf(entry.name) : [entry.name]));
  assert.ok(files.includes("package-lock.json") && files.includes("crds/schema.ts"));
  const naming = files.filter((path) => hosts.some((host) => read(path).includes(host)));
  assert.deepEqual(naming, []);
  assert.ok(
    !read("package-lock.json").includes('"resolved"'),
    "npm install without omit-lockfile-registry-resolved wrote the lock",
  );
});
