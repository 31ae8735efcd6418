/** A KubeModel behind a real socket, with or without TLS. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type ServerOptions } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { Line } from "./kube-faults.ts";
import type { KubeModel } from "./kube-model.ts";

export interface KubeServer {
  /** http://127.0.0.1:PORT, or https://localhost:PORT */
  readonly url: string;
  /** Connections ever made, and those that are open. */
  readonly connections: { made: number; open: number };
  /** Hears of each new connection. */
  onSocket: (socket: Socket) => void;
  /** New handshakes are made with these from now on. */
  setTls(options: ServerOptions): void;
  close(): Promise<void>;
}

export async function serveModel(model: KubeModel, tls?: ServerOptions): Promise<KubeServer> {
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const { method = "", url: path = "", headers } = request;
      const body = Buffer.concat(parts).toString();
      model.handle({ method, path, headers: headers as Record<string, string>, body }, lineTo(response));
    });
  };
  const server: Server = tls ? createTlsServer(tls, onRequest) : createServer(onRequest);
  const sockets = new Set<Socket>();
  const connections = { made: 0, open: 0 };
  server.on(tls ? "secureConnection" : "connection", (socket: Socket) => {
    sockets.add(socket);
    served.onSocket(socket);
    connections.made++;
    connections.open++;
    socket.on("error", () => {});
    socket.on("close", () => {
      sockets.delete(socket);
      connections.open--;
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const served: KubeServer = {
    url: tls ? `https://localhost:${port}` : `http://127.0.0.1:${port}`,
    connections,
    onSocket: () => {},
    setTls: (options) => (server as ReturnType<typeof createTlsServer>).setSecureContext(options),
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return served;
}

function lineTo(response: ServerResponse): Line {
  return {
    head(status, headers) {
      if (!response.headersSent) response.writeHead(status, headers).flushHeaders();
    },
    write(part) {
      if (!response.writableEnded && !response.destroyed) response.write(part);
    },
    end() {
      if (!response.destroyed) response.end();
    },
    cut() {
      response.socket?.resetAndDestroy();
    },
    onClose(run) {
      if (response.closed) run();
      else response.on("close", run);
    },
  };
}
