/**
 * One agent per data directory: a listening unix socket in it. It vanishes with the process, however that ends, and
 * works in containers, where every agent has the same process id.
 */
import { connect, createServer, type Server } from "node:net";
import { closeSync, openSync, unlinkSync } from "node:fs";
import { hasCode } from "./disk.ts";

const NAME = "lock";

/** Another agent has the data directory; the message says which. */
export class LockedError extends Error {}

/** Socket paths are limited to 107 bytes; a path through our own descriptor of the directory is short whatever the directory's is. */
async function throughDescriptor<T>(directory: string, run: (path: string) => Promise<T>): Promise<T> {
  const fd = openSync(directory, "r");
  try {
    return await run(`/proc/self/fd/${fd}/${NAME}`);
  } finally {
    closeSync(fd);
  }
}

/** Takes the lock; resolves to a function that gives it back. Rejects with LockedError, or the system's error. */
export function lockDirectory(directory: string): Promise<() => Promise<void>> {
  return throughDescriptor(directory, async (path) => {
    const holder = await askHolder(path);
    if (holder !== undefined) {
      throw new LockedError(
        `${directory} is in use by another agent (process ${holder}); give each its own --data-dir, or stop that one`,
      );
    }
    const server = createServer((socket) => socket.on("error", () => undefined).end(String(process.pid)));
    await listen(server, path);
    server.unref();
    return () => new Promise<void>((resolve) => server.close(() => resolve()));
  });
}

/** The process id of the agent behind the socket; undefined when nobody listens. */
function askHolder(path: string): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    let answer = "";
    const socket = connect(path);
    socket.setTimeout(2_000, () => socket.destroy());
    socket.on("data", (bytes) => (answer += bytes.toString("latin1")));
    socket.on("close", (failed) => (failed ? undefined : resolve(answer || "unknown")));
    socket.on("error", (error) => {
      if (hasCode(error, "ENOENT")) return resolve(undefined);
      if (!hasCode(error, "ECONNREFUSED")) return reject(error);
      // Left behind by a process that was killed.
      unlinkSync(path);
      resolve(undefined);
    });
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
