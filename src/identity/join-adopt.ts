import type { DocumentStore } from "./document-store.ts";
import type { DeviceOutcome } from "./join-device.ts";
import type { NodeId } from "./node-id.ts";

type Granted = Extract<DeviceOutcome, { outcome: "member" }>;

/**
 * What a device does to its own disk when it was admitted, in order. Each is durable when it is done, and doing all of them
 * again is harmless: after a crash between two the device asks once more and gets the same answer.
 */
export type AdoptionEffect =
  /** Binds the node to the fleet, for good. */
  | { do: "pin"; fleet: string }
  /** Remembers that so far only one node has said what is revoked. */
  | { do: "doubt"; registrar: NodeId }
  /** Keeps one document; the last is the node's own member document. */
  | { do: "keep"; bytes: Uint8Array }
  /** Drops the pass: it is used up. */
  | { do: "forget" };

/** Every effect there is; the kill test walks through them. */
export const ADOPTION_EFFECTS = ["pin", "doubt", "keep", "forget"] as const satisfies readonly AdoptionEffect["do"][];

/** `newcomer`: the node was no member before. `registrar`: who admitted it. */
export function planAdoption(
  { fleet, documents }: Granted,
  { newcomer, registrar, pass }: { newcomer: boolean; registrar: NodeId; pass: boolean },
): AdoptionEffect[] {
  return [
    { do: "pin", fleet },
    ...(newcomer ? [{ do: "doubt" as const, registrar }] : []), // before it is a member, so that no crash makes it a trusting one
    ...documents.map((bytes) => ({ do: "keep" as const, bytes })),
    ...(pass ? [{ do: "forget" as const }] : []),
  ];
}

export type AdoptionDeps = {
  store: DocumentStore;
  /** Trusted Unix milliseconds. */
  nowMs: () => number;
  doubt: (registrar: NodeId) => void;
  forgetPass: () => void;
};

/** Carries out one effect; it is durable when this returns. Throws as `DocumentStore.pinFleet`, and what the disk says. */
export function performAdoption(effect: AdoptionEffect, { store, nowMs, doubt, forgetPass }: AdoptionDeps): void {
  switch (effect.do) {
    case "pin":
      return store.pinFleet(effect.fleet);
    case "doubt":
      return doubt(effect.registrar);
    case "keep":
      store.submit(effect.bytes, nowMs(), "join");
      return;
    case "forget":
      return forgetPass();
  }
}
