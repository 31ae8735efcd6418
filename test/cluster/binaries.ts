/**
 * The programs of a Kubernetes control plane: from KUBEBUILDER_ASSETS where that is set, else built once from pinned
 * modules (etcd/go.mod, kubernetes/go.mod) into the user's cache folder. `node test/cluster/binaries.ts` builds them all.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { buildGo, skipWithoutGo } from "../servers/tool.ts";

const folder = import.meta.dirname;

export type Program = "etcd" | "kube-apiserver" | "kube-controller-manager" | "kubectl";

const assets = process.env["KUBEBUILDER_ASSETS"] ?? "";

/**
 * For the `skip` option of a test that needs these programs: false when they are there or can be built, else the
 * sentence why it is skipped. In CI (CI=true) nothing may be skipped, so there it throws.
 */
export function skipWithoutPrograms(programs: readonly Program[]): string | false {
  if (assets === "") return skipWithoutGo();
  const missing = programs.filter((program) => !existsSync(join(assets, program)));
  if (missing.length === 0) return false;
  return skipped(`needs ${missing.join(" and ")}, which KUBEBUILDER_ASSETS (${assets}) does not hold; unset it`);
}

/** Likewise for a test in a cluster that is there already: for that, kubectl is the user's own. */
export function skipWithoutKubectl(): string | false {
  try {
    execFileSync("kubectl", ["version", "--client"], { stdio: "ignore" });
    return false;
  } catch {
    return skipped("needs kubectl on the PATH, since KUBECONFIG is set");
  }
}

function skipped(sentence: string): string {
  if (process.env["CI"] === "true") throw new Error(sentence);
  return sentence;
}

/** The path of a program, built if need be: about ten minutes for all of them on two cores, once. */
async function programPath(program: Program): Promise<string> {
  if (assets !== "") return join(assets, program);
  if (program === "etcd")
    return buildGo({ name: program, folder: join(folder, "etcd"), target: "go.etcd.io/etcd/server/v3" });
  const modules = join(folder, "kubernetes");
  const target = `k8s.io/kubernetes/cmd/${program}`;
  return buildGo({ name: program, folder: modules, target, variables: versionVariables(join(modules, "go.mod")) });
}

/** Likewise for several, built one after the other: each takes all cores and much memory. */
export async function programPaths(programs: readonly Program[]): Promise<string[]> {
  const paths: string[] = [];
  for (const program of programs) paths.push(await programPath(program));
  return paths;
}

/** Judges CRDs as the oldest Kubernetes that we support does: oldest/main.go. */
export async function oldestJudge(): Promise<string> {
  return buildGo({ name: "oldest-kubernetes", folder: join(folder, "oldest"), target: "." });
}

/** Built from modules, Kubernetes does not know its version. */
function versionVariables(goMod: string): Record<string, string> {
  const [, version = "", major = "", minor = ""] =
    /k8s\.io\/kubernetes (v(\d+)\.(\d+)\.\d+)/.exec(readFileSync(goMod, "utf8")) ?? [];
  const place = "k8s.io/component-base/version";
  return { [`${place}.gitVersion`]: version, [`${place}.gitMajor`]: major, [`${place}.gitMinor`]: minor };
}

/** Builds what the tests in test/api need, before any test has its limit of time. */
async function buildAll(): Promise<void> {
  if (skipWithoutGo() === false) await oldestJudge();
  if (process.env["KUBECONFIG"]) return;
  const programs: Program[] = ["etcd", "kube-apiserver", "kubectl", "kube-controller-manager"];
  const reason = skipWithoutPrograms(programs.slice(0, 3));
  if (reason === false) await programPaths(programs);
  else process.stderr.write(`tests with a Kubernetes API server are skipped: ${reason}\n`);
}

if (import.meta.main) await buildAll();
