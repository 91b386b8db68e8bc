import type { ClaimRow } from "./claims-csv.ts";
import { documentId, type SignedDocument } from "./document.ts";
import { ipInCidr } from "./ip-range.ts";
import { type EVIDENCE, MAX_LABELS } from "./kinds.ts";

/** The ways to be admitted that a charter can accept. */
export type Evidence = (typeof EVIDENCE)[number];

type Labels = Readonly<Record<string, string>>;

/** What a device says of itself. Only its key is proven. */
export type JoinRequest = {
  /** Hex SHA-256 of its public key. */
  keyHash: string;
  serial?: string;
  site?: string;
  labels: Labels;
  /** Where its connection comes from; `undefined` when the transport cannot tell. */
  remoteIp?: string;
};

/** A row of a claim list with what its document adds. */
export type Claim = {
  /** Id of the ClaimList document. */
  list: string;
  evidence: "claim" | "approve";
  row: ClaimRow;
  tenant: string;
  /** Unix milliseconds; `Infinity` without an end. */
  expiresMs: number;
};

/** Claims found by what a device shows. */
export type ClaimIndex = {
  byKey(keyHash: string): readonly Claim[];
  bySerial(serial: string): readonly Claim[];
};

/** What was used up before, by whom. */
export type EvidenceUses = {
  /** Key hash of the device that took up the serial. */
  claimHolder(serial: string): string | undefined;
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
  claims: ClaimIndex;
  batches: readonly SignedDocument<"Batch">[];
  uses: EvidenceUses;
  former: FormerMember | undefined;
  /** Trusted Unix milliseconds. */
  nowMs: number;
};

/** What using this evidence takes up for good. */
export type EvidenceUse = { claim: string } | { batch: string } | undefined;

/** Why a device is not admitted, and what to do about it. */
export type Refusal = { code: string; reason: string; fix: string };

export type EvidenceVerdict =
  | {
      outcome: "granted";
      evidence: Evidence;
      use: EvidenceUse;
      tenant: string;
      site?: string;
      serial?: string;
      labels: Labels;
    }
  | ({ outcome: "pending" } & Refusal)
  | ({ outcome: "denied" } & Refusal);
type Granted = Extract<EvidenceVerdict, { outcome: "granted" }>;
type Denied = Extract<EvidenceVerdict, { outcome: "denied" }>;

/** An expired, unrevoked key may come back this long after its member document ended (protocols: joining). */
export const DORMANT_MS = 90 * 24 * 3_600_000;
const MINUTE_MS = 60_000;

/**
 * Whether a device that proved its key may join. Strongest evidence first: a claim or approval of this very key, the key that
 * took up a serial before, an earlier membership, an unused serial, an open batch. A serial that belongs to another key denies
 * even when a batch is open. Otherwise the device waits for approval, if the charter knows that. Pure.
 */
export function judgeEvidence(request: JoinRequest, view: EvidenceView): EvidenceVerdict {
  const live = (claim: Claim): boolean => claim.expiresMs > view.nowMs && accepts(view, claim);
  const ofKey = view.claims.byKey(request.keyHash).find(live);
  if (ofKey !== undefined) return grantClaim(request, ofKey, undefined);
  const ofSerial = request.serial === undefined ? [] : view.claims.bySerial(request.serial);
  const open = ofSerial.find((claim) => claim.row.key === undefined && live(claim));
  const holder = request.serial === undefined ? undefined : view.uses.claimHolder(request.serial);
  if (open !== undefined && holder === request.keyHash) return grantClaim(request, open, { claim: open.row.serial });
  if (view.former !== undefined && view.former.expiresMs + DORMANT_MS > view.nowMs) return grantAgain(view.former);
  if (open !== undefined && holder === undefined) return grantClaim(request, open, { claim: open.row.serial });
  if (holder !== undefined && holder !== request.keyHash) return deniedTaken(request, holder);
  if (ofSerial.some(live)) return deniedOtherKey(request);
  const expired = ofSerial.some((claim) => claim.expiresMs <= view.nowMs);
  return judgeBatches(request, view, expired);
}

/** The charter accepts it; a key that an operator wrote down is as good as an approval, whatever the file it came in. */
function accepts(view: EvidenceView, claim: Claim): boolean {
  return view.accepts.includes(claim.evidence) || (claim.row.key !== undefined && view.accepts.includes("approve"));
}

