/** A server that answers as a test says, and the HTTP layer of kube/ with credentials that a test changes. */
import type { ServerOptions } from "node:https";
import type { TestContext } from "node:test";
import { Access, type TlsSettings } from "../../kube/access.ts";
import { Credentials } from "../../kube/config.ts";
import { type Call, Http } from "../../kube/http.ts";
import type { Asked, Line } from "../support/kube-faults.ts";
import { KubeModel } from "../support/kube-model.ts";
import { type KubeServer, serveModel } from "../support/kube-server.ts";
import { SimClock } from "../support/sim-clock.ts";
import { realClock } from "./support.ts";

/** A request that differs in what a test is about. */
export const call: Call = {
  method: "GET",
  path: "/x?y=z",
  accept: "application/json",
  timeoutMs: 10_000,
  bytesMax: 1_000,
};

export interface Place {
  server: KubeServer;
  http: Http;
  asked: Asked[];
  /** What the client finds when it reads its credentials. */
  found: { token?: string | undefined; tls: TlsSettings };
  reads: () => number;
}

/** A server that answers as it is told and a client whose clock stands still unless one is given. */
export async function place(
  t: TestContext,
  answer: (line: Line, asked: Asked) => void,
  options: { tls?: ServerOptions; access?: TlsSettings; clock?: SimClock; path?: string } = {},
): Promise<Place> {
  const model = new KubeModel(realClock);
  model.answer = (asked, line) => {
    answer(line, asked);
    return true;
  };
  const server = await serveModel(model, options.tls);
  const found: Place["found"] = { token: "one", tls: options.access ?? {} };
  let reads = 0;
  const clock = options.clock ?? new SimClock();
  const credentials = new Credentials(async () => {
    reads++;
    return new Access(new URL(server.url + (options.path ?? "")), "default", found.token, found.tls);
  }, clock);
  const http = new Http(credentials, clock, "test/1");
  t.after(async () => {
    await http.close();
    await server.close();
  });
  return { server, http, asked: model.asked, found, reads: () => reads };
}

export function ok(line: Line): void {
  line.head(200);
  line.write("hello");
  line.end();
}
