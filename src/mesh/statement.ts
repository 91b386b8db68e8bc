import { hash } from "node:crypto";
import { decodeCbor, encodeCbor, type Ed25519Key, verifyEd25519 } from "#core";
import { type NodeId, NodeWire, publicKeyOf } from "#identity";
import { z } from "zod";

/** Largest value of one statement, in bytes of CBOR. */
export const MAX_VALUE_BYTES = 32 * 1024;
/** Largest statement: what goes round the value takes some 130 bytes, and 250 where a topic is all of long characters. */
export const MAX_STATEMENT_BYTES = MAX_VALUE_BYTES + 1_024;

const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array);
export const Topic = z.string().min(1).max(32);
export const Origin = z.string().max(64);
export const Count = z.int().min(0);
const TAG_LENGTH = 11;
export const Tag = z.string().length(TAG_LENGTH);

const Wire = z.tuple([
  Topic,
  NodeWire,
  Count,
  Count,
  bytes.refine((value) => value.length <= MAX_VALUE_BYTES, "value is too large"),
  bytes,
]);
/** What a node says on a topic, signed. `boot` is higher at each start of the origin; with `seq` it orders what it says. */
export type Statement = {
  topic: string;
  origin: NodeId;
  boot: number;
  seq: number;
  value: Uint8Array;
  sig: Uint8Array;
};

/** Which of an origin's statements on a topic. A data directory that was put back says a number again: `tag` tells the two apart. */
export type StatementVersion = Pick<Statement, "topic" | "origin" | "boot" | "seq"> & { tag: string };

/** Throws Fault `core.cbor` or a ZodError. What it says of its origin is not proved: ask `isSigned`. */
export function readStatement(encoded: Uint8Array): Statement {
  const [topic, origin, boot, seq, value, sig] = Wire.parse(decodeCbor(encoded, MAX_STATEMENT_BYTES));
  return { topic, origin, boot, seq, value, sig };
}

/** A statement as it is kept and sent: nobody but its origin encodes it. */
export function signStatement(key: Ed25519Key, fleet: string, content: Omit<Statement, "sig">): Uint8Array {
  return encodeCbor([...wordsOf(content), key.sign(signedBytes(fleet, content))]);
}

/** Whether its origin said it, to this fleet. */
export function isSigned(fleet: string, statement: Statement): boolean {
  return verifyEd25519(publicKeyOf(statement.origin), signedBytes(fleet, statement), statement.sig);
}

function signedBytes(fleet: string, content: Omit<Statement, "sig">): Uint8Array {
  return encodeCbor(["portolan-gossip-v1", fleet, ...wordsOf(content)]);
}

function wordsOf({ topic, origin, boot, seq, value }: Omit<Statement, "sig">): unknown[] {
  return [topic, publicKeyOf(origin), boot, seq, value];
}

/** Whether `a` was said after `b`, by the same origin; of two with the same number, everybody takes the same one for the later. */
export function isLater(
  a: Omit<StatementVersion, "topic" | "origin">,
  b: Omit<StatementVersion, "topic" | "origin">,
): boolean {
  if (a.boot !== b.boot) return a.boot > b.boot;
  return a.seq === b.seq ? a.tag > b.tag : a.seq > b.seq;
}

/** One name for a topic and an origin. A node id holds no line break. */
export function statementKey({ topic, origin }: { topic: string; origin: NodeId }): string {
  return `${topic}\n${origin}`;
}

/** Tells statements apart by their bytes. */
export function statementId(encoded: Uint8Array): string {
  return hash("sha256", encoded, "base64");
}

/** The beginning of a statement's id, 66 bits of it. */
export function tagOf(id: string): string {
  return id.slice(0, TAG_LENGTH);
}
