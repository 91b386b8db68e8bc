import { asError, type Clock, Fault, faultCode, type FrameStream, type Random, SILENT_LOG, withDeadline } from "#core";
import { judgeClocks } from "./clock-skew.ts";
import { isDocumentOf, type SignedDocument } from "./document.ts";
import { DocumentStore } from "./document-store.ts";
import type { Refusal } from "./evidence.ts";
import {
  type DeviceMessage,
  JOIN_TIMEOUT_MS,
  type JoinHello,
  type JoinOffer,
  type JoinProof,
  NONCE_BYTES,
  parseRegistrarMessage,
  type RegistrarMessage,
  transcriptHash,
} from "./join-wire.ts";
import { keyHash, type NodeId, publicKeyOf } from "./node-id.ts";
import type { NodeKey } from "./node-key.ts";
import { passKey } from "./pass.ts";
import { openStateDatabase } from "./state-database.ts";
import type { BootstrapToken } from "./token.ts";

/** What a device says of itself when it asks to join. */
export type DeviceFacts = {
  serial?: string;
  model?: string;
  site?: string;
  labels: Readonly<Record<string, string>>;
};

export type DeviceJoinDeps = {
  clock: Clock;
  random: Random;
  /** Trusted Unix time; on a device that never joined, the machine's own. */
  nowMs: () => number;
  node: NodeKey;
  token: BootstrapToken;
  /**
   * What this node has seen already: less is a roll-back. Zero for a newcomer. With `timeMs` nobody has confirmed the time to this
   * member since it started: it goes by the registrar's, if that is no earlier (Unix milliseconds).
   */
  floor: { charter: number; revocation: number; timeMs?: number };
  facts: DeviceFacts;
  /** A one-time pass, as text. */
  pass?: string;
  /** The node at the other end, as its connection proved. */
  registrar: NodeId;
  /** From an earlier `pending` of this registrar. */
  ticket?: Uint8Array;
};

/** How an exchange ended. Everything in `member` is verified against the token. */
export type DeviceOutcome =
  | {
      outcome: "member";
      fleet: string;
      member: SignedDocument<"Member">;
      /** Envelopes for the node's own store, in the order in which it can judge them. */
      documents: Uint8Array[];
      /** The registrar's time, fresh: it answered our nonce. Unix milliseconds. */
      beaconMs: number;
      /** Name of the registrar. */
      registrar: string;
    }
  | ({ outcome: "pending"; ticket: Uint8Array; retryMs: number } & Refusal)
  | ({ outcome: "denied" } & Refusal)
  /** `home`: the name of the one registrar that may say, which is at these addresses if at any. */
  | { outcome: "redirect"; addresses: string[]; home?: string };

/** What the device's state machine stands on; nothing in it changes during an exchange. */
export type DeviceContext = Omit<DeviceJoinDeps, "clock" | "random" | "nowMs"> & { nonce: Uint8Array };
export type DeviceState =
  | { at: "asked"; hello: JoinHello }
  | { at: "proved"; store: DocumentStore; documents: Uint8Array[]; aheadMs: number };
export type DeviceStep = { send: DeviceMessage; state: DeviceState } | { done: DeviceOutcome };

/** The first message and the state after it. `nowMs`: the device's time. */
export function startDevice(context: DeviceContext, nowMs: number): { send: JoinHello; state: DeviceState } {
  const { node, token, facts, nonce, pass } = context;
  // A ticket is answered before anything is proven, and a pass counts only when it is.
  const ticket = pass === undefined ? context.ticket : undefined;
  const hello: JoinHello = {
    t: "hello",
    fleet: fromHex(token.fleet),
    key: new Uint8Array(node.key.publicKey),
    nonce,
    timeMs: Math.max(0, Math.floor(nowMs)), // a clock before 1970 is wrong in any case
    labels: { ...facts.labels },
    ...(facts.serial === undefined ? {} : { serial: facts.serial }),
    ...(facts.model === undefined ? {} : { model: facts.model }),
    ...(facts.site === undefined ? {} : { site: facts.site }),
    ...(ticket === undefined ? {} : { ticket }),
  };
  return { send: hello, state: { at: "asked", hello } };
}

/**
 * What the device does on a message. It signs nothing before it has verified that the other end is a registrar of the
 * token's fleet.
 *
 * Throws Fault: `identity.clock`, `identity.wrong-fleet`, `identity.rolled-back`, `identity.not-registrar`,
 * `identity.join-answer` (the registrar broke the protocol). Pure but for the store in memory that it verifies with.
 */
