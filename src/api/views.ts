import { z } from "zod";

/**
 * What the control API shows of each resource. Every view has `name` (what a person types; unique in its list) and
 * `labels` (what `-l` selects by). Times are ISO 8601 UTC, sizes are bytes, rates bytes per second, lengths of time say
 * their unit in the name.
 */
export const Base = { name: z.string(), labels: z.record(z.string(), z.string()) };
const Time = z.string();
const Bytes = z.number().int().nonnegative();

/** A key that may sign, and whose it is as far as this node knows. */
export const SignerView = z.object({ keyid: z.string(), name: z.string() });

/** Limits in bytes per second of artifacts' content; absent: none. */
export const Rates = z.object({
  uploadBps: Bytes.optional(),
  downloadBps: Bytes.optional(),
  wanUploadBps: Bytes.optional(),
  wanDownloadBps: Bytes.optional(),
});

/** Rates that take the place of others: `null` lifts a limit, absent leaves it as it is. */
export const RateChange = z.object({
  uploadBps: Bytes.nullable().optional(),
  downloadBps: Bytes.nullable().optional(),
  wanUploadBps: Bytes.nullable().optional(),
  wanDownloadBps: Bytes.nullable().optional(),
});

/** The limits of the moment. */
export const LimitsNow = z.object({
  rates: Rates,
  /** Where they come from: the configuration, a window of it, or what was set by hand. */
  source: z.enum(["base", "window", "set"]),
  /** The window that holds now, as the configuration says it. */
  when: z.string().optional(),
  /** When the rates change next, and to what. */
  until: Time.optional(),
  next: Rates.optional(),
  /** IANA name of the zone that windows are read in. */
  timezone: z.string(),
});

/** Where a newcomer's key stands in the fleet, or this very node. */
export const NodeView = z.object({
  ...Base,
  nodeId: z.string(),
  keyHash: z.string(),
  /** What a revocation names beside the id. */
  generation: z.number().int().optional(),
  /**
   * `pending` asks to join and waits for an approval; `autonomous` is expired but not revoked; of one in `quarantine` two machines
   * were seen to use the key.
   */
  state: z.enum(["self", "connected", "known", "pending", "refused", "autonomous", "quarantine", "revoked"]),
  site: z.string(),
  tenant: z.string(),
  roles: z.array(z.string()),
  /** A newcomer whom only its registrar has told what is revoked; a second member confirms it. */
  provisional: z.boolean().optional(),
  serial: z.string().optional(),
  model: z.string().optional(),
  address: z.string().optional(),
  rttMs: z.number().optional(),
  /** The six words to compare, of a node that is pending. */
  words: z.array(z.string()).optional(),
  /** Why it is pending, refused or provisional. */
  reason: z.string().optional(),
  evidence: z.string().optional(),
  registrar: z.string().optional(),
  expires: Time.optional(),
  since: Time.optional(),
  /** Of this very node. */
  limits: LimitsNow.optional(),
});

/** What a link's cost is made of, besides 1 for the hop: round trip, loss, how busy it is, leaving the site, having come up lately, and what operators add or, below 0, take away. */
export const LinkTermsView = z.object({
  latency: z.number(),
  loss: z.number(),
  load: z.number(),
  money: z.number(),
  penalty: z.number(),
  admin: z.number(),
});

/** A live connection to another node, or, as A/B, the link from A to B as A tells of it. */
export const LinkView = z.object({
  ...Base,
  nodeId: z.string(),
  site: z.string(),
  /** Of this node's own links. */
  address: z.string().optional(),
  direction: z.enum(["in", "out"]).optional(),
  /** `forbidden`: by the topology; no way leads over it. */
  state: z.enum(["up", "suspect", "forbidden"]),
  rttMs: z.number().optional(),
  /** Share of probes that were lost, 0 to 1; absent where it cannot be measured. */
  lossRatio: z.number().optional(),
  /** How round trip and loss were measured: by UDP probes, or on the connection itself, which hides loss. */
  measuredBy: z.enum(["udp", "stream"]).optional(),
  /** Share of the last half minute, about, in which it was busy sending, 0 to 1; of this node's own links. */
  loadRatio: z.number().optional(),
  /** What a byte over this link costs against other links; absent while its probes go unanswered, or it is forbidden. Smaller is better. */
  cost: z.number().optional(),
  terms: LinkTermsView.optional(),
});

/**
 * One link of a path, in its direction, and what its cost is made of; nodes by name. With `inside` it is a way inside that site instead, whose links are
 * known only there: of it nothing but a cost is told, and of the last part of a path not even that.
 */
export const LegView = z.object({
  from: z.string(),
  to: z.string(),
  cost: z.number(),
  ...LinkTermsView.partial().shape,
  inside: z.string().optional(),
});

/** The cheapest way to another node. `name` is that node's. */
export const RouteView = z.object({
  ...Base,
  nodeId: z.string(),
  site: z.string(),
  cost: z.number(),
  /** Links on the way; 1 to a neighbour. */
  hops: z.number().int(),
  /** The neighbour that the way begins with. */
  via: z.string(),
});

/** A way, link by link, and the one to take when it fails: it shares as little with it as can be. */
export const RouteDetail = RouteView.extend({
  legs: z.array(LegView),
  backup: z.object({ cost: z.number(), legs: z.array(LegView) }).optional(),
});

