import { z } from "zod";
import { MIN_RATE_BPS } from "./rate.ts";
import { LimitsNow, NeedsView, RateChange, Rates, SourceView } from "./views.ts";

const Time = z.string();
const Bytes = z.number().int().nonnegative();

/** Longest path that a request may name (Linux PATH_MAX). */
export const MAX_PATH_CHARS = 4_096;
/** Largest request body in bytes; a claim list of 10,000 rows is about 2 MiB, and twice that in base64 and JSON. */
export const MAX_BODY_BYTES = 8 * 1024 * 1024;

/** Limits are set by hand for a year at most, or until they are taken back. */
const MAX_SET_SECONDS = 366 * 86_400;

/** Names of fleets, sites, operators, tenants, nodes: DNS names of at most 63 characters, as the documents have them. */
export const Name = z
  .string()
  .max(63, "a name has at most 63 characters")
  .regex(
    /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/u,
    "lower-case letters, digits, - and . only",
  );

/** NAME or NAME:VERSION, as images have it. */
export const ArtifactName = z
  .string()
  .max(128, "an artifact name has at most 128 characters")
  .regex(
    /^[a-z0-9]+([._-][a-z0-9]+)*(:[A-Za-z0-9_][A-Za-z0-9._-]{0,63})?$/u,
    "lower-case letters, digits, . _ - and an optional :VERSION",
  );

/** The daemon has a working directory of its own, so a relative path would mean something else there. */
const AbsolutePath = z.string().max(MAX_PATH_CHARS).startsWith("/", "an absolute path");

/** Labels of a document: at most 32, keys and values of at most 63 characters. */
export const Labels = z
  .record(z.string().max(63), z.string().max(63))
  .refine((labels) => Object.keys(labels).length <= 32, "at most 32 labels");

/** A node as it sees itself. */
export const Status = z.object({
  name: z.string(),
  nodeId: z.string(),
  site: z.string(),
  /** hex; absent before `fleet create` or a join. */
  fleet: z.string().optional(),
  fleetName: z.string().optional(),
  /** `forming`: the charter still lacks signatures. `offline`: no daemon runs, the data directory answered by itself. */
  state: z.enum(["no-fleet", "forming", "joining", "pending", "refused", "member", "registrar"]),
  offline: z.boolean(),
  /** What stands in the way of joining: cause and next command. */
  join: z.object({ code: z.string(), reason: z.string(), next: z.string() }).optional(),
  version: z.string(),
  pid: z.number().int(),
  uptimeSeconds: z.number(),
  data: z.string(),
  addresses: z.array(z.string()),
  links: z.number().int(),
  nodes: z.number().int(),
  documents: z.object({ count: z.number().int(), digest: z.string() }),
  charterVersion: z.number().int(),
  memberExpires: Time.optional(),
  /** The membership has ended and was not revoked: neighbours without a registrar go by it still. */
  autonomous: z.boolean(),
  /** For how long no registrar was heard, at most since the start; absent while one is, and on a node that is no member. */
  cutOffSeconds: z.number().int().optional(),
  /** What this node takes the time for, and whether a registrar has confirmed it since the start. */
  time: z.object({ now: Time, confirmed: z.boolean() }),
  store: z.object({
    /** Content in the store's own files. */
    usedBytes: Bytes,
    /** Still to come of what is on its way. */
    dueBytes: Bytes,
    /** What the store may hold: its quota, or less where the disk does not have that much. */
    limitBytes: Bytes,
    limitedBy: z.enum(["quota", "disk"]),
    /** On its disk. */
    freeBytes: Bytes,
    artifacts: z.number().int(),
    pinned: z.number().int(),
  }),
  /** Absent where no daemon runs. */
  limits: LimitsNow.optional(),
  warnings: z.array(z.string()),
});

/** What an operator needs to claim or approve this node. */
export const Identity = z.object({
  name: z.string(),
  node: z.string(),
  peerId: z.string(),
  publicKey: z.string(),
  keyHash: z.string(),
  serial: z.string().optional(),
  /** Needs a fleet: the words depend on it. */
  words: z.array(z.string()).optional(),
  fleet: z.string().optional(),
});

