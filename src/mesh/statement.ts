import { hash } from "node:crypto";
import { decodeCbor, encodeCbor, type Ed25519Key, verifyEd25519 } from "#core";
import { type NodeId, publicKeyOf } from "#identity";
import { z } from "zod";

/** Largest value of one statement, in bytes of CBOR. */
export const MAX_VALUE_BYTES = 32 * 1024;
/** Largest statement: what goes round the value takes some 250 bytes, and 500 where a topic is all of long characters. */
export const MAX_STATEMENT_BYTES = MAX_VALUE_BYTES + 1_024;

const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array);
export const Topic = z.string().min(1).max(32);
export const Origin = z.string().max(64);
export const Count = z.int().min(0);

const Statement = z.strictObject({
  topic: Topic,
  origin: Origin,
  boot: Count,
  seq: Count,
  value: bytes.refine((value) => value.length <= MAX_VALUE_BYTES, "value is too large"),
  sig: bytes,
});
/** What a node says on a topic, signed. `boot` is higher at each start of the origin; with `seq` it orders what it says. */
export type Statement = z.infer<typeof Statement>;

/** Which of an origin's statements on a topic. */
export type StatementVersion = Pick<Statement, "topic" | "origin" | "boot" | "seq">;

/** Throws Fault `core.cbor` or a ZodError. What it says of its origin is not proved: ask `isSigned`. */
export function readStatement(encoded: Uint8Array): Statement {
  return Statement.parse(decodeCbor(encoded, MAX_STATEMENT_BYTES));
}

/** A statement as it is kept and sent: nobody but its origin encodes it. */
export function signStatement(key: Ed25519Key, fleet: string, content: Omit<Statement, "sig">): Uint8Array {
  return encodeCbor({ ...content, sig: key.sign(signedBytes(fleet, content)) });
}

/** Whether its origin said it, to this fleet. */
export function isSigned(fleet: string, statement: Statement): boolean {
  return verifyEd25519(publicKeyOf(statement.origin), signedBytes(fleet, statement), statement.sig);
}

function signedBytes(fleet: string, { topic, origin, boot, seq, value }: Omit<Statement, "sig">): Uint8Array {
  return encodeCbor(["portolan-gossip-v1", fleet, topic, origin, boot, seq, value]);
}

/** Whether `a` was said after `b`, by the same origin. */
export function isLater(a: Pick<Statement, "boot" | "seq">, b: Pick<Statement, "boot" | "seq">): boolean {
  return a.boot > b.boot || (a.boot === b.boot && a.seq > b.seq);
}

/** One name for a topic and an origin. A node id holds no line break. */
export function statementKey({ topic, origin }: { topic: string; origin: NodeId }): string {
  return `${topic}\n${origin}`;
}

/** Tells statements apart by their bytes. */
export function statementId(encoded: Uint8Array): string {
  return hash("sha256", encoded, "base64");
}
