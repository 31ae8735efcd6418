/** The table of sinks: a new one is a file beside this one, a line here, and its options in crds/sinks.ts. */
import type { SinkConfig } from "../../crds/config.ts";
import type { SinkRow } from "../dispatcher/sink.ts";
import { file } from "./file.ts";
import { http } from "./http.ts";
import { loki } from "./loki.ts";
import { stdout } from "./stdout.ts";

type Rows = { readonly [Type in SinkConfig["type"]]: SinkRow<Extract<SinkConfig, { type: Type }>["options"]> };

export const sinks: Rows = { loki, http, file, stdout };
