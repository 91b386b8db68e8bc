import { verifyEd25519 } from "#core";
import { judgeClocks } from "./clock-skew.ts";
import type { SignedDocument } from "./document.ts";
import { type EvidenceVerdict, judgeEvidence, type Refusal } from "./evidence.ts";
import { FIRST_GENERATION, formerBody, formerMember, planGrant } from "./join-grant.ts";
import {
  type DeviceMessage,
  type JoinHello,
  type JoinOffer,
  type JoinProof,
  MAX_ADDRESSES,
  type RegistrarMessage,
  transcriptHash,
} from "./join-wire.ts";
import { keyHash, type NodeId, publicKeyOf } from "./node-id.ts";
import type { RegistrarContext, RegistrarEffect } from "./registrar-effect.ts";
import { isRevoked } from "./revocation.ts";

export type RegistrarState =
  | { at: "listening" }
  | { at: "offered"; hello: JoinHello; offer: JoinOffer }
  | { at: "done" };
export type RegistrarStep = { state: RegistrarState; effects: RegistrarEffect[] };

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
  const { peer, offices, addressesOf } = context;
  if (ownDocument(context) === undefined) {
    const addresses = offices.live.flatMap(({ body }) => addressesOf(body.spec.node)).slice(0, MAX_ADDRESSES);
    return addresses.length > 0 ? finish({ t: "redirect", addresses }) : deny(NOT_REGISTRAR);
  }
  const wrong = judgeHello(hello, context);
  if (wrong !== undefined) return deny(wrong);
  const waits = context.waiting.of(peer.nodeId);
  if (waits !== undefined && hello.ticket !== undefined && toHex(hello.ticket) === waits.ticket) {
    const verdict = judge(hello, undefined, context);
    if (verdict.outcome === "pending") return wait(hello, verdict, context);
  }
  const offer = makeOffer(context);
  return { state: { at: "offered", hello, offer }, effects: [{ do: "send", message: offer }] };
}

/** What lets a device verify this fleet. */
function makeOffer({ store, offices, nonce, nowMs }: RegistrarContext): JoinOffer {
  return {
    t: "offer",
    nonce,
    timeMs: Math.floor(nowMs),
    charter: store.charter?.body.version ?? 0,
    charters: store.charterChain(),
    documents: [...offices.offered],
  };
}

/** What is wrong with a device before its evidence is looked at. */
function judgeHello(hello: JoinHello, context: RegistrarContext): Refusal | undefined {
  const { store, peer, nowMs } = context;
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
  if (context.barred !== undefined) return context.barred;
  const former = formerBody(context);
  const clocks = judgeClocks(hello.timeMs, nowMs);
  // a former member that was off for months may have lost its clock: it takes the time from our answer
  if (clocks !== undefined && former === undefined) return clocks;
  const revocation = store.get("Revocation", "fleet");
  const generation = former?.spec.generation ?? FIRST_GENERATION;
  if (isRevoked(peer.nodeId, generation, revocation) && !isApprovedSince(revocation, context)) {
    return {
      code: "identity.revoked",
      reason: `node ${peer.nodeId} was revoked, up to generation ${generation}`,
      fix: "If it shall come back, an admission operator approves it anew with `portolan approve NODE`: it becomes the next generation. Was its key stolen, give it another: `portolan up --data NEWDIR`.",
    };
  }
  return undefined;
}

/** Whether an operator has approved this very device after the revocation list was signed; a long list may hold it by mistake. */
function isApprovedSince(
  revocation: SignedDocument<"Revocation"> | undefined,
  { index, peer, store, nowMs }: RegistrarContext,
): boolean {
  const revokedMs = Date.parse(revocation?.body.notBefore ?? "");
  return index.byKey(keyHash(publicKeyOf(peer.nodeId))).some(({ list, evidence, expiresMs }) => {
    const document = evidence === "approve" && expiresMs > nowMs ? store.byId(list) : undefined;
    return document !== undefined && Date.parse(document.body.notBefore) > revokedMs;
  });
}

