import { z } from "zod";
import { decodeCbor, type Ed25519Key, encodeCbor, Fault, type HeadLimits, verifyEd25519 } from "#core";
import { isNodeId, type NodeId, publicKeyOf } from "#identity";

import { MAX_WINDOW_BYTES } from "./send-window.ts";

/** One stream for each link that a circuit goes over; never over a circuit. */
export const CIRCUIT_PROTOCOL = "/portolan/circuit/1";
/** Links that a circuit may have. */
export const MAX_HOPS = 6;
/** Nodes between two that follow each other on a path. Each of them carries the whole circuit, and may be where it breaks. */
export const MAX_DETOUR = 4;
/** Largest head of a stream: six links and a detour of four, eleven node ids in all, take 850 bytes. */
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

/** Between the node before `path[to]` and that one, in order. Not signed: who makes the detour says it, and all that it concerns judge it. */
const Via = z.strictObject({
  to: z
    .int()
    .min(0)
    .max(MAX_HOPS - 1),
  nodes: z.array(Node).min(1).max(MAX_DETOUR),
});
export type Via = z.infer<typeof Via>;

const SignedOpen = z.strictObject({ open: bytes, sig: bytes });
const Head = SignedOpen.extend({ via: Via.optional() });
const Accepted = z.strictObject({ received: Offset, sig: bytes });
const Refused = z.strictObject({ code: z.string().max(64), reason: z.string().max(300), at: z.string().max(64) });
const Answer = z.union([Accepted, Refused]);
/** `at`: who refuses. */
export type Refusal = z.infer<typeof Refused>;

/** What the source has signed, as it is passed on. */
export type SignedOpen = z.infer<typeof SignedOpen>;
/** A head that was read. */
export type Opening = { signed: SignedOpen; open: Open; via: Via | undefined };

export function signOpen(key: Ed25519Key, open: Open): SignedOpen {
  const encoded = encodeCbor(open);
  return { open: encoded, sig: key.sign(openBytes(encoded)) };
}

/** Goes before everything else over a stream. */
export function headOf({ open, sig }: SignedOpen, via: Via | undefined): Record<string, unknown> {
  return via === undefined ? { open, sig } : { open, sig, via };
}

/** Reads who wants a circuit. Throws Fault `routing.circuit-open` unless the source has signed it, for this fleet and about now. */
export function readOpen(head: unknown, { fleet, nowMs }: { fleet: string | undefined; nowMs: number }): Opening {
  const read = Head.safeParse(head);
  if (!read.success) throw invalid("the opening is malformed");
  const { via, ...signed } = read.data;
  const open = Open.safeParse(decodeCbor(signed.open, MAX_HEAD_BYTES));
  if (!open.success) throw invalid("the opening is malformed");
  if (open.data.fleet !== fleet) throw invalid("the opening is of another fleet");
  if (!verifyEd25519(publicKeyOf(open.data.source), openBytes(signed.open), signed.sig))
    throw invalid("the source has not signed the opening");
  const leftMs = open.data.expires - nowMs;
  if (leftMs < 0 || leftMs > OPEN_LIFETIME_MS)
    throw invalid(`the opening is good for ${Math.round(leftMs / 1000)} s more by the clock here; the clocks differ`);
  return { signed, open: open.data, via };
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
