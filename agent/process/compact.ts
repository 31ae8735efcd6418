// Provisional pass-through until the real one lands here; to be replaced whole.
import type { Memory } from "../memory/memory.ts";
import type { Pool } from "../memory/pool.ts";
import type { Records } from "../memory/records.ts";
export function compact(_w: { memory: Memory; pool: Pool }, records: Records): Records | undefined { for (const c of records.chunks) c.retain(); return records; }
