import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { readConfig } from "../../crds/config.ts";
import type { Problem, World } from "../../crds/config.ts";

const SECONDS_MAX = 1;
const WORDS: Record<string, string> = {
  "@pipeline": "apiVersion: tailrace.dev/v1alpha1\nkind: LogPipeline\nmetadata: {name: a}\nspec:",
  "@loki": "  sinks:\n  - name: l\n    loki:\n      url: http://l:3100",
  "@stdout": "  sinks: [{name: out, stdout: {}}]",
};
const world: World = {
  env: (name) => (name === "EMPTY" ? "" : undefined),
  readFile() {
    throw new Error("there is no such file");
  },
};

function problemsOf(text: string): Problem[] {
  const start = process.cpuUsage(); // not the clock: the machine may be busy with other tests
  const { config, problems } = readConfig([{ file: "f", text }], world);
  const { user, system } = process.cpuUsage(start);
  const seconds = (user + system) / 1e6;
  assert.ok(seconds < SECONDS_MAX, `took ${seconds} s`);
  assert.equal(config, undefined);
  return problems;
}

const linesOf = (problems: readonly Problem[]): string[] =>
  problems.map(({ line, path, message }) => `${line}: ${path === "" ? "" : `${path}: `}${message}`);

const [, ...blocks] = readFileSync(new URL("bad-inputs.txt", import.meta.url), "utf8").split("\n## ");
for (const block of blocks) {
  const [title = "", ...lines] = block.split("\n");
  const said = lines.filter((line) => line.startsWith("=> ")).map((line) => line.slice(3));
  const text = lines.filter((line) => !line.startsWith("=> ")).map((line) => WORDS[line] ?? line);
  test(`${title} is refused with its line and field`, () => {
    assert.ok(said.length > 0, "the table says nothing");
    assert.deepEqual(linesOf(problemsOf(text.join("\n"))), said);
  });
}

const pipeline = `${WORDS["@pipeline"]}\n${WORDS["@stdout"]}\n`;

test("a null byte is refused", () => {
  assert.deepEqual(linesOf(problemsOf("a: \0\n")), ["1: is no valid YAML: null byte is not allowed in input"]);
});

test("lists nested without end are refused", () => {
  assert.deepEqual(linesOf(problemsOf(`a: ${"[".repeat(500_000)}`)), ["1: nests more than 50 levels deep"]);
});

test("a file of more than a mebibyte is refused", () => {
  const said = "1: has 1048579 bytes; a file may have at most 1 MiB (1048576)";
  assert.deepEqual(linesOf(problemsOf(`a: ${"x".repeat(1 << 20)}`)), [said]);
});

test("a file of just under a mebibyte of tiny values is refused in time", () => {
  const [said] = linesOf(problemsOf(`[${"a,".repeat((1 << 19) - 2)}]`));
  assert.match(said!, /^1: .*holds more than 100000 keys and values/);
});

test("a file of just under a mebibyte of short lines gets at most a hundred problems and one that says so", () => {
  const problems = problemsOf(`${pipeline}${Array.from({ length: 40_000 }, (_, i) => `k${i}: 1\n`).join("")}`);
  assert.equal(problems.length, 101);
  assert.match(problems[0]!.message, /is no known field here; known are apiVersion, kind, metadata, spec/);
  assert.equal(problems[100]!.message, "has more problems; mend those above first");
});

test("a pattern of more than 512 characters is refused", () => {
  const text = pipeline.replace("spec:", `spec:\n  process: [{drop: {text: {matches: ${"a".repeat(513)}}}}]`);
  const said = "5: spec.process[0].drop.text.matches: must have at most 512 characters, not 513";
  assert.deepEqual(linesOf(problemsOf(text)), [said]);
});

test("thirty-three steps are refused", () => {
  const steps = Array(33).fill("{drop: {level: [debug]}}").join(", ");
  const said = "5: spec.process: must have at most 32 entries, not 33";
  assert.deepEqual(linesOf(problemsOf(pipeline.replace("spec:", `spec:\n  process: [${steps}]`))), [said]);
});

test("more than a thousand pipelines are refused", () => {
  const files = Array.from({ length: 1001 }, (_, i) => ({
    file: `f${i}`,
    text: pipeline.replace("name: a", `name: a${i}`),
  }));
  const { problems } = readConfig(files, world);
  assert.deepEqual(
    problems.map(({ file, message }) => `${file}: ${message}`),
    ["f1000: 1001 pipelines; at most 1000"],
  );
});

test("nothing of a bad file reaches Object.prototype", () => {
  problemsOf(`${pipeline}---\n__proto__: {polluted: 1}\nconstructor: {prototype: {polluted: 1}}\n`);
  assert.equal(({} as Record<string, unknown>)["polluted"], undefined);
});

test("no message shows a value that may be a secret", () => {
  const secrets = [
    "auth: hunter2",
    "auth: {bearer: hunter2}",
    "auth: {bearer: {value: [hunter2]}}",
    "auth: {basic: {username: {value: a}, password: {value: {a: hunter2}}}}",
    "auth: {bearer: {env: A, value: hunter2}}",
    "headers: {Authorization: hunter2}",
    "url: http://me:hunter2@l",
  ];
  for (const secret of secrets) {
    const said = linesOf(problemsOf(`${WORDS["@pipeline"]}\n  sinks: [{name: l, http: {url: http://l, ${secret}}}]\n`));
    assert.ok(said.length > 0);
    assert.deepEqual(
      said.filter((line) => line.includes("hunter2")),
      [],
    );
  }
});

test("every file is named in its own problems", () => {
  const files = ["one", "two"].map((file) => ({ file, text: "kind: x\n" }));
  assert.deepEqual(
    readConfig(files, world).problems.map(({ file }) => file),
    ["one", "two"],
  );
});
