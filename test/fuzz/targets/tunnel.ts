import { Fault, faultCode } from "#core";
import { DatagramReader, encodeDatagram } from "../../../src/routing/tunnel/datagrams.ts";
import {
  encodeHeader,
  encodeWindow,
  FRAME,
  MAX_MESSAGE_BYTES,
  readCredit,
  TrunkReader,
} from "../../../src/routing/tunnel/trunk-frame.ts";
import { decodeRequest, decodeReset, encodeRequest } from "../../../src/routing/tunnel/tunnel-wire.ts";
import { type FuzzTarget, mustHold, mustReturn } from "../target.ts";

/** The two messages of a tunnel, each input taken for either. */
const MESSAGES: FuzzTarget = {
  name: "tunnel-messages",
  covers: ["src/routing/tunnel/tunnel-wire.ts#decodeRequest", "src/routing/tunnel/tunnel-wire.ts#decodeReset"],
  grammar: "bytes",
  maxBytes: MAX_MESSAGE_BYTES,
  seeds: () =>
    [
      "tcp default cam",
      "udp a.b-c dns.local",
      "not-allowed this node may not use services of tenant default",
      "busy ",
    ].map((text) => Buffer.from(text)),
  refuses: ["routing.tunnel-message"],
  prepare: () => (input) => {
    const request = attempt(() => decodeRequest(input));
    if (request !== undefined) mustReturn(encodeRequest(request), input);
    const refusal = attempt(() => decodeReset(input));
    if (request === undefined && refusal === undefined) throw new Fault("routing.tunnel-message", "it is neither");
    return request === undefined
      ? `reset ${String(refusal?.details["code"]).length}`
      : `request for ${request.protocol}`;
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

/** Frames of a trunk, whole and in pieces as long as the first byte says. */
const FRAMES: FuzzTarget = {
  name: "tunnel-frames",
  covers: ["src/routing/tunnel/trunk-frame.ts#TrunkReader", "src/routing/tunnel/trunk-frame.ts#readCredit"],
  grammar: "bytes",
  maxBytes: 16 * 1024,
  seeds: () => {
    const open = Buffer.from("tcp default cam");
    const parts = [
      [encodeHeader(FRAME.open, 1, open.length), open],
      [encodeHeader(FRAME.accept, 1, 0), encodeWindow(1, 65_536)],
      [encodeHeader(FRAME.data, 1, 700), Buffer.alloc(700, 7), encodeHeader(FRAME.end, 1, 0)],
      [encodeHeader(FRAME.reset, 2 ** 32 - 1, 0)],
    ];
    return [...parts, parts.flat()].map((pieces) => Buffer.concat(pieces));
  },
  refuses: ["routing.tunnel-frame"],
  prepare: () => (input) => {
    const whole = framesOf(input, input.length);
    const pieces = framesOf(input, 1 + (input[0] ?? 0));
    const messages = whole.again.slice(0, -1);
    mustHold(
      messages.every((frame) => Buffer.from(input).includes(frame)),
      "decoding and encoding again gives other bytes",
    );
    mustHold(Buffer.concat(whole.again).equals(Buffer.concat(pieces.again)), "pieces matter");
    if (whole.fault !== undefined) throw whole.fault;
    return `types ${[...whole.types].join()}`;
  },
};

/** Every message that came whole, written again, and all data, up to the Fault if there is one. */
function framesOf(input: Uint8Array, pieceBytes: number): { again: Buffer[]; types: Set<number>; fault?: unknown } {
  const again: Buffer[] = [];
  const data: Uint8Array[] = [];
  const types = new Set<number>();
  const reader = new TrunkReader({
    control: (type, flow, payload) => {
      types.add(type);
      const frame =
        type === FRAME.window
          ? encodeWindow(flow, readCredit(payload))
          : Buffer.concat([encodeHeader(type, flow, payload.length), payload]);
      again.push(Buffer.from(frame));
    },
    data: (_, piece) => {
      types.add(FRAME.data);
      data.push(piece);
    },
  });
  try {
    for (let at = 0; at < input.length; at += pieceBytes) reader.push(input.subarray(at, at + pieceBytes));
  } catch (fault) {
    return { again: [...again, Buffer.concat(data)], types, fault };
  }
  return { again: [...again, Buffer.concat(data)], types };
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

export const TUNNEL_TARGETS: readonly FuzzTarget[] = [MESSAGES, FRAMES, DATAGRAMS];
