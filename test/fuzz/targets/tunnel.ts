import { decodeCbor, encodeCbor, Fault, faultCode } from "#core";
import { DatagramReader, encodeDatagram } from "../../../src/routing/tunnel/datagrams.ts";
import { readTunnelAnswer, readTunnelRequest, TUNNEL_LIMITS } from "../../../src/routing/tunnel/tunnel-wire.ts";
import { type FuzzTarget, mustHold, mustReturn } from "../target.ts";

/** The two messages of a tunnel, each input taken for either. */
const MESSAGES: FuzzTarget = {
  name: "tunnel-messages",
  covers: [
    "src/routing/tunnel/tunnel-wire.ts",
    "src/routing/tunnel/tunnel-wire.ts#readTunnelAnswer",
    "src/routing/tunnel/tunnel-wire.ts#readTunnelRequest",
  ],
  grammar: "cbor",
  maxBytes: TUNNEL_LIMITS.maxHeaderBytes,
  seeds: () =>
    [
      { tenant: "default", name: "cam", protocol: "tcp" },
      { tenant: "a.b-c", name: "dns.local", protocol: "udp" },
      { ok: true },
      { error: { code: "not-allowed", message: "this node may not use services of tenant default" } },
    ].map(encodeCbor),
  refuses: ["core.cbor", "routing.tunnel-message"],
  prepare: () => (input) => {
    const header = decodeCbor(input, TUNNEL_LIMITS.maxHeaderBytes);
    const request = attempt(() => readTunnelRequest(header));
    if (request !== undefined) mustReturn(encodeCbor(request), input);
    const refusal = attempt(() => codeOf(header));
    mustHold(request === undefined || refusal === undefined, "it is a request and an answer");
    if (request === undefined && refusal === undefined) throw new Fault("routing.tunnel-message", "it is neither");
    return request === undefined ? `answer ${refusal ?? ""}` : `request for ${request.protocol}`;
  },
};

/** `undefined` where it makes no sense. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (faultCode(error) === "routing.tunnel-message") return undefined;
    throw error;
  }
}

function codeOf(header: unknown): string {
  try {
    readTunnelAnswer(header);
    return "ok";
  } catch (error) {
    if (error instanceof Fault && error.code === "routing.tunnel-refused") return String(error.details["code"]);
    throw error;
  }
}

/** Datagrams in a stream, whole and in pieces as long as the first byte says. */
const DATAGRAMS: FuzzTarget = {
  name: "datagrams",
  covers: ["src/routing/tunnel/datagrams.ts#DatagramReader"],
  grammar: "bytes",
  maxBytes: 16 * 1024, // each two zeros are a datagram
  seeds: () =>
    [[], [0], [1, 300], [5, 0, 0, 1_400], [70, 9_000]].map((sizes) =>
      Buffer.concat(sizes.flatMap((size) => encodeDatagram(Buffer.alloc(size, size)))),
    ),
  refuses: [],
  prepare: () => (input) => {
    const whole = datagramsOf(input, input.length);
    const pieces = datagramsOf(input, 1 + (input[0] ?? 0));
    mustHold(Buffer.concat(whole).equals(Buffer.concat(pieces)) && whole.length === pieces.length, "pieces matter");
    const again = Buffer.concat(whole.flatMap((datagram) => encodeDatagram(datagram)));
    mustReturn(again, input.subarray(0, again.length));
    return `${whole.length} datagrams`;
  },
};

function datagramsOf(input: Uint8Array, pieceBytes: number): Uint8Array[] {
  const reader = new DatagramReader();
  const found: Uint8Array[] = [];
  for (let at = 0; at < input.length; at += pieceBytes) {
    reader.push(input.subarray(at, at + pieceBytes), (datagram) => found.push(datagram));
  }
  return found;
}

export const TUNNEL_TARGETS: readonly FuzzTarget[] = [MESSAGES, DATAGRAMS];
