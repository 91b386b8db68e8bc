import { matchesSelector, parseSelector } from "#api";
import {
  DEFAULT_TENANT,
  type DocumentStore,
  documentId,
  isDocumentOf,
  type Kind,
  type MemberInfo,
  type Membership,
  type NodeId,
  type SignedDocument,
  type Spec,
  TOPOLOGY_NAME,
} from "#identity";
import { type LinkPolicy, NO_POLICY, policyOf } from "#routing";

/** The one topology of a fleet. */
export const TOPOLOGY_ID = documentId("Topology", TOPOLOGY_NAME, DEFAULT_TENANT);

/** Kinds that say nothing of links, nor of who is a member and with which labels. */
const UNRELATED: ReadonlySet<Kind> = new Set(["Artifact", "Placement", "Beacon", "ClaimList", "Batch", "Pass"]);

/** What the topology in force asks of links, worked out anew when it or the members change. */
export class Topology {
  readonly #store: DocumentStore;
  readonly #members: Membership;
  #revision = -1;
  #policy: LinkPolicy = NO_POLICY;

  constructor({ store, members }: { store: DocumentStore; members: Membership }) {
    this.#store = store;
    this.#members = members;
  }

  get document(): SignedDocument<"Topology"> | undefined {
    const document = this.#store.byId(TOPOLOGY_ID);
    return document !== undefined && isDocumentOf(document, "Topology") ? document : undefined;
  }

  /** The same object until it may say something else. */
  policy(): LinkPolicy {
    const { revision } = this.#store;
    if (revision === this.#revision) return this.#policy;
    const changes = this.#store.changesSince(this.#revision);
    this.#revision = revision;
    if (changes?.every(({ kind }) => UNRELATED.has(kind)) === true) return this.#policy;
    const { document } = this;
    this.#policy = document === undefined ? NO_POLICY : this.policyOf(document.body.spec);
    return this.#policy;
  }

  /** What a topology would ask of links if it were in force now. */
  policyOf(spec: Spec<"Topology">): LinkPolicy {
    const pickers = new Map<string, (member: MemberInfo) => boolean>();
    return policyOf(spec, (end: string, node: NodeId) => {
      const member = this.#members.of(node);
      if (member === undefined) return false;
      const picks = pickers.get(end) ?? pickerOf(end);
      pickers.set(end, picks);
      return picks(member);
    });
  }
}

/** Lower-case letters, digits, `-` and `.` alone are a node's name; all else but `*` is a selector. */
export function isNodeName(end: string): boolean {
  return /^[a-z0-9.-]+$/u.test(end);
}

/** Which members one end of a rule means. One that cannot be read means none: who signed it may have a newer version. */
function pickerOf(end: string): (member: MemberInfo) => boolean {
  try {
    return strictPickerOf(end);
  } catch {
    return () => false;
  }
}

/** As a rule says it. Throws Fault `api.selector` (exit `invalid`). */
export function strictPickerOf(end: string): (member: MemberInfo) => boolean {
  if (end === "*") return () => true;
  if (isNodeName(end)) return ({ name }) => name === end;
  const selector = parseSelector(end);
  return ({ name, node, site, labels }) => matchesSelector(selector, { ...labels, name, node, site });
}
