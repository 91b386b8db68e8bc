import type { DocumentStore } from "./document-store.ts";
import { isDocumentOf, type SignedDocument } from "./document.ts";
import { keyHash, type NodeId } from "./node-id.ts";

/** A node that the fleet has admitted: from its Member document, or from the Registrar document of a registrar's own node. */
export type MemberInfo = {
  node: NodeId;
  name: string;
  site: string;
  tenant: string;
  labels: Readonly<Record<string, string>>;
  /** Hex SHA-256 of its public key. */
  keyHash: string;
  /** 0 of a registrar that never was a member: any revocation of the node is one of it. */
  generation: number;
  registrar: boolean;
  /** Its membership has ended and nobody has revoked it: a node that is cut off from all registrars still goes by it. */
  autonomous: boolean;
  serial?: string;
  evidence?: string;
  /** Key id of the registrar that admitted it. */
  admittedBy?: string;
  /** Unix milliseconds. */
  expiresMs: number;
  document: SignedDocument<"Member" | "Registrar">;
};

/** Who belongs to the fleet, worked out from the documents in force and from the memberships that have ended. */
export class Membership {
  readonly #store: DocumentStore;
  #revision = -1;
  #byNode = new Map<NodeId, MemberInfo>();
  #revoked = new Map<NodeId, number>();

  constructor(store: DocumentStore) {
    this.#store = store;
  }

  /** The member behind a node id, autonomous or not; `undefined` for a stranger and for a revoked node. */
  of(node: NodeId): MemberInfo | undefined {
    this.#refresh();
    return this.#byNode.get(node);
  }

  /** Every member, by name; those whose membership has ended among them. */
  all(): MemberInfo[] {
    this.#refresh();
    return [...this.#byNode.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Every member's node, in no order. */
  nodes(): MapIterator<NodeId> {
    this.#refresh();
    return this.#byNode.keys();
  }

  /** By name, node id, serial, or an unambiguous beginning of the id or key hash. */
  find(text: string): MemberInfo | undefined {
    const all = this.all();
    const exact = all.find((member) => member.name === text || member.node === text || member.serial === text);
    if (exact !== undefined || text.length < 6) return exact;
    const close = all.filter((member) => member.node.startsWith(text) || member.keyHash.startsWith(text));
    return close.length === 1 ? close[0] : undefined;
  }

  /** Whether this generation of the node, or a later one, was revoked. */
  isRevoked(node: NodeId, generation: number): boolean {
    this.#refresh();
    return (this.#revoked.get(node) ?? -1) >= generation;
  }

  /** Nodes that were revoked, with the highest revoked generation. */
  revoked(): ReadonlyMap<NodeId, number> {
    this.#refresh();
    return this.#revoked;
  }

  #refresh(): void {
    if (this.#store.revision === this.#revision) return;
    this.#revision = this.#store.revision;
    this.#revoked = new Map(
      this.#store.list("Revocation").flatMap(({ body }) => body.spec.nodes.map((n) => [n.node, n.generation] as const)),
    );
    this.#byNode = new Map();
    for (const document of this.#store.lapsed("Member")) this.#keepNewest(memberInfo(document, true));
    for (const document of this.#store.list("Member")) this.#keepNewest(memberInfo(document, false));
    for (const document of this.#store.lapsed("Registrar")) this.#keepRegistrar(memberInfo(document, true));
    for (const document of this.#store.list("Registrar")) this.#keepRegistrar(memberInfo(document, false));
  }

  /** A node that was renamed shows its newest document, one that is in force before one that is not. */
  #keepNewest(info: MemberInfo): void {
    const known = this.#byNode.get(info.node);
    if (known === undefined || known.autonomous || known.generation < info.generation) this.#keep(info);
  }

  /** A registrar's own node may have been admitted before it became one. */
  #keepRegistrar(info: MemberInfo): void {
    const known = this.#byNode.get(info.node);
    if (info.autonomous && known?.autonomous === false) return; // it was a registrar, and is a member
    this.#keep({ ...known, ...info, generation: known?.generation ?? info.generation });
  }

  #keep(info: MemberInfo): void {
    if ((this.#revoked.get(info.node) ?? -1) < info.generation) this.#byNode.set(info.node, info);
  }
}

function memberInfo(document: SignedDocument<"Member"> | SignedDocument<"Registrar">, autonomous: boolean): MemberInfo {
  const { metadata, spec, expires } = document.body;
  const registrar = document.kind === "Registrar";
  const member = isDocumentOf(document, "Member") ? document.body.spec : undefined;
  return {
    node: spec.node,
    name: metadata.name,
    site: spec.site,
    tenant: metadata.tenant,
    labels: metadata.labels,
    keyHash: keyHash(Buffer.from(spec.publicKey, "base64")),
    generation: member?.generation ?? 0,
    registrar,
    autonomous,
    ...(member?.serial === undefined ? {} : { serial: member.serial }),
    ...(member === undefined ? {} : { evidence: member.evidence, admittedBy: member.registrar }),
    expiresMs: Date.parse(expires),
    document,
  };
}
