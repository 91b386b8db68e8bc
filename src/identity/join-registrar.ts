import { type Ed25519Key, verifyEd25519 } from "#core";
import { signBeacon } from "./beacon.ts";
import { judgeClocks } from "./clock-skew.ts";
import { type Body, CLOCK_TOLERANCE_MS, openEnvelope, parseBody, type SignedDocument } from "./document.ts";
import type { DocumentStore } from "./document-store.ts";
import {
  type ClaimIndex,
  type Evidence,
  type EvidenceUse,
  type EvidenceVerdict,
  type FormerMember,
  judgeEvidence,
} from "./evidence.ts";
import {
  type DeviceMessage,
  type JoinHello,
  type JoinOffer,
  type JoinProof,
  type RegistrarMessage,
  transcriptHash,
} from "./join-wire.ts";
import { memberId, memberName, signMember } from "./member.ts";
import { keyHash, type NodeId, publicKeyOf } from "./node-id.ts";
import type { IssuedMember, RefusedDevice, RegistrarLedger } from "./registrar-ledger.ts";
import { isRevoked } from "./revocation.ts";
import type { WaitingDevice, WaitingList } from "./waiting-list.ts";

/** The device at the other end, as its connection proved it. */
export type JoiningPeer = { nodeId: NodeId; remoteIp: string | undefined };

/** What a registrar decides on. The step reads it and writes nothing. */
export type RegistrarContext = {
  key: Ed25519Key;
  nodeId: NodeId;
  store: DocumentStore;
  ledger: RegistrarLedger;
  waiting: WaitingList;
  claims: ClaimIndex;
  /** Where registrars are reached, for when this node is none. */
  registrarAddresses: readonly string[];
  peer: JoiningPeer;
  /** Fresh for this exchange. */
  nonce: Uint8Array;
  ticket: Uint8Array;
  /** Trusted Unix milliseconds. */
  nowMs: number;
};

/**
 * What the registrar does to the world, in order. A crash between any two leaves nothing half-true: until `admit` nothing has
 * happened, after it the same device gets the same document.
 */
export type RegistrarEffect =
  | { do: "send"; message: RegistrarMessage }
  /** Takes the evidence up and keeps the document: durable before the next effect. */
  | { do: "admit"; keyHash: string; use: EvidenceUse; member: IssuedMember }
  /** Puts the document into this node's store, from where the fleet learns of it. */
  | { do: "publish"; bytes: Uint8Array }
  /** Puts the device on the pending list and tells it. */
  | { do: "wait"; device: Omit<WaitingDevice, "sinceMs" | "lastAskedMs" | "polls">; fix: string }
  /** Remembers a device with somebody else's serial. */
  | { do: "record"; refused: RefusedDevice };

/** Every effect there is; the kill test walks through them. */
export const REGISTRAR_EFFECTS = [
  "send",
  "admit",
  "publish",
  "wait",
  "record",
] as const satisfies readonly RegistrarEffect["do"][];

export type RegistrarState =
  | { at: "listening" }
  | { at: "offered"; hello: JoinHello; offer: JoinOffer }
  | { at: "done" };
export type RegistrarStep = { state: RegistrarState; effects: RegistrarEffect[] };
type Reasons = { code: string; reason: string; fix: string };

/** What the registrar does on a message of a device. Never throws for what a device may send. */
export function stepRegistrar(state: RegistrarState, message: DeviceMessage, context: RegistrarContext): RegistrarStep {
  if (message.t === "hello" && state.at === "listening") return onHello(message, context);
  if (message.t === "proof" && state.at === "offered") return onProof(message, state.hello, state.offer, context);
  return deny({
    code: "identity.join-order",
    reason: `${message.t} came out of turn`,
    fix: "Upgrade the older of the two.",
  });
}

function onHello(hello: JoinHello, context: RegistrarContext): RegistrarStep {
  const { store, peer, registrarAddresses, nowMs } = context;
  const own = ownDocument(context);
  if (own === undefined) {
    if (registrarAddresses.length > 0) return finish({ t: "redirect", addresses: [...registrarAddresses] });
    return deny(NOT_REGISTRAR);
  }
  const wrong = judgeHello(hello, context);
  if (wrong !== undefined) return deny(wrong);
  const waits = context.waiting.of(peer.nodeId);
  if (waits !== undefined && hello.ticket !== undefined && toHex(hello.ticket) === waits.ticket) {
    const verdict = judge(hello, context);
    if (verdict.outcome === "pending") return wait(hello, verdict, context);
  }
  const revocation = store.get("Revocation", "fleet");
  const offer: JoinOffer = {
    t: "offer",
    nonce: context.nonce,
    timeMs: Math.floor(nowMs),
    charter: store.charter?.body.version ?? 0,
    charters: store.charterChain(),
    documents: [
      ...store
        .list("Operator")
        .filter(({ body }) => revocation?.signers.includes(keyHash(fromBase64(body.spec.publicKey)))),
      ...store.list("Registrar"),
      ...(revocation === undefined ? [] : [revocation]),
    ].map(({ bytes }) => bytes),
  };
  return { state: { at: "offered", hello, offer }, effects: [{ do: "send", message: offer }] };
}

