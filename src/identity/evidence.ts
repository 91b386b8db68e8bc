import type { Claim, EvidenceIndex, OpenBatch, PassClaim } from "./evidence-index.ts";
import { batchRefusals, claimRefusals, homeUnnamed, nearest, passRefusals } from "./evidence-refusals.ts";
import { ipInCidr } from "./ip-range.ts";
import { type EVIDENCE, MAX_LABELS, type Spec } from "./kinds.ts";
import type { NodeId } from "./node-id.ts";

/** The ways to be admitted that a charter can accept. */
export type Evidence = (typeof EVIDENCE)[number];

type Labels = Readonly<Record<string, string>>;

/** What a device says of itself. Only its key and its pass are proven. */
export type JoinRequest = {
  /** Hex SHA-256 of its public key. */
  keyHash: string;
  /** Hex SHA-256 of the public key of the pass that it holds. */
  pass?: string;
  serial?: string;
  site?: string;
  labels: Labels;
  /** Where its connection comes from; `undefined` when the transport cannot tell. */
  remoteIp?: string;
};

/** What using evidence takes up for good. */
export type EvidenceUse = NonNullable<Spec<"Member">["used"]>;

/** What was used up before, by whom: key hashes. */
export type EvidenceUses = {
  claimHolder(serial: string): string | undefined;
  passHolder(hash: string): string | undefined;
  /** `batch`: document id. `recent`: admissions after `sinceMs`. */
  batchUses(batch: string, keyHash: string, sinceMs: number): { total: number; recent: number; hasKey: boolean };
};

/** What the fleet knew of this very key before: its last member document, expired or not. */
export type FormerMember = {
  tenant: string;
  site: string;
  labels: Labels;
  serial?: string;
  evidence: Evidence;
  /** Unix milliseconds. */
  expiresMs: number;
};

export type EvidenceView = {
  /** The charter's `join.evidence`. */
  accepts: readonly Evidence[];
  index: EvidenceIndex;
  uses: EvidenceUses;
  former: FormerMember | undefined;
  /** The key has shown a serial that another had taken up. */
  quarantined: boolean;
  /** The registrar that judges. */
  self: NodeId;
  /** Trusted Unix milliseconds. */
  nowMs: number;
};

/** Why a device is not admitted, and what to do about it. */
export type Refusal = { code: string; reason: string; fix: string };

export type EvidenceVerdict =
  | {
      outcome: "granted";
      evidence: Evidence;
      use: EvidenceUse | undefined;
      tenant: string;
      site?: string;
      serial?: string;
      labels: Labels;
    }
  /** Only `home` may say: it keeps what was used up. */
  | { outcome: "elsewhere"; home: NodeId }
  | ({ outcome: "pending" } & Refusal)
  | ({ outcome: "denied" } & Refusal);
type Granted = Extract<EvidenceVerdict, { outcome: "granted" }>;
type NotHere = Extract<EvidenceVerdict, { outcome: "elsewhere" | "pending" }>;

/** An expired, unrevoked key may come back this long after its member document ended (protocols: joining). */
export const DORMANT_MS = 90 * 24 * 3_600_000;
const MINUTE_MS = 60_000;

/**
 * Whether a device that proved its key may join. Strongest evidence first: a claim or approval of this very key, a serial or pass
 * that this key took up before, an earlier membership, an unused pass, an unused serial, an open batch. A serial that belongs to
 * another key denies even with a pass or while a batch is open. What is used up for good is so at its home registrar only.
 * Otherwise the device waits for approval, if the charter knows that. Pure.
 */
export function judgeEvidence(request: JoinRequest, view: EvidenceView): EvidenceVerdict {
  const live = (claim: Claim): boolean => claim.expiresMs > view.nowMs && accepts(view, claim);
  const ofKey = view.index.byKey(request.keyHash).find(live);
  if (ofKey !== undefined) return grantClaim(request, ofKey, undefined);
  const ofSerial = request.serial === undefined ? [] : view.index.bySerial(request.serial);
  const open = ofSerial.find((claim) => claim.row.key === undefined && live(claim));
  const holder = request.serial === undefined ? undefined : view.uses.claimHolder(request.serial);
  if (open !== undefined && holder === request.keyHash) return grantClaim(request, open, { claim: open.row.serial });
  const pass = request.pass === undefined ? undefined : view.index.byPass(request.pass);
  if (pass !== undefined && view.uses.passHolder(pass.hash) === request.keyHash) return grantPass(request, pass);
  if (view.former !== undefined && view.former.expiresMs + DORMANT_MS > view.nowMs) return grantAgain(view.former);
  if (holder !== undefined && holder !== request.keyHash) return denied(claimRefusals.taken(request, holder));
  if (open === undefined && ofSerial.some(live)) return denied(claimRefusals.otherKey(request));
  const byPass = request.pass === undefined ? undefined : judgePass(request, pass, view);
  if (byPass !== undefined && "outcome" in byPass) return byPass;
  if (view.quarantined) return denied(claimRefusals.quarantined());
  if (open !== undefined) return atHome(open, view) ?? grantClaim(request, open, { claim: open.row.serial });
  const expired = ofSerial.some((claim) => claim.expiresMs <= view.nowMs);
  return judgeBatches(request, view, byPass ?? (expired ? claimRefusals.expired(request) : undefined));
}