export function stepDevice(
  state: DeviceState,
  message: RegistrarMessage,
  context: DeviceContext,
  nowMs: number,
): DeviceStep {
  if (message.t === "pending") {
    return { done: { ...reasonsOf(message), outcome: "pending", ticket: message.ticket, retryMs: message.retryMs } };
  }
  if (message.t === "denied") return { done: { ...reasonsOf(message), outcome: "denied" } };
  if (message.t === "redirect") {
    const { addresses, home } = message;
    return { done: { outcome: "redirect", addresses, ...(home === undefined ? {} : { home }) } };
  }
  if (message.t === "granted") {
    if (state.at !== "proved") throw badAnswer("it granted before we proved our key");
    return { done: judgeGranted(message, state, context, nowMs + state.aheadMs) };
  }
  if (state.at !== "asked") throw badAnswer("it offered twice");
  const atMs = timeOfExchange(message, context, nowMs);
  const store = judgeOffer(message, context, atMs);
  const sealing = context.node.sealingPublic;
  const transcript = transcriptHash(state.hello, message, sealing);
  const passing = context.pass === undefined ? undefined : passKey(context.pass, context.token.fleet);
  const proof: JoinProof = {
    t: "proof",
    sealing,
    sig: context.node.key.sign(transcript),
    ...(passing === undefined
      ? {}
      : { pass: { key: new Uint8Array(passing.publicKey), sig: passing.sign(transcript) } }),
  };
  const documents = [...message.charters, ...message.documents];
  return { send: proof, state: { at: "proved", store, documents, aheadMs: atMs - nowMs } };
}

/** Runs the device's end of one exchange over a stream to a registrar. Deadline 30 s. Throws as `stepDevice`, or Fault `identity.join-lost`. */
export async function runDeviceJoin(
  frames: FrameStream,
  deps: DeviceJoinDeps,
  signal: AbortSignal,
): Promise<DeviceOutcome> {
  const { clock, random, nowMs, ...rest } = deps;
  const context = { ...rest, nonce: random.bytes(NONCE_BYTES) };
  const exchange = async (within: AbortSignal): Promise<DeviceOutcome> => {
    let { send, state }: { send: DeviceMessage; state: DeviceState } = startDevice(context, nowMs());
    for (;;) {
      frames.send(send);
      const frame = await frames.read(within);
      if (frame === undefined) throw joinLost(deps.registrar);
      const step = stepDevice(state, parseRegistrarMessage(frame.header), context, nowMs());
      if ("done" in step) return step.done;
      ({ send, state } = step);
    }
  };
  try {
    const outcome = await withDeadline(clock, JOIN_TIMEOUT_MS, "joining", exchange, signal);
    frames.close();
    return outcome;
  } catch (error) {
    frames.abort(asError(error));
    throw STREAM_FAULTS.has(faultCode(error) ?? "") ? joinLost(deps.registrar, error) : error;
  }
}

/** The time to judge this exchange by. Throws Fault `identity.clock` when the two ends disagree and this one knows the time. */
function timeOfExchange(offer: JoinOffer, { floor }: DeviceContext, nowMs: number): number {
  const clocks = judgeClocks(nowMs, offer.timeMs);
  if (clocks === undefined) return nowMs;
  if (floor.timeMs !== undefined && offer.timeMs >= floor.timeMs) return offer.timeMs;
  throw new Fault(clocks.code, clocks.reason, { exit: "invalid", fix: clocks.fix });
}

