import type { Refusal } from "./evidence.ts";

type Serial = { serial?: string };

const BATCH_FIX = "An admission operator opens another: `portolan batch open --max 20 --until 24h`.";
const CLONE_FIX =
  "If its key was really replaced, an admission operator runs `portolan approve NODE`; otherwise look for a copied or forged device.";
const PASS_FIX = "An admission operator makes a new one: `portolan pass create --out FILE`.";

/** Why evidence that anybody could use up admits nobody in a fleet of several registrars. */
export function homeUnnamed(): Refusal {
  return {
    code: "identity.home-unnamed",
    reason: "what the device would join by names no home registrar, and there are several",
    fix: "An admission operator signs a higher version that names one in `spec.home`, as `portolan admit`, `batch open` and `pass create` do.",
  };
}

/** Why a claim does not let a device in. */
export const claimRefusals = {
  taken: ({ serial }: Serial, holder: string): Refusal => ({
    code: "identity.claim-taken",
    reason: `serial ${serial ?? ""} was taken up by another device, key ${holder.slice(0, 12)}`,
    fix: CLONE_FIX,
  }),
  otherKey: ({ serial }: Serial): Refusal => ({
    code: "identity.claim-other-key",
    reason: `serial ${serial ?? ""} is claimed for a device with another key`,
    fix: CLONE_FIX,
  }),
  expired: ({ serial }: Serial): Refusal => ({
    code: "identity.claim-expired",
    reason: `the claim of serial ${serial ?? ""} has expired`,
    fix: "An admission operator admits the device again: `portolan admit -f claims.csv` with a later date.",
  }),
  none: ({ serial, keyHash }: Serial & { keyHash: string }): Refusal => ({
    code: "identity.unclaimed",
    reason: `nobody has claimed ${serial === undefined ? "a device without a serial" : `serial ${serial}`} (key ${keyHash.slice(0, 12)}), and no batch is open`,
    fix: "An admission operator runs `portolan approve NODE`, or admits it with `portolan admit -f claims.csv`.",
  }),
  quarantined: (): Refusal => ({
    code: "identity.claim-quarantined",
    reason:
      "this key came with a serial that another device had taken up, and is let in by nothing that others could show too",
    fix: CLONE_FIX,
  }),
};

/** Why a pass does not let a device in. */
export const passRefusals = {
  taken: (name: string, holder: string): Refusal => ({
    code: "identity.pass-taken",
    reason: `pass ${name} was used up by another device, key ${holder.slice(0, 12)}`,
    fix: `Was the pass copied? Look for that device: \`portolan get nodes -o wide\`. ${PASS_FIX}`,
  }),
  expired: (name: string, expiresMs: number): Refusal => ({
    code: "identity.pass-expired",
    reason: `pass ${name} ended at ${new Date(expiresMs).toISOString()}`,
    fix: PASS_FIX,
  }),
  unknown: (): Refusal => ({
    code: "identity.pass-unknown",
    reason:
      "the device's pass is not known here: it is of another fleet, has expired or was revoked, or its document has not arrived yet",
    fix: PASS_FIX,
  }),
  notAccepted: (): Refusal => ({
    code: "identity.pass-not-accepted",
    reason: "the charter of this fleet does not accept passes",
    fix: 'The owners sign a charter with "pass" in spec.join.evidence, or an admission operator runs `portolan approve NODE`.',
  }),
};

/** Why a batch does not let a device in; `batch`: its name. */
export const batchRefusals = {
  closed: (batch: string, since?: string): Refusal => ({
    code: "identity.batch-closed",
    reason: since === undefined ? `batch ${batch} was closed` : `batch ${batch} ended at ${since}`,
    fix: BATCH_FIX,
  }),
  full: (batch: string, max: number): Refusal => ({
    code: "identity.batch-full",
    reason: `batch ${batch} has admitted its ${max} devices`,
    fix: BATCH_FIX,
  }),
  address: (batch: string, remoteIp = "an unknown address"): Refusal => ({
    code: "identity.batch-address",
    reason: `batch ${batch} is not open for ${remoteIp}`,
    fix: BATCH_FIX,
  }),
  rate: (batch: string, ratePerMinute: number): Refusal => ({
    code: "identity.batch-rate",
    reason: `batch ${batch} admits ${ratePerMinute} devices a minute, and they have come`,
    fix: "Wait a minute: the device tries again by itself.",
  }),
};

/** Of several batches that do not let a device in, the one that nearly did says most. */
export function nearest(refusals: readonly Refusal[]): Refusal | undefined {
  const codes = ["identity.batch-closed", "identity.batch-address", "identity.batch-full", "identity.batch-rate"];
  return refusals.toSorted((a, b) => codes.indexOf(b.code) - codes.indexOf(a.code))[0];
}
