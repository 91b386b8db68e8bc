import type { ResourceName } from "#api";
import { Fault } from "#core";

/** Something that `get`, `describe` and `delete` know. */
export type KindName = {
  plural: string;
  singular: string;
  short: readonly string[];
  resource: ResourceName;
  /** For a kind of signed document: the name in its `kind`; it is listed out of the documents. */
  document?: string;
};

const resource = (resource: ResourceName, singular: string, ...short: string[]): KindName => ({
  plural: resource,
  singular,
  short,
  resource,
});
const document = (kind: string, plural: string, ...short: string[]): KindName => ({
  plural,
  singular: kind.toLowerCase(),
  short,
  resource: "documents",
  document: kind,
});

/** Everything that can be listed, in the order in which errors name it. */
export const KIND_NAMES: readonly KindName[] = [
  resource("nodes", "node", "no"),
  resource("links", "link", "li"),
  resource("routes", "route", "ro"),
  resource("circuits", "circuit", "ci"),
  resource("services", "service", "svc"),
  { ...resource("artifacts", "artifact", "art"), document: "Artifact" },
  resource("tokens", "token", "tok"),
  resource("documents", "document", "doc", "docs"),
  resource("events", "event", "ev"),
  resource("pending", "pending"),
  document("Charter", "charters", "ch"),
  document("Operator", "operators", "op"),
  document("Registrar", "registrars", "reg"),
  document("Member", "members", "mem"),
  document("ClaimList", "claimlists", "claims", "claim", "cl"),
  document("Batch", "batches", "ba"),
  document("Pass", "passes"),
  document("Revocation", "revocations", "rev"),
  document("Placement", "placements", "pl"),
  document("Topology", "topologies", "topo"),
  document("Tombstone", "tombstones"),
  document("TimeReset", "timeresets"),
];

/** The kind that a word means: plural, singular or short, in any case. Throws Fault `cli.kind` (exit `invalid`). */
export function kindNamed(word: string): KindName {
  const wanted = word.toLowerCase();
  const found = KIND_NAMES.find(
    ({ plural, singular, short }) => plural === wanted || singular === wanted || short.includes(wanted),
  );
  if (found !== undefined) return found;
  throw new Fault("cli.kind", `there is no kind "${word.slice(0, 40)}"`, {
    exit: "invalid",
    fix: `Kinds: ${KIND_NAMES.map(({ plural }) => plural).join(", ")}.`,
  });
}
