/** Where the HTTP interface listens, and whom it answers. */
import { isIP } from "node:net";

export interface Address {
  readonly host: string;
  readonly port: number;
}

const PORT_MAX = 65_535;

/** Reads `host:port`, `[address]:port` or `:port` (loopback). Throws an Error whose message is a sentence. */
export function parseAddress(text: string): Address {
  const match = /^(?:\[([0-9a-f:.%]+)\]|([^:[\]]*)):(\d{1,5})$/i.exec(text);
  const port = Number(match?.[3]);
  if (!match || port > PORT_MAX) {
    throw new Error(
      `${JSON.stringify(text)} is no address; it looks like 127.0.0.1:9598, [::1]:9598 or localhost:9598`,
    );
  }
  return { host: match[1] ?? (match[2] || "127.0.0.1"), port };
}

/** An address as it stands in a URL. */
export function formatAddress({ host, port }: Address): string {
  return `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
}

/**
 * Whether a request may name us like this in `Host` (or in the host of an `Origin`). A web page can make a name of its
 * own lead to this address and then read what it answers; it can't do so with an IP address or with `localhost`.
 */
export function isOwnHost(header: string | undefined, listening: string): boolean {
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::\d*)?$/.exec(header ?? "");
  const name = (match?.[1] ?? match?.[2] ?? "").toLowerCase();
  return isIP(name) !== 0 || name === "localhost" || (name !== "" && name === listening.toLowerCase());
}
