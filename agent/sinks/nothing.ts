import type { Request } from "../dispatcher/sink.ts";

/** A batch of which every record was filtered: there is nothing to send. */
export const nothing: Request = {
  bytes: 0,
  replaced: 0,
  send: async () => ({ kind: "delivered" }),
  free() {},
};
