import { z } from "zod";
import { type ByteStream, encodeFrame, Fault, type FrameLimits } from "#core";

/** One stream is one connection to, or one flow of datagrams with, a service of the node that is asked (docs/spec/tunnel.md). */
export const TUNNEL_PROTOCOL = "/portolan/tunnel/1";
/** Of the two messages of a tunnel: names of 63 characters and a sentence. */
export const TUNNEL_LIMITS: Readonly<FrameLimits> = { maxHeaderBytes: 1_024, maxPayloadBytes: 0 };
/** Bytes of a connection that may go out before the answer is in; the other side has to hold them. */
export const MAX_EARLY_BYTES = 64 * 1024;
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
const Answer = z.union([
  z.strictObject({ ok: z.literal(true) }),
  z.strictObject({
    error: z.strictObject({
      code: z
        .string()
        .regex(/^[a-z]+(-[a-z]+)*$/u)
        .max(32),
      message: z.string().max(MAX_MESSAGE_CHARS),
    }),
  }),
]);

/** Reads the request. Throws Fault `routing.tunnel-message` (exit `invalid`). */
export function readTunnelRequest(header: unknown): TunnelRequest {
  return parse(Request, header);
}

/** Asks for a tunnel. */
export function sendTunnelRequest(stream: ByteStream, request: TunnelRequest): void {
  stream.send(...encodeFrame(request));
}

/** Says that the tunnel is open, or why there is none. */
export function sendTunnelAnswer(stream: ByteStream, refusal?: { code: TunnelRefusal; message: string }): void {
  const message = refusal?.message.slice(0, MAX_MESSAGE_CHARS);
  stream.send(...encodeFrame(refusal === undefined ? { ok: true } : { error: { code: refusal.code, message } }));
}

/** Reads the answer. Throws Fault `routing.tunnel-refused` with the reason in `details.code`, or `routing.tunnel-message`. */
export function readTunnelAnswer(header: unknown): void {
  const answer = parse(Answer, header);
  if ("ok" in answer) return;
  const { code, message } = answer.error;
  throw new Fault("routing.tunnel-refused", `${code}: ${message}`, { exit: "offline", details: { code } });
}

function parse<S extends z.ZodType>(schema: S, header: unknown): z.output<S> {
  const parsed = schema.safeParse(header);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new Fault("routing.tunnel-message", `a tunnel's ${issue?.path.join(".") ?? "message"} makes no sense`, {
    exit: "invalid",
  });
}
