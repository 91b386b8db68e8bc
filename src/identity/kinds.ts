import { z } from "zod";
import { isEd25519PublicKey } from "#core";
import { isCidr } from "./ip-range.ts";
import { isNodeId } from "./node-id.ts";
import { TOPOLOGY_NAME, topology } from "./topology-spec.ts";

/** What a key may be trusted to do. `owner` and `registrar` come from the charter and from Registrar documents, the others from Operator documents. */
export const ROLES = ["owner", "registrar", "admission", "publisher", "network", "security"] as const;
export type Role = (typeof ROLES)[number];
/** Roles that an Operator document can give to a person's key. */
export const OPERATOR_ROLES = ["admission", "publisher", "network", "security"] as const;

/** Evidence that a charter may accept for joining. */
export const EVIDENCE = ["claim", "approve", "batch", "pass"] as const;

const hex32 = z.string().regex(/^[0-9a-f]{64}$/u, "64 hex digits");
const base64Bytes = (length: number) =>
  z.string().refine((text) => {
    const bytes = Buffer.from(text, "base64");
    return bytes.length === length && bytes.toString("base64") === text;
  }, `canonical base64 of ${length} bytes`);
const publicKey = base64Bytes(32).refine(
  (text) => isEd25519PublicKey(Buffer.from(text, "base64")),
  "a usable Ed25519 public key",
);
const nodeId = z.string().refine(isNodeId, "a node id (12D3Koo…)");
/** ISO 8601 in UTC with milliseconds, the one form that `toISOString` writes. */
export const isoTime = z.string().refine((text) => {
  const ms = Date.parse(text);
  return Number.isFinite(ms) && new Date(ms).toISOString() === text;
}, "a time like 2026-01-31T12:00:00.000Z");

/** Names of nodes, sites, operators, fleets: a DNS label, or several joined by dots, at most 63 characters. */
export const dnsName = z
  .string()
  .max(63, "at most 63 characters")
  .regex(
    /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/u,
    "lower-case letters, digits, - and . only",
  );
/** Artifacts may carry a version after a colon, as images do. */
export const artifactName = z
  .string()
  .max(128, "at most 128 characters")
  .regex(
    /^[a-z0-9]+([._-][a-z0-9]+)*(:[A-Za-z0-9_][A-Za-z0-9._-]{0,63})?$/u,
    "lower-case letters, digits, . _ - and an optional :VERSION",
  );
/** Labels of one document. */
export const MAX_LABELS = 32;
export const labels = z
  .record(
    z.string().regex(/^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/u, "a label key"),
    z.string().regex(/^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/u, "a label value"),
  )
  .refine((all) => Object.keys(all).length <= MAX_LABELS, `at most ${MAX_LABELS} labels`);
const serial = z
  .string()
  .min(1)
  .max(128)
  .regex(/^[\x21-\x7e]+$/u, "printable ASCII without spaces");
const multiaddr = z.string().min(1).max(256).startsWith("/");
const count = z.int().min(0).max(1_000_000_000);

/** As many as one registrar may admit (`portolan registrar add --max-members`). */
const MAX_KEPT_MEMBERS = 10_000;

const rule = z.strictObject({ role: z.enum(ROLES), count: z.int().min(1).max(16) });

const charter = z
  .strictObject({
    owners: z
      .array(z.strictObject({ name: dnsName, publicKey }))
      .min(1)
      .max(16),
    threshold: z.int().min(1).max(16),
    rules: z.partialRecord(z.string(), rule),
    join: z.strictObject({ evidence: z.array(z.enum(EVIDENCE)).max(EVIDENCE.length) }),
    rendezvous: z.array(multiaddr).max(16),
    memberHours: z
      .number()
      .min(0.01)
      .max(24 * 366),
  })
  .refine((spec) => spec.threshold <= spec.owners.length, "threshold is over the number of owners")
  .refine(
    (spec) => new Set(spec.owners.map((o) => o.publicKey)).size === spec.owners.length,
    "an owner key stands twice",
  );

const operator = z.strictObject({
  publicKey,
  roles: z.array(z.enum(OPERATOR_ROLES)).min(1).max(OPERATOR_ROLES.length),
  /** The tenant this person acts in; `*` is all. */
  tenant: z.union([dnsName, z.literal("*")]),
});

