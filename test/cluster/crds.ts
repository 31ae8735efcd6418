/** The CRDs of this tree in a cluster of tests. */
import { generated } from "../../crds/generate.ts";
import { KINDS_IN_CLUSTER, pluralOf } from "../../crds/crd.ts";
import { API_VERSION } from "../../crds/schema.ts";
import type { ApiServer } from "./api-server.ts";

/** Says that a CRD was put there by tests. */
const LABEL = "tailrace.dev/installed-by-tests";

/**
 * Applies the CRDs and waits until they are served. Throws where they are in use already: what KUBECONFIG names may be a
 * cluster that matters.
 */
export async function installCrds(api: ApiServer): Promise<void> {
  const run = async (args: readonly string[], stdin?: string): Promise<string> => {
    const { code, stdout, stderr } = await api.kubectl(args, stdin);
    if (code !== 0) throw new Error(`kubectl ${args.join(" ")}: ${stderr}`);
    return stdout;
  };
  const names = KINDS_IN_CLUSTER.map((kind) => `crd/${pluralOf(kind)}.${API_VERSION.split("/")[0]}`);
  const found = await run(["get", "crd", "-o", "name", "-l", `!${LABEL}`]);
  if (names.some((name) => found.includes(name.replace("crd/", "/")))) {
    throw new Error(`the cluster at ${api.url} runs Tailrace already; tests need one of their own`);
  }
  for (const { text } of generated().filter(({ path }) => path.startsWith("crds/"))) {
    const labelled = await run(["label", "--local", "-f", "-", "-o", "yaml", `${LABEL}=true`], text);
    await run(["apply", "--server-side", "--force-conflicts", "-f", "-"], labelled);
  }
  await run(["wait", "--for=condition=Established", "--timeout=30s", ...names]);
}
