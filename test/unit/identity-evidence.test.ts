import assert from "node:assert/strict";
import type { SignedDocument } from "../../src/identity/document.ts";
import {
  DORMANT_MS,
  type Evidence,
  type EvidenceVerdict,
  type EvidenceView,
  type FormerMember,
  type JoinRequest,
  judgeEvidence,
} from "../../src/identity/evidence.ts";
import type { ClaimRow } from "../../src/identity/claims-csv.ts";
import { memberName, renewalDueMs } from "../../src/identity/member.ts";
import { type Claim, indexEvidence, type OpenBatch, type PassClaim } from "../../src/identity/evidence-index.ts";
import { base64, NOW_MS, TestFleet, testKey } from "../support/fleet.ts";

const KEY = "aa".repeat(32);
const OTHER = "bb".repeat(32);
const HOUR_MS = 3_600_000;

const HERE = "registrar-here";
const THERE = "registrar-there";
const PASS = "dd".repeat(32);

type Given = {
  rows?: (ClaimRow & { evidence?: "claim" | "approve"; expiresMs?: number })[];
  accepts?: Evidence[];
  holders?: Record<string, string>;
  batch?: { max: number; cidrs?: string[]; ratePerMinute?: number; expiresMs?: number };
  uses?: { total: number; recent: number; hasKey: boolean };
  former?: FormerMember;
  pass?: { expiresMs?: number };
  passHolder?: string;
  quarantined?: boolean;
  home?: string;
};

function view({
  rows = [],
  accepts = ["claim", "approve", "batch", "pass"],
  holders = {},
  batch,
  uses,
  former,
  pass,
  passHolder,
  quarantined = false,
  home = HERE,
}: Given): EvidenceView {
  const claims: Claim[] = rows.map(({ evidence = "claim", expiresMs = NOW_MS + HOUR_MS, ...row }) => {
    return { list: "ClaimList/default/l", evidence, row, tenant: row.tenant ?? "default", expiresMs, home };
  });
  const passes: PassClaim[] =
    pass === undefined
      ? []
      : [
          {
            name: "p",
            hash: PASS,
            tenant: "default",
            site: "oslo",
            labels: {},
            expiresMs: NOW_MS + HOUR_MS,
            home,
            ...pass,
          },
        ];
  return {
    accepts,
    index: {
      byKey: (key) => claims.filter(({ row }) => row.key === key),
      bySerial: (serial) => claims.filter(({ row }) => row.serial === serial),
      byPass: (hash) => passes.find((claim) => claim.hash === hash),
      batches: batch === undefined ? [] : [openBatch(batchDocument(batch), home)],
    },
    uses: {
      claimHolder: (serial) => holders[serial],
      passHolder: () => passHolder,
      batchUses: () => uses ?? { total: 0, recent: 0, hasKey: false },
    },
    former,
    quarantined,
    self: HERE,
    nowMs: NOW_MS,
  };
}

function openBatch(document: SignedDocument<"Batch">, home: string): OpenBatch {
  return { document, tenant: document.body.metadata.tenant, expiresMs: Date.parse(document.body.expires), home };
}

function batchDocument({
  max,
  cidrs = [],
  ratePerMinute,
  expiresMs = NOW_MS + HOUR_MS,
}: NonNullable<Given["batch"]>): SignedDocument<"Batch"> {
  const fleet = new TestFleet();
  const spec = { max, cidrs, site: "berlin", ...(ratePerMinute === undefined ? {} : { ratePerMinute }) };
  const store = fleet.seededStore();
  const bytes = fleet.sign("Batch", "b", spec, [fleet.admission], { expiresMs, nowMs: NOW_MS - 2 * HOUR_MS });
  const verdict = store.submit(bytes, NOW_MS - 2 * HOUR_MS);
  assert.equal(verdict.outcome, "accepted");
  const [document] = store.list("Batch");
  assert.ok(document !== undefined);
  return document;
}

