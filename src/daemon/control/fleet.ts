import type { Handlers, ResourceHandler, TokenView } from "#api";
import { Fault } from "#core";
import { bodyDigest, draftPayload, encodeToken, keyHash, type Spec, tokenWarnings } from "#identity";
import { revocationVersion } from "../admission.ts";
import { type NodeState, nodeName, requireFleet } from "../node-state.ts";
import { pendingView } from "./documents.ts";

/** Members that one registrar may admit unless the owners say otherwise. */
const DEFAULT_MAX_MEMBERS = 10_000;
/** Lifetime of a member document; renewed at two thirds. */
const DEFAULT_MEMBER_HOURS = 24;
/** Addresses in a token: enough for two registrars on two networks, and it still fits a small QR code. */
const MAX_TOKEN_ADDRESSES = 4;

/** Creating a fleet, and the token that leads others to it. */
export function fleetHandlers(
  state: NodeState,
  /** Addresses at which this node can be reached now, or could when it last ran. */
  addresses: () => string[],
): Pick<Handlers, "createFleet" | "token"> & { tokens: ResourceHandler<"tokens"> } {
  const token = (): TokenView => tokenView(state, addresses());
  return {
    createFleet: async (input) => createFleet(state, input),
    token: async () => {
      requireFleet(state);
      if (state.store.charter === undefined) throw forming();
      return token();
    },
    tokens: {
      list: async () => (state.store.charter === undefined ? [] : [token()]),
      get: async (name) => (state.store.charter?.body.metadata.name === name ? token() : undefined),
      onChange: (listener) => state.store.onAccepted(listener),
    },
  };
}

type CreateFleetInput = Parameters<Handlers["createFleet"]>[0];

async function createFleet(state: NodeState, input: CreateFleetInput): ReturnType<Handlers["createFleet"]> {
  const { store, data, settings } = state;
  if (store.fleet !== undefined) {
    throw new Fault("daemon.has-fleet", `this node belongs to fleet ${store.fleet.slice(0, 12)} already`, {
      exit: "conflict",
      fix: "Give another --data directory, or `portolan leave` first.",
    });
  }
  const nowMs = state.trustedMs();
  const charter = draftPayload({
    kind: "Charter",
    name: input.name,
    fleet: "",
    version: 1,
    nowMs,
    spec: {
      owners: input.owners,
      threshold: input.threshold,
      rules: {},
      join: { evidence: ["claim", "approve", "batch", "pass"] },
      rendezvous: [],
      memberHours: DEFAULT_MEMBER_HOURS,
    },
  });
  const fleet = bodyDigest(charter);
  const site = input.site ?? settings.get("site") ?? "site-1";
  settings.set("site", site);
  const registrar = draftPayload({
    kind: "Registrar",
    name: nodeName(state),
    fleet,
    version: 1,
    nowMs,
    spec: registrarSpec(state, site),
  });
  store.pinFleet(fleet);
  if (input.demo) settings.set("demo", "1");
  const pending = [store.addDraft("Charter", charter), store.addDraft("Registrar", registrar)];
  state.log.info("fleet drafted", { fleet, name: input.name, data: data.path });
  return { fleet, pending: pending.map(pendingView) };
}

/** The delegation that makes this very node a registrar, once the owners sign it. */
export function registrarSpec(state: NodeState, site: string): Spec<"Registrar"> {
  const { key } = state.data;
  return {
    node: key.nodeId,
    publicKey: Buffer.from(key.key.publicKey).toString("base64"),
    site,
    sealingKey: Buffer.from(key.sealingPublic).toString("base64"),
    maxMembers: DEFAULT_MAX_MEMBERS,
  };
}

function tokenView(state: NodeState, own: readonly string[]): TokenView {
  const { store } = state;
  const fleet = requireFleet(state);
  const { charter } = store;
  if (charter === undefined) throw forming();
  const { spec, metadata } = charter.body;
  const rendezvous = [...new Set([...spec.rendezvous, ...own])].slice(0, MAX_TOKEN_ADDRESSES);
  const content = {
    fleet,
    owners: spec.owners.map((owner) => keyHash(Buffer.from(owner.publicKey, "base64"))),
    rendezvous,
    minCharter: charter.body.version,
    minRevocation: revocationVersion(store),
  };
  const opens = openEvidence(state);
  return {
    name: metadata.name,
    labels: {},
    token: encodeToken(content),
    fleet,
    rendezvous,
    warnings: tokenWarnings(content),
    opens,
  };
}

function forming(): Fault {
  return new Fault("daemon.forming", "the fleet's charter still lacks signatures", {
    exit: "conflict",
    fix: "`portolan get pending` shows whose; they run `portolan sign`.",
  });
}

/** What lets a device in without a further signature, as far as this node can tell: claims and batches that are not used up. */
function openEvidence({ store, ledger }: NodeState): TokenView["opens"] {
  const claims = store.list("ClaimList").map(({ id, body }) => ({
    document: id,
    left: body.spec.rows.filter((row) => row.key === undefined && ledger.claimHolder(row.serial) === undefined).length,
    until: body.expires,
  }));
  const batches = store.list("Batch").map(({ id, body }) => ({
    document: id,
    left: Math.max(0, body.spec.max - ledger.batchUses(id, "", 0).total),
    until: body.expires,
  }));
  return [...claims, ...batches].filter(({ left }) => left > 0);
}
