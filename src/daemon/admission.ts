import { withDeadline } from "#core";
import type { DocumentStore, MemberInfo, Membership, NodeId, SignedDocument } from "#identity";
import type { Gate, GateVerdict } from "#mesh";
import { z } from "zod";
import type { NodeState } from "./node-state.ts";

/** Documents in one hello: charters after the first, the registrar's, the member's own. The gate gives a stranger 64 KiB. */
const MAX_HELLO_DOCUMENTS = 16;
const MAX_HELLO_DOCUMENT_BYTES = 24 * 1024;
const MAX_HELLO_BYTES = 48 * 1024;

/** A revocation list of 4 MiB over a link of 1 Mbit/s, with room. */
const CATCH_UP_MS = 60_000;

const Offer = z.strictObject({
  fleet: z.string().length(64),
  charter: z.int().min(1),
  revocation: z.int().min(0),
  /** What the peer takes the time for, in Unix milliseconds. */
  timeMs: z.int().min(0).optional(),
  documents: z
    .array(z.custom<Uint8Array>((value) => value instanceof Uint8Array && value.length <= MAX_HELLO_DOCUMENT_BYTES))
    .min(1)
    .max(MAX_HELLO_DOCUMENTS),
});

/** Who may be a neighbour: members of this fleet that are not revoked. Both sides of a connection judge each other. `stop`: the node ends. */
export function createGate(state: NodeState, self: NodeId, stop: AbortSignal): Gate {
  const { store, members } = state;
  return {
    offer: () => ({
      fleet: store.fleet ?? "",
      charter: store.charter?.body.version ?? 1,
      revocation: revocationVersion(store),
      timeMs: state.trustedMs(),
      documents: proofOfMembership(store, members, self),
    }),
    judge: (peer, hello) => {
      const verdict = judgeHello(state, peer, hello, stop);
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
    cloned: (peer) => quarantineClones(state, peer),
  };
}

/** What a registrar tells a machine whose key is in use twice. */
export const CLONED = {
  code: "identity.quarantined",
  reason: "two machines use this node's key: its data directory was copied",
  fix: "On the copy run `portolan machine rekey`; then an admission operator approves this node and the copy: portolan approve NODE.",
};

/** Nobody can tell the copy from the original, so both are shut out. `sinceMs`: when a registrar did, on whose word this node does too. */
export function quarantineClones(
  { members, quarantine, events, log }: NodeState,
  node: NodeId,
  sinceMs?: number,
): void {
  if (!(sinceMs === undefined ? quarantine.add(node) : quarantine.hear(node, sinceMs))) return;
  const name = members.nameOf(node);
  log.error("two machines use one key: both are shut out", { node, name });
  events.record({
    type: "security.clone",
    subject: name,
    outcome: "refused",
    message: `${CLONED.reason}; both are shut out`,
  });
}

function judgeHello(state: NodeState, peer: NodeId, hello: unknown, stop: AbortSignal): GateVerdict {
  const { store, members } = state;
  if (state.quarantine.sinceMs(peer) !== undefined)
    return refuse("mesh.quarantined", `${CLONED.reason}. ${CLONED.fix}`);
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
  // Whatever proves the peer's membership is judged like any other document, and kept if it is news. A node that does not know
  // the time judges it by the peer's, which counts for nothing unless the peer is a member.
  const atMs = state.time.plausibleMs(offer.data.timeMs ?? 0);
  store.submitAll(offer.data.documents, atMs, peer);
  const member = members.of(peer);
  if (member !== undefined && offer.data.timeMs !== undefined) state.time.hear(offer.data.timeMs);
  store.expire(state.trustedMs());
  if (member !== undefined) {
    state.provisional.heard(peer, offer.data.revocation);
    const verdict = judgeMember(state, member);
    const settled = untilRevocation(state, offer.data.revocation, stop);
    return verdict.accepted && settled !== undefined ? { ...verdict, settled } : verdict;
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

/** A membership that has ended is good only among nodes that no registrar could have renewed. */
function judgeMember(
  { contact, clock, peerEvents }: NodeState,
  { node, name, site, autonomous, expiresMs }: MemberInfo,
): GateVerdict {
  if (!autonomous) return { accepted: true, site, name };
  const ended = `its membership ended at ${new Date(expiresMs).toISOString()}`;
  if (!contact.admitsAutonomous(clock.nowMs())) {
    return refuse("mesh.membership-ended", `${ended}; a registrar is in reach and renews it: portolan doctor`);
  }
  const message = `taken in although ${ended}`;
  peerEvents.record(node, { type: "node.autonomous", subject: name, outcome: "ok", message });
  return { accepted: true, site, name };
}

/** Whom others have shut out must not be served meanwhile: nothing but documents passes until this node knows as much as the peer. */
function untilRevocation({ store, clock }: NodeState, version: number, stop: AbortSignal): Promise<void> | undefined {
  if (version <= revocationVersion(store)) return undefined;
  const catchUp = async (signal: AbortSignal): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const unlisten = store.onAccepted(() => (revocationVersion(store) >= version ? resolve() : undefined));
    signal.addEventListener("abort", () => resolve(), { once: true });
    await promise.finally(unlisten);
  };
  const known = withDeadline(clock, CATCH_UP_MS, `revocation list ${version}`, catchUp, stop);
  known.catch(() => undefined); // the connection may be gone before anybody waits
  return known;
}

/** What a peer that knows the fleet only by its id and first charter needs in order to believe that we are a member. */
function proofOfMembership(store: DocumentStore, members: Membership, self: NodeId): Uint8Array[] {
  const own = members.of(self);
  if (own === undefined) return [new Uint8Array(0)];
  const registrar =
    own.admittedBy === undefined
      ? undefined
      : [...store.list("Registrar"), ...store.lapsed("Registrar")].find(
          ({ body }) => members.of(body.spec.node)?.keyHash === own.admittedBy,
        );
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