function judge(given: Given, request: Partial<JoinRequest> = {}): EvidenceVerdict {
  return judgeEvidence({ keyHash: KEY, labels: {}, remoteIp: "10.0.0.5", ...request }, view(given));
}
function code(verdict: EvidenceVerdict): string {
  if (verdict.outcome === "granted") return `granted by ${verdict.evidence}`;
  return verdict.outcome === "elsewhere" ? `elsewhere ${verdict.home}` : `${verdict.outcome} ${verdict.code}`;
}
const FORMER: FormerMember = {
  tenant: "acme",
  site: "oslo",
  labels: { rack: "r1" },
  serial: "SN-1",
  evidence: "batch",
  expiresMs: NOW_MS - HOUR_MS,
};

describe("evidence for joining", () => {
  const serial = "SN-1";
  const cases: [string, string, Given, Partial<JoinRequest>?][] = [
    [
      "grants the key that a claim names, whatever serial it shows",
      "granted by claim",
      { rows: [{ serial, key: KEY }] },
      { serial: "SN-2" },
    ],
    ["grants an approved key", "granted by approve", { rows: [{ serial, key: KEY, evidence: "approve" }] }],
    ["grants the first key that comes with a claimed serial", "granted by claim", { rows: [{ serial }] }, { serial }],
    [
      "grants the key that took the serial up, again",
      "granted by claim",
      { rows: [{ serial }], holders: { [serial]: KEY } },
      { serial },
    ],
    [
      "quarantines a second key with a serial",
      "denied identity.claim-taken",
      { rows: [{ serial }], holders: { [serial]: OTHER } },
      { serial },
    ],
    [
      "denies another key than the claim names",
      "denied identity.claim-other-key",
      { rows: [{ serial, key: OTHER }] },
      { serial },
    ],
    [
      "lets no open batch help a stolen serial",
      "denied identity.claim-taken",
      { rows: [{ serial }], holders: { [serial]: OTHER }, batch: { max: 9 } },
      { serial },
    ],
    [
      "lets an approval of the new key settle a stolen serial",
      "granted by approve",
      { rows: [{ serial }, { serial: "n-x", key: KEY, evidence: "approve" }], holders: { [serial]: OTHER } },
      { serial },
    ],
    [
      "denies a taken serial although its claim has expired and a batch is open",
      "denied identity.claim-taken",
      { rows: [{ serial, expiresMs: NOW_MS }], holders: { [serial]: OTHER }, batch: { max: 9 } },
      { serial },
    ],
    [
      "lets an expired claim wait for approval",
      "pending identity.claim-expired",
      { rows: [{ serial, expiresMs: NOW_MS }] },
      { serial },
    ],
    [
      "denies an expired claim where nobody can approve",
      "denied identity.claim-expired",
      { rows: [{ serial, expiresMs: NOW_MS }], accepts: ["claim"] },
      { serial },
    ],
    ["lets an unclaimed serial wait for approval", "pending identity.unclaimed", {}, { serial }],
    [
      "denies an unclaimed serial where nobody can approve",
      "denied identity.unclaimed",
      { accepts: ["claim"] },
      { serial },
    ],
    [
      "knows no claims where the charter does not",
      "denied identity.unclaimed",
      { rows: [{ serial }], accepts: [] },
      { serial: "SN-9" },
    ],
    [
      "does not take a claim up that the charter does not accept",
      "pending identity.unclaimed",
      { rows: [{ serial }], accepts: ["approve"] },
      { serial },
    ],
    ["admits by an open batch", "granted by batch", { batch: { max: 1 } }],
    [
      "denies the device after the last of a batch",
      "denied identity.batch-full",
      { accepts: ["batch"], batch: { max: 2 }, uses: { total: 2, recent: 0, hasKey: false } },
    ],
    [
      "counts a key of a batch once",
      "granted by batch",
      { batch: { max: 2 }, uses: { total: 2, recent: 2, hasKey: true } },
    ],
    ["closes a batch by max 0", "denied identity.batch-closed", { accepts: ["batch"], batch: { max: 0 } }],
    [
      "ends a batch at its time",
      "denied identity.batch-closed",
      { accepts: ["batch"], batch: { max: 5, expiresMs: NOW_MS } },
    ],
    [
      "holds a batch to its addresses",
      "denied identity.batch-address",
      { accepts: ["batch"], batch: { max: 5, cidrs: ["192.168.0.0/16"] } },
    ],
    [
      "reads an IPv4-mapped address as IPv4",
      "granted by batch",
      { batch: { max: 5, cidrs: ["10.0.0.0/8"] } },
      { remoteIp: "::ffff:10.0.0.5" },
    ],
    [
      "holds a batch to its rate",
      "denied identity.batch-rate",
      { accepts: ["batch"], batch: { max: 50, ratePerMinute: 5 }, uses: { total: 9, recent: 5, hasKey: false } },
    ],
    ["keeps a member that came by a batch that is gone", "granted by batch", { former: FORMER }],
    [
      "keeps a member although it now shows a stolen serial",
      "granted by batch",
      { former: FORMER, rows: [{ serial: "SN-2" }], holders: { "SN-2": OTHER } },
      { serial: "SN-2" },
    ],
    [
      "forgets a member after 90 days",
      "pending identity.unclaimed",
      { former: { ...FORMER, expiresMs: NOW_MS - DORMANT_MS } },
    ],
    ["grants an unused pass", "granted by pass", { pass: {} }, { pass: PASS }],
    ["grants the key that used the pass up, again", "granted by pass", { pass: {}, passHolder: KEY }, { pass: PASS }],
    [
      "grants that key also after the pass has ended, and away from its home",
      "granted by pass",
      { pass: { expiresMs: NOW_MS - 1 }, passHolder: KEY, home: THERE },
      { pass: PASS },
    ],
    [
      "denies a used pass, also while a batch is open",
      "denied identity.pass-taken",
      { pass: {}, passHolder: OTHER, batch: { max: 5 } },
      { pass: PASS },
    ],
    ["lets an ended pass wait", "pending identity.pass-expired", { pass: { expiresMs: NOW_MS } }, { pass: PASS }],
    ["lets an unknown pass wait", "pending identity.pass-unknown", {}, { pass: PASS }],
    [
      "denies an unknown pass where nobody may approve",
      "denied identity.pass-unknown",
      { accepts: ["pass"] },
      { pass: PASS },
    ],
    [
      "takes no pass where the charter knows none",
      "pending identity.pass-not-accepted",
      { accepts: ["claim", "approve"], pass: {} },
      { pass: PASS },
    ],
    ["counts a pass only when it is shown", "pending identity.unclaimed", { pass: {} }],
    [
      "does not lend a serial that another took up to who has a pass",
      "denied identity.claim-taken",
      { pass: {}, rows: [{ serial }], holders: { [serial]: OTHER } },
      { pass: PASS, serial },
    ],
    ["sends a pass home", `elsewhere ${THERE}`, { pass: {}, home: THERE }, { pass: PASS }],
    ["sends a serial home", `elsewhere ${THERE}`, { rows: [{ serial }], home: THERE }, { serial }],
    ["sends who comes by a batch home", `elsewhere ${THERE}`, { batch: { max: 5 }, home: THERE }],
    [
      "does not send on who comes from elsewhere than the batch says",
      "pending identity.batch-address",
      { batch: { max: 5, cidrs: ["192.168.0.0/16"] }, home: THERE },
    ],
    [
      "grants a claim of the key wherever its home is",
      "granted by claim",
      { rows: [{ serial, key: KEY }], home: THERE },
    ],
    ["renews a member wherever its evidence has its home", "granted by batch", { former: FORMER, home: THERE }],
    [
      "lets a quarantined key in by no batch",
      "denied identity.claim-quarantined",
      { quarantined: true, batch: { max: 5 } },
    ],
    [
      "lets a quarantined key in by no other serial",
      "denied identity.claim-quarantined",
      { quarantined: true, rows: [{ serial }] },
      { serial },
    ],
    [
      "lets a quarantined key in once somebody approved it",
      "granted by approve",
      { quarantined: true, rows: [{ serial, key: KEY, evidence: "approve" }] },
    ],
  ];
  for (const [behaviour, expected, given, request] of cases) {
    it(behaviour, () => assert.equal(code(judge(given, request)), expected));
  }

  it("names the batch that nearly let a device in, whatever the order", () => {
    const batches = [{ max: 0 }, { max: 5 }, { max: 9, cidrs: ["192.168.0.0/16"] }].map(batchDocument);
    const uses: EvidenceView["uses"] = {
      claimHolder: () => undefined,
      passHolder: () => undefined,
      batchUses: () => ({ total: 5, recent: 0, hasKey: false }),
    };
    for (const order of [batches, batches.toReversed()]) {
      const { index, ...rest } = view({ accepts: ["batch"] });
      const given = { ...rest, index: { ...index, batches: order.map((batch) => openBatch(batch, HERE)) }, uses };
      assert.equal(
        code(judgeEvidence({ keyHash: KEY, labels: {}, remoteIp: "10.0.0.5" }, given)),
        "denied identity.batch-full",
      );
    }
  });

  it("lets the claim outweigh what the device says of itself", () => {
    const rows = [{ serial: "SN-1", site: "berlin", tenant: "acme", labels: { rack: "r1" } }];
    const verdict = judge({ rows }, { serial: "SN-1", site: "paris", labels: { rack: "r9", fan: "2" } });
    assert.ok(verdict.outcome === "granted");
    assert.deepEqual([verdict.site, verdict.tenant, verdict.labels], ["berlin", "acme", { rack: "r1", fan: "2" }]);
  });

  it("drops what the device asked for before a document has too many labels", () => {
    const labels = (prefix: string, count: number): Record<string, string> =>
      Object.fromEntries(Array.from({ length: count }, (_, i) => [`${prefix}${i}`, "x"]));
    const verdict = judge(
      { rows: [{ serial: "SN-1", labels: labels("signed", 31) }] },
      { serial: "SN-1", labels: labels("asked", 32) },
    );
    assert.ok(verdict.outcome === "granted");
    assert.deepEqual(Object.keys(verdict.labels), [...Object.keys(labels("signed", 31)), "asked0"]);
  });

  it("counts a row for another tenant only if its signers may admit there", () => {
    const fleet = new TestFleet();
    const store = fleet.seededStore();
    const local = testKey(33);
    store.submit(
      fleet.sign("Operator", "loc", { publicKey: base64(local.publicKey), roles: ["admission"], tenant: "acme" }, [
        fleet.owners[0],
        fleet.owners[1],
      ]),
      NOW_MS,
    );
    const rows = [{ serial: "SN-1" }, { serial: "SN-2", tenant: "other" }];
    assert.equal(
      store.submit(fleet.sign("ClaimList", "c", { rows }, [local], { tenant: "acme" }), NOW_MS).outcome,
      "accepted",
    );
    const claims = indexEvidence(store, []);
    assert.deepEqual(
      claims.bySerial("SN-1").map(({ tenant }) => tenant),
      ["acme"],
    );
    assert.deepEqual(claims.bySerial("SN-2"), []);
    store.submit(
      fleet.sign("ClaimList", "d", { rows: [{ serial: "SN-3", tenant: "other" }] }, [fleet.admission]),
      NOW_MS,
    );
    assert.equal(indexEvidence(store, []).bySerial("SN-3")[0]?.tenant, "other");
  });
});

