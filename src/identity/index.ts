export {
  type FleetView,
  isAuthorised,
  judgeDocument,
  type Missing,
  ruleFor,
  type TrustedKey,
  tombstoneName,
  type Verdict,
} from "./charter.ts";
export {
  API_VERSION,
  type Body,
  bodyDigest,
  CLOCK_TOLERANCE_MS,
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
export { type DocumentListener, DocumentStore, type PendingDocument, SUMMARY_BUCKETS } from "./document-store.ts";
export { EVIDENCE, isKind, KIND_NAMES, KINDS, type Kind, OPERATOR_ROLES, ROLES, type Role, type Spec } from "./kinds.ts";
export { isNodeId, keyHash, type NodeId, nodeIdOf, publicKeyOf, shortId } from "./node-id.ts";
export { openStateDatabase } from "./state-database.ts";
