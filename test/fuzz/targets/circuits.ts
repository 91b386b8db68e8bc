import { decodeCbor, encodeCbor, Fault } from "#core";
import { nodeIdOf } from "#identity";
import { encodeCircuitFrame } from "../../../src/routing/circuit/circuit-frame.ts";
import {
  MAX_HEAD_BYTES,
  type Open,
  readAnswer,
  readOpen,
  signAnswer,
  signOpen,
} from "../../../src/routing/circuit/circuit-open.ts";
import { ReliableLine } from "../../../src/routing/circuit/reliable-line.ts";
import { testKey } from "../../support/fleet.ts";
import { type FuzzTarget, mustHold } from "../target.ts";

const [SOURCE, GATEWAY, TARGET] = [testKey(70), testKey(71), testKey(72)];
const [source, gateway, target] = [SOURCE, GATEWAY, TARGET].map((key) => nodeIdOf(key.publicKey)) as [
  string,
  string,
  string,
];
const OPEN: Open = {
  fleet: "fleet",
  circuit: new Uint8Array(16),
  source,
  path: [gateway, target],
  expires: 60_000,
  epoch: 0,
  received: 0,
};

/** What opens a circuit and what answers it, from a neighbour; also where a member has signed nonsense. */
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
    [OPEN, { ...OPEN, epoch: 3, received: 70_000 }, signOpen(SOURCE, OPEN), signAnswer(TARGET, OPEN, 5)].map(
      encodeCbor,
    ),
  refuses: ["core.cbor", "routing.circuit-open", "routing.circuit-refused"],
  prepare: () => (input) => {
    const said = decodeCbor(input, MAX_HEAD_BYTES);
    const answers = [
      () => readOpen(said, { fleet: "fleet", nowMs: 0 }),
      () => readOpen(signOpen(SOURCE, said as Open), { fleet: "fleet", nowMs: 0 }),
      () => readAnswer(said, OPEN),
    ].map((read) => {
      try {
        const open = read();
        if (typeof open === "object")
          mustHold(new Set(open.path).size === open.path.length, "a node is twice on a path");
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

/** What comes over the path of a circuit whose ends have no key yet, in pieces. */
const frames: FuzzTarget = {
  name: "circuit-frames",
  covers: ["src/routing/circuit/circuit-frame.ts#CircuitFrameReader"],
  grammar: "bytes",
  seeds: () => {
    const data = encodeCircuitFrame("data", 0, [Buffer.from("hello")], undefined);
    const rest = (["ack", "ping", "pong", "end", "keyed", "reset"] as const).flatMap((type) =>
      encodeCircuitFrame(type, type === "end" ? 5 : 0, [], undefined),
    );
    return [Buffer.concat([...data, ...rest]), Buffer.concat(data), Buffer.concat(rest)];
  },
  refuses: ["routing.circuit-frame"],
  prepare: () => (input) => {
    let [bytes, sent, ends] = [0, 0, 0];
    const line = new ReliableLine("target", {
      nowMs: () => 0,
      send: () => (sent += 1),
      data: (_, came) => {
        bytes += came;
        line.taken(came);
      },
      ended: () => (ends += 1),
      acked: () => undefined,
      reset: () => undefined,
    });
    line.attach(0, 0);
    line.write([Buffer.alloc(10)]);
    const cut = (input[0] ?? 0) % (input.length + 1);
    line.receive(input.subarray(0, cut));
    line.receive(input.subarray(cut));
    mustHold(bytes <= input.length && ends <= 1, "more came than was sent");
    mustHold(line.received === bytes + ends, "what was received is not what came");
    return `${Math.min(bytes, 9)} bytes, ${Math.min(sent, 9)} sent, ${ends} ends`;
  },
};

export const CIRCUIT_TARGETS: FuzzTarget[] = [opens, frames];