/** One thing that `doctor` looked at. */
export const Finding = z.object({
  level: z.enum(["ok", "info", "warn", "error"]),
  /** What was looked at, e.g. `clock`, `listen`, `registrar`. */
  subject: z.string(),
  cause: z.string(),
  next: z.string().optional(),
});

/** A body for the caller to check and sign: private keys stay with the caller. */
export const Draft = z.object({
  id: z.string(),
  payloadType: z.string(),
  /** base64 of the body: the bytes to sign. */
  payload: z.string(),
  needs: NeedsView,
});

/** What became of an envelope that was handed in and not refused. */
export const Verdict = z.object({
  id: z.string(),
  version: z.number().int(),
  digest: z.string(),
  /** `known`: this very version was there before. */
  status: z.enum(["accepted", "pending", "known"]),
  needs: NeedsView,
  missing: z.array(z.object({ keyid: z.string(), name: z.string() })),
});

/** An owner's name and base64 Ed25519 public key. */
export const OwnerKey = z.strictObject({ name: Name, publicKey: z.string() });

/** A charter to draft. */
export const CreateFleet = z.strictObject({
  name: Name,
  owners: z.array(OwnerKey).min(1).max(16),
  threshold: z.number().int().min(1).max(16),
  /** All keys lie on this machine; `doctor` goes on saying so. */
  demo: z.boolean().default(false),
  site: Name.optional(),
});

/** A document to draft: the daemon fills in fleet, version and times. */
export const NewDraft = z.strictObject({
  kind: z.string().max(40),
  name: z.string().max(256),
  tenant: Name.optional(),
  labels: Labels.default({}),
  spec: z.record(z.string(), z.unknown()),
  /** Default: the kind's usual lifetime. */
  expires: Time.optional(),
});

/** A file or folder to take into the store. */
export const Publish = z.strictObject({
  path: AbsolutePath,
  name: ArtifactName,
  tenant: Name.optional(),
  labels: Labels.default({}),
  mediaType: z.string().max(200).optional(),
  inPlace: z.boolean().default(false),
});

/** How far reading it is. */
/** A torrent to take in, as an artifact. */
export const PublishTorrent = Publish.omit({ path: true, inPlace: true }).extend({
  /** The path of a .torrent file, or a magnet link. */
  source: z
    .string()
    .max(16 * 1024)
    .refine((text) => /^(\/|magnet:)/u.test(text), "an absolute path or a magnet link"),
  /** BitTorrent peers to ask first, as `host:port`. */
  peers: z.array(z.string().max(64)).max(32).default([]),
});

export const PublishTorrentProgress = z.object({
  phase: z.enum(["looking", "fetching", "checking"]),
  bytes: Bytes,
  sizeBytes: Bytes,
  /** BitTorrent peers that are connected. */
  peers: z.number().int(),
});

export const ExportTorrent = z.strictObject({
  /** Where to write the .torrent file. */
  output: AbsolutePath,
  /** Replace what is at `output`. */
  force: z.boolean().default(false),
  /** URLs of trackers to name in it. */
  trackers: z.array(z.string().max(1_024)).max(16).default([]),
  /** Where to listen for BitTorrent clients; the job then goes on until it is cancelled. */
  seed: z.strictObject({ host: z.union([z.ipv4(), z.ipv6()]), port: z.int().min(0).max(65_535) }).optional(),
});

export const ExportTorrentProgress = z.object({
  phase: z.enum(["bringing", "hashing", "seeding"]),
  bytes: Bytes,
  sizeBytes: Bytes,
  /** While seeding: BitTorrent clients that are connected, and the port that they come to. */
  peers: z.number().int().optional(),
  port: z.number().int().optional(),
  magnet: z.string().optional(),
});

export const ExportedTorrent = z.object({ infoHash: z.string(), magnet: z.string(), output: z.string() });

export const PublishProgress = z.object({ phase: z.enum(["reading", "storing"]), bytes: Bytes, sizeBytes: Bytes });

/** What was taken in, and the Artifact document to sign. */
export const Published = z.object({ draft: Draft, root: z.string(), sizeBytes: Bytes, files: z.number().int() });

