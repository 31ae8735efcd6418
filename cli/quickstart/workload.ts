/**
 * A demonstration workload: three containers that write what containers write, as the kubelet keeps it.
 *
 *     <directory>/shop_web-…_<uid>/nginx/0.log                      a web server, in JSON
 *     <directory>/shop_orders-…_<uid>/orders/0.log                  a Java service, with stack traces
 *     <directory>/jobs_sync-…_<uid>/sync/0.log                      a logger that says too much at debug
 *                                       /0.log.20261124-151203      rotated
 *
 * Files are rotated at FILE_BYTES and FILES_KEPT of them kept, so all of it stays below 2 MiB. The directory may be one
 * from before: the containers go on where they stopped.
 */
import { appendFileSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

export const FILE_BYTES = 128 * 1024;
/** Rotated files of one container. */
export const FILES_KEPT = 4;
/** After a longer pause (a laptop that slept) not all that was missed is written. */
const PAUSE_MS = 1_000;

type Stream = "stdout" | "stderr";
/** The lines of one event, by its number. */
type Events = (n: number, time: Date) => readonly (readonly [Stream, string])[];

interface Container {
  readonly folder: string;
  readonly perSecond: number;
  readonly events: Events;
  written: number;
  due: number;
}

/** The n-th of some values, in an order that does not look like one. */
function pick<T>(values: readonly T[], n: number): T {
  return values[(Math.imul(n, 2_654_435_761) >>> 7) % values.length]!;
}

const PATHS = ["/", "/products/42", "/products/7?ref=mail", "/cart", "/checkout", "/healthz", "/static/app.js"];
const USERS = ["ada@example.com", "grace@example.org", "edsger@example.net"];

const web: Events = (n, time) => {
  const status = n % 37 === 36 ? 502 : n % 11 === 10 ? 404 : 200;
  const level = status >= 500 ? "error" : status >= 400 ? "warn" : "info";
  const path = pick(PATHS, n);
  const user = path === "/checkout" ? { user: pick(USERS, n) } : {};
  const entry = { time: time.toISOString(), level, method: "GET", path, status, ms: 3 + (n % 90), ...user };
  return [["stdout", JSON.stringify(entry)]];
};

const TRACE = [
  "java.lang.IllegalStateException: payment 4111 1111 1111 1111 was declined",
  "\tat com.example.orders.PaymentClient.charge(PaymentClient.java:87)",
  "\tat com.example.orders.OrderService.place(OrderService.java:142)",
  "\tat com.example.orders.OrderController.post(OrderController.java:39)",
  "\tat java.base/java.lang.Thread.run(Thread.java:1583)",
  "Caused by: java.net.SocketTimeoutException: Read timed out",
  "\tat java.base/sun.nio.ch.NioSocketImpl.timedRead(NioSocketImpl.java:278)",
  "\t... 31 more",
];

const orders: Events = (n, time) => {
  const head = (level: string): string => `${time.toISOString().replace("T", " ").slice(0, -1)} ${level.padStart(5)}`;
  const thread = `[exec-${1 + (n % 8)}]`;
  if (n % 15 !== 14) {
    return [["stdout", `${head("INFO")} ${thread} c.e.orders.OrderService : order ${10_000 + n} placed`]];
  }
  const error = `${head("ERROR")} ${thread} c.e.orders.OrderService : order ${10_000 + n} failed`;
  return [error, ...TRACE].map((text) => ["stderr", text] as const);
};

const sync: Events = (n) => {
  if (n % 20 === 19) return [["stdout", `level=info msg="synced" records=${100 + (n % 400)} ms=${n % 250}`]];
  return [["stdout", `level=debug msg="polling" shard=${n % 16} offset=${n * 64} nothing=true`]];
};

export class Workload {
  readonly #now: () => number;
  readonly #containers: Container[];
  #tickedAt: number;
  #lines = 0;

  /** Makes the containers' directories and empty files below `directory`. `now`: milliseconds since 1970. */
  constructor(directory: string, now: () => number = Date.now) {
    this.#now = now;
    this.#tickedAt = now();
    const containers: [pod: string, container: string, perSecond: number, events: Events][] = [
      ["shop_web-7d9c8b6f5-x2kq9_5f0c9a52-3b1e-4c70-9a51-000000000001", "nginx", 3, web],
      ["shop_orders-6b8f7d5c4-m4tzw_5f0c9a52-3b1e-4c70-9a51-000000000002", "orders", 1, orders],
      ["jobs_sync-5c6d7f8b9-p8wnd_5f0c9a52-3b1e-4c70-9a51-000000000003", "sync", 10, sync],
    ];
    this.#containers = containers.map(([pod, container, perSecond, events]) => {
      const folder = join(directory, pod, container);
      mkdirSync(folder, { recursive: true });
      appendFileSync(join(folder, "0.log"), "");
      return { folder, perSecond, events, written: 0, due: 1 };
    });
  }

  /** Writes what is due since the last call, one write per container. Throws the disk's errors. */
  tick(): void {
    const now = this.#now();
    const ms = Math.min(Math.max(now - this.#tickedAt, 0), PAUSE_MS);
    this.#tickedAt = now;
    for (const container of this.#containers) {
      container.due += (container.perSecond * ms) / 1000;
      let text = "";
      for (; container.due >= 1; container.due--) {
        const lines = container.events(container.written++, new Date(now));
        text += lines.map(([stream, line]) => `${this.#time(now)} ${stream} F ${line}\n`).join("");
      }
      if (text === "") continue;
      const path = join(container.folder, "0.log");
      if (statSync(path).size + text.length > FILE_BYTES) this.#rotate(container, now);
      appendFileSync(path, text);
    }
  }

  /** RFC 3339 with nanoseconds, each line's a little later than the one before. */
  #time(now: number): string {
    return new Date(now).toISOString().replace("Z", `${String(this.#lines++ % 1_000_000).padStart(6, "0")}Z`);
  }

  #rotate({ folder }: Container, now: number): void {
    const stamp = new Date(now)
      .toISOString()
      .replaceAll(/[-:]|\..*$/g, "")
      .replace("T", "-");
    const rotated = join(folder, `0.log.${stamp}`);
    // Names have whole seconds; within the same one the file grows a little longer.
    if (existsSync(rotated)) return;
    renameSync(join(folder, "0.log"), rotated);
    const old = readdirSync(folder)
      .filter((name) => name.startsWith("0.log."))
      .sort();
    for (const name of old.slice(0, -FILES_KEPT)) rmSync(join(folder, name));
  }
}