const isFree = (): boolean => false;

describe("member", () => {
  const key = testKey(5).publicKey;

  it("is named after its serial, fit for DNS, else after its key", () => {
    assert.equal(memberName("SN_12/a.B", key, isFree), "sn-12-a-b");
    assert.equal(memberName("-x-", key, isFree), "x");
    for (const serial of [undefined, "***", ""]) assert.match(memberName(serial, key, isFree), /^n-[a-z2-7]{10}$/u);
    assert.ok(memberName("s".repeat(128), key, (name) => name.length === 48).length <= 63);
  });

  it("gets a suffix of its key when another has the name", () => {
    const name = memberName("cam", key, (taken) => taken === "cam");
    assert.match(name, /^cam-[a-z2-7]{6}$/u);
    assert.match(
      memberName("cam", key, (taken) => taken === "cam" || taken === name),
      /^cam-[0-9a-f]{12}$/u,
    );
    assert.match(
      memberName(undefined, key, (taken) => taken.length === 12),
      /^n-[a-z2-7]{10}-[0-9a-f]{12}$/u,
    );
  });

  it("renews at two thirds of its life, spread over a fifth of it", () => {
    const due = [0, 0.5, 1].map((unit) => Math.round(renewalDueMs(1_000, 301_000, unit)));
    assert.deepEqual(due, [171_000, 201_000, 231_000]);
  });
});