const registrar = z.strictObject({
  node: nodeId,
  publicKey,
  site: dnsName,
  sealingKey: base64Bytes(32),
  maxMembers: count,
});

/** What a membership used up for good: a serial that was claimed without a key, a pass (hex SHA-256 of its public key), a place in a batch (document id). */
const evidenceUse = z.union([
  z.strictObject({ claim: serial }),
  z.strictObject({ pass: hex32 }),
  z.strictObject({ batch: z.string().min(1).max(200) }),
]);

/** The registrar that keeps what was used up of a document. Only in a fleet of one registrar it may be left out. */
const home = nodeId.optional();

const member = z.strictObject({
  node: nodeId,
  publicKey,
  site: dnsName,
  roles: z.array(z.enum(["gateway", "leaf"])).max(2),
  serial: serial.optional(),
  sealingKey: base64Bytes(32),
  generation: count,
  /** Key id of the registrar that admitted the node. */
  registrar: hex32,
  evidence: z.enum(EVIDENCE),
  used: evidenceUse.optional(),
});

const claimRow = z.strictObject({
  serial,
  model: z.string().max(128).optional(),
  /** Hex SHA-256 of the device's public key; without it the first key that comes with the serial is taken. */
  key: hex32.optional(),
  tenant: dnsName.optional(),
  site: dnsName.optional(),
  labels: labels.optional(),
  expires: isoTime.optional(),
});

/** Rows of one claim list. */
export const MAX_CLAIM_ROWS = 10_000;
const claimList = z
  .strictObject({ rows: z.array(claimRow).min(1).max(MAX_CLAIM_ROWS), home })
  .refine((spec) => new Set(spec.rows.map((row) => row.serial)).size === spec.rows.length, "a serial stands twice");

const batch = z.strictObject({
  /** Most devices that may join by it; 0 closes it. */
  max: z.int().min(0).max(100_000),
  cidrs: z.array(z.string().max(64).refine(isCidr, "a range like 10.1.0.0/16")).max(32),
  ratePerMinute: z.number().positive().max(100_000).optional(),
  site: dnsName.optional(),
  labels: labels.optional(),
  home,
});

const pass = z.strictObject({
  /** Public half of the Ed25519 key that the pass's secret gives, see pass.ts. */
  publicKey,
  site: dnsName.optional(),
  labels: labels.optional(),
  home,
});

const revocation = z.strictObject({
  /** Every generation up to and including this one is revoked. */
  nodes: z.array(z.strictObject({ node: nodeId, generation: count })).max(100_000),
  /** Registrar keys; members that they signed are refused too, but for those whose body digest is kept. */
  registrars: z.array(z.strictObject({ key: hex32, keepMembers: z.array(hex32).max(100_000) })).max(1_000),
});

const beacon = z.strictObject({
  time: isoTime,
  epoch: count,
  charter: count,
  revocation: count,
  /** What the asker sent, when somebody asked. */
  nonce: base64Bytes(16).optional(),
});

const timeReset = z.strictObject({
  /** It is at least this late, by the clock of who signed. */
  time: isoTime,
  /** What the fleet took the time for: a node whose time is earlier than that never ran ahead. */
  ahead: isoTime,
});

const artifact = z.strictObject({
  mediaType: z.string().min(1).max(128),
  sizeBytes: z.int().min(0),
  /** Number of files in it; 1 and `directory: false` for a single file. */
  files: z.int().min(0),
  directory: z.boolean(),
  /** The Merkle root of a file's content, or of a directory's listing, and the chunk size beside it. */
  root: z.string().regex(/^[0-9a-f]{64}$/u, "64 hex digits"),
  chunkBytes: z.int().min(1),
  /** How the rest of the content is found: see docs/spec/artifact.md. */
  content: z.record(z.string(), z.unknown()),
});

/** A label selector as people write it: `site=berlin,gpu,!spare`; empty selects every node. */
const selector = z.string().max(1_000);

const placement = z.strictObject({ artifact: artifactName, selector });

