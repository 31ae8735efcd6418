/**
 * X.509 certificates for servers of tests, made in a millisecond and without openssl: ECDSA P-256, valid for a day.
 * The encoding is DER (X.690), the structure that of RFC 5280 §4.1.
 */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { isIPv4 } from "node:net";

const validHours = 24;

/** A certificate and its private key, both PEM. */
export interface Identity {
  cert: string;
  key: string;
}

export interface Authority extends Identity {
  /**
   * A certificate that this authority signs, for servers and clients alike. `organization` is what Kubernetes takes for
   * the group; `hosts` are DNS names and IPv4 addresses.
   */
  issue(subject: { name: string; organization?: string; hosts?: readonly string[] }): Identity;
}

/** A new certificate authority. */
export function makeAuthority(name: string): Authority {
  const keys = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const issuer = distinguishedName(name);
  // RFC 5280 §4.2.1: basicConstraints {cA TRUE}; keyUsage keyCertSign, cRLSign; subjectKeyIdentifier.
  const keyId = createHash("sha1").update(spki(keys.publicKey)).digest();
  const extensions = [
    extension("551d13", sequence(boolean(true)), true),
    extension("551d0f", tagged(0x03, Buffer.from("0106", "hex")), true),
    extension("551d0e", tagged(0x04, keyId)),
  ];
  const cert = certificate(issuer, issuer, keys.publicKey, extensions, keys.privateKey);
  return {
    ...identity(cert, keys.privateKey),
    issue({ name: subject, organization, hosts = [] }) {
      const own = generateKeyPairSync("ec", { namedCurve: "P-256" });
      // extKeyUsage serverAuth, clientAuth; subjectAltName; authorityKeyIdentifier.
      const usages = ["2b06010505070301", "2b06010505070302"].map(oid);
      const names = hosts.map((host) =>
        isIPv4(host)
          ? tagged(0x87, Buffer.from(host.split(".").map(Number)))
          : tagged(0x82, Buffer.from(host, "latin1")),
      );
      const more = [
        extension("551d25", sequence(...usages)),
        extension("551d23", sequence(tagged(0x80, keyId))),
        ...(names.length > 0 ? [extension("551d11", sequence(...names))] : []),
      ];
      const signed = certificate(
        issuer,
        distinguishedName(subject, organization),
        own.publicKey,
        more,
        keys.privateKey,
      );
      return identity(signed, own.privateKey);
    },
  };
}

/** Keys that sign ServiceAccount tokens, both PEM. */
export function makeSigningKeys(): { publicKey: string; privateKey: string } {
  const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return {
    publicKey: publicKey.export({ type: "spki", format: "pem" }) as string,
    privateKey: privateKey.export({ type: "pkcs1", format: "pem" }) as string,
  };
}

function identity(cert: Buffer, key: KeyObject): Identity {
  const body = cert.toString("base64").replace(/.{64}/g, "$&\n").trimEnd();
  const pem = `-----BEGIN CERTIFICATE-----\n${body}\n-----END CERTIFICATE-----\n`;
  return { cert: pem, key: key.export({ type: "sec1", format: "pem" }) as string };
}

function certificate(
  issuer: Buffer,
  subject: Buffer,
  publicKey: KeyObject,
  extensions: readonly Buffer[],
  signer: KeyObject,
): Buffer {
  const algorithm = sequence(oid("2a8648ce3d040302")); // ecdsa-with-SHA256
  const hour = 3_600_000;
  const body = sequence(
    tagged(0xa0, integer(Buffer.from([2]))), // version 3
    integer(randomBytes(16)),
    algorithm,
    issuer,
    sequence(utcTime(Date.now() - hour), utcTime(Date.now() + validHours * hour)),
    subject,
    spki(publicKey),
    tagged(0xa3, sequence(...extensions)),
  );
  return sequence(body, algorithm, bits(sign("sha256", body, signer)));
}

const spki = (key: KeyObject): Buffer => key.export({ type: "spki", format: "der" });

/** organizationName, where given, and commonName. */
function distinguishedName(name: string, organization?: string): Buffer {
  const part = (type: string, text: string): Buffer =>
    tagged(0x31, sequence(oid(type), tagged(0x0c, Buffer.from(text))));
  return sequence(...(organization === undefined ? [] : [part("55040a", organization)]), part("550403", name));
}

function extension(type: string, value: Buffer, critical = false): Buffer {
  return sequence(oid(type), ...(critical ? [boolean(true)] : []), tagged(0x04, value));
}

function utcTime(milliseconds: number): Buffer {
  const digits = new Date(milliseconds).toISOString().replace(/\D/g, "").slice(2, 14);
  return tagged(0x17, Buffer.from(`${digits}Z`));
}

const sequence = (...parts: readonly Buffer[]): Buffer => tagged(0x30, Buffer.concat(parts));
const oid = (hex: string): Buffer => tagged(0x06, Buffer.from(hex, "hex"));
const boolean = (value: boolean): Buffer => tagged(0x01, Buffer.from([value ? 0xff : 0]));
const bits = (bytes: Buffer): Buffer => tagged(0x03, Buffer.concat([Buffer.from([0]), bytes]));

/** A positive integer: no needless zero at the front, and one where the first bit would make it negative. */
function integer(bytes: Buffer): Buffer {
  const first = bytes.findIndex((byte) => byte !== 0);
  const digits = first < 0 ? Buffer.from([0]) : bytes.subarray(first);
  return tagged(0x02, digits[0]! >= 0x80 ? Buffer.concat([Buffer.from([0]), digits]) : digits);
}

/** Tag, length, value. */
function tagged(tag: number, value: Buffer): Buffer {
  if (value.length < 0x80) return Buffer.concat([Buffer.from([tag, value.length]), value]);
  const length = Buffer.from(value.length.toString(16).padStart(value.length > 0xff ? 4 : 2, "0"), "hex");
  return Buffer.concat([Buffer.from([tag, 0x80 | length.length]), length, value]);
}
