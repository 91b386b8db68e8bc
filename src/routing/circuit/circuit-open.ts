import { z } from "zod";
import { decodeCbor, type Ed25519Key, encodeCbor, Fault, type HeadLimits, verifyEd25519 } from "#core";
import { isNodeId, type NodeId, publicKeyOf } from "#identity";

import { MAX_WINDOW_BYTES } from "./send-window.ts";

/** One stream for each link that a circuit goes over; never over a circuit. */
export const CIRCUIT_PROTOCOL = "/portolan/circuit/1";
/** Links that a circuit may have. */
export const MAX_HOPS = 6;
/** Largest head of a stream: six node ids and two signatures' worth of the rest take 700 bytes. */
export const MAX_HEAD_BYTES = 2_048;
/** The source waits for the answer. */
export const FROM_SOURCE: Readonly<HeadLimits> = {
  maxHeaderBytes: MAX_HEAD_BYTES,
  maxPayloadBytes: 0,
  maxHeldBytes: 0,
};
/** The target sends again what was lost, right behind its answer. */
export const FROM_TARGET: Readonly<HeadLimits> = { ...FROM_SOURCE, maxHeldBytes: 2 * MAX_WINDOW_BYTES };
/** An opening is good until then, and refused when it promises more; clocks may differ by half of it. */
export const OPEN_LIFETIME_MS = 20 * 60_000;

export const CIRCUIT_BYTES = 16;
const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array);
const Node = z.string().max(64).refine(isNodeId);
const Offset = z.int().min(0);

const Open = z
  .strictObject({
    fleet: z.string().max(64),
    circuit: bytes.refine(({ length }) => length === CIRCUIT_BYTES),
    source: Node,
    /** The gateways and the target, in order. */
    path: z.array(Node).min(1).max(MAX_HOPS),
    expires: z.int().min(0),
    /** 0 opens the circuit, higher ones move it to this path. */
    epoch: z.int().min(0).max(0xffff_ffff),
    /** The source has everything up to this offset. */
    received: Offset,
  })
  .refine(({ source, path }) => new Set([source, ...path]).size === path.length + 1, "a node twice on a path");
export type Open = z.infer<typeof Open>;

const SignedOpen = z.strictObject({ open: bytes, sig: bytes });
const Accepted = z.strictObject({ received: Offset, sig: bytes });
const Refused = z.strictObject({ code: z.string().max(64), reason: z.string().max(300), at: z.string().max(64) });
const Answer = z.union([Accepted, Refused]);
/** `at`: who refuses. */
export type Refusal = z.infer<typeof Refused>;

export function signOpen(key: Ed25519Key, open: Open): Record<string, unknown> {
  const encoded = encodeCbor(open);
  return { open: encoded, sig: key.sign(openBytes(encoded)) };
}

/** Reads who wants a circuit. Throws Fault `routing.circuit-open` unless the source has signed it, for this fleet and about now. */
export function readOpen(head: unknown, { fleet, nowMs }: { fleet: string | undefined; nowMs: number }): Open {
  const signed = SignedOpen.safeParse(head);
  if (!signed.success) throw invalid("the opening is malformed");
  const open = Open.safeParse(decodeCbor(signed.data.open, MAX_HEAD_BYTES));
  if (!open.success) throw invalid("the opening is malformed");
  if (open.data.fleet !== fleet) throw invalid("the opening is of another fleet");
  if (!verifyEd25519(publicKeyOf(open.data.source), openBytes(signed.data.open), signed.data.sig))
    throw invalid("the source has not signed the opening");
  const leftMs = open.data.expires - nowMs;
  if (leftMs < 0 || leftMs > OPEN_LIFETIME_MS)
    throw invalid(`the opening is good for ${Math.round(leftMs / 1000)} s more by the clock here; the clocks differ`);
  return open.data;
}

/** What the target answers: it has everything up to `received`. */
export function signAnswer(key: Ed25519Key, open: Open, received: number): Record<string, unknown> {
  return { received, sig: key.sign(answerBytes(open, received)) };
}

/** Up to where the target has everything. Throws Fault `routing.circuit-refused` with the refusal, or `routing.circuit-open`. */
export function readAnswer(head: unknown, open: Open): number {
  const answer = Answer.safeParse(head);
  if (!answer.success) throw invalid("the answer is malformed");
  if ("code" in answer.data) {
    const { code, reason, at } = answer.data;
    throw new Fault("routing.circuit-refused", reason, { exit: "offline", details: { code, at } });
  }
  const target = open.path.at(-1) as NodeId;
  if (!verifyEd25519(publicKeyOf(target), answerBytes(open, answer.data.received), answer.data.sig))
    throw invalid("the target has not signed the answer");
  return answer.data.received;
}

function openBytes(encoded: Uint8Array): Uint8Array {
  return encodeCbor(["portolan-circuit-open-v1", encoded]);
}

function answerBytes({ fleet, circuit, source, epoch }: Open, received: number): Uint8Array {
  return encodeCbor(["portolan-circuit-answer-v1", fleet, circuit, source, epoch, received]);
}

function invalid(what: string): Fault {
  return new Fault("routing.circuit-open", what, { exit: "denied" });
}
