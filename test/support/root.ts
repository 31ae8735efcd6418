/** Tests that need rights of their own: another user, a file system of a given size. */
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import type { Place } from "./agent-process.ts";

/** A user with no rights. */
export const NOBODY = 65_534;

/** For the `skip` option of a test: false for root on Linux, else the sentence why it is skipped. */
export function skipUnlessRoot(): string | false {
  return process.getuid?.() === 0 ? false : "needs root, to act as another user";
}

/** Likewise for tests that mount a file system. */
export function skipUnlessMounting(): string | false {
  if (process.getuid?.() !== 0 || process.platform !== "linux") return "needs root on Linux, to mount a tmpfs";
  try {
    execFileSync("unshare", ["--mount", "mount", "-t", "tmpfs", "none", "/mnt"], { stdio: "ignore" });
    return false;
  } catch {
    return "needs the right to mount a tmpfs, which this machine does not give";
  }
}

/** Mounts a tmpfs of that size; it goes when the test ends. */
export function mountTmpfs(place: Place, path: string, mib: number): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${mib}m,mode=700`, "tailrace-test", path]);
  place.after(() => void execFileSync("umount", ["--lazy", path]));
}
