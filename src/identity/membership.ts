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

/** What groups of members are called. */
export type Groups = { tenants: ReadonlySet<string>; sites: ReadonlySet<string> };

/** Who belongs to the fleet, worked out from the documents in force and from the memberships that have ended. */
export class Membership {
  readonly #store: DocumentStore;
  #revision = -1;
  #byNode = new Map<NodeId, MemberInfo>();
  /** The node that each member document is about. */
  #nodeOf = new Map<string, NodeId>();
  #revoked = new Map<NodeId, number>();
  /** `undefined`: to be worked out anew. */
  #groups: Groups | undefined;

  constructor(store: DocumentStore) {
    this.#store = store;
  }

  /** The member behind a node id, autonomous or not; `undefined` for a stranger and for a revoked node. */
  of(node: NodeId): MemberInfo | undefined {
    this.#refresh();
    return this.#byNode.get(node);
  }

  /** What people call a node: a member's name, anybody else's node id. */
  nameOf(node: NodeId): string {
    return this.of(node)?.name ?? node;
  }

  /** Every member, by name, then by tenant; those whose membership has ended among them. */
  all(): MemberInfo[] {
    this.#refresh();
    return [...this.#byNode.values()].toSorted((a, b) => (rankOf(a) < rankOf(b) ? -1 : 1));
  }

  /** Every member's node, in no order. */
  nodes(): MapIterator<NodeId> {
    this.#refresh();
    return this.#byNode.keys();
  }

  /** Every tenant and site that has a member. */
  groups(): Groups {
    this.#refresh();
    this.#groups ??= groupsOf(this.#byNode.values());
    return this.#groups;
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
    const { revision } = this.#store;
    if (revision === this.#revision) return;
    const changes = this.#store.changesSince(this.#revision);
    this.#revision = revision;
    this.#groups = undefined;
    if (changes?.every((document) => this.#add(document)) !== true) this.#rebuild();
  }

  /**
   * Takes in what came: 10,000 nodes that join must not cost 10,000 walks over all of them. `false`: it does more than add a node
   * or renew one, so everything is to be worked out anew.
   */
  #add(document: SignedDocument): boolean {
    if (!isDocumentOf(document, "Member")) return true;
    const { node } = document.body.spec;
    if ((this.#nodeOf.get(document.id) ?? node) !== node) return false;
    const info = memberInfo(document, this.#store.lapsedById(document.id) === document);
    const known = this.#byNode.get(node);
    if (known !== undefined && (known.document.id !== document.id || !isNewer(info, known))) return false;
    this.#keep(info);
    return true;
  }

  #rebuild(): void {
    this.#revoked = new Map(
      this.#store.list("Revocation").flatMap(({ body }) => body.spec.nodes.map((n) => [n.node, n.generation] as const)),
    );
    this.#byNode = new Map();
    this.#nodeOf = new Map();
    for (const document of this.#store.lapsed("Member")) this.#keepNewest(memberInfo(document, true));
    for (const document of this.#store.list("Member")) this.#keepNewest(memberInfo(document, false));
    for (const document of this.#store.lapsed("Registrar")) this.#keepRegistrar(memberInfo(document, true));
    for (const document of this.#store.list("Registrar")) this.#keepRegistrar(memberInfo(document, false));
  }

  #keepNewest(info: MemberInfo): void {
    const known = this.#byNode.get(info.node);
    this.#nodeOf.set(info.document.id, info.node);
    if (known === undefined || isNewer(info, known)) this.#keep(info);
  }

  /** A registrar's own node may have been admitted before it became one. */
  #keepRegistrar(info: MemberInfo): void {
    const known = this.#byNode.get(info.node);
    if (info.autonomous && known?.autonomous === false) return; // it was a registrar, and is a member
    this.#keep({ ...known, ...info, generation: known?.generation ?? info.generation });
  }

  #keep(info: MemberInfo): void {
    this.#nodeOf.set(info.document.id, info.node);
    if ((this.#revoked.get(info.node) ?? -1) < info.generation) this.#byNode.set(info.node, info);
  }
}

function groupsOf(members: Iterable<MemberInfo>): Groups {
  const [tenants, sites] = [new Set<string>(), new Set<string>()];
  for (const { tenant, site } of members) {
    tenants.add(tenant);
    sites.add(site);
  }
  return { tenants, sites };
}

function rankOf({ name, tenant, node }: MemberInfo): string {
  return [name, tenant, node].join("\n");
}

/** A node that moved to another name or tenant has two documents for a while: the one in force counts, of two the later. */
function isNewer(a: MemberInfo, b: MemberInfo): boolean {
  if (a.autonomous !== b.autonomous) return b.autonomous;
  if (a.generation !== b.generation) return a.generation > b.generation;
  const [fromA, fromB] = [a, b].map(({ document }) => document.body.notBefore) as [string, string];
  if (fromA !== fromB) return fromA > fromB; // ISO times in UTC sort as text
  return a.document.id === b.document.id
    ? a.document.body.version > b.document.body.version
    : a.document.id < b.document.id;
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
