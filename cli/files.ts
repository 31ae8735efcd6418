/**
 * Configuration files from disk and standard input, with a sentence for each that cannot be read. Nothing is read
 * beyond what a configuration file may have, whatever is behind the path.
 */
import { createReadStream, readFileSync, statSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { readConfig } from "../crds/config.ts";
import type { Config, Problem, World } from "../crds/config.ts";
import { FILE_BYTES_MAX } from "../crds/yaml.ts";

/** Configuration files in one directory, at most. */
const FILES_MAX = 1000;
const SECRET_FILE_BYTES_MAX = 1 << 16;

interface File {
  file: string;
  text: string;
}

export const world: World = {
  env: (name) => process.env[name],
  readFile(path) {
    const { size } = statSync(path);
    if (size > SECRET_FILE_BYTES_MAX) throw new Error(`it has ${size} bytes; at most ${SECRET_FILE_BYTES_MAX}`);
    return readFileSync(path, "utf8");
  },
};

/** Reads files, directories (their .yaml, .yml and .json files, not deeper) and `-` as one configuration. */
export async function loadConfig(
  paths: readonly string[],
): Promise<{ config?: Config; problems: Problem[]; notes: Problem[] }> {
  const files: File[] = [];
  const problems: Problem[] = [];
  for (const path of paths) {
    try {
      files.push(...(await read(path)));
    } catch (error) {
      problems.push({ file: path, line: 0, path: "", message: `cannot be read: ${reasonOf(error)}` });
    }
  }
  if (problems.length > 0) return { problems, notes: [] };
  return readConfig(files, world);
}

async function read(path: string): Promise<File[]> {
  if (path === "-") return [{ file: "-", text: await (stdin ??= bounded(process.stdin)) }];
  if (!(await stat(path)).isDirectory()) return [{ file: path, text: await bounded(createReadStream(path)) }];
  const names = (await readdir(path)).filter((name) => /\.(ya?ml|json)$/.test(name) && !name.startsWith(".")).sort();
  if (names.length === 0) throw new Error("the directory has no .yaml, .yml or .json files");
  if (names.length > FILES_MAX) throw new Error(`the directory has ${names.length} files; at most ${FILES_MAX}`);
  const files: File[] = [];
  for (const name of names) {
    const file = join(path, name);
    if ((await stat(file)).isFile()) files.push({ file, text: await bounded(createReadStream(file)) });
  }
  return files;
}

/** Standard input can be read only once, but a reload asks for it again. */
let stdin: Promise<string> | undefined;

/** The text of a stream; of a longer one just enough for its reader to see that it is too long. */
async function bounded(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > FILE_BYTES_MAX) throw new Error(`it has more than 1 MiB (${FILE_BYTES_MAX} bytes); split it`);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
  } catch {
    throw new Error("it is not UTF-8 text");
  }
}

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case "ENOENT":
      return "there is no such file";
    case "EACCES":
      return "permission denied";
    default:
      return message.split("\n", 1)[0]!;
  }
}
