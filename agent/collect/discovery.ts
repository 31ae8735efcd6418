/**
 * Which containers there are: a directory laid out as /var/log/pods,
 *
 *     <namespace>_<pod>_<uid>/<container>/<restart>.log
 *
 * or one with links into such a directory, as /var/log/containers.
 */
import type { Disk, Entry } from "../disk.ts";
import type { Source } from "./source.ts";

/** A container's directory, and the instances that its entries name, oldest first. */
export interface Container {
  readonly directory: string;
  readonly entries: readonly Entry[];
  readonly instances: readonly { name: string; source: Source }[];
}

/** Links that lead from one to the next are followed this far. */
const LINKS_MAX = 8;

const POD = /^([a-z0-9.-]+)_([a-z0-9.-]+)_([A-Za-z0-9-]+)$/;
const LOG = /^(\d+)\.log(?:\.\d{8}-\d{6})?$/;

/** The parts of a pod directory's name, or undefined when it is none. */
export function parsePod(name: string): { namespace: string; pod: string; uid: string } | undefined {
  const match = POD.exec(name);
  return match ? { namespace: match[1]!, pod: match[2]!, uid: match[3]! } : undefined;
}

/** The container that a directory `<pod directory>/<container>` holds; undefined: the path names none, or it is gone. */
export function readContainer(disk: Disk, directory: string, node: string): Container | undefined {
  const parts = directory.split("/");
  const container = parts.pop() ?? "";
  const pod = parsePod(parts.pop() ?? "");
  const entries = pod && disk.list(directory);
  if (!entries) return undefined;
  const restarts = new Set<number>();
  for (const entry of entries) {
    const match = entry.kind === "file" || entry.kind === "link" ? LOG.exec(entry.name) : null;
    if (match) restarts.add(Number(match[1]));
  }
  const instances = [...restarts]
    .sort((a, b) => a - b)
    .map((restart) => ({
      name: `${restart}.log`,
      source: { id: `${pod.uid}/${container}/${restart}`, ...pod, container, restart, node },
    }));
  return { directory, entries, instances };
}

/**
 * Directories to look at below a logs directory: those of containers, and those above them that a new one would appear in
 * (none: the logs directory can't be read).
 */
export interface Layout {
  readonly containers: readonly string[];
  readonly above: readonly string[];
}

/** Reads the layout. A directory that can't be read is passed to `trouble` and left out. */
export function readLayout(disk: Disk, root: string, trouble: (path: string, error: unknown) => void): Layout {
  const containers = new Set<string>();
  const above: string[] = [];
  const read = <T>(path: string, run: () => T): T | undefined => {
    try {
      return run();
    } catch (error) {
      trouble(path, error);
      return undefined;
    }
  };
  const entries = read(root, () => {
    const found = disk.list(root);
    if (!found) throw new Error("there is no such directory");
    return found;
  });
  if (entries) above.push(root);
  for (const entry of entries ?? []) {
    const path = `${root}/${entry.name}`;
    if (entry.kind === "link" && entry.name.endsWith(".log")) {
      const directory = read(path, () => containerBehind(disk, path));
      if (directory) containers.add(directory);
      continue;
    }
    if (entry.kind === "file" || !parsePod(entry.name)) continue;
    above.push(path);
    for (const inner of read(path, () => disk.list(path)) ?? []) {
      if (inner.kind === "directory" || inner.kind === "link") containers.add(`${path}/${inner.name}`);
    }
  }
  return { containers: [...containers], above };
}

/** The container's directory that a link leads into; a log file in it may be a link itself. */
function containerBehind(disk: Disk, link: string): string | undefined {
  let path: string | undefined = link;
  for (let links = 0; path !== undefined && links < LINKS_MAX; links++) {
    path = disk.resolve(path);
    const parts: string[] = path?.split("/") ?? [];
    if (parsePod(parts.at(-3) ?? "")) return parts.slice(0, -1).join("/");
  }
  return undefined;
}
