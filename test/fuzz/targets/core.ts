import {
  auditPath,
  decodeCbor,
  decodeEnvelope,
  encodeCbor,
  encodeEnvelope,
  encodeFrame,
  type Frame,
  FrameReader,
  isEd25519PublicKey,
  leafHash,
  merkleRoot,
  parseJson,
  verifyAuditPath,
  verifyEd25519,
} from "#core";
import { encode, rfc8949EncodeOptions } from "cborg";
import { TestFleet, testKey } from "../../support/fleet.ts";
import { type FuzzTarget, mustHold, mustReturn } from "../target.ts";

const MAX_BYTES = 1024 * 1024;
const SAMPLES: readonly unknown[] = [
  0,
  -1,
  1.5,
  "text",
  new Uint8Array([1, 2, 3]),
  [],
  { k: "ping", b: { n: 17, r: 12 } },
  { t: "hello", list: [1, [2, [3, [true, false, null]]]], big: Number.MAX_SAFE_INTEGER },
];

const cbor: FuzzTarget = {
  name: "cbor",
  covers: ["src/core/cbor.ts#decodeCbor", "src/core/cbor-plain.ts#decodePlain"],
  grammar: "cbor",
  seeds: () => SAMPLES.map(encodeCbor),
  refuses: ["core.cbor"],
  prepare: () => (input) => {
    const value = decodeCbor(input, MAX_BYTES);
    mustReturn(encodeCbor(value), input);
    mustReturn(encode(value, rfc8949EncodeOptions), input); // what was read directly is what anybody else means by it
    return typeof value;
  },
};

const json: FuzzTarget = {
  name: "json",
  covers: ["src/core/json.ts#parseJson"],
  grammar: "json",
  seeds: () =>
    ['{"a":1,"b":[true,null,"\\u00e9\\ud83d\\ude00"]}', '[1e5,-0.5,9007199254740991,""]', '"x"'].map((text) =>
      Buffer.from(text),
    ),
  refuses: ["core.json"],
  prepare: () => (input) => {
    const value = parseJson(input, MAX_BYTES);
    const again = Buffer.from(JSON.stringify(value));
    mustReturn(Buffer.from(JSON.stringify(parseJson(again, 6 * MAX_BYTES))), again);
    return typeof value;
  },
};

const dsse: FuzzTarget = {
  name: "dsse",
  covers: ["src/core/dsse.ts#decodeEnvelope"],
  grammar: "json",
  seeds: () => {
    const fleet = new TestFleet();
    return [fleet.charter, ...fleet.foundation()];
  },
  refuses: ["core.dsse", "core.json"],
  prepare: () => (input) => {
    const envelope = decodeEnvelope(input, MAX_BYTES);
    const again = encodeEnvelope(envelope);
    mustReturn(encodeEnvelope(decodeEnvelope(again, 2 * MAX_BYTES)), again);
    return `${Math.min(envelope.signatures.length, 3)} signatures`;
  },
};

const FRAME_LIMITS = { maxHeaderBytes: 64 * 1024, maxPayloadBytes: 64 * 1024 };

const frames: FuzzTarget = {
  name: "frames",
  covers: ["src/core/frame.ts#FrameReader"],
  grammar: "bytes",
  maxBytes: 16 * 1024, // each input is read six times, and what came written again
  seeds: () => [
    Buffer.concat(encodeFrame({ k: "ping" }, [Buffer.from("hi")])),
    Buffer.concat(SAMPLES.flatMap((sample) => encodeFrame(sample, [Buffer.alloc(70, 7)]))),
  ],
  refuses: ["core.frame", "core.cbor"],
  // The pieces in which a stream arrives must make no difference.
  prepare: () => (input) => {
    const whole = readFrames([input]);
    const cuts = [1, 7, 8, 9, 4_096].map((size) => readFrames(cut(input, size)));
    for (const other of cuts) mustHold(other === whole, "frames depend on the pieces in which they come");
    if (whole.startsWith("refused")) new FrameReader(FRAME_LIMITS).push(input, () => undefined);
    return whole.slice(0, 8);
  },
};

function cut(input: Uint8Array, size: number): Uint8Array[] {
  if (input.length / size > 4_096) return [input];
  return Array.from({ length: Math.ceil(input.length / size) }, (_, at) => input.subarray(at * size, (at + 1) * size));
}

/** What arrived, in a form that can be compared. */
function readFrames(pieces: readonly Uint8Array[]): string {
  const reader = new FrameReader(FRAME_LIMITS);
  const out: string[] = [];
  const add = ({ header, payload }: Frame): void => {
    out.push(Buffer.concat([encodeCbor(header), ...payload]).toString("latin1"));
  };
  try {
    for (const piece of pieces) reader.push(piece, add);
  } catch {
    return `refused after ${out.length}`;
  }
  return `${out.length} frames, idle ${reader.idle}: ${out.join()}`;
}

const ed25519: FuzzTarget = {
  name: "ed25519",
  covers: ["src/core/ed25519.ts#verifyEd25519", "src/core/ed25519.ts#isEd25519PublicKey"],
  grammar: "bytes",
  seeds: () => {
    const message = Buffer.from("message");
    return [1, 2].map((n) => Buffer.concat([testKey(n).publicKey, testKey(n).sign(message), message]));
  },
  refuses: [],
  prepare: () => {
    const good = new Set(ed25519.seeds().map((seed) => Buffer.from(seed).toString("latin1")));
    return (input) => {
      const [key, signature, message] = [input.subarray(0, 32), input.subarray(32, 96), input.subarray(96)];
      const verified = verifyEd25519(key, message, signature);
      mustHold(!verified || isEd25519PublicKey(key), "a signature by what is no key");
      mustHold(!verified || good.has(Buffer.from(input).toString("latin1")), "a signature that nobody made");
      return String(verified);
    };
  },
};

const LEAVES = Array.from({ length: 7 }, (_, at) => leafHash(Buffer.of(at)));

const merkle: FuzzTarget = {
  name: "merkle",
  covers: ["src/core/merkle.ts#verifyAuditPath"],
  grammar: "bytes",
  // index, leaf, siblings
  seeds: () =>
    LEAVES.map((leaf, index) => Buffer.concat([Buffer.of(0, 0, 0, index), leaf, ...auditPath(LEAVES, index)])),
  refuses: [],
  prepare: () => {
    const root = merkleRoot(LEAVES);
    return (input) => {
      const index = Buffer.concat([input, Buffer.alloc(4)]).readUInt32BE(0);
      const [leaf = new Uint8Array(), ...path] = cut(input.subarray(4), 32);
      const verified = verifyAuditPath(leaf, index, LEAVES.length, path, root);
      mustHold(!verified || Buffer.compare(leaf, LEAVES[index] ?? new Uint8Array()) === 0, "a forged proof");
      return String(verified);
    };
  },
};

export const CORE_TARGETS: readonly FuzzTarget[] = [cbor, json, dsse, frames, ed25519, merkle];
