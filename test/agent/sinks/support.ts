/** What the sink tests share: a clock moved by hand, a log that is read, HTTP servers on free ports. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { createServer as createTcpServer, type AddressInfo, type Server as TcpServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { createServer as createTlsSocketServer, getCACertificates, setDefaultCACertificates } from "node:tls";
import type { Clock } from "../../../agent/clock.ts";
import type { Fields, Log } from "../../../agent/log.ts";

/** Self-signed for localhost, for tests alone; nobody trusts it. */
export const certificate = {
  cert: `-----BEGIN CERTIFICATE-----
MIIBlTCCATugAwIBAgIUB5wwdVUYwZCGWsyeflHN+djApDQwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNDE1NDYyNVoYDzIxMjYxMDMx
MTU0NjI1WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARUEv6XNU9vXf2v7cqDSr4gvK1sdt1TytJ8S5EABhCMGIdgz+p0aZih
w9jOxf2Hva0hcZQIx+kepngV09QFfj6Co2kwZzAdBgNVHQ4EFgQUUSgNfMnuywHk
5kG/fXTITzBOsMAwHwYDVR0jBBgwFoAUUSgNfMnuywHk5kG/fXTITzBOsMAwDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
SAAwRQIgLHdH7AEE91ht813dqiZbdJ48TenDh8Xh4JBU/v/sBEcCIQCu1+HzZQVI
Wgsm3kwuJwam3c4zJYxAPEt4N6pRAqBdbA==
-----END CERTIFICATE-----
`,
  key: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgyQpbWVEoRWWL4Nj0
z/0jeXLI+ggjyGJUAIp3es5S8yShRANCAARUEv6XNU9vXf2v7cqDSr4gvK1sdt1T
ytJ8S5EABhCMGIdgz+p0aZihw9jOxf2Hva0hcZQIx+kepngV09QFfj6C
-----END PRIVATE KEY-----
`,
};

/** Until the test ends, the certificate above is trusted like those of the system. */
export function trustTestCertificate(t: TestContext): void {
  const before = getCACertificates("default");
  setDefaultCACertificates([...before, certificate.cert]);
  t.after(() => setDefaultCACertificates(before));
}

export interface ManualClock extends Clock {
  /** Moves on and runs what has become due. */
  advance(ms: number): void;
  /** Timers that wait. */
  readonly waiting: number;
}

export function manualClock(wall = Date.parse("2026-11-23T10:00:00Z")): ManualClock {
  let now = 0;
  const timers = new Map<() => void, number>();
  return {
    now: () => now,
    wall: () => wall + now,
    after(ms, run) {
      const due = (): void => run();
      timers.set(due, now + ms);
      return () => void timers.delete(due);
    },
    soon: (run) => void setImmediate(run),
    advance(ms) {
      now += ms;
      for (const [run, at] of timers) {
        if (at > now) continue;
        timers.delete(run);
        run();
      }
    },
    get waiting() {
      return timers.size;
    },
  };
}

/** A log that keeps its lines. */
export function keptLog(): Log & { lines: string[] } {
  const lines: string[] = [];
  const add =
    (level: string) =>
    (message: string, fields?: Fields): void =>
      void lines.push(`${level} ${message} ${JSON.stringify(fields)}`);
  return { lines, info: add("info"), warn: add("warn"), error: add("error") };
}

export interface Received {
  method: string;
  path: string;
  headers: IncomingMessage["headers"];
  body: Buffer;
}

export interface TestServer {
  url: string;
  received: Received[];
  /** Open connections. */
  readonly connections: number;
  close(): Promise<void>;
}

/** A server that keeps every request in full and then answers. */
export async function answering(
  answer: (response: ServerResponse, received: Received) => void,
  tls = false,
): Promise<TestServer> {
  const received: Received[] = [];
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("error", () => {});
    request.on("end", () => {
      const { method = "", url = "", headers } = request;
      const whole = { method, path: url, headers, body: Buffer.concat(chunks) };
      received.push(whole);
      answer(response, whole);
    });
  };
  const server = tls ? createTlsServer(certificate, onRequest) : createServer(onRequest);
  return listening(server, tls, received);
}

/** A server that is given each connection as it comes. */
export async function connecting(onConnection: (socket: Socket) => void, tls = false): Promise<TestServer> {
  const server = tls ? createTlsSocketServer(certificate, onConnection) : createTcpServer(onConnection);
  return listening(server, tls, []);
}

async function listening(server: TcpServer, tls: boolean, received: Received[]): Promise<TestServer> {
  const sockets = new Set<Socket>();
  server.on(tls ? "secureConnection" : "connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    received,
    url: tls ? `https://localhost:${port}` : `http://127.0.0.1:${port}`,
    get connections() {
      return sockets.size;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A file system of 16 MiB, gone after the test; where it cannot be made the test is skipped and undefined returned. */
export function smallDisk(t: TestContext): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), "tailrace-disk-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], { stdio: "pipe" });
  } catch {
    rmSync(folder, { recursive: true });
    t.skip("a small file system cannot be mounted here: needs root");
    return undefined;
  }
  t.after(() => {
    execFileSync("umount", ["--lazy", folder]);
    rmSync(folder, { recursive: true });
  });
  return folder;
}
