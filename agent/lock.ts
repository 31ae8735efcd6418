/**
 * One agent per data directory: a listening unix socket in it, which dies with the process, however that ends, and works
 * in containers, where every agent has the same process id.
 *
 *     lock.7    the holder's, or, when nobody listens, that of the last one
 *
 * Who finds it dead puts its own beside it, with the next number; a name is given once. Numbers only grow, and nobody takes
 * away one that may be alive, so of many that come at once the one with the highest number has it.
 */
import { randomUUID } from "node:crypto";
import { closeSync, linkSync, openSync, readdirSync, rmSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { hasCode } from "./disk.ts";

const NAME = /^lock\.(\d{1,15})$/;
const ANSWER_MS = 2_000;
/** Each try but the last finds that somebody else was faster, who then has the lock unless it dies at once. */
const TRIES_MAX = 50;

/** Another agent has the data directory; the message says which. */
export class LockedError extends Error {}

/** Takes the lock; resolves to a function that gives it back. Rejects with LockedError, or the system's error. */
export async function lockDirectory(directory: string): Promise<() => Promise<void>> {
  // Socket paths are limited to 107 bytes; one through our own descriptor of the directory is short whatever that is.
  const fd = openSync(directory, "r");
  const at = (name: string | number): string =>
    `/proc/self/fd/${fd}/${typeof name === "number" ? `lock.${name}` : name}`;
  const server = createServer((socket) => socket.on("error", () => undefined).end(String(process.pid)));
  server.unref();
  const temporary = `locking.${randomUUID().slice(0, 8)}`;
  const free = async (): Promise<void> => {
    await new Promise<void>((resolve) => server.close(() => resolve()));
    closeSync(fd);
  };
  try {
    await listen(server, at(temporary));
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const last = numbersIn(at("")).at(-1) ?? 0;
      const holder = last > 0 ? await askHolder(at(last)) : undefined;
      if (holder !== undefined) throw lockedBy(directory, holder);
      if (!isNew(at(temporary), at(last + 1))) continue;
      const numbers = numbersIn(at(""));
      if (numbers.at(-1) === last + 1) {
        for (const number of numbers.slice(0, -1)) rmSync(at(number), { force: true });
        rmSync(at(temporary));
        return free;
      }
      // Somebody had gone on from there while we were looking.
      rmSync(at(last + 1), { force: true });
    }
    throw lockedBy(directory, "unknown");
  } catch (error) {
    await free();
    throw error;
  }
}

function lockedBy(directory: string, holder: string): LockedError {
  const advice = "give each its own --data-dir, or stop that one";
  return new LockedError(`${directory} is in use by another agent (process ${holder}); ${advice}`);
}

function numbersIn(directory: string): number[] {
  const numbers = readdirSync(directory).flatMap((name) => NAME.exec(name)?.[1] ?? []);
  return numbers.map(Number).sort((a, b) => a - b);
}

/** Gives the socket at `own` another name; false: that is taken. */
function isNew(own: string, name: string): boolean {
  try {
    linkSync(own, name);
    return true;
  } catch (error) {
    if (hasCode(error, "EEXIST")) return false;
    throw error;
  }
}

/** The process id of the agent behind a socket; undefined when nobody listens. */
function askHolder(path: string): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    let answer = "";
    const socket = connect(path);
    socket.setTimeout(ANSWER_MS, () => socket.destroy());
    socket.on("data", (bytes) => (answer += bytes.toString("latin1")));
    socket.on("close", (failed) => (failed ? undefined : resolve(answer || "unknown")));
    socket.on("error", (error) => (hasCode(error, "ENOENT", "ECONNREFUSED") ? resolve(undefined) : reject(error)));
  });
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, () => {
      server.off("error", reject);
      resolve();
    });
  });
}
