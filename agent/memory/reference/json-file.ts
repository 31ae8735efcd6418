import { parseTime } from "./time.ts";

export interface LogLine {
  text: Buffer;
  textAt: number; // where the text begins in the line
  stream: string;
  time: { seconds: number; nanos: number };
}

const STRING = /"((?:[^"\\]|\\[^])*)"/y;
const BLANKS = /[ \t\r]*/y;
const SCALAR = /[^"{[\]},\t\r ]+/y;
const ESCAPES = /^(?:[^\\]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*$/;

/** Takes what `pattern` (sticky) matches at `at`: the match, or undefined. */
function take(pattern: RegExp, line: string, at: number): RegExpExecArray | undefined {
  pattern.lastIndex = at;
  return pattern.exec(line) ?? undefined;
}

function afterBlanks(line: string, at: number): number {
  return at + take(BLANKS, line, at)![0].length;
}

/** Index after the value at `at`; brackets are counted, not paired, and scalars are not looked at. */
function afterValue(line: string, at: number): number | undefined {
  let depth = 0;
  let i = at;
  while (i < line.length) {
    const character = line[i]!;
    if (character === '"') {
      const string = take(STRING, line, i);
      if (!string) return undefined;
      i += string[0].length;
      if (depth === 0) return i;
    } else if ("{[".includes(character)) {
      depth++;
      i++;
    } else if ("}]".includes(character)) {
      if (depth === 0) break;
      i++;
      if (--depth === 0) return i;
    } else if (depth === 0) {
      const scalar = take(SCALAR, line, i);
      if (!scalar) break;
      i += scalar[0].length;
    } else {
      i++;
    }
  }
  // A scalar runs up to what follows it; nothing at all is no value.
  return depth === 0 && i > at && i < line.length ? i : undefined;
}

/**
 * Members log, stream and time of a line as Docker's json-file driver writes it (each character is a byte), else
 * undefined.
 */
export function parseLogLine(line: string): LogLine | undefined {
  let log: { at: number; raw: string } | undefined;
  let stream: string | undefined;
  let time: LogLine["time"] | undefined;
  let at = afterBlanks(line, 0);
  if (line[at] !== "{") return undefined;
  do {
    at = afterBlanks(line, at + 1);
    const name = take(STRING, line, at);
    if (!name) return undefined;
    at = afterBlanks(line, at + name[0].length);
    if (line[at] !== ":") return undefined;
    at = afterBlanks(line, at + 1);
    const string = take(STRING, line, at)?.[1];
    if (name[1] === "log") {
      if (string === undefined || !ESCAPES.test(string)) return undefined;
      log = { at: at + 1, raw: string };
    } else if (name[1] === "stream") {
      if (string !== "stdout" && string !== "stderr") return undefined;
      stream = string;
    } else if (name[1] === "time") {
      time = parseTime(string ?? "");
      if (!time) return undefined;
    }
    const next = afterValue(line, at);
    if (next === undefined) return undefined;
    at = afterBlanks(line, next);
  } while (line[at] === ",");
  if (line[at] !== "}" || afterBlanks(line, at + 1) !== line.length) return undefined;
  if (!log || !stream || !time) return undefined;
  return { text: unescape(log.raw), textAt: log.at, stream, time };
}

/** Undoes JSON's escapes; bytes that were not escaped stay as they are, whether they are UTF-8 or not. */
function unescape(raw: string): Buffer {
  const parts = raw.match(/\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u....|\\.|[^\\]+/gs) ?? [];
  return Buffer.concat(
    parts.map((part) =>
      part.startsWith("\\")
        ? Buffer.from((JSON.parse(`"${part}"`) as string).toWellFormed(), "utf8")
        : Buffer.from(part, "latin1"),
    ),
  );
}
