import { z } from "zod";
import { decodeCbor, encodeCbor, Fault } from "#core";
import { MAX_MESSAGE_BYTES } from "./trunk-frame.ts";

/** A stream of it is a trunk: many connections to, and flows of datagrams with, services of the node that is asked (docs/spec/tunnel.md). */
export const TUNNEL_PROTOCOL = "/portolan/tunnel/1";
/** The host has to find and dial the target in it, and the answer has to come back. */
export const OPEN_MS = 10_000;

/** Of services and tenants, as documents have them: DNS names of at most 63 characters. */
const Name = z
  .string()
  .max(63)
  .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/u);
const Request = z.strictObject({ tenant: Name, name: Name, protocol: z.enum(["tcp", "udp"]) });
/** What a tunnel is asked for. */
export type TunnelRequest = z.output<typeof Request>;

/** Why there is no tunnel; a later version may have more reasons. */
export type TunnelRefusal = "unknown-service" | "not-allowed" | "refused" | "unreachable" | "timeout" | "busy";
const MAX_MESSAGE_CHARS = 200;
const Refusal = z.strictObject({
  code: z
    .string()
    .regex(/^[a-z]+(-[a-z]+)*$/u)
    .max(32),
  message: z.string().max(MAX_MESSAGE_CHARS),
});

/** Why a target could not be reached, in the tunnel's words. */
export class NoTarget extends Error {
  readonly code: TunnelRefusal;

  constructor(code: TunnelRefusal, message: string) {
    super(message);
    this.code = code;
  }
}

/** The payload of an open frame. */
export function encodeRequest({ tenant, name, protocol }: TunnelRequest): Uint8Array {
  return encodeCbor({ tenant, name, protocol });
}

/** Reads the payload of an open frame. Throws Fault `routing.tunnel-message` or `core.cbor` (both exit `invalid`). */
export function decodeRequest(payload: Uint8Array): TunnelRequest {
  return parse(Request, payload);
}

/** The payload of a reset frame: why there is no tunnel, or nothing. */
export function encodeReset(reason: Error): Uint8Array {
  if (!(reason instanceof NoTarget)) return new Uint8Array(0);
  return encodeCbor({ code: reason.code, message: reason.message.slice(0, MAX_MESSAGE_CHARS) });
}

/** Reads why there is no tunnel: a Fault `routing.tunnel-refused` with the reason in `details.code`. Throws as `decodeRequest`. */
export function decodeReset(payload: Uint8Array): Fault {
  const { code, message } = parse(Refusal, payload);
  return new Fault("routing.tunnel-refused", `${code}: ${message}`, { exit: "offline", details: { code } });
}

function parse<S extends z.ZodType>(schema: S, payload: Uint8Array): z.output<S> {
  const parsed = schema.safeParse(decodeCbor(payload, MAX_MESSAGE_BYTES));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new Fault("routing.tunnel-message", `a tunnel's ${issue?.path.join(".") ?? "message"} makes no sense`, {
    exit: "invalid",
  });
}
