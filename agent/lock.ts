/**
 * One agent per data directory: a listening unix socket in it. It vanishes with the process, however that ends, and
 * works in containers, where every agent has the same process id.
 */
import { randomUUID } from "node:crypto";
import { connect, createServer, type Server } from "node:net";
import { closeSync, linkSync, openSync, renameSync, rmSync } from "node:fs";
import { hasCode } from "./disk.ts";

const NAME = "lock";
const ANSWER_MS = 2_000;
/** A lock left behind by a killed process may be found, and taken away by others, so often before that is strange. */
const TRIES_MAX = 20;

/** Another agent has the data directory; the message says which. */
export class LockedError extends Error {}

/** Takes the lock; resolves to a function that gives it back. Rejects with LockedError, or the system's error. */
export async function lockDirectory(directory: string): Promise<() => Promise<void>> {
  // Socket paths are limited to 107 bytes; one through our own descriptor of the directory is short whatever that is.
  const fd = openSync(directory, "r");
  const at = (name: string): string => `/proc/self/fd/${fd}/${name}`;
  const server = createServer((socket) => socket.on("error", () => undefined).end(String(process.pid)));
  server.unref();
  const own = `${NAME}.${randomUUID().slice(0, 8)}`;
  try {
    await listen(server, at(own));
    for (let tries = 1; !isNew(at(own), at(NAME)); tries++) {
      const holder = await askHolder(at(NAME));
      if (holder !== undefined || tries > TRIES_MAX) {
        throw new LockedError(
          `${directory} is in use by another agent (process ${holder ?? "unknown"}); ` +
            "give each its own --data-dir, or stop that one",
        );
      }
      await removeDead(at(NAME), at(`${own}.dead`));
    }
    rmSync(at(own));
  } catch (error) {
    await close(server);
    closeSync(fd);
    throw error;
  }
  return async () => {
    // First the name: whoever finds it may ask.
    rmSync(at(NAME), { force: true });
    await close(server);
    closeSync(fd);
  };
}

/** Gives the socket at `own` the name of the lock; false: somebody has that. */
function isNew(own: string, name: string): boolean {
  try {
    linkSync(own, name);
    return true;
  } catch (error) {
    if (hasCode(error, "EEXIST")) return false;
    throw error;
  }
}

/** Takes away a socket that nobody listens to. Another agent may have put its own there by now: that is put back. */
async function removeDead(name: string, aside: string): Promise<void> {
  try {
    renameSync(name, aside);
  } catch (error) {
    if (hasCode(error, "ENOENT")) return;
    throw error;
  }
  if ((await askHolder(aside)) !== undefined) isNew(aside, name);
  rmSync(aside, { force: true });
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

/** Resolves when the server is closed; one that never listened is. */
function close(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