/** A connection that others carry. `name` is the node at its other end; of one that this node carries, both ends, as in `cam/pump`. */
export const CircuitView = z.object({
  ...Base,
  nodeId: z.string(),
  /** What this node is to it. */
  role: z.enum(["source", "target", "gateway"]),
  /** `waiting`: its way broke, and there is no other yet. */
  state: z.enum(["up", "waiting"]),
  /** The gateways on its way, where they are known: at its source. At a gateway, the nodes before and behind. */
  via: z.array(z.string()).optional(),
  /** How often it went another way. */
  moves: z.number().int(),
  rttMs: z.number().optional(),
  bytesIn: Bytes,
  bytesOut: Bytes,
});

/** What one node has of one artifact. `bytesFrom…` count payload that came over the mesh. */
export const CopyView = z.object({
  node: z.string(),
  site: z.string(),
  state: z.enum(["waiting", "transferring", "complete", "failed", "unknown"]),
  /** Of one on its way to this very node: whether somebody waits for it, or it gives way to what somebody waits for. */
  precedence: z.enum(["foreground", "background"]).optional(),
  /** The placement asks this node to have it. */
  wanted: z.boolean(),
  bytes: Bytes,
  bytesFromSite: Bytes,
  bytesFromWan: Bytes,
  startedAt: Time.optional(),
  finishedAt: Time.optional(),
  reason: z.string().optional(),
});

/** Somebody who sent this node a part of an artifact. */
export const SourceView = z.object({ node: z.string(), site: z.string(), bytes: Bytes });

/** `name` is NAME or NAME:VERSION. `local` is this node's own copy. */
export const ArtifactView = z.object({
  ...Base,
  tenant: z.string(),
  mediaType: z.string(),
  sizeBytes: Bytes,
  files: z.number().int().nonnegative(),
  root: z.string(),
  local: CopyView,
  /** It stays on this node whatever room is needed. */
  pinned: z.boolean(),
  /** Nodes that are known to hold all of it, and nodes that should by the placements. */
  copies: z.number().int().nonnegative(),
  wanted: z.number().int().nonnegative(),
  createdAt: Time,
  expires: Time,
});

/** An artifact, with what is known of its copies everywhere. */
export const ArtifactDetail = ArtifactView.extend({
  chunkBytes: Bytes,
  publisher: SignerView,
  placements: z.array(z.object({ name: z.string(), selector: z.string() })),
  nodes: z.array(CopyView),
  /** Where this node's own copy came from. */
  sources: z.array(SourceView),
});

/** A signed document. `name` is its id `Kind/tenant/name`. */
export const DocumentView = z.object({
  ...Base,
  kind: z.string(),
  tenant: z.string(),
  documentName: z.string(),
  version: z.number().int(),
  digest: z.string(),
  signers: z.array(SignerView),
  notBefore: Time,
  expires: Time,
  state: z.enum(["valid", "expired", "future"]),
});

/** A signed document with its content. */
export const DocumentDetail = DocumentView.extend({
  /** The signed body, parsed. */
  body: z.record(z.string(), z.unknown()),
  /** The DSSE envelope as it is stored and sent. */
  envelope: z.string(),
});

/** What a document still needs before it counts. */
export const NeedsView = z.object({
  role: z.string(),
  count: z.number().int(),
  signers: z.array(SignerView),
});

/** A document that waits for signatures. It is a DSSE envelope with more members, so `sign -f` reads it as it stands. */
export const PendingView = z.object({
  ...Base,
  kind: z.string(),
  version: z.number().int(),
  digest: z.string(),
  needs: NeedsView,
  signed: z.array(SignerView),
  missing: z.array(SignerView),
  since: Time.optional(),
  payloadType: z.string(),
  /** base64 of the body: the bytes to sign. */
  payload: z.string(),
  signatures: z.array(z.object({ keyid: z.string(), sig: z.string() })),
});

/** A bootstrap token. It holds no secret; `opens` says what it lets in just now. */
export const TokenView = z.object({
  ...Base,
  token: z.string(),
  fleet: z.string(),
  rendezvous: z.array(z.string()),
  expires: Time.optional(),
  warnings: z.array(z.string()),
  /** Evidence that admits nodes without a further signature: unused claims and open batches. */
  opens: z.array(z.object({ document: z.string(), left: z.number().int(), until: Time })),
});

/** Something that happened. `name` is its number; numbers only grow. */
export const EventView = z.object({
  ...Base,
  time: Time,
  type: z.string(),
  subject: z.string(),
  actor: z.string().optional(),
  outcome: z.enum(["ok", "refused", "failed"]),
  message: z.string(),
});

export type LimitsNow = z.output<typeof LimitsNow>;
export type Rates = z.output<typeof Rates>;
export type RateChange = z.output<typeof RateChange>;
export type NodeView = z.output<typeof NodeView>;
export type LinkView = z.output<typeof LinkView>;
export type LegView = z.output<typeof LegView>;
export type RouteView = z.output<typeof RouteView>;
export type RouteDetail = z.output<typeof RouteDetail>;
export type CircuitView = z.output<typeof CircuitView>;
export type CopyView = z.output<typeof CopyView>;
export type SourceView = z.output<typeof SourceView>;
export type ArtifactView = z.output<typeof ArtifactView>;
export type ArtifactDetail = z.output<typeof ArtifactDetail>;
export type DocumentView = z.output<typeof DocumentView>;
export type DocumentDetail = z.output<typeof DocumentDetail>;
export type SignerView = z.output<typeof SignerView>;
export type NeedsView = z.output<typeof NeedsView>;
export type PendingView = z.output<typeof PendingView>;
export type TokenView = z.output<typeof TokenView>;
export type EventView = z.output<typeof EventView>;
