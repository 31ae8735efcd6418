// Provisional pass-through until the steps land here; to be replaced whole.
import type { Step } from "../../crds/config.ts";
import type { Source } from "../collect/source.ts";
import type { Memory } from "../memory/memory.ts";
import type { Pool } from "../memory/pool.ts";
import type { Records } from "../memory/records.ts";
export interface Process { readonly names: readonly string[]; readonly needsLevel: boolean; run(source: Source, records: Records): Records | undefined }
export function compileProcess(_steps: readonly Step[], _world: { memory: Memory; pool: Pool }): Process {
  return { names: [], needsLevel: false, run(_s, records) { for (const c of records.chunks) c.retain(); return records; } };
}
