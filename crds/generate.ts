/** Writes what is made of the schema: the CRDs beside this file, and docs/reference.md. `npm run gen`. */
import { writeFileSync } from "node:fs";
import { dump } from "js-yaml";
import { customResourceDefinition, KINDS_IN_CLUSTER, pluralOf } from "./crd.ts";
import { reference } from "./reference.ts";

const ROOT = new URL("../", import.meta.url);

/** The generated files: paths from the root, and what they hold. */
export function generated(): { path: string; text: string }[] {
  const crds = KINDS_IN_CLUSTER.map((kind) => {
    const yaml = dump(customResourceDefinition(kind), { noRefs: true, lineWidth: 120 });
    return {
      path: `crds/${pluralOf(kind)}.yaml`,
      text: `# Made from the schema by \`npm run gen\`; do not edit.\n${yaml}`,
    };
  });
  return [...crds, { path: "docs/reference.md", text: reference() }];
}

if (import.meta.main) {
  for (const { path, text } of generated()) writeFileSync(new URL(path, ROOT), text);
}