/** Verifies the fleet that a registrar shows against the token, in a store of its own. */
function judgeOffer(offer: JoinOffer, { token, floor, registrar }: DeviceContext, nowMs: number): DocumentStore {
  const store = new DocumentStore(openStateDatabase(":memory:"), SILENT_LOG, nowMs);
  store.pinFleet(token.fleet);
  for (const bytes of offer.charters) {
    const verdict = store.submit(bytes, nowMs);
    if (verdict.outcome !== "accepted") throw wrongFleet(token, "reason" in verdict ? verdict.reason : verdict.outcome);
    if (isDocumentOf(verdict.document, "Charter")) judgeOwners(verdict.document, token);
  }
  const least = {
    charter: Math.max(token.minCharter, floor.charter),
    revocation: Math.max(token.minRevocation, floor.revocation),
  };
  const version = store.charter?.body.version ?? 0;
  if (version !== offer.charter) throw badAnswer("its charters and their number differ");
  if (version < least.charter) throw rolledBack("charter", version, least.charter);
  store.submitAll(offer.documents, nowMs);
  const document = store.list("Registrar").find(({ body }) => body.spec.node === registrar);
  const key = store.keys.get(keyHash(publicKeyOf(registrar)));
  if (document === undefined || key === undefined || key.keepMembers !== undefined) {
    throw new Fault(
      "identity.not-registrar",
      `node ${registrar} is not a registrar of fleet ${token.fleet.slice(0, 12)}`,
      {
        exit: "denied",
        fix: "Print the token anew with `portolan token`; the owners make a node a registrar with `portolan registrar add`.",
      },
    );
  }
  const revocation = store.get("Revocation", "fleet")?.body.version ?? 0;
  if (revocation < least.revocation) throw rolledBack("revocation", revocation, least.revocation);
  return store;
}

/** The token's owners are those of the charter that was in force when it was printed. */
function judgeOwners(charter: SignedDocument<"Charter">, token: BootstrapToken): void {
  if (charter.body.version !== token.minCharter) return;
  const owners = charter.body.spec.owners.map((owner) => keyHash(Buffer.from(owner.publicKey, "base64")));
  if (owners.toSorted().join() !== token.owners.toSorted().join()) throw wrongFleet(token, "its owners are others");
}

function judgeGranted(
  { member: bytes, beacon }: Extract<RegistrarMessage, { t: "granted" }>,
  { store, documents }: Extract<DeviceState, { at: "proved" }>,
  { token, node, registrar, nonce }: DeviceContext,
  nowMs: number,
): DeviceOutcome {
  const verdict = store.submit(bytes, nowMs);
  if (verdict.outcome !== "accepted" || !isDocumentOf(verdict.document, "Member")) {
    throw badAnswer(`its member document is ${"reason" in verdict ? verdict.reason : verdict.outcome}`);
  }
  const member = verdict.document;
  const { spec, expires } = member.body;
  if (Date.parse(expires) <= nowMs) throw badAnswer(`its member document ended at ${expires}`);
  const sealing = Buffer.from(node.sealingPublic).toString("base64");
  if (spec.node !== node.nodeId || spec.sealingKey !== sealing)
    throw badAnswer("its member document is for another node");
  const told = store.submit(beacon, nowMs);
  if (told.outcome !== "accepted" || !isDocumentOf(told.document, "Beacon"))
    throw badAnswer("its beacon does not verify");
  const { time, nonce: answered } = told.document.body.spec;
  if (answered !== Buffer.from(nonce).toString("base64")) throw badAnswer("its beacon is not fresh");
  return {
    outcome: "member",
    fleet: token.fleet,
    member,
    documents: [...documents, bytes],
    beaconMs: Date.parse(time),
    registrar: store.keys.get(keyHash(publicKeyOf(registrar)))?.name ?? registrar,
  };
}

function reasonsOf({ code, reason, fix }: Refusal): Refusal {
  return { code, reason, fix };
}

function wrongFleet(token: BootstrapToken, why: string): Fault {
  return new Fault("identity.wrong-fleet", `what answers is not fleet ${token.fleet.slice(0, 12)}: ${why}`, {
    exit: "denied",
    fix: "The token's address belongs to another fleet now. Print a new token with `portolan token`.",
  });
}

function rolledBack(what: string, got: number, least: number): Fault {
  return new Fault("identity.rolled-back", `the registrar shows ${what} ${got}, but ${least} is known`, {
    exit: "denied",
    fix: "The registrar was restored from an old backup, or is lying. Join through another, and tell the fleet's owners.",
  });
}

function badAnswer(why: string): Fault {
  return new Fault("identity.join-answer", `the registrar broke the protocol: ${why}`, {
    exit: "denied",
    fix: "Join through another registrar, and tell the fleet's owners.",
  });
}

/** How core says that the connection broke. */
const STREAM_FAULTS: ReadonlySet<string> = new Set(["core.stream-ended", "core.stream-reset"]);

function joinLost(registrar: NodeId, cause?: unknown): Fault {
  return new Fault("identity.join-lost", `registrar ${registrar} closed the exchange without an answer`, {
    exit: "offline",
    fix: "Nothing is lost: ask again.",
    cause,
  });
}

function fromHex(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, "hex"));
}
