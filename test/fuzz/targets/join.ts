import { decodeCbor, encodeCbor, encodeFrame, Fault, FrameStream, SILENT_LOG, SystemClock, SystemRandom } from "#core";
import { FROM_DEVICE, parseDeviceMessage, parseRegistrarMessage } from "../../../src/identity/join-wire.ts";
import { nodeIdOf } from "../../../src/identity/node-id.ts";
import { Registrar } from "../../../src/identity/registrar.ts";
import { RegistrarLedger } from "../../../src/identity/registrar-ledger.ts";
import { openStateDatabase } from "../../../src/identity/state-database.ts";
import { WaitingList } from "../../../src/identity/waiting-list.ts";
import { NOW_MS, TestFleet, testKey } from "../../support/fleet.ts";
import { FedStream } from "../fed-stream.ts";
import { type FuzzTarget, mustHold } from "../target.ts";

const fleet = new TestFleet();
const device = testKey(50);

export const JOIN_TARGET: FuzzTarget = {
  name: "join-messages",
  covers: [
    "src/identity/join-wire.ts#parseDeviceMessage",
    "src/identity/join-wire.ts#parseRegistrarMessage",
    "src/identity/registrar.ts#Registrar",
  ],
  grammar: "cbor",
  maxBytes: 32 * 1024,
  seeds: () => [...JOIN_MESSAGES, [JOIN_HELLO, JOIN_MESSAGES[1]]].map(encodeCbor),
  refuses: ["identity.join-wire", "core.cbor"],
  prepare: () => {
    const serve = registrar();
    return async (input) => {
      const value = decodeCbor(input, FROM_DEVICE.maxHeaderBytes);
      const messages = Array.isArray(value) ? (value as unknown[]) : [value];
      const outcome = await serve(messages);
      if (isRegistrarMessage(value)) return parseRegistrarMessage(value).t;
      return `${parseDeviceMessage(messages[0]).t} ${outcome}`;
    };
  },
};

const JOIN_HELLO = {
  t: "hello",
  fleet: Buffer.from(fleet.id, "hex"),
  key: device.publicKey,
  nonce: new Uint8Array(16),
  timeMs: NOW_MS,
  serial: "SN-1",
  model: "box",
  labels: { camera: "yes" },
};
const JOIN_MESSAGES: readonly unknown[] = [
  JOIN_HELLO,
  { t: "proof", sealing: new Uint8Array(32).fill(9), sig: new Uint8Array(64) },
  { t: "offer", nonce: new Uint8Array(16), timeMs: NOW_MS, charter: 1, charters: [fleet.charter], documents: [] },
  { t: "redirect", addresses: ["/ip4/192.0.2.1/tcp/1/tls"] },
  { t: "granted", member: new Uint8Array(9), beacon: new Uint8Array(9) },
  { t: "pending", ticket: new Uint8Array(16), retryMs: 2_000, code: "identity.unclaimed", reason: "r", fix: "f" },
  { t: "denied", code: "identity.clock", reason: "r", fix: "f" },
];

function isRegistrarMessage(value: unknown): boolean {
  const named = ["offer", "redirect", "granted", "pending", "denied"];
  return typeof value === "object" && value !== null && "t" in value && named.some((name) => name === value.t);
}

/** A registrar that has admitted nobody, and must not. Returns what becomes of a device that says these messages. */
function registrar(): (messages: readonly unknown[]) => Promise<string> {
  const store = fleet.seededStore();
  const ledger = new RegistrarLedger(openStateDatabase(":memory:"));
  const served = new Registrar({
    clock: new SystemClock(),
    random: new SystemRandom(),
    log: SILENT_LOG,
    nowMs: () => NOW_MS,
    key: fleet.registrar,
    store,
    ledger,
    waiting: new WaitingList(),
    addressesOf: () => [],
    usedTwice: () => undefined,
  });
  const { signal } = new AbortController();
  const peer = { nodeId: nodeIdOf(device.publicKey), remoteIp: "192.0.2.9" };
  return async (messages) => {
    const stream = new FedStream();
    const done = served.serve(new FrameStream(stream, FROM_DEVICE), peer, signal).then(
      ({ outcome }) => outcome,
      (error: unknown) => {
        if (error instanceof Fault) return error.code;
        throw error;
      },
    );
    for (const message of messages) for (const piece of encodeFrame(message)) stream.feed(piece);
    stream.end();
    const outcome = await done;
    mustHold(outcome !== "granted" && ledger.memberCount() === 0, "a device was admitted that proved nothing");
    return outcome;
  };
}
