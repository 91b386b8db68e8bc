import { createHash } from "node:crypto";
import { multiaddr } from "@multiformats/multiaddr";
import { z } from "zod";
import { decodeCbor, encodeCbor, Fault } from "#core";
import { ipScope } from "./ip-range.ts";

/** Spec: docs/spec/token.md. */
const PREFIX = "ptl1.";
const CHECKSUM_BYTES = 4;
/** 16 owners and 16 addresses of 64 bytes come to 1.6 KB; a QR code holds 2.9 KB. */
const MAX_TOKEN_BYTES = 2_048;
const MAX_OWNERS = 16;
const MAX_RENDEZVOUS = 16;
/** A multiaddr with a DNS name of 253 characters, TLS and a peer id. */
const MAX_ADDRESS_BYTES = 320;

/** What the bootstrap token says: which fleet, and how to tell it from another. Nothing in it is secret. */
export type BootstrapToken = {
  /** Fleet id, hex. */
  fleet: string;
  /** Key hashes of the owners that signed charter version 1 or a later one, hex. */
  owners: string[];
  /** Multiaddrs to try, in order. */
  rendezvous: string[];
  /** A charter below this version is not believed. */
  minCharter: number;
  /** A revocation list below this version is not believed; 0 when there was none. */
  minRevocation: number;
  /** Unix milliseconds, whole seconds; without it the token stays good. */
  expiresMs?: number;
};

const hash = z.instanceof(Uint8Array).refine((bytes) => bytes.length === 32, "a hash is 32 bytes");
const count = z.int().min(0).max(1_000_000_000);
/** One letter a member: fleet, owners, rendezvous, least charter, least revocation, expiry in seconds. */
const wireToken = z.strictObject({
  f: hash,
  o: z.array(hash).min(1).max(MAX_OWNERS),
  r: z.array(z.instanceof(Uint8Array).refine((bytes) => bytes.length <= MAX_ADDRESS_BYTES)).max(MAX_RENDEZVOUS),
  c: count.min(1),
  v: count,
  e: z.int().min(1).max(100_000_000_000).optional(),
});

/** The token as text: `ptl1.` and base64url of deterministic CBOR with a checksum. Throws Fault `identity.token` (invalid) for an address that is no multiaddr. */
export function encodeToken(token: BootstrapToken): string {
  const body = encodeCbor({
    f: fromHex(token.fleet),
    o: token.owners.map(fromHex),
    r: token.rendezvous.map(addressBytes),
    c: token.minCharter,
    v: token.minRevocation,
    ...(token.expiresMs === undefined ? {} : { e: Math.floor(token.expiresMs / 1_000) }),
  });
  return PREFIX + Buffer.concat([body, checksum(body)]).toString("base64url");
}

/**
 * Reads a token that a person pasted. `nowMs` (Unix): an expired token is refused; `fleet`: the fleet this node belongs to
 * already, if any.
 *
 * Throws Fault (all exit `invalid`): `identity.token-format` not a token at all, `identity.token-cut` its end is missing or a
 * character is wrong, `identity.token` it says something impossible, `identity.token-expired`, `identity.token-fleet`.
 */
export function decodeToken(text: string, { nowMs, fleet }: { nowMs: number; fleet?: string }): BootstrapToken {
  const token = parseToken(text.trim());
  if (token.expiresMs !== undefined && token.expiresMs <= nowMs) {
    throw refuse("identity.token-expired", `the token expired at ${new Date(token.expiresMs).toISOString()}`, {
      fix: `Print a new one with \`portolan token\`. If that time is not past, set this machine's clock: it says ${new Date(nowMs).toISOString()}.`,
      details: { expires: new Date(token.expiresMs).toISOString() },
    });
  }
  if (fleet !== undefined && fleet !== token.fleet) {
    throw refuse(
      "identity.token-fleet",
      `the token is for fleet ${token.fleet.slice(0, 12)}, this node belongs to fleet ${fleet.slice(0, 12)}`,
      {
        fix: "Use the token of this fleet, another --data directory, or `portolan leave` first.",
        details: { fleet: token.fleet },
      },
    );
  }
  return token;
}