const tombstone = z.strictObject({
  target: z.strictObject({
    kind: z.enum(["Artifact", "Placement", "ClaimList", "Batch", "Pass", "Operator", "Registrar", "Topology"]),
    name: z.string().max(128),
  }),
  /** The highest version that is gone; a higher one brings the name back. */
  version: count,
  /** Of a registrar: body digests of the memberships that it signed and that stay good to their end. */
  keepMembers: z.array(hex32).max(MAX_KEPT_MEMBERS).optional(),
});

const KIB = 1024;
const YEAR_HOURS = 24 * 365;

type KindDefinition = {
  spec: z.ZodType;
  name: z.ZodType<string>;
  /** Largest body, in bytes; the envelope may be twice that. */
  maxBytes: number;
  /** Who may sign it in a new charter; `threshold` stands for the charter's own. */
  rule: { role: Role; count: number | "threshold" };
  /** Lifetime of a draft unless somebody says otherwise. */
  hours: number;
};

const define = <S extends z.ZodType>(definition: KindDefinition & { spec: S }) => definition;

/** Every kind of signed document: shape, size, who signs, how long it lives. */
export const KINDS = {
  Charter: define({
    spec: charter,
    name: dnsName,
    maxBytes: 64 * KIB,
    rule: { role: "owner", count: "threshold" },
    hours: 10 * YEAR_HOURS,
  }),
  Operator: define({
    spec: operator,
    name: dnsName,
    maxBytes: 8 * KIB,
    rule: { role: "owner", count: "threshold" },
    hours: 5 * YEAR_HOURS,
  }),
  Registrar: define({
    spec: registrar,
    name: dnsName,
    maxBytes: 8 * KIB,
    rule: { role: "owner", count: "threshold" },
    hours: 5 * YEAR_HOURS,
  }),
  Member: define({ spec: member, name: dnsName, maxBytes: 8 * KIB, rule: { role: "registrar", count: 1 }, hours: 24 }),
  ClaimList: define({
    spec: claimList,
    name: dnsName,
    maxBytes: 4 * KIB * KIB,
    rule: { role: "admission", count: 1 },
    hours: YEAR_HOURS,
  }),
  Batch: define({ spec: batch, name: dnsName, maxBytes: 16 * KIB, rule: { role: "admission", count: 1 }, hours: 24 }),
  Pass: define({ spec: pass, name: dnsName, maxBytes: 16 * KIB, rule: { role: "admission", count: 1 }, hours: 24 }),
  Revocation: define({
    spec: revocation,
    name: z.literal("fleet"),
    maxBytes: 4 * KIB * KIB,
    rule: { role: "security", count: 1 },
    hours: 10 * YEAR_HOURS,
  }),
  Beacon: define({ spec: beacon, name: dnsName, maxBytes: 2 * KIB, rule: { role: "registrar", count: 1 }, hours: 1 }),
  TimeReset: define({
    spec: timeReset,
    name: z.literal("fleet"),
    maxBytes: 4 * KIB,
    rule: { role: "owner", count: "threshold" },
    hours: 10 * YEAR_HOURS,
  }),
  Artifact: define({
    spec: artifact,
    name: artifactName,
    maxBytes: 64 * KIB,
    rule: { role: "publisher", count: 1 },
    hours: 10 * YEAR_HOURS,
  }),
  Placement: define({
    spec: placement,
    name: artifactName,
    maxBytes: 8 * KIB,
    rule: { role: "publisher", count: 1 },
    hours: 10 * YEAR_HOURS,
  }),
  Topology: define({
    spec: topology,
    name: z.literal(TOPOLOGY_NAME, `a fleet has one topology: its name is ${TOPOLOGY_NAME}`),
    maxBytes: 64 * KIB,
    rule: { role: "network", count: 1 },
    hours: 10 * YEAR_HOURS,
  }),
  Tombstone: define({
    spec: tombstone,
    name: z.string().max(200),
    maxBytes: KIB * KIB, // kept members have 67 bytes each
    rule: { role: "publisher", count: 1 },
    hours: 10 * YEAR_HOURS,
  }),
} as const satisfies Record<string, KindDefinition>;

export type Kind = keyof typeof KINDS;
export type Spec<K extends Kind> = z.infer<(typeof KINDS)[K]["spec"]>;

export const KIND_NAMES = Object.keys(KINDS) as Kind[];

/** Whether the text names a kind of document. */
export function isKind(text: string): text is Kind {
  return Object.hasOwn(KINDS, text);
}
