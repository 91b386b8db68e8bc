import { createHash } from "node:crypto";
import { z } from "zod";

const digest = z.string().regex(/^[0-9a-f]{64}$/u);
/** Network cards of one machine that are remembered. */
const MAX_CARDS = 32;

/** What tells one machine from another; each value is a salted hash, since the plain ones identify the hardware to anybody. */
export const MachinePrint = z.strictObject({
  machineId: digest.optional(),
  dmiUuid: digest.optional(),
  cards: z.array(digest).max(MAX_CARDS),
});
export type MachinePrint = z.infer<typeof MachinePrint>;

/** What a machine says of itself: the contents of /etc/machine-id and of the DMI product UUID, and the MAC addresses of its cards. */
export type MachineFacts = { machineId?: string; dmiUuid?: string; macs: readonly string[] };

/** The print of a machine. `salt`: of the node, so that two nodes' prints of one machine do not match. */
export function printMachine({ machineId, dmiUuid, macs }: MachineFacts, salt: string): MachinePrint {
  const hash = (text: string): string =>
    createHash("sha256")
      .update("portolan-machine-v1\0")
      .update(salt)
      .update("\0")
      .update(text.trim().toLowerCase())
      .digest("hex");
  return {
    ...(machineId === undefined ? {} : { machineId: hash(machineId) }),
    ...(dmiUuid === undefined ? {} : { dmiUuid: hash(dmiUuid) }),
    cards: [...new Set(macs)].toSorted().slice(0, MAX_CARDS).map(hash),
  };
}

/**
 * What shows that a data directory is on another machine than before; empty when nothing does. What either print lacks says
 * nothing; of the cards one that is still there is enough, since USB and virtual ones come and go.
 */
export function changedMachine(before: MachinePrint, now: MachinePrint): string[] {
  const differ = (a: string | undefined, b: string | undefined): boolean =>
    a !== undefined && b !== undefined && a !== b;
  const known = new Set(before.cards);
  const noneLeft = known.size > 0 && now.cards.length > 0 && !now.cards.some((card) => known.has(card));
  return [
    ...(differ(before.machineId, now.machineId) ? ["machine-id"] : []),
    ...(differ(before.dmiUuid, now.dmiUuid) ? ["DMI UUID"] : []),
    ...(noneLeft ? ["network cards"] : []),
  ];
}