/** What is wrong with a device before its evidence is looked at. */
function judgeHello(hello: JoinHello, { store, peer, nowMs, ledger }: RegistrarContext): Reasons | undefined {
  if (Buffer.compare(publicKeyOf(peer.nodeId), hello.key) !== 0) {
    return {
      code: "identity.key-mismatch",
      reason: "the key is not that of the connection",
      fix: "Restart the device's daemon.",
    };
  }
  if (toHex(hello.fleet) !== store.fleet) {
    const reason = `the device's token is for fleet ${toHex(hello.fleet).slice(0, 12)}, this registrar serves fleet ${store.fleet?.slice(0, 12)}`;
    return {
      code: "identity.wrong-fleet",
      reason,
      fix: "Give the device the token that `portolan token` prints in this fleet.",
    };
  }
  const clocks = judgeClocks(hello.timeMs, nowMs);
  if (clocks !== undefined) return clocks;
  const generation = formerBody(peer.nodeId, store, ledger)?.spec.generation ?? FIRST_GENERATION;
  if (isRevoked(peer.nodeId, generation, store.get("Revocation", "fleet"))) {
    const fix =
      "A revoked key stays out. To bring the machine back: `portolan leave` makes a new key, then approve that one.";
    return { code: "identity.revoked", reason: `node ${peer.nodeId} was revoked`, fix };
  }
  return undefined;
}

function onProof(proof: JoinProof, hello: JoinHello, offer: JoinOffer, context: RegistrarContext): RegistrarStep {
  if (!verifyEd25519(hello.key, transcriptHash(hello, offer, proof.sealing), proof.sig)) {
    return deny({
      code: "identity.proof",
      reason: "the signature over the exchange is wrong",
      fix: "Upgrade the older of the two.",
    });
  }
  const verdict = judge(hello, context);
  switch (verdict.outcome) {
    case "granted":
      return grant(verdict, hello, proof, context);
    case "pending":
      return wait(hello, verdict, context);
    case "denied":
      return refuse(hello, verdict, context);
  }
}

function judge(hello: JoinHello, { store, ledger, claims, peer, nowMs }: RegistrarContext): EvidenceVerdict {
  const request = {
    keyHash: keyHash(hello.key),
    labels: hello.labels,
    ...(hello.serial === undefined ? {} : { serial: hello.serial }),
    ...(hello.site === undefined ? {} : { site: hello.site }),
    ...(peer.remoteIp === undefined ? {} : { remoteIp: peer.remoteIp }),
  };
  return judgeEvidence(request, {
    accepts: store.charter?.body.spec.join.evidence ?? [],
    claims,
    batches: store.list("Batch"),
    uses: ledger,
    former: formerMember(formerBody(peer.nodeId, store, ledger)),
    nowMs,
  });
}

function grant(
  verdict: Extract<EvidenceVerdict, { outcome: "granted" }>,
  hello: JoinHello,
  proof: JoinProof,
  context: RegistrarContext,
): RegistrarStep {
  const { ledger, peer, key, store, nowMs } = context;
  const own = ownDocument(context);
  if (own === undefined) return deny(NOT_REGISTRAR);
  const issued = ledger.issuedTo(peer.nodeId);
  if (issued === undefined && ledger.memberCount() >= own.body.spec.maxMembers) {
    const reason = `this registrar may admit ${own.body.spec.maxMembers} nodes, and has`;
    return deny({
      code: "identity.registrar-full",
      reason,
      fix: "The owners sign a Registrar document with more, or add a registrar.",
    });
  }
  const beacon = signBeacon(store, key, own.body.metadata.name, nowMs, hello.nonce);
  const fresh = freshMember(verdict, hello, proof, context, own);
  const sameAgain = issued !== undefined && isSameAnswer(issued, fresh.bytes, nowMs);
  const member = sameAgain ? issued : fresh;
  return {
    state: { at: "done" },
    effects: [
      { do: "admit", keyHash: keyHash(hello.key), use: verdict.use, member },
      { do: "publish", bytes: member.bytes },
      { do: "send", message: { t: "granted", member: member.bytes, beacon } },
    ],
  };
}

function freshMember(
  verdict: Extract<EvidenceVerdict, { outcome: "granted" }>,
  hello: JoinHello,
  proof: JoinProof,
  { ledger, store, peer, key, nowMs }: RegistrarContext,
  own: SignedDocument<"Registrar">,
): IssuedMember {
  const { tenant } = verdict;
  const former = formerBody(peer.nodeId, store, ledger);
  const isTaken = (name: string): boolean => {
    const holders = [
      ledger.nameHolder(tenant, name),
      store.get("Member", name, tenant)?.body.spec.node,
      store.get("Registrar", name)?.body.spec.node,
    ];
    return holders.some((holder) => holder !== undefined && holder !== peer.nodeId);
  };
  const kept = former !== undefined && former.metadata.tenant === tenant ? former.metadata.name : undefined;
  const name = kept ?? memberName(verdict.serial, hello.key, isTaken);
  const lifeMs = (store.charter?.body.spec.memberHours ?? 0) * HOUR_MS;
  const expiresMs = Math.floor(Math.min(nowMs + lifeMs, Date.parse(own.body.expires)));
  const bytes = signMember(key, {
    fleet: store.fleet ?? "",
    name,
    version: Math.max(store.nextVersion(memberId(name, tenant)), kept === undefined ? 1 : (former?.version ?? 0) + 1),
    generation: former?.spec.generation ?? FIRST_GENERATION,
    publicKey: hello.key,
    sealing: proof.sealing,
    grant: verdict,
    nowMs,
    expiresMs,
  });
  return { node: peer.nodeId, tenant, name, expiresMs, bytes };
}

