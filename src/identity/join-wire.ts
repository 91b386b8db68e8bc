import { createHash } from "node:crypto";
import { z } from "zod";
import { ED25519_SIGNATURE_BYTES, encodeCbor, Fault, type FrameLimits } from "#core";
import { KINDS, labels as labelsSchema } from "./kinds.ts";

/** Spec: docs/spec/join.md. */
export const JOIN_PROTOCOL = "/portolan/join/1";
/** One exchange, from the first byte to the answer. */
export const JOIN_TIMEOUT_MS = 30_000;
/** 128 bits: no two exchanges have the same transcript. */
export const NONCE_BYTES = 16;
export const TICKET_BYTES = 16;

/** A stranger's message: 32 labels of 126 characters and the other fields come to 5 KiB. */
export const FROM_DEVICE: Readonly<FrameLimits> = { maxHeaderBytes: 16 * 1024, maxPayloadBytes: 0 };
/** The offer carries the charter chain, operators, registrars and a revocation list of up to 4 MiB in base64. */
export const FROM_REGISTRAR: Readonly<FrameLimits> = { maxHeaderBytes: 8 * 1024 * 1024, maxPayloadBytes: 0 };
/** A change of owners a week for 78 years; with three owners each has 1.6 KB, so they fit the message. */
const MAX_CHARTERS = 4_096;
const MAX_DOCUMENTS = 4_096;
/** Addresses in one redirect. */
export const MAX_ADDRESSES = 16;

const bytes = (length: number) =>
  z.custom<Uint8Array>((value) => value instanceof Uint8Array && value.length === length, `${length} bytes`);
const text = (length: number) => z.string().max(length);
/** Milliseconds since 1970, up to the year 5138. */
const unixMs = z.int().min(0).max(1e14);
const envelope = z.custom<Uint8Array>((value) => value instanceof Uint8Array, "bytes");
const reasons = { code: text(64), reason: text(500), fix: text(500) };

const hello = z.strictObject({
  t: z.literal("hello"),
  fleet: bytes(32),
  key: bytes(32),
  nonce: bytes(NONCE_BYTES),
  timeMs: unixMs,
  serial: KINDS.Member.spec.shape.serial,
  model: text(128).optional(),
  site: KINDS.Member.spec.shape.site.optional(),
  labels: labelsSchema,
  ticket: bytes(TICKET_BYTES).optional(),
});
const signature = bytes(ED25519_SIGNATURE_BYTES);
const proof = z.strictObject({
  t: z.literal("proof"),
  sealing: bytes(32),
  sig: signature,
  pass: z.strictObject({ key: bytes(32), sig: signature }).optional(),
});
const offer = z.strictObject({
  t: z.literal("offer"),
  nonce: bytes(NONCE_BYTES),
  timeMs: unixMs,
  charter: z.int().min(1),
  charters: z.array(envelope).min(1).max(MAX_CHARTERS),
  documents: z.array(envelope).max(MAX_DOCUMENTS),
});
const redirect = z.strictObject({
  t: z.literal("redirect"),
  addresses: z.array(text(320)).max(MAX_ADDRESSES),
  home: text(63).optional(),
});
const granted = z.strictObject({ t: z.literal("granted"), member: envelope, beacon: envelope });
const pending = z.strictObject({
  t: z.literal("pending"),
  ticket: bytes(TICKET_BYTES),
  retryMs: z.int().min(1_000).max(3_600_000),
  ...reasons,
});
const denied = z.strictObject({ t: z.literal("denied"), ...reasons });

const fromDevice = z.discriminatedUnion("t", [hello, proof]);
const fromRegistrar = z.discriminatedUnion("t", [offer, redirect, granted, pending, denied]);

export type JoinHello = z.infer<typeof hello>;
export type JoinProof = z.infer<typeof proof>;
export type JoinOffer = z.infer<typeof offer>;
export type DeviceMessage = z.infer<typeof fromDevice>;
export type RegistrarMessage = z.infer<typeof fromRegistrar>;

/** Checks the shape of what a device sent. Throws Fault `identity.join-wire` (invalid). */
export function parseDeviceMessage(value: unknown): DeviceMessage {
  return parse(fromDevice, value);
}

/** Checks the shape of what a registrar sent. Throws Fault `identity.join-wire` (invalid). */
export function parseRegistrarMessage(value: unknown): RegistrarMessage {
  return parse(fromRegistrar, value);
}

function parse<S extends z.ZodType>(schema: S, value: unknown): z.infer<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const where = issue === undefined ? "message" : `${issue.path.join(".") || "message"}: ${issue.message}`;
  throw new Fault("identity.join-wire", `the other side does not speak ${JOIN_PROTOCOL}: ${where}`, {
    exit: "invalid",
    fix: "Upgrade the older of the two.",
  });
}

/**
 * What the device signs with its key, and with its pass's: SHA-256("portolan-join-v1" ‖ len(hello) ‖ hello ‖ len(offer) ‖ offer ‖ charter version ‖ sealing key);
 * lengths and version are 8 bytes, big-endian. The messages are hashed in their one deterministic encoding, so both ends
 * hash the bytes that were on the wire.
 */
export function transcriptHash(sentHello: JoinHello, sentOffer: JoinOffer, sealing: Uint8Array): Uint8Array {
  const hash = createHash("sha256").update("portolan-join-v1");
  for (const message of [encodeCbor(sentHello), encodeCbor(sentOffer)])
    hash.update(uint64(message.length)).update(message);
  return hash.update(uint64(sentOffer.charter)).update(sealing).digest();
}

function uint64(value: number): Uint8Array {
  const out = Buffer.alloc(8);
  out.writeBigUInt64BE(BigInt(value));
  return out;
}
