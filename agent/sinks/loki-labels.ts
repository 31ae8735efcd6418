/** Loki's label sets and structured metadata, as text and as protobuf (logproto.proto of Loki 3: PushRequest). */
import { Buffer } from "node:buffer";

/** Loki takes no stream without a label; this one stands in when every template is empty. */
const FALLBACK = ["job", "tailrace"] as const;

/** Pairs of name and value in the order of the names, which are sorted; empty values are no labels. */
export function labelPairs(names: readonly string[], values: readonly string[]): (readonly [string, string])[] {
  const pairs = names.map((name, i) => [name, values[i] ?? ""] as const).filter(([, value]) => value !== "");
  return pairs.length > 0 ? pairs : [FALLBACK];
}

/** `{app="shop", namespace="a\"b"}`: values quoted as Go and Prometheus read them. */
export function renderLabels(pairs: readonly (readonly [string, string])[]): string {
  return `{${pairs.map(([name, value]) => `${name}="${escape(value)}"`).join(", ")}}`;
}

function escape(value: string): string {
  return value.replaceAll(/["\\\x00-\x1f\x7f]/g, (char) => {
    if (char === '"' || char === "\\") return `\\${char}`;
    if (char === "\n") return "\\n";
    if (char === "\t") return "\\t";
    if (char === "\r") return "\\r";
    return `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`;
  });
}

/** A protobuf member of wire type 2: tag, length, bytes. Field numbers up to 15. */
export function member(field: number, bytes: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([(field << 3) | 2]), varint(bytes.length), bytes]);
}

/** An unsigned number below 2^31 as a protobuf varint. */
export function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  bytes.push(rest);
  return Buffer.from(bytes);
}

/** Structured metadata of an entry as members of EntryAdapter: field 3, LabelPairAdapter {name 1, value 2}. */
export function metadataMembers(pairs: readonly (readonly [string, string])[]): Buffer {
  return Buffer.concat(
    pairs.map(([name, value]) =>
      member(3, Buffer.concat([member(1, Buffer.from(name, "utf8")), member(2, Buffer.from(value, "utf8"))])),
    ),
  );
}

/** Structured metadata as the third element of an entry in JSON: `,{"trace":"…"}`; empty without any. */
export function metadataTail(pairs: readonly (readonly [string, string])[]): string {
  return pairs.length === 0
    ? ""
    : `,${JSON.stringify(Object.fromEntries(pairs.map(([name, value]) => [name, value.toWellFormed()])))}`;
}
