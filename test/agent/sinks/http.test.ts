import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { createMemory } from "../../../agent/memory/memory.ts";
import { http } from "../../../agent/sinks/http.ts";
import type { HttpOptions } from "../../../crds/config.ts";
import { realClock } from "../../../agent/clock.ts";
import { Batches, source } from "../../support/batch.ts";
import { parseRecord, sinkContract, type Arrived, type Rig } from "./contract.ts";
import { answering, keptLog, trustTestCertificate } from "./support.ts";

const never = new AbortController().signal;

async function rig(t: TestContext, format: HttpOptions["format"], tls = false): Promise<Rig<HttpOptions>> {
  if (tls) trustTestCertificate(t);
  let status = 200;
  const records: Arrived[] = [];
  const server = await answering((response, { body, headers }) => {
    if (status === 0) return;
    if (status === 200) {
      assert.equal(headers["content-type"], format === "json" ? "application/json" : "application/x-ndjson");
      records.push(...parse(format, body.toString("utf8")));
    }
    response.writeHead(status).end("nothing is stored here");
  }, tls);
  t.after(async () => server.close());
  return {
    row: http,
    options: { url: `${server.url}/in`, method: "POST", format, headers: {}, requestTimeoutMs: 30_000 },
    keepsBytes: false,
    endsAtNewline: false,
    arrived: () => records,
    fail() {
      status = 503;
      return "retry";
    },
    repair: () => void (status = 200),
    hang: () => void (status = 0),
  };
}

function parse(format: HttpOptions["format"], text: string): Arrived[] {
  if (format === "json") return (JSON.parse(text) as object[]).map((record) => parseRecord(JSON.stringify(record)));
  assert.ok(text.endsWith("\n"));
  return text.slice(0, -1).split("\n").map(parseRecord);
}

for (const format of ["ndjson", "json"] as const) sinkContract(`http ${format}`, async (t) => rig(t, format));
sinkContract("http ndjson over TLS", async (t) => rig(t, "ndjson", true));

test("requests have the method, the headers and the path that are set", async (t) => {
  const server = await answering((response) => response.end());
  t.after(async () => server.close());
  const memory = createMemory({ memoryLimit: 8 << 20, encodeBytes: 1 << 20 });
  const url = `${server.url}/logs?stream=a`;
  const options: HttpOptions = {
    url,
    method: "PUT",
    format: "ndjson",
    headers: { "X-Team": "a" },
    requestTimeoutMs: 1e4,
  };
  const sink = http.open(options, { memory, clock: realClock, log: keptLog(), pipeline: "p", name: "s" });
  const { batch } = new Batches(memory, http.order(options)).make([
    {
      source: source(),
      lines: [{ text: 'say "hi"', seconds: 1_795_687_200, nanos: 1, stream: "stderr", level: "warn" }],
    },
  ]);
  const request = sink.encode(batch);
  assert.ok(typeof request === "object");
  assert.deepEqual(await request.send(never), { kind: "delivered" });
  await sink.close();
  const [received] = server.received;
  assert.equal(received?.method, "PUT");
  assert.equal(received.path, "/logs?stream=a");
  assert.equal(received.headers["x-team"], "a");
  assert.equal(request.bytes, received.body.length);
  assert.equal(
    received.body.toString(),
    '{"time":"2026-11-26T10:00:00.000000001Z","text":"say \\"hi\\"","stream":"stderr","level":"warn",' +
      '"namespace":"shop","pod":"web-1","container":"app","node":"n1"}\n',
  );
});
