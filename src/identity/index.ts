export { type FleetView, tombstoneName, type Verdict } from "./charter.ts";
export type { Missing, SignerName } from "./missing-signatures.ts";
export type { TrustedKey } from "./trusted-keys.ts";
export {
  type Body,
  bodyDigest,
  DEFAULT_TENANT,
  type Draft,
  documentId,
  draftPayload,
  isDocumentOf,
  kindFromText,
  MAX_ENVELOPE_BYTES,
  type OpenEnvelope,
  openEnvelope,
  parseBody,
  payloadTypeOf,
  type SignedDocument,
  signPayload,
} from "./document.ts";
export { type DocumentListener, DocumentStore } from "./document-store.ts";
export { SUMMARY_BUCKETS } from "./document-summary.ts";
export type { PendingDocument } from "./pending-documents.ts";
export {
  isKind,
  KIND_NAMES,
  KINDS,
  MAX_CLAIM_ROWS,
  type Kind,
  OPERATOR_ROLES,
  type Role,
  type Spec,
} from "./kinds.ts";
export { hasNodeIdForm, isNodeId, keyHash, type NodeId, nodeIdOf, publicKeyOf, shortId } from "./node-id.ts";
export { NodeWire } from "./node-wire.ts";
export { openStateDatabase } from "./state-database.ts";
export { type Groups, type MemberInfo, Membership } from "./membership.ts";
export { type ClaimRow, readClaims } from "./claims-csv.ts";
export { createPrivateFile, writeDurably } from "./durable-file.ts";
export { ipInCidr, isCidr } from "./ip-range.ts";
export { createKeyFile, type NamedKey, openKeyFile } from "./key-file.ts";
export { loadNodeKey, type NodeKey } from "./node-key.ts";
export { type NamedPublicKey, readPublicKeyFile } from "./public-key-file.ts";
export { type BootstrapToken, decodeToken, encodeToken, tokenWarnings } from "./token.ts";
export { sixWords } from "./words.ts";
export { type DeviceFacts, type DeviceOutcome, runDeviceJoin } from "./join-device.ts";
export { performAdoption, planAdoption } from "./join-adopt.ts";
export { JoinRound } from "./join-round.ts";
export { heaviestRegistrar } from "./home-registrar.ts";
export { checkPass, createPass, MAX_PASS_CHARS, passKey, readPassFile } from "./pass.ts";
export { FROM_DEVICE, FROM_REGISTRAR, JOIN_PROTOCOL, JOIN_TIMEOUT_MS } from "./join-wire.ts";
export { renewalDueMs } from "./member.ts";
export { type JoinReport, Registrar } from "./registrar.ts";
export { type RefusedDevice, RegistrarLedger } from "./registrar-ledger.ts";
export { type WaitingDevice, WaitingList } from "./waiting-list.ts";
export { Contact, OUT_OF_TOUCH_MS } from "./contact.ts";
export { changedMachine, type MachineFacts, MachinePrint, printMachine } from "./machine.ts";
export { HighWaterFile } from "./high-water.ts";
export { TOPOLOGY_NAME } from "./topology-spec.ts";
export { TrustedTime } from "./trusted-time.ts";
