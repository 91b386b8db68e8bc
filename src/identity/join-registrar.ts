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
  type RegistrarMessage,
  transcriptHash,
} from "./join-wire.ts";
import { keyHash, publicKeyOf } from "./node-id.ts";
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
  const { peer, registrarAddresses } = context;
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
  const offer = makeOffer(context);
  return { state: { at: "offered", hello, offer }, effects: [{ do: "send", message: offer }] };
}

/** What lets a device verify this fleet: charters, registrars, revocation, and those who signed that. */
function makeOffer({ store, nonce, nowMs }: RegistrarContext): JoinOffer {
  const revocation = store.get("Revocation", "fleet");
  const signedIt = ({ body }: SignedDocument<"Operator">): boolean =>
    revocation?.signers.includes(keyHash(Buffer.from(body.spec.publicKey, "base64"))) ?? false;
  const documents = [
    ...store.list("Operator").filter(signedIt),
    ...store.list("Registrar"),
    ...(revocation === undefined ? [] : [revocation]),
  ];
  return {
    t: "offer",
    nonce,
    timeMs: Math.floor(nowMs),
    charter: store.charter?.body.version ?? 0,
    charters: store.charterChain(),
    documents: documents.map(({ bytes }) => bytes),
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
  { claims, peer, store, nowMs }: RegistrarContext,
): boolean {
  const revokedMs = Date.parse(revocation?.body.notBefore ?? "");
  return claims.byKey(keyHash(publicKeyOf(peer.nodeId))).some(({ list, evidence, expiresMs }) => {
    const document = evidence === "approve" && expiresMs > nowMs ? store.byId(list) : undefined;
    return document !== undefined && Date.parse(document.body.notBefore) > revokedMs;
  });
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
  if (verdict.outcome === "pending") return wait(hello, verdict, context);
  if (verdict.outcome === "denied") return refuse(hello, verdict, context);
  const own = ownDocument(context);
  if (own === undefined) return deny(NOT_REGISTRAR); // it lost the office since the offer
  const plan = planGrant(verdict, { hello, proof }, context, own);
  return Array.isArray(plan) ? { state: { at: "done" }, effects: plan } : deny(plan);
}

function judge(hello: JoinHello, context: RegistrarContext): EvidenceVerdict {
  const { store, ledger, claims, peer, nowMs } = context;
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
    former: formerMember(formerBody(context)),
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

function deny({ code, reason, fix }: Refusal): RegistrarStep {
  return finish({ t: "denied", code, reason, fix });
}

function finish(message: RegistrarMessage): RegistrarStep {
  return { state: { at: "done" }, effects: [{ do: "send", message }] };
}

/** The registrar's own document, while it may admit others. */
function ownDocument({ store, nodeId, key }: RegistrarContext): SignedDocument<"Registrar"> | undefined {
  if (store.keys.get(keyHash(key.publicKey))?.keepMembers !== undefined) return undefined;
  return store.list("Registrar").find(({ body }) => body.spec.node === nodeId);
}

const QUARANTINED: ReadonlySet<string> = new Set(["identity.claim-taken", "identity.claim-other-key"]);
const NOT_REGISTRAR: Refusal = {
  code: "identity.not-registrar",
  reason: "this node may not admit others, and reaches no registrar",
  fix: "It goes on by itself once a registrar is in reach. The owners make a node one with `portolan registrar add NODE`.",
};

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
