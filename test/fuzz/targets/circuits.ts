import { isDeepStrictEqual } from "node:util";
import { decodeCbor, encodeCbor, Fault, faultCode } from "#core";
import { nodeIdOf } from "#identity";
import type { CarrierSecret } from "#mesh";
import { encodeCircuitFrame, FrameCipher, type FrameType } from "../../../src/routing/circuit/circuit-frame.ts";
import {
  headOf,
  MAX_DETOUR,
  MAX_HEAD_BYTES,
  type Open,
  type Opening,
  readAnswer,
  readOpen,
  signAnswer,
  signOpen,
  type Via,
} from "../../../src/routing/circuit/circuit-open.ts";
import { type Leg, legOf } from "../../../src/routing/circuit/leg.ts";
import { ReliableLine } from "../../../src/routing/circuit/reliable-line.ts";
import { testKey } from "../../support/fleet.ts";
import { type FuzzTarget, mustHold } from "../target.ts";

const SECRET: CarrierSecret = { bytes: new Uint8Array(32), cipher: "aes-128-gcm" };
const [SOURCE, TARGET] = [testKey(70), testKey(72)];
const [source, gateway, target, first, second] = [70, 71, 72, 73, 74].map((seed) =>
  nodeIdOf(testKey(seed).publicKey),
) as [string, string, string, string, string];
const OPEN: Open = {
  fleet: "fleet",
  circuit: new Uint8Array(16),
  source,
  path: [gateway, target],
  expires: 60_000,
  epoch: 0,
  received: 0,
};

/** Detours: two that may be, and one over the source. */
const VIAS: Via[] = [
  { to: 1, nodes: [first, second] },
  { to: 0, nodes: [first] },
  { to: 1, nodes: [first, source] },
];

/** What was read is passed on as it is, and whoever carries it has one place on the way. */
function judgeOpening(opening: Opening): void {
  const { signed, open, via } = opening;
  mustHold(new Set(open.path).size === open.path.length, "a node is twice on a path");
  const again = readOpen(headOf(signed, via), { fleet: "fleet", nowMs: 0 });
  mustHold(isDeepStrictEqual(again, opening), "what is passed on reads otherwise");
  const way = [open.source, ...open.path];
  if (via !== undefined) way.splice(via.to + 1, 0, ...via.nodes);
  for (const self of new Set(way)) {
    const leg = legOrRefusal(opening, self);
    if (leg === undefined) continue;
    mustHold(way.indexOf(self) === way.lastIndexOf(self) && self !== open.source, "it passes a node twice");
    const at = way.indexOf(self);
    mustHold(leg.from === way[at - 1] && leg.next === way[at + 1], "it leaves its way");
    mustHold(leg.isInside === !open.path.includes(self), "it takes a detour for the path");
    if (via !== undefined) mustHold(via.nodes.length <= MAX_DETOUR && via.to < open.path.length, "a detour too far");
  }
}

function legOrRefusal(opening: Opening, self: string): Leg | undefined {
  try {
    return legOf(opening, self, () => true);
  } catch (error) {
    mustHold(faultCode(error) === "routing.circuit-open", `it threw ${String(error)}`);
    return undefined;
  }
}

/** What opens a circuit and what answers it, from a neighbour; also where a member has signed nonsense, or made a detour of it. */
const opens: FuzzTarget = {
  name: "circuit-open",
  covers: [
    "src/routing/circuit/circuit-open.ts",
    "src/routing/circuit/circuit-open.ts#readOpen",
    "src/routing/circuit/circuit-open.ts#readAnswer",
  ],
  grammar: "cbor",
  maxBytes: MAX_HEAD_BYTES,
  seeds: () =>
    [
      OPEN,
      { ...OPEN, epoch: 3, received: 70_000 },
      signOpen(SOURCE, OPEN),
      signAnswer(TARGET, OPEN, 5),
      ...VIAS,
      ...VIAS.map((via) => headOf(signOpen(SOURCE, OPEN), via)),
    ].map(encodeCbor),
  refuses: ["core.cbor", "routing.circuit-open", "routing.circuit-refused"],
  prepare: () => (input) => {
    const said = decodeCbor(input, MAX_HEAD_BYTES);
    const answers = [
      () => readOpen(said, { fleet: "fleet", nowMs: 0 }),
      () => readOpen(signOpen(SOURCE, said as Open), { fleet: "fleet", nowMs: 0 }),
      () => readOpen(headOf(signOpen(SOURCE, OPEN), said as Via), { fleet: "fleet", nowMs: 0 }),
      () => readAnswer(said, OPEN),
    ].map((read) => {
      try {
        const opening = read();
        if (typeof opening === "object") judgeOpening(opening);
        return "read";
      } catch (error) {
        if (!(error instanceof Fault)) throw error;
        mustHold(/^(?:core\.cbor|routing\.circuit-(?:open|refused))$/u.test(error.code), `it threw ${error.code}`);
        return error.code;
      }
    });
    return answers.join(" ");
  },
};

