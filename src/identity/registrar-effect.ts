import type { Ed25519Key } from "#core";
import type { DocumentStore } from "./document-store.ts";
import type { EvidenceUse, Refusal } from "./evidence.ts";
import type { EvidenceIndex } from "./evidence-index.ts";
import type { RegistrarMessage } from "./join-wire.ts";
import type { MemberIndex } from "./member-index.ts";
import type { NodeId } from "./node-id.ts";
import type { Offices } from "./offices.ts";
import type { IssuedMember, RefusedDevice, RegistrarLedger } from "./registrar-ledger.ts";
import type { WaitingDevice, WaitingList } from "./waiting-list.ts";

/** The device at the other end, as its connection proved it. */
export type JoiningPeer = { nodeId: NodeId; remoteIp: string | undefined };

/** What a registrar decides on. The step reads it and writes nothing. */
export type RegistrarContext = {
  key: Ed25519Key;
  nodeId: NodeId;
  store: DocumentStore;
  ledger: RegistrarLedger;
  waiting: WaitingList;
  index: EvidenceIndex;
  offices: Offices;
  members: MemberIndex;
  /** Where a node is reached, as far as this one knows. */
  addressesOf: (node: NodeId) => readonly string[];
  peer: JoiningPeer;
  barred: Refusal | undefined;
  /** Fresh for this exchange. */
  nonce: Uint8Array;
  ticket: Uint8Array;
  /** Trusted Unix milliseconds. */
  nowMs: number;
};

/**
 * What the registrar does to the world, in order. A crash between any two leaves nothing half-true: until `admit` nothing has
 * happened, after it the same device gets the same document.
 */
export type RegistrarEffect =
  | { do: "send"; message: RegistrarMessage }
  /** Takes the evidence up and keeps the document: durable before the next effect. */
  | { do: "admit"; keyHash: string; use: EvidenceUse | undefined; member: IssuedMember }
  /** Puts the document into this node's store, from where the fleet learns of it. */
  | { do: "publish"; bytes: Uint8Array }
  /** Puts the device on the pending list and tells it. */
  | { do: "wait"; device: Omit<WaitingDevice, "sinceMs" | "lastAskedMs" | "polls">; fix: string }
  /** Remembers a device with somebody else's serial. */
  | { do: "record"; refused: RefusedDevice };

/** Every effect there is; the kill test walks through them. */
export const REGISTRAR_EFFECTS = [
  "send",
  "admit",
  "publish",
  "wait",
  "record",
] as const satisfies readonly RegistrarEffect["do"][];
