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

const POD = /^([a-z0-9.-]+)_([a-z0-9.-]+)_([A-Za-z0-9-]+)$/;
const LOG = /^(\d+)\.log(?:\.\d{8}-\d{6})?$/;

/** The parts of a pod directory's name, or undefined when it is none. */
export function parsePod(name: string): { namespace: string; pod: string; uid: string } | undefined {
  const match = POD.exec(name);
  return match ? { namespace: match[1]!, pod: match[2]!, uid: match[3]! } : undefined;
}

/** The container that a directory `<pod directory>/<container>` holds; undefined when the path names none or it is gone. */
export function readContainer(disk: Disk, directory: string, node: string): Container | undefined {
  const parts = directory.split("/");
  const container = parts.pop() ?? "";
  const pod = parsePod(parts.pop() ?? "");
  const entries = pod && disk.list(directory);
  if (!entries) return undefined;
  const restarts = new Set<number>();
  for (const entry of entries) {
    const match = entry.kind === "directory" ? null : LOG.exec(entry.name);
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

/** Directories to look at below a logs directory: those of containers, and those above them that a new one would appear in. */
export interface Layout {
  readonly containers: readonly string[];
  readonly above: readonly string[];
}

/** Reads the layout. A directory that can't be read is passed to `trouble` and left out. */
export function readLayout(disk: Disk, root: string, trouble: (path: string, error: unknown) => void): Layout {
  const containers = new Set<string>();
  const above = [root];
  const list = (path: string): Entry[] => {
    try {
      return disk.list(path) ?? [];
    } catch (error) {
      trouble(path, error);
      return [];
    }
  };
  for (const entry of list(root)) {
    const path = `${root}/${entry.name}`;
    if (entry.name.endsWith(".log") && entry.kind !== "directory") {
      const target = disk.resolve(path);
      if (target) containers.add(target.slice(0, target.lastIndexOf("/")));
      continue;
    }
    if (entry.kind === "file" || !parsePod(entry.name)) continue;
    above.push(path);
    for (const inner of list(path)) {
      if (inner.kind === "directory" || inner.kind === "link") containers.add(`${path}/${inner.name}`);
    }
  }
  return { containers: [...containers], above };
}