/** A document of the first third of its life that says the same is handed out again: a lost reply costs nothing. */
function isSameAnswer(issued: IssuedMember, fresh: Uint8Array, nowMs: number): boolean {
  const [old, next] = [memberBody(issued.bytes), memberBody(fresh)];
  const lifeMs = Date.parse(old.expires) - (Date.parse(old.notBefore) + CLOCK_TOLERANCE_MS);
  if (issued.expiresMs - nowMs < (2 / 3) * lifeMs) return false;
  const says = ({ metadata, spec }: Body<"Member">): string =>
    JSON.stringify([metadata.name, metadata.tenant, Object.entries(metadata.labels).toSorted(), spec]);
  return says(old) === says(next);
}

function wait(
  hello: JoinHello,
  { code, reason, fix }: Reasons,
  { waiting, peer, ticket, nowMs }: RegistrarContext,
): RegistrarStep {
  if (!waiting.hasRoom(peer.nodeId, nowMs)) {
    return deny({
      code: "identity.waiting-full",
      reason: "too many devices wait for approval",
      fix: "Approve or remove some: `portolan get pending`.",
    });
  }
  const device = {
    node: peer.nodeId,
    keyHash: keyHash(hello.key),
    ticket: toHex(ticket),
    address: peer.remoteIp ?? "",
    code,
    reason,
    ...(hello.serial === undefined ? {} : { serial: hello.serial }),
    ...(hello.model === undefined ? {} : { model: hello.model }),
    ...(hello.site === undefined ? {} : { site: hello.site }),
  };
  return { state: { at: "done" }, effects: [{ do: "wait", device, fix }] };
}

function refuse(hello: JoinHello, { code, reason, fix }: Reasons, { peer, nowMs }: RegistrarContext): RegistrarStep {
  const step = deny({ code, reason, fix });
  if (hello.serial === undefined || !QUARANTINED.has(code)) return step;
  const refused = {
    node: peer.nodeId,
    code,
    serial: hello.serial,
    address: peer.remoteIp ?? "",
    atMs: Math.floor(nowMs),
  };
  return { ...step, effects: [{ do: "record", refused }, ...step.effects] };
}

function deny({ code, reason, fix }: Reasons): RegistrarStep {
  return finish({ t: "denied", code, reason, fix });
}

function finish(message: RegistrarMessage): RegistrarStep {
  return { state: { at: "done" }, effects: [{ do: "send", message }] };
}

const HOUR_MS = 3_600_000;
const FIRST_GENERATION = 1;
const QUARANTINED: ReadonlySet<string> = new Set(["identity.claim-taken", "identity.claim-other-key"]);
const NOT_REGISTRAR: Reasons = {
  code: "identity.not-registrar",
  reason: "this node may not admit others",
  fix: "The owners make a node a registrar with `portolan registrar add NODE`.",
};

function ownDocument({ store, nodeId, key }: RegistrarContext): SignedDocument<"Registrar"> | undefined {
  if (store.keys.get(keyHash(key.publicKey))?.keepMembers !== undefined) return undefined;
  return store.list("Registrar").find(({ body }) => body.spec.node === nodeId);
}

/** The newest member document of a node: handed out here, or seen in the fleet. */
function formerBody(node: NodeId, store: DocumentStore, ledger: RegistrarLedger): Body<"Member"> | undefined {
  const issued = ledger.issuedTo(node);
  const here = issued === undefined ? undefined : memberBody(issued.bytes);
  const there = store.list("Member").find(({ body }) => body.spec.node === node)?.body;
  if (here === undefined || there === undefined) return here ?? there;
  return Date.parse(there.expires) > Date.parse(here.expires) ? there : here;
}

function formerMember(body: Body<"Member"> | undefined): FormerMember | undefined {
  if (body === undefined) return undefined;
  const { metadata, spec } = body;
  const evidence: Evidence = spec.evidence;
  return {
    tenant: metadata.tenant,
    site: spec.site,
    labels: metadata.labels,
    evidence,
    expiresMs: Date.parse(body.expires),
    ...(spec.serial === undefined ? {} : { serial: spec.serial }),
  };
}

function memberBody(bytes: Uint8Array): Body<"Member"> {
  return parseBody("Member", openEnvelope(bytes).envelope.payload);
}

function fromBase64(text: string): Uint8Array {
  return Buffer.from(text, "base64");
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
