import { type Body, openEnvelope, parseBody, type SignedDocument } from "./document.ts";
import type { EvidenceVerdict, FormerMember, Refusal } from "./evidence.ts";
import type { JoinHello, JoinProof } from "./join-wire.ts";
import { signBeacon } from "./beacon.ts";
import { memberId, memberName, signMember } from "./member.ts";
import { keyHash } from "./node-id.ts";
import type { RegistrarContext, RegistrarEffect } from "./registrar-effect.ts";
import type { IssuedMember } from "./registrar-ledger.ts";

const HOUR_MS = 3_600_000;
/** Generation of a key's first membership. */
export const FIRST_GENERATION = 1;

type Grant = Extract<EvidenceVerdict, { outcome: "granted" }>;
/** What the device of this exchange sent. */
type Exchange = { hello: JoinHello; proof: JoinProof };

/** What admitting the device takes, in order; or why this registrar cannot. `own`: its Registrar document. */
export function planGrant(
  grant: Grant,
  exchange: Exchange,
  context: RegistrarContext,
  own: SignedDocument<"Registrar">,
): RegistrarEffect[] | Refusal {
  const { ledger, peer, key, store, nowMs } = context;
  const { hello } = exchange;
  const { maxMembers } = own.body.spec;
  const issued = ledger.issuedTo(peer.nodeId);
  if (issued === undefined && ledger.memberCount() >= maxMembers) {
    return {
      code: "identity.registrar-full",
      reason: `this registrar may admit ${maxMembers} nodes, and has`,
      fix: "The owners sign a Registrar document with more, or add a registrar.",
    };
  }
  const fresh = freshMember(grant, exchange, context, own);
  const member = issued !== undefined && isSameAnswer(issued, fresh.bytes, nowMs) ? issued : fresh;
  const beacon = signBeacon(store, key, own.body.metadata.name, nowMs, hello.nonce);
  return [
    { do: "admit", keyHash: keyHash(hello.key), use: grant.use, member },
    { do: "publish", bytes: member.bytes },
    { do: "send", message: { t: "granted", member: member.bytes, beacon } },
  ];
}

function freshMember(
  grant: Grant,
  { hello, proof }: Exchange,
  context: RegistrarContext,
  own: SignedDocument<"Registrar">,
): IssuedMember {
  const { store, peer, key, nowMs } = context;
  const { tenant } = grant;
  const former = formerBody(context);
  const kept = former?.metadata.tenant === tenant ? former : undefined;
  const isTaken = (name: string): boolean => isNameTaken(name, tenant, context);
  const name = kept?.metadata.name ?? memberName(grant.serial, hello.key, isTaken);
  const lifeMs = (store.charter?.body.spec.memberHours ?? 0) * HOUR_MS;
  const expiresMs = Math.floor(Math.min(nowMs + lifeMs, Date.parse(own.body.expires)));
  const bytes = signMember(key, {
    fleet: store.fleet ?? "",
    name,
    version: Math.max(store.nextVersion(memberId(name, tenant)), (kept?.version ?? 0) + 1),
    generation: nextGeneration(context),
    publicKey: hello.key,
    sealing: proof.sealing,
    grant,
    used: grant.use ?? former?.spec.used,
    nowMs,
    expiresMs,
  });
  return { node: peer.nodeId, tenant, name, expiresMs, bytes };
}

/** A node keeps its generation; one that was revoked and approved anew gets the next. */
function nextGeneration(context: RegistrarContext): number {
  const { store, peer } = context;
  const revoked = store.get("Revocation", "fleet")?.body.spec.nodes.find(({ node }) => node === peer.nodeId);
  const former = formerBody(context)?.spec.generation ?? FIRST_GENERATION;
  return revoked === undefined ? former : Math.max(former, revoked.generation + 1);
}

function isNameTaken(name: string, tenant: string, { ledger, store, peer }: RegistrarContext): boolean {
  const holders = [
    ledger.nameHolder(tenant, name),
    store.get("Member", name, tenant)?.body.spec.node,
    store.get("Registrar", name)?.body.spec.node,
  ];
  return holders.some((holder) => holder !== undefined && holder !== peer.nodeId);
}

/** A document of the first third of its life that says the same is handed out again: a lost reply costs nothing. */
function isSameAnswer(issued: IssuedMember, fresh: Uint8Array, nowMs: number): boolean {
  const old = memberBody(issued.bytes);
  const lifeMs = Date.parse(old.expires) - Date.parse(old.notBefore);
  return issued.expiresMs - nowMs >= (2 / 3) * lifeMs && contentOf(old) === contentOf(memberBody(fresh));
}

/** What a member document says, without its version and times. */
function contentOf({ metadata, spec }: Body<"Member">): string {
  const labels = Object.entries(metadata.labels).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([metadata.name, metadata.tenant, labels, spec]);
}

/** The newest member document of the device: handed out here, or seen in the fleet. */
export function formerBody({ peer, members, ledger }: RegistrarContext): Body<"Member"> | undefined {
  const issued = ledger.issuedTo(peer.nodeId);
  const here = issued === undefined ? undefined : memberBody(issued.bytes);
  const there = members.of(peer.nodeId)?.body;
  if (here === undefined || there === undefined) return here ?? there;
  return Date.parse(there.expires) > Date.parse(here.expires) ? there : here;
}

/** What counts as evidence in a former member document. */
export function formerMember(body: Body<"Member"> | undefined): FormerMember | undefined {
  if (body === undefined) return undefined;
  const { metadata, spec } = body;
  return {
    tenant: metadata.tenant,
    site: spec.site,
    labels: metadata.labels,
    evidence: spec.evidence,
    expiresMs: Date.parse(body.expires),
    ...(spec.serial === undefined ? {} : { serial: spec.serial }),
  };
}

function memberBody(bytes: Uint8Array): Body<"Member"> {
  return parseBody("Member", openEnvelope(bytes).envelope.payload);
}
