import { openEnvelope, parseBody, signPayload } from "../../../src/identity/document.ts";
import { isKind, type Kind } from "../../../src/identity/kinds.ts";
import { nodeIdOf } from "../../../src/identity/node-id.ts";
import { ARTIFACT_SPEC, base64, NOW_MS, TestFleet, testKey } from "../../support/fleet.ts";
import { type FuzzTarget, mustHold } from "../target.ts";

const fleet = new TestFleet();
const SIGNERS = [...fleet.owners, fleet.admission, fleet.publisher, fleet.security, fleet.registrar];
const HOUR_MS = 3_600_000;

const documents: FuzzTarget = {
  name: "documents",
  covers: ["src/identity/document.ts#openEnvelope", "src/identity/document.ts#parseBody"],
  grammar: "json",
  seeds: bodies,
  refuses: ["identity.document", "core.json", "identity.kind", "core.dsse"],
  prepare: () => (input) => {
    const kind = kindIn(input);
    const body = parseBody(kind, input);
    const opened = openEnvelope(signPayload(kind, input, testKey(1)));
    mustHold(opened.kind === body.kind, "the kind of an envelope is not that of its body");
    return kind;
  },
};

const documentStore: FuzzTarget = {
  name: "document-store",
  covers: ["src/identity/document-store.ts#DocumentStore", "src/identity/state-database.ts#openStateDatabase"],
  grammar: "json",
  seeds: bodies,
  refuses: ["identity.document", "core.json"],
  // Each body is signed by everybody who may sign anything, so that only what it says can be refused.
  prepare: () => {
    let store = fleet.seededStore();
    let count = 0;
    return (input) => {
      if (++count % 500 === 0) store = fleet.seededStore();
      const kind = kindIn(input);
      const signed = signPayload(kind, input, ...SIGNERS);
      const before = Buffer.from(store.digest()).toString("hex");
      const verdict = store.submit(signed, NOW_MS);
      const changed = Buffer.from(store.digest()).toString("hex") !== before;
      mustHold(verdict.outcome === "accepted" || !changed, "a refused document changed what is kept");
      const { outcome } = store.submit(input, NOW_MS); // not even an envelope
      mustHold(outcome === "refused", "what is no envelope was taken");
      return `${kind} ${verdict.outcome}`;
    };
  },
};

/** One body of each kind. */
function bodies(): Uint8Array[] {
  const node = nodeIdOf(testKey(50).publicKey);
  const selector = "site=berlin,gpu,!spare";
  return [
    openEnvelope(fleet.charter).envelope.payload,
    ...fleet.foundation().map((bytes) => openEnvelope(bytes).envelope.payload),
    fleet.payload("ClaimList", "line-1", { rows: [{ serial: "SN-1", labels: { a: "b" } }] }),
    fleet.payload("Batch", "open", { max: 3, cidrs: ["10.0.0.0/8"], ratePerMinute: 5 }),
    fleet.payload("Revocation", "fleet", { nodes: [{ node, generation: 1 }], registrars: [] }),
    fleet.payload("Artifact", "model:v1", ARTIFACT_SPEC),
    fleet.payload("Placement", "model:v1", { artifact: "model:v1", selector }),
    fleet.payload("Topology", "main", {
      links: [
        { from: "cam", to: "*", cost: 50, oneWay: true },
        { from: selector, to: "hub", prefer: 40 },
        { from: "site=rome", to: "site=berlin", forbid: true },
      ],
      transit: [{ node: "site=rome", carry: false }],
    }),
    fleet.payload("Tombstone", "artifact.model", { target: { kind: "Artifact", name: "model:v1" }, version: 1 }),
    fleet.payload(
      "Member",
      "sn-1",
      {
        node,
        publicKey: base64(testKey(50).publicKey),
        sealingKey: base64(new Uint8Array(32).fill(9)),
        site: "berlin",
        roles: [],
        generation: 1,
        registrar: "ab".repeat(32),
        evidence: "claim",
      },
      { expiresMs: NOW_MS + HOUR_MS },
    ),
  ];
}

/** The kind that a body names; some kind, when it names none. */
function kindIn(body: Uint8Array): Kind {
  const named = /"kind":"(?<kind>[A-Za-z]+)"/u.exec(Buffer.from(body).toString("latin1"))?.groups?.["kind"] ?? "";
  return isKind(named) ? named : "Artifact";
}

export const DOCUMENT_TARGETS: readonly FuzzTarget[] = [documents, documentStore];