/** Where both speak, the signed claim counts and not the device. */
function grantClaim(request: JoinRequest, { row, evidence, tenant }: Claim, use: EvidenceUse): Granted {
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

/** What was signed comes first; what the device asked for is left out where it does not fit a document any more. */
function mergeLabels(signed: Labels | undefined, asked: Labels): Labels {
  const entries = new Map([...Object.entries(signed ?? {}), ...Object.entries({ ...asked, ...signed })]);
  return Object.fromEntries([...entries].slice(0, MAX_LABELS));
}

function grantAgain(former: FormerMember): Granted {
  const { evidence, tenant, site, labels, serial } = former;
  return {
    outcome: "granted",
    evidence,
    use: undefined,
    tenant,
    site,
    labels,
    ...(serial === undefined ? {} : { serial }),
  };
}

function judgeBatches(request: JoinRequest, view: EvidenceView, claimExpired: boolean): EvidenceVerdict {
  let refused: Denied | undefined;
  for (const batch of view.accepts.includes("batch") ? view.batches : []) {
    const verdict = judgeBatch(request, batch, view);
    if (verdict.outcome === "granted") return verdict;
    if (refused === undefined || nearness(verdict) > nearness(refused)) refused = verdict;
  }
  const cause = claimExpired ? deniedExpired(request) : (refused ?? deniedUnclaimed(request));
  return view.accepts.includes("approve") ? { ...cause, outcome: "pending" } : cause;
}

/** Of several batches that do not let a device in, the one that nearly did says most. */
function nearness({ code }: Denied): number {
  return ["identity.batch-closed", "identity.batch-address", "identity.batch-full", "identity.batch-rate"].indexOf(
    code,
  );
}

function judgeBatch(request: JoinRequest, batch: SignedDocument<"Batch">, view: EvidenceView): Granted | Denied {
  const { metadata, spec, expires } = batch.body;
  const id = documentId("Batch", metadata.name, metadata.tenant);
  const { total, recent, hasKey } = view.uses.batchUses(id, request.keyHash, view.nowMs - MINUTE_MS);
  if (Date.parse(expires) <= view.nowMs) {
    return deny("identity.batch-closed", `batch ${metadata.name} ended at ${expires}`, BATCH_FIX);
  }
  if (spec.max === 0) return deny("identity.batch-closed", `batch ${metadata.name} was closed`, BATCH_FIX);
  if (!hasKey && total >= spec.max) {
    return deny("identity.batch-full", `batch ${metadata.name} has admitted its ${spec.max} devices`, BATCH_FIX);
  }
  if (spec.cidrs.length > 0 && !spec.cidrs.some((cidr) => ipInCidr(request.remoteIp ?? "", cidr))) {
    const from = request.remoteIp ?? "an unknown address";
    return deny("identity.batch-address", `batch ${metadata.name} is not open for ${from}`, BATCH_FIX);
  }
  if (!hasKey && spec.ratePerMinute !== undefined && recent + 1 > Math.max(1, spec.ratePerMinute)) {
    const reason = `batch ${metadata.name} admits ${spec.ratePerMinute} devices a minute, and they have come`;
    return deny("identity.batch-rate", reason, "Wait a minute: the device tries again by itself.");
  }
  const site = spec.site ?? request.site;
  return {
    outcome: "granted",
    evidence: "batch",
    use: { batch: id },
    tenant: metadata.tenant,
    labels: mergeLabels(spec.labels, request.labels),
    ...(request.serial === undefined ? {} : { serial: request.serial }),
    ...(site === undefined ? {} : { site }),
  };
}

function deny(code: string, reason: string, fix: string): Denied {
  return { outcome: "denied", code, reason, fix };
}

const BATCH_FIX = "An admission operator opens another: `portolan batch open --max 20 --until 24h`.";
const CLONE_FIX =
  "If its key was really replaced, an admission operator runs `portolan approve NODE`; otherwise look for a copied or forged device.";

function deniedTaken({ serial }: JoinRequest, holder: string): Denied {
  const reason = `serial ${serial ?? ""} was taken up by another device, key ${holder.slice(0, 12)}`;
  return deny("identity.claim-taken", reason, CLONE_FIX);
}

function deniedOtherKey({ serial }: JoinRequest): Denied {
  const reason = `serial ${serial ?? ""} is claimed for a device with another key`;
  return deny("identity.claim-other-key", reason, CLONE_FIX);
}

function deniedExpired({ serial }: JoinRequest): Denied {
  const reason = `the claim of serial ${serial ?? ""} has expired`;
  const fix = "An admission operator admits the device again: `portolan admit -f claims.csv` with a later date.";
  return deny("identity.claim-expired", reason, fix);
}

function deniedUnclaimed({ serial, keyHash }: JoinRequest): Denied {
  const who = serial === undefined ? "a device without a serial" : `serial ${serial}`;
  const reason = `nobody has claimed ${who} (key ${keyHash.slice(0, 12)}), and no batch is open`;
  const fix = "An admission operator runs `portolan approve NODE`, or admits it with `portolan admit -f claims.csv`.";
  return deny("identity.unclaimed", reason, fix);
}
