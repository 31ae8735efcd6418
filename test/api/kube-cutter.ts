/** A TCP proxy that cuts its connections, or stops passing bytes, when it is told to. */
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

export class Cutter {
  port = 0;
  cuts = 0;
  readonly #target: URL;
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();

  private constructor(target: URL) {
    this.#target = target;
    this.#server = createServer((near) => this.#join(near));
  }

  static async open(target: string): Promise<Cutter> {
    const cutter = new Cutter(new URL(target));
    await new Promise<void>((resolve) => cutter.#server.listen(0, "127.0.0.1", resolve));
    cutter.port = (cutter.#server.address() as AddressInfo).port;
    return cutter;
  }

  get open(): number {
    return this.#pairs.size;
  }

  /** Cuts every connection, with a reset or an end in the middle of what it carries. */
  cut(reset: boolean): void {
    for (const sockets of this.#pairs) {
      this.cuts++;
      for (const socket of sockets) {
        if (reset) socket.resetAndDestroy();
        else socket.destroy();
      }
    }
  }

  /** The connections stay open, and nothing passes any more. */
  stall(): void {
    for (const [near, far] of this.#pairs) {
      near.unpipe(far);
      far.unpipe(near);
      for (const socket of [near, far]) socket.pause();
    }
  }

  async close(): Promise<void> {
    this.cut(true);
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(near: Socket): void {
    const far = connect(Number(this.#target.port || 443), this.#target.hostname);
    const pair = [near, far] as const;
    this.#pairs.add(pair);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.pipe(other);
      one.on("error", () => {});
      one.on("close", () => {
        other.destroy();
        this.#pairs.delete(pair);
      });
    }
  }
}
