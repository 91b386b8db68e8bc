import { isDocumentOf, type SignedDocument } from "./document.ts";
import type { DocumentStore } from "./document-store.ts";
import type { NodeId } from "./node-id.ts";

/** Finds the member document of a node, in force or just ended, without a walk over all of them: a registrar asks for every device that comes. */
export class MemberIndex {
  readonly #store: DocumentStore;
  readonly #idOf = new Map<NodeId, string>();

  constructor(store: DocumentStore) {
    this.#store = store;
    for (const member of [...store.lapsed("Member"), ...store.list("Member")])
      this.#idOf.set(member.body.spec.node, member.id);
    store.onAccepted((document) => {
      if (isDocumentOf(document, "Member")) this.#idOf.set(document.body.spec.node, document.id);
    });
  }

  of(node: NodeId): SignedDocument<"Member"> | undefined {
    const id = this.#idOf.get(node);
    if (id === undefined) return undefined;
    const document = this.#store.byId(id) ?? this.#store.lapsedById(id);
    return document !== undefined && isDocumentOf(document, "Member") && document.body.spec.node === node
      ? document
      : undefined;
  }
}
