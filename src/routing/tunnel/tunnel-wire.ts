import { Fault } from "#core";

/** A stream of it is a trunk: many connections to, and flows of datagrams with, services of the node that is asked (docs/spec/tunnel.md). */
export const TUNNEL_PROTOCOL = "/portolan/tunnel/1";
/** A stream to the host may first take a circuit over slow links that lose packets. */
export const REACH_MS = 20_000;
/** The host has to find and dial the target in it, and the answer has to come back. */
export const OPEN_MS = 10_000;

/** What a tunnel is asked for. Names are those of documents: DNS names of at most 63 characters. */
export type TunnelRequest = { tenant: string; name: string; protocol: "tcp" | "udp" };

const NAME = "(?=.{1,63}(?: |$))[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*";
const REQUEST = new RegExp(`^(tcp|udp) (${NAME}) (${NAME})$`, "u");

/** Why there is no tunnel; a later version may have more reasons. */
export type TunnelRefusal = "unknown-service" | "not-allowed" | "refused" | "unreachable" | "timeout" | "busy";
const MAX_REASON_CHARS = 200;
const REFUSAL = new RegExp(`^(?=.{1,32} )([a-z]+(?:-[a-z]+)*) (.{0,${MAX_REASON_CHARS}})$`, "u");
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Why a target could not be reached, in the tunnel's words. */
export class NoTarget extends Error {
  readonly code: TunnelRefusal;

  constructor(code: TunnelRefusal, message: string) {
    super(message);
    this.code = code;
  }
}

/** The payload of an open frame: `tcp default cam`. */
export function encodeRequest({ protocol, tenant, name }: TunnelRequest): Uint8Array {
  return Buffer.from(`${protocol} ${tenant} ${name}`, "latin1");
}

/** Reads the payload of an open frame. Throws Fault `routing.tunnel-message` (exit `invalid`). */
export function decodeRequest(payload: Uint8Array): TunnelRequest {
  const [, protocol, tenant = "", name = ""] = REQUEST.exec(textOf(payload)) ?? [];
  if (protocol !== "tcp" && protocol !== "udp") throw noSense("a tunnel's request");
  return { protocol, tenant, name };
}

/** The payload of a reset frame: why there is no tunnel, or nothing. */
export function encodeReset(reason: Error): Uint8Array {
  if (!(reason instanceof NoTarget)) return new Uint8Array(0);
  const message = reason.message.replace(/[\n\r\u2028\u2029]/gu, " ").slice(0, MAX_REASON_CHARS);
  return Buffer.from(`${reason.code} ${message}`); // half a surrogate pair at its end becomes U+FFFD, one character
}

/** Reads why there is no tunnel: a Fault `routing.tunnel-refused` with the reason in `details.code`. Throws as `decodeRequest`. */
export function decodeReset(payload: Uint8Array): Fault {
  const [, code, message] = REFUSAL.exec(textOf(payload)) ?? [];
  if (code === undefined) throw noSense("the reason for a reset");
  return new Fault("routing.tunnel-refused", `${code}: ${message}`, { exit: "offline", details: { code } });
}

function textOf(payload: Uint8Array): string {
  try {
    return utf8.decode(payload);
  } catch {
    throw noSense("a tunnel's message");
  }
}

function noSense(what: string): Fault {
  return new Fault("routing.tunnel-message", `${what} makes no sense`, { exit: "invalid" });
}
