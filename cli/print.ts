/** What every verb prints alike: problems, one line each. */
import { Option } from "commander";
import type { Problem } from "../crds/config.ts";

export type Output = "text" | "json";

/** `-o json`; each call is a new option. */
export const outputOption = (): Option =>
  new Option("-o, --output <format>", "how to print").choices(["text", "json"]).default("text");

/** `-f`, as every verb that reads configuration takes it. */
export const filesOption = (): Option =>
  new Option("-f, --file <path...>", "configuration file or directory; - is standard input").makeOptionMandatory();

/** `file:line: path: message`; without a line when the file itself is meant. */
export function problemLine({ file, line, path, message }: Problem): string {
  const place = line > 0 ? `${file}:${line}` : file;
  return path === "" ? `${place}: ${message}` : `${place}: ${path}: ${message}`;
}

/** Problems and notes to standard error. */
export function printProblems(problems: readonly Problem[], notes: readonly Problem[]): void {
  for (const problem of problems) process.stderr.write(`${problemLine(problem)}\n`);
  for (const note of notes) process.stderr.write(`note: ${problemLine(note)}\n`);
}

/** A value as indented JSON on standard output. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}