/** Where an artifact shall go. */
export const Fetch = z.strictObject({
  /** Where to write it; without it the artifact only comes to the store. */
  output: AbsolutePath.optional(),
  /** Replace what is at `output`. */
  force: z.boolean().default(false),
  /** Share the bytes of large files with the store instead of copying them; where blocks cannot be shared, by hard links to read-only files. */
  link: z.boolean().default(false),
  /** Nobody waits for it: it gives way to what somebody waits for. */
  background: z.boolean().default(false),
});

/** How far it is; `bytesFrom…` count payload by where it came from, `sources` the nodes that send. */
export const FetchProgress = z.object({
  state: z.enum(["searching", "transferring", "writing"]),
  bytes: Bytes,
  sizeBytes: Bytes,
  bytesFromSite: Bytes,
  bytesFromWan: Bytes,
  sources: z.number().int(),
});

/** What came, from where, how fast. */
export const Fetched = z.object({
  name: z.string(),
  root: z.string(),
  bytes: Bytes,
  /** hex SHA-256 of a single file; absent for a directory. */
  sha256: z.string().optional(),
  output: z.string().optional(),
  bytesFromSite: Bytes,
  bytesFromWan: Bytes,
  sources: z.array(SourceView),
  startedAt: Time,
  finishedAt: Time,
  seconds: z.number(),
});

/** Whether an artifact shall stay on this node. */
export const Pin = z.strictObject({ pinned: z.boolean() });

/** Limits, with what they come from. */
export const Limits = LimitsNow.extend({
  base: Rates,
  windows: z.array(z.object({ when: z.string(), change: RateChange })),
  set: z.object({ change: RateChange, until: Time.optional() }).optional(),
});

const Rate = z.number().int().min(MIN_RATE_BPS, `at least ${MIN_RATE_BPS} bytes per second`).nullable().optional();

/** Limits for now, before what the configuration says; what was set before counts no longer. */
export const SetLimits = z
  .strictObject({
    uploadBps: Rate,
    downloadBps: Rate,
    wanUploadBps: Rate,
    wanDownloadBps: Rate,
    /** Default: until they are taken back. */
    forSeconds: z.number().int().min(1).max(MAX_SET_SECONDS).optional(),
  })
  .refine(
    ({ uploadBps, downloadBps, wanUploadBps, wanDownloadBps }) =>
      [uploadBps, downloadBps, wanUploadBps, wanDownloadBps].some((rate) => rate !== undefined),
    "at least one rate",
  );

/** What pruning takes from the store. */
export const Prune = z.strictObject({
  /** Only say it. */
  dryRun: z.boolean().default(false),
});

/** What went, or would go, and why the rest stays. `bytes` of what goes is what that frees; blobs that something else needs stay. */
export const Pruned = z.object({
  removed: z.array(z.object({ name: z.string(), bytes: Bytes })),
  kept: z.array(z.object({ name: z.string(), reason: z.string() })),
  freedBytes: Bytes,
});

/** A failure as the API sends it; core's Fault without its stack. */
export const WireFault = z.object({
  code: z.string(),
  message: z.string(),
  fix: z.string().optional(),
  exit: z.enum(["internal", "invalid", "denied", "missing", "conflict", "timeout", "offline"]),
});

export type Status = z.output<typeof Status>;
export type Identity = z.output<typeof Identity>;
export type Finding = z.output<typeof Finding>;
export type Draft = z.output<typeof Draft>;
export type Verdict = z.output<typeof Verdict>;
export type PublishProgress = z.output<typeof PublishProgress>;
export type PublishTorrentProgress = z.output<typeof PublishTorrentProgress>;
export type ExportTorrentProgress = z.output<typeof ExportTorrentProgress>;
export type ExportedTorrent = z.output<typeof ExportedTorrent>;
export type Published = z.output<typeof Published>;
export type FetchProgress = z.output<typeof FetchProgress>;
export type Fetched = z.output<typeof Fetched>;
export type Limits = z.output<typeof Limits>;
export type Pruned = z.output<typeof Pruned>;
export type WireFault = z.output<typeof WireFault>;
