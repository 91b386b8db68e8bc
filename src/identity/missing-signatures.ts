import type { Body } from "./document.ts";
import type { Role, Spec } from "./kinds.ts";
import { entitled, ownerKeys, type TrustedKey } from "./trusted-keys.ts";
import { ruleFor } from "./signing-rule.ts";

export type SignerName = { keyid: string; name: string };
/** What a document still needs: `count` keys of `role`; who has signed, and who else could. */
export type Missing = { role: Role; count: number; have: SignerName[]; candidates: SignerName[] };

/** Who has signed a body, by name, and who else could. */
export function missingSignatures(
  body: Body,
  signers: readonly string[],
  view: { charter: { body: { spec: Spec<"Charter"> } } | undefined; keys: ReadonlyMap<string, TrustedKey> },
): Missing {
  const { tenant } = body.metadata;
  if (body.kind === "Charter") {
    return missingOwners((body as Body<"Charter">).spec, view.charter?.body.spec, signers);
  }
  const rule = view.charter === undefined ? undefined : ruleFor(view.charter.body.spec, body);
  const { role, count } = rule ?? { role: "owner" as const, count: 1 };
  const what = { role, tenant, digest: "", expiresMs: Date.parse(body.expires) };
  const able = [...view.keys].filter(([keyid]) => entitled([keyid], what, view.keys).length > 0);
  return missing(role, count, new Map(able), signers);
}

/** A new charter needs a threshold of the old owners and of its own; who is both counts twice. */
function missingOwners(next: Spec<"Charter">, old: Spec<"Charter"> | undefined, signers: readonly string[]): Missing {
  const wanting = [next, ...(old === undefined ? [] : [old])].map((spec) => {
    const keys = ownerKeys(spec);
    const open = [...keys.values()].filter(({ keyid }) => !signers.includes(keyid));
    return { keys, open, needs: Math.max(0, spec.threshold - (keys.size - open.length)) };
  });
  const [ours, theirs] = wanting;
  const needs = wanting.map((side) => side.needs);
  const both = ours?.open.filter(({ keyid }) => theirs?.keys.has(keyid)).length ?? 0;
  const shared = needs.length < 2 ? 0 : Math.min(both, ...needs);
  const count = signers.length + needs.reduce((sum, need) => sum + need, 0) - shared;
  const names = new Map(wanting.flatMap(({ keys }) => [...keys]));
  const helpful = wanting.flatMap((side) => (side.needs > 0 ? side.open : []));
  return {
    role: "owner",
    count,
    have: signers.map((keyid) => ({ keyid, name: names.get(keyid)?.name ?? "" })),
    candidates: [...new Map(helpful.map(({ keyid, name }) => [keyid, { keyid, name }])).values()],
  };
}

function missing(
  role: Role,
  count: number,
  able: ReadonlyMap<string, TrustedKey>,
  signers: readonly string[],
): Missing {
  return {
    role,
    count,
    have: signers.map((keyid) => ({ keyid, name: able.get(keyid)?.name ?? "" })),
    candidates: [...able.values()]
      .filter(({ keyid }) => !signers.includes(keyid))
      .map(({ keyid, name }) => ({ keyid, name })),
  };
}