/**
 * What comes over the path of a circuit, in pieces: as it is, before there are keys; and, since nobody could make a frame that opens by chance, cut into
 * frames that the peer has sealed.
 */
const frames: FuzzTarget = {
  name: "circuit-frames",
  covers: ["src/routing/circuit/circuit-frame.ts#CircuitFrameReader"],
  grammar: "bytes",
  seeds: () => {
    const frame = (type: FrameType, value: number, payload = ""): Buffer =>
      Buffer.concat(encodeCircuitFrame(type, value, payload === "" ? [] : [Buffer.from(payload)], undefined));
    const bare = [frame("handshake", 0, "hello"), frame("ping", 0), frame("pong", 0), frame("keyed", 0)];
    const sealed = [frame("data", 0, "hello"), frame("ack", 10), frame("end", 5), frame("ping", 0), frame("reset", 0)];
    return [Buffer.concat(bare), Buffer.concat(sealed), Buffer.concat([...bare, ...sealed]), frame("reset", 0)];
  },
  refuses: ["routing.circuit-frame"],
  prepare: () => (input) => {
    const told = [receiveBare, receiveSealed].map((receive) => {
      try {
        return receive(input);
      } catch (error) {
        mustHold(faultCode(error) === "routing.circuit-frame", `it threw ${String(error)}`);
        return "refused";
      }
    });
    return told.join(", ");
  },
};

function receiveBare(input: Uint8Array): string {
  const { line, came } = fuzzedLine();
  const cut = (input[0] ?? 0) % (input.length + 1);
  line.receive(input.subarray(0, cut));
  line.receive(input.subarray(cut));
  mustHold(came.bytes === 0 && came.ends === 0 && line.received === 0, "data came without a key");
  mustHold(came.handshake <= input.length, "more came than was sent");
  return `${Math.min(came.handshake, 9)} of a handshake`;
}

/** Sealing them takes longer than reading them. */
const MAX_SEALED_FRAMES = 500;

function receiveSealed(input: Uint8Array): string {
  const { line, came } = fuzzedLine();
  line.key(SECRET);
  line.receive(Buffer.concat(encodeCircuitFrame("keyed", 0, [], undefined)));
  line.write([Buffer.alloc(10)]);
  const cipher = new FrameCipher(SECRET, "source", 0);
  let left = MAX_SEALED_FRAMES;
  for (let at = 0; at + 12 <= input.length && left > 0; left -= 1) {
    const header = Buffer.from(input.subarray(at, at + 12));
    const payload = input.subarray(at + 12, at + 12 + (header.readUInt32BE(0) & 0xffffff));
    header.writeUIntBE(payload.length, 1, 3);
    line.receive(Buffer.concat(cipher.seal(header, [payload], payload.length)));
    at += 12 + payload.length;
  }
  mustHold(came.bytes <= input.length && came.ends <= 1, "more came than was sent");
  mustHold(line.received === came.bytes + came.ends, "what was received is not what came");
  return `${Math.min(came.bytes, 9)} bytes, ${came.ends} ends`;
}

function fuzzedLine(): { line: ReliableLine; came: { handshake: number; bytes: number; ends: number } } {
  const came = { handshake: 0, bytes: 0, ends: 0 };
  const line = new ReliableLine("target", {
    nowMs: () => 0,
    send: () => undefined,
    handshake: (pieces) => {
      for (const piece of pieces) came.handshake += piece.length;
    },
    data: (_, bytes) => {
      came.bytes += bytes;
      line.taken(bytes);
    },
    ended: () => (came.ends += 1),
    acked: () => undefined,
    reset: () => undefined,
  });
  line.attach(0, 0);
  return { line, came };
}

export const CIRCUIT_TARGETS: FuzzTarget[] = [opens, frames];
