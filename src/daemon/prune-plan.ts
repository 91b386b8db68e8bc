/** Why something stays, the strongest reason first. */
export type KeepReason = "pinned" | "in use" | "wanted here" | "new" | "last known copy" | "kept for the fleet";

/** Something that the store holds: a copy of an artifact, or blobs that belong to none. */
export type Holding = {
  name: string;
  /** Its blobs; copies may share some. */
  roots: readonly string[];
  /** Absent: it may go. */
  keep?: KeepReason;
  /** Deleted, expired or no longer authorised, or never part of an artifact: it goes before all others. */
  gone: boolean;
  /** When it was last used, Unix milliseconds. */
  usedMs: number;
};

export type PrunePlan = {
  /** What goes, in this order, and what each frees then: blobs that something else holds stay. */
  remove: { holding: Holding; freesBytes: number }[];
  /** What stays though it might have to go, and why. */
  kept: { holding: Holding; keep: KeepReason }[];
  freesBytes: number;
};

/**
 * What to remove to free `neededBytes`: first what is gone, then the least recently used; ties break by name. Never something with a
 * reason to stay. `sizeOf`: bytes of a blob on this disk.
 */
export function planPrune(
  holdings: readonly Holding[],
  sizeOf: (root: string) => number,
  neededBytes: number,
): PrunePlan {
  const holders = new Map<string, number>();
  for (const { roots } of holdings) for (const root of new Set(roots)) holders.set(root, (holders.get(root) ?? 0) + 1);
  const plan: PrunePlan = { remove: [], kept: [], freesBytes: 0 };
  for (const holding of holdings.toSorted(byWorth)) {
    if (holding.keep !== undefined) plan.kept.push({ holding, keep: holding.keep });
    else if (plan.freesBytes < neededBytes) {
      const freesBytes = letGo(holding, holders, sizeOf);
      plan.remove.push({ holding, freesBytes });
      plan.freesBytes += freesBytes;
    }
  }
  return plan;
}

function byWorth(a: Holding, b: Holding): number {
  if (a.gone !== b.gone) return a.gone ? -1 : 1;
  return a.usedMs - b.usedMs || (a.name < b.name ? -1 : 1);
}

/** Takes a holding's part in its blobs away; the bytes of those that nothing holds any more. */
function letGo({ roots }: Holding, holders: Map<string, number>, sizeOf: (root: string) => number): number {
  let freed = 0;
  for (const root of new Set(roots)) {
    const left = (holders.get(root) ?? 1) - 1;
    holders.set(root, left);
    if (left === 0) freed += sizeOf(root);
  }
  return freed;
}