/** Warnings to print beside a token; none when a device anywhere could reach the fleet with it. */
export function tokenWarnings(token: BootstrapToken): string[] {
  if (token.rendezvous.length === 0) {
    return ["The token names no address: devices find this fleet only by multicast on the same network."];
  }
  const scopes = token.rendezvous.map(addressScope);
  if (scopes.every((scope) => scope === "loopback")) {
    return [
      "Every address in the token is loopback: only this machine can join. Start with --listen on an address that devices reach.",
    ];
  }
  if (scopes.every((scope) => scope !== "public")) {
    return [
      "Every address in the token is private: only devices on the same network can join. Add a public address to the charter's rendezvous.",
    ];
  }
  return [];
}

function tokenBytes(text: string): Uint8Array {
  if (!text.startsWith(PREFIX)) {
    throw refuse("identity.token-format", `this is not a token: it does not start with ${PREFIX}`, {
      fix: "Copy the whole line that `portolan token` prints.",
    });
  }
  const encoded = text.slice(PREFIX.length);
  const strange = /[^A-Za-z0-9_-]/u.exec(encoded);
  if (strange !== null) {
    const at = PREFIX.length + strange.index + 1;
    throw refuse("identity.token-format", `this is not a token: character ${at} is not base64url`, {
      fix: "A token is one line of letters, digits, - and _. Copy it again, without spaces or line breaks.",
    });
  }
  const bytes = Buffer.from(encoded, "base64url");
  const body = bytes.subarray(0, Math.max(0, bytes.length - CHECKSUM_BYTES));
  const intact = bytes.toString("base64url") === encoded && checksum(body).equals(bytes.subarray(body.length));
  if (body.length === 0 || !intact) {
    throw refuse("identity.token-cut", `the token was cut or mistyped: ${encoded.length} characters arrived`, {
      fix: "Copy it again to the very end; in a file it is one line.",
    });
  }
  return body;
}

function parseToken(text: string): BootstrapToken {
  const body = tokenBytes(text);
  try {
    const { f, o, r, c, v, e } = wireToken.parse(decodeCbor(body, MAX_TOKEN_BYTES));
    const token = {
      fleet: toHex(f),
      owners: o.map(toHex),
      rendezvous: r.map((bytes) => multiaddr(bytes).toString()),
      minCharter: c,
      minRevocation: v,
      ...(e === undefined ? {} : { expiresMs: e * 1_000 }),
    };
    // The bytes of a multiaddr can say one address in several ways.
    if (encodeToken(token) !== text) throw new TypeError("an address is not in its one form");
    return token;
  } catch (cause) {
    throw refuse("identity.token", "the token does not say what a token of this version says", {
      fix: "Was it printed by a newer version? Upgrade this node.",
      cause,
    });
  }
}

function addressBytes(address: string): Uint8Array {
  try {
    const { bytes } = multiaddr(address);
    if (bytes.length <= MAX_ADDRESS_BYTES) return bytes;
  } catch {
    // said below
  }
  throw refuse("identity.token", `"${address.slice(0, 120)}" is not an address that fits a token`, {
    fix: "An address looks like /ip4/192.0.2.1/tcp/4001/tls/p2p/12D3Koo….",
  });
}

/** Names count as public: what they resolve to is not known here. */
function addressScope(address: string): "loopback" | "private" | "public" {
  const [first] = multiaddr(address).getComponents();
  if (first?.name === "dns4" || first?.name === "dns6" || first?.name === "dns" || first?.name === "dnsaddr") {
    return /^(localhost|.*\.localhost)$/u.test(first.value ?? "") ? "loopback" : "public";
  }
  return ipScope(first?.value ?? "") ?? "public";
}

/** Tells a token that lost its end from one that is wrong; it authenticates nothing. */
function checksum(body: Uint8Array): Buffer {
  return createHash("sha256").update(PREFIX).update(body).digest().subarray(0, CHECKSUM_BYTES);
}

function refuse(
  code: string,
  message: string,
  options: { fix: string; details?: Record<string, unknown>; cause?: unknown },
): Fault {
  return new Fault(code, message, { exit: "invalid", ...options });
}

function fromHex(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, "hex"));
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
