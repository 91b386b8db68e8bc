import type { DocumentStore, Membership, NodeId, SignedDocument } from "#identity";
import type { Gate, GateVerdict } from "#mesh";
import { z } from "zod";
import type { NodeState } from "./node-state.ts";

/** Documents in one hello: charters after the first, the registrar's, the member's own. The gate gives a stranger 64 KiB. */
const MAX_HELLO_DOCUMENTS = 16;
const MAX_HELLO_DOCUMENT_BYTES = 24 * 1024;
const MAX_HELLO_BYTES = 48 * 1024;

const Offer = z.strictObject({
  fleet: z.string().length(64),
  charter: z.int().min(1),
  revocation: z.int().min(0),
  documents: z
    .array(z.custom<Uint8Array>((value) => value instanceof Uint8Array && value.length <= MAX_HELLO_DOCUMENT_BYTES))
    .min(1)
    .max(MAX_HELLO_DOCUMENTS),
});

/** Who may be a neighbour: members of this fleet that are not revoked. Both sides of a connection judge each other. */
export function createGate(state: NodeState, self: NodeId): Gate {
  const { store, members } = state;
  return {
    offer: () => ({
      fleet: store.fleet ?? "",
      charter: store.charter?.body.version ?? 1,
      revocation: revocationVersion(store),
      documents: proofOfMembership(store, members, self),
    }),
    judge: (peer, hello) => {
      const verdict = judgeHello(state, peer, hello);
      if (!verdict.accepted && verdict.code !== "mesh.not-a-member-here") {
        state.peerEvents.record(members.of(peer)?.node, {
          type: "security.refused-peer",
          subject: peer,
          outcome: "refused",
          message: `${verdict.code}: ${verdict.reason}`,
        });
      }
      return verdict;
    },
  };
}

function judgeHello(state: NodeState, peer: NodeId, hello: unknown): GateVerdict {
  const { store, members } = state;
  const offer = Offer.safeParse(hello);
  if (store.fleet === undefined || store.charter === undefined) {
    return refuse("mesh.not-a-member-here", "this node has not joined the fleet itself yet; try again later");
  }
  if (!offer.success)
    return refuse("mesh.hello-invalid", "the hello is malformed; are both nodes of the same version?");
  if (offer.data.fleet !== store.fleet) {
    return refuse(
      "mesh.other-fleet",
      `this node belongs to fleet ${store.fleet.slice(0, 12)}, not ${offer.data.fleet.slice(0, 12)}`,
    );
  }
  // Whatever proves the peer's membership is judged like any other document, and kept if it is news.
  for (const bytes of offer.data.documents) store.submit(bytes, state.trustedMs(), peer);
  const member = members.of(peer);
  if (member !== undefined) {
    state.provisional.heard(peer, offer.data.revocation);
    return { accepted: true, site: member.site, name: member.name };
  }
  const revoked = members.revoked().get(peer);
  if (revoked !== undefined) {
    return refuse("mesh.revoked", "this node was revoked; a security operator can say why");
  }
  return refuse(
    "mesh.not-a-member",
    "no valid membership was shown; it may have expired, or this node's clock is wrong: run `portolan doctor`",
  );
}

/** What a peer that knows the fleet only by its id and first charter needs in order to believe that we are a member. */
function proofOfMembership(store: DocumentStore, members: Membership, self: NodeId): Uint8Array[] {
  const own = members.of(self);
  if (own === undefined) return [new Uint8Array(0)];
  const registrar =
    own.admittedBy === undefined
      ? undefined
      : store.list("Registrar").find(({ body }) => members.of(body.spec.node)?.keyHash === own.admittedBy);
  const laterCharters = store.charterChain().slice(1);
  const proof = [...laterCharters, ...documentsOf(registrar), own.document.bytes];
  let sizeBytes = 0;
  for (const bytes of proof) sizeBytes += bytes.length;
  if (proof.length <= MAX_HELLO_DOCUMENTS && sizeBytes <= MAX_HELLO_BYTES) return proof;
  return [...documentsOf(registrar), own.document.bytes]; // a peer that is so far behind follows the chain elsewhere
}

function documentsOf(document: SignedDocument | undefined): Uint8Array[] {
  return document === undefined ? [] : [document.bytes];
}

/** Version of the fleet's revocation list; 0 when nothing was ever revoked. */
export function revocationVersion(store: DocumentStore): number {
  return store.get("Revocation", "fleet")?.body.version ?? 0;
}

function refuse(code: string, reason: string): GateVerdict {
  return { accepted: false, code, reason };
}
