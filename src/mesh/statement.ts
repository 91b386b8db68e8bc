import { encodeCbor } from "#core";
import type { NodeId } from "#identity";
import { z } from "zod";

/** Largest value of one statement, in bytes of CBOR. */
export const MAX_STATEMENT_BYTES = 32 * 1024;

const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array);
export const Topic = z.string().min(1).max(32);
export const Origin = z.string().max(64);
export const Count = z.int().min(0);

/** What a node says on a topic, signed. `boot` is higher at each start of the origin; with `seq` it orders what it says. */
export const Statement = z.strictObject({
  topic: Topic,
  origin: Origin,
  boot: Count,
  seq: Count,
  value: bytes.refine((value) => value.length <= MAX_STATEMENT_BYTES, "value is too large"),
  sig: bytes,
});
export type Statement = z.infer<typeof Statement>;

/** Which of an origin's statements on a topic. */
export type StatementVersion = Pick<Statement, "topic" | "origin" | "boot" | "seq">;

/** Whether `a` was said after `b`, by the same origin. */
export function isLater(a: Pick<Statement, "boot" | "seq">, b: Pick<Statement, "boot" | "seq">): boolean {
  return a.boot > b.boot || (a.boot === b.boot && a.seq > b.seq);
}

/** What an origin signs. */
export function signedBytes(fleet: string, { topic, origin, boot, seq, value }: Omit<Statement, "sig">): Uint8Array {
  return encodeCbor(["portolan-gossip-v1", fleet, topic, origin, boot, seq, value]);
}

/** One name for a topic and an origin. A node id holds no line break. */
export function statementKey({ topic, origin }: { topic: string; origin: NodeId }): string {
  return `${topic}\n${origin}`;
}
