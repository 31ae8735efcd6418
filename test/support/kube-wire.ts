/** A KubeModel at the other end of a wire in virtual time: latencies and the pieces in which bytes come are a test's to choose. */
import type { Dispatcher } from "undici";
import type { Clock } from "../../kube/clock.ts";
import type { Line } from "./kube-faults.ts";
import type { KubeModel } from "./kube-model.ts";

type Handler = Dispatcher.DispatchHandler;

/** `random` gives numbers from 0 to 1. */
export function wireTo(model: KubeModel, clock: Clock, random: () => number, latencyMsMax = 50): Dispatcher {
  const dispatch = (options: Dispatcher.DispatchOptions, handler: Handler): boolean => {
    const wire = new Wire(clock, random, latencyMsMax, handler);
    handler.onRequestStart?.(wire.controller, {});
    const headers: Record<string, string> = {};
    const given = options.headers as string[];
    for (let i = 0; i + 1 < given.length; i += 2) headers[given[i]!] = given[i + 1]!;
    const asked = {
      method: options.method,
      path: options.path,
      headers,
      body: typeof options.body === "string" ? options.body : "",
    };
    wire.later(() => model.handle(asked, wire.line));
    return true;
  };
  const nothing = async (): Promise<void> => {};
  return { dispatch, close: nothing, destroy: nothing } as unknown as Dispatcher;
}

class Wire {
  readonly controller: Dispatcher.DispatchController;
  readonly line: Line;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #latencyMsMax: number;
  readonly #handler: Handler;
  readonly #onClose: (() => void)[] = [];
  /** What was sent comes in the order it was sent. */
  #arrivesAt = 0;
  #closed = false;

  constructor(clock: Clock, random: () => number, latencyMsMax: number, handler: Handler) {
    this.#clock = clock;
    this.#random = random;
    this.#latencyMsMax = latencyMsMax;
    this.#handler = handler;
    const controller = { aborted: false, paused: false, reason: null, pause() {}, resume() {} };
    this.controller = {
      ...controller,
      abort: (reason) => this.#over(() => handler.onResponseError?.(this.controller, reason)),
    };
    this.line = {
      head: (status, headers) => this.later(() => handler.onResponseStart?.(this.controller, status, headers ?? {})),
      write: (part) => this.#write(Buffer.from(part as string)),
      end: () => this.later(() => this.#over(() => handler.onResponseEnd?.(this.controller, {}))),
      cut: () =>
        this.later(() => this.#over(() => handler.onResponseError?.(this.controller, new Error("read ECONNRESET")))),
      onClose: (run) => (this.#closed ? run() : void this.#onClose.push(run)),
    };
  }

  later(run: () => void): void {
    this.#arrivesAt = Math.max(this.#arrivesAt, this.#clock.now() + this.#random() * this.#latencyMsMax);
    this.#clock.after(this.#arrivesAt - this.#clock.now(), () => {
      if (!this.#closed) run();
    });
  }

  #write(bytes: Buffer): void {
    const middle = Math.floor(this.#random() * (bytes.length + 1));
    for (const piece of [bytes.subarray(0, middle), bytes.subarray(middle)]) {
      if (piece.length > 0) this.later(() => this.#handler.onResponseData?.(this.controller, piece));
    }
  }

  #over(tell: () => void): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const run of this.#onClose) run();
    tell();
  }
}
