import { Fault } from "./fault.ts";
import { parseJson } from "./json.ts";

/** A DSSE v1 envelope (secure-systems-lab/dsse, envelope.md), with the payload as bytes. */
export type Envelope = {
  payloadType: string;
  payload: Uint8Array;
  signatures: readonly EnvelopeSignature[];
};

export type EnvelopeSignature = {
  /** Hex SHA-256 of the public key; a hint, never trusted by itself. */
  keyid: string;
  sig: Uint8Array;
};

/** Signatures in one envelope; more are refused before any is verified. */
export const MAX_SIGNATURES = 64;

/** Media types are ASCII; other characters could read alike and sign alike. */
const PAYLOAD_TYPE = /^[!-~]{1,200}$/u;

/** The bytes that are signed: DSSE pre-authentication encoding. */
export function preAuthEncoding(payloadType: string, payload: Uint8Array): Uint8Array {
  const type = Buffer.from(payloadType, "utf8");
  return Buffer.concat([Buffer.from(`DSSEv1 ${type.length} `), type, Buffer.from(` ${payload.length} `), payload]);
}

/** The envelope as JSON bytes, the form in which it is stored and sent. */
export function encodeEnvelope(envelope: Envelope): Uint8Array {
  return Buffer.from(
    JSON.stringify({
      payloadType: envelope.payloadType,
      payload: Buffer.from(envelope.payload).toString("base64"),
      signatures: envelope.signatures.map(({ keyid, sig }) => ({ keyid, sig: Buffer.from(sig).toString("base64") })),
    }),
  );
}

/**
 * Reads an envelope of at most `maxBytes`. Nothing in it is verified yet.
 *
 * Throws Fault `core.dsse` or `core.json` (exit `invalid`) for anything but the three members with canonical base64 and 1 to 64 signatures by
 * different keys.
 */
export function decodeEnvelope(bytes: Uint8Array, maxBytes: number): Envelope {
  const value = parseJson(bytes, maxBytes);
  if (!isRecord(value) || Object.keys(value).toSorted().join() !== "payload,payloadType,signatures") {
    throw refuse("an envelope has exactly the members payloadType, payload and signatures");
  }
  const { payloadType, payload, signatures } = value;
  if (typeof payloadType !== "string" || !PAYLOAD_TYPE.test(payloadType)) {
    throw refuse("payloadType is not 1 to 200 visible ASCII characters");
  }
  if (!Array.isArray(signatures) || signatures.length === 0 || signatures.length > MAX_SIGNATURES) {
    throw refuse(`an envelope has 1 to ${MAX_SIGNATURES} signatures`);
  }
  const seen = new Set<string>();
  return {
    payloadType,
    payload: base64(payload, "payload"),
    signatures: signatures.map((entry: unknown) => {
      if (!isRecord(entry) || Object.keys(entry).toSorted().join() !== "keyid,sig") {
        throw refuse("a signature has exactly the members keyid and sig");
      }
      const { keyid, sig } = entry;
      if (typeof keyid !== "string" || !/^[0-9a-f]{64}$/u.test(keyid)) throw refuse("keyid is not a hex SHA-256");
      if (seen.has(keyid)) throw refuse(`key ${keyid.slice(0, 12)} signed twice`);
      seen.add(keyid);
      return { keyid, sig: base64(sig, "sig") };
    }),
  };
}

function base64(value: unknown, what: string): Uint8Array {
  if (typeof value !== "string") throw refuse(`${what} is not a string`);
  const bytes = Buffer.from(value, "base64");
  if (bytes.toString("base64") !== value) throw refuse(`${what} is not canonical base64`);
  return bytes;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function refuse(message: string): Fault {
  return new Fault("core.dsse", `invalid envelope: ${message}`, { exit: "invalid" });
}