function onProof(proof: JoinProof, hello: JoinHello, offer: JoinOffer, context: RegistrarContext): RegistrarStep {
  const { pass } = proof;
  const transcript = transcriptHash(hello, offer, proof.sealing);
  const proven = [{ key: hello.key, sig: proof.sig }, ...(pass === undefined ? [] : [pass])];
  if (!proven.every(({ key, sig }) => verifyEd25519(key, transcript, sig))) return deny(BAD_PROOF);
  const verdict = judge(hello, pass === undefined ? undefined : keyHash(pass.key), context);
  if (verdict.outcome === "pending") return wait(hello, verdict, context);
  if (verdict.outcome === "denied") return refuse(hello, verdict, context);
  if (verdict.outcome === "elsewhere") return sendHome(hello, verdict.home, context);
  const own = ownDocument(context);
  if (own === undefined) return deny(NOT_REGISTRAR); // it lost the office since the offer
  const plan = planGrant(verdict, { hello, proof }, context, own);
  return Array.isArray(plan) ? { state: { at: "done" }, effects: plan } : deny(plan);
}

/** Sends a device on to the registrar that keeps what was used up of its evidence. */
function sendHome(hello: JoinHello, home: NodeId, context: RegistrarContext): RegistrarStep {
  const { store, offices, addressesOf } = context;
  const office = offices.live.find(({ body }) => body.spec.node === home);
  if (office !== undefined) {
    const addresses = addressesOf(home).slice(0, MAX_ADDRESSES);
    return finish({ t: "redirect", addresses, home: office.body.metadata.name });
  }
  const name = store.list("Registrar").find(({ body }) => body.spec.node === home)?.body.metadata.name ?? home;
  const reason = `the home registrar of the device's evidence, ${name}, is a registrar no more`;
  const fix = `An admission operator hands its claims, batches and passes over: \`portolan registrar handover ${name}\`.`;
  return wait(hello, { code: "identity.home-gone", reason, fix }, context);
}

/** `pass`: hex hash of the key of the pass that the device has proven to hold. */
function judge(hello: JoinHello, pass: string | undefined, context: RegistrarContext): EvidenceVerdict {
  const { store, ledger, index, peer, nodeId, nowMs } = context;
  const request = {
    keyHash: keyHash(hello.key),
    labels: hello.labels,
    ...(pass === undefined ? {} : { pass }),
    ...(hello.serial === undefined ? {} : { serial: hello.serial }),
    ...(hello.site === undefined ? {} : { site: hello.site }),
    ...(peer.remoteIp === undefined ? {} : { remoteIp: peer.remoteIp }),
  };
  return judgeEvidence(request, {
    accepts: store.charter?.body.spec.join.evidence ?? [],
    index,
    uses: ledger,
    former: formerMember(formerBody(context)),
    quarantined: ledger.isQuarantined(peer.nodeId),
    self: nodeId,
    nowMs,
  });
}

function wait(
  hello: JoinHello,
  { code, reason, fix }: Refusal,
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

function refuse(hello: JoinHello, { code, reason, fix }: Refusal, { peer, nowMs }: RegistrarContext): RegistrarStep {
  const step = deny({ code, reason, fix });
  if (!RECORDED.has(code)) return step;
  const refused = {
    node: peer.nodeId,
    code,
    serial: hello.serial ?? "",
    address: peer.remoteIp ?? "",
    atMs: Math.floor(nowMs),
  };
  return { ...step, effects: [{ do: "record", refused }, ...step.effects] };
}

function deny({ code, reason, fix }: Refusal): RegistrarStep {
  return finish({ t: "denied", code, reason, fix });
}

function finish(message: RegistrarMessage): RegistrarStep {
  return { state: { at: "done" }, effects: [{ do: "send", message }] };
}

/** The registrar's own document, while it may admit others. */
function ownDocument({ offices: { own }, nowMs }: RegistrarContext): SignedDocument<"Registrar"> | undefined {
  return own !== undefined && Date.parse(own.body.expires) > nowMs ? own : undefined;
}

/** Refusals that tell of a copied or forged device. */
const RECORDED: ReadonlySet<string> = new Set([
  "identity.claim-taken",
  "identity.claim-other-key",
  "identity.pass-taken",
]);
const BAD_PROOF: Refusal = {
  code: "identity.proof",
  reason: "a signature over the exchange is wrong",
  fix: "Upgrade the older of the two.",
};
const NOT_REGISTRAR: Refusal = {
  code: "identity.not-registrar",
  reason: "this node may not admit others, and reaches no registrar",
  fix: "It goes on by itself once a registrar is in reach. The owners make a node one with `portolan registrar add NODE`.",
};

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