/** The charter accepts it; a key that an operator wrote down is as good as an approval, whatever the file it came in. */
function accepts(view: EvidenceView, claim: Claim): boolean {
  return view.accepts.includes(claim.evidence) || (claim.row.key !== undefined && view.accepts.includes("approve"));
}

/** `undefined`: the registrar that judges is the evidence's home. */
function atHome({ home }: { home: NodeId | undefined }, { self }: EvidenceView): NotHere | undefined {
  if (home === undefined) return { outcome: "pending", ...homeUnnamed() };
  return home === self ? undefined : { outcome: "elsewhere", home };
}

/** A verdict, or why the pass counts for nothing: an operator may still let the device in. */
function judgePass(request: JoinRequest, pass: PassClaim | undefined, view: EvidenceView): EvidenceVerdict | Refusal {
  if (!view.accepts.includes("pass")) return passRefusals.notAccepted();
  if (pass === undefined) return passRefusals.unknown();
  const holder = view.uses.passHolder(pass.hash);
  if (holder !== undefined) return denied(passRefusals.taken(pass.name, holder));
  if (pass.expiresMs <= view.nowMs) return passRefusals.expired(pass.name, pass.expiresMs);
  return atHome(pass, view) ?? grantPass(request, pass);
}

/** Where both speak, the signed claim counts and not the device. */
function grantClaim(request: JoinRequest, { row, evidence, tenant }: Claim, use: EvidenceUse | undefined): Granted {
  const site = row.site ?? request.site;
  const labels = mergeLabels(row.labels, request.labels);
  return {
    outcome: "granted",
    evidence,
    use,
    tenant,
    serial: row.serial,
    labels,
    ...(site === undefined ? {} : { site }),
  };
}

function grantPass(request: JoinRequest, { hash, tenant, ...pass }: PassClaim): Granted {
  return { ...grantUnnamed(request, pass), evidence: "pass", use: { pass: hash }, tenant };
}

/** What a device asked for, as far as the evidence says nothing else. */
function grantUnnamed(
  request: JoinRequest,
  signed: { site: string | undefined; labels: Labels | undefined },
): Pick<Granted, "outcome" | "labels" | "serial" | "site"> {
  const site = signed.site ?? request.site;
  return {
    outcome: "granted",
    labels: mergeLabels(signed.labels, request.labels),
    ...(request.serial === undefined ? {} : { serial: request.serial }),
    ...(site === undefined ? {} : { site }),
  };
}

/** What was signed comes first; what the device asked for is left out where it does not fit a document any more. */
function mergeLabels(signed: Labels | undefined, asked: Labels): Labels {
  const entries = new Map([...Object.entries(signed ?? {}), ...Object.entries({ ...asked, ...signed })]);
  return Object.fromEntries([...entries].slice(0, MAX_LABELS));
}

function grantAgain({ expiresMs: _ended, ...former }: FormerMember): Granted {
  return { outcome: "granted", use: undefined, ...former };
}

/** `cause`: why better evidence did not count. */
function judgeBatches(request: JoinRequest, view: EvidenceView, cause: Refusal | undefined): EvidenceVerdict {
  const refused: Refusal[] = [];
  let elsewhere: NotHere | undefined;
  for (const batch of view.accepts.includes("batch") ? view.index.batches : []) {
    const verdict = judgeBatch(request, batch, view);
    if (!("outcome" in verdict)) refused.push(verdict);
    else if (verdict.outcome === "granted") return verdict;
    else elsewhere ??= verdict;
  }
  if (elsewhere !== undefined) return elsewhere;
  const why = cause ?? nearest(refused) ?? claimRefusals.none(request);
  return view.accepts.includes("approve") ? { outcome: "pending", ...why } : denied(why);
}

function judgeBatch(request: JoinRequest, batch: OpenBatch, view: EvidenceView): Granted | NotHere | Refusal {
  const { id, body } = batch.document;
  const { metadata, spec } = body;
  if (batch.expiresMs <= view.nowMs) return batchRefusals.closed(metadata.name, body.expires);
  if (spec.max === 0) return batchRefusals.closed(metadata.name);
  const { total, recent, hasKey } = view.uses.batchUses(id, request.keyHash, view.nowMs - MINUTE_MS);
  if (!hasKey && total >= spec.max) return batchRefusals.full(metadata.name, spec.max);
  if (spec.cidrs.length > 0 && !spec.cidrs.some((cidr) => ipInCidr(request.remoteIp ?? "", cidr))) {
    return batchRefusals.address(metadata.name, request.remoteIp);
  }
  const elsewhere = hasKey ? undefined : atHome(batch, view);
  if (elsewhere !== undefined) return elsewhere;
  if (!hasKey && spec.ratePerMinute !== undefined && recent + 1 > Math.max(1, spec.ratePerMinute)) {
    return batchRefusals.rate(metadata.name, spec.ratePerMinute);
  }
  const granted = grantUnnamed(request, { site: spec.site, labels: spec.labels });
  return { ...granted, evidence: "batch", use: { batch: id }, tenant: metadata.tenant };
}

function denied(refusal: Refusal): EvidenceVerdict {
  return { outcome: "denied", ...refusal };
}
