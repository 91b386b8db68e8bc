import assert from "node:assert/strict";
import { type ByteStream, Fault, faultCode, FrameStream, memoryStreamPair } from "#core";
import { type DeviceOutcome, runDeviceJoin } from "../../src/identity/join-device.ts";
import { FROM_REGISTRAR } from "../../src/identity/join-wire.ts";
import { Membership } from "../../src/identity/membership.ts";
import { keyHash, nodeIdOf } from "../../src/identity/node-id.ts";
import { NOW_MS, testKey } from "../support/fleet.ts";
import { JoinBench } from "../support/joining.ts";

const HOUR_MS = 3_600_000;
const fault = (code: string) => (error: unknown) => {
  assert.equal(faultCode(error), code, String(error));
  assert.ok(error instanceof Fault && error.fix !== undefined, "names what to do next");
  return true;
};

function member(outcome: DeviceOutcome): Extract<DeviceOutcome, { outcome: "member" }> {
  assert.ok(outcome.outcome === "member", JSON.stringify(outcome));
  return outcome;
}

function stopped(outcome: DeviceOutcome): [string, string] {
  assert.ok(outcome.outcome === "denied" || outcome.outcome === "pending", JSON.stringify(outcome));
  assert.ok(outcome.fix.length > 10);
  return [outcome.outcome, outcome.code];
}

describe("join", () => {
  let bench: JoinBench;
  beforeEach(() => {
    bench = new JoinBench();
  });
  afterEach(() => bench[Symbol.dispose]());

  it("makes a claimed device a member that any node of the fleet believes", async () => {
    const device = bench.device(1);
    bench.claim("line-1", { serial: "SN-1", labels: { camera: "yes" }, site: "berlin" });
    const { outcome, report } = await bench.join(device, { serial: "SN-1", labels: { fan: "2" } });
    const { member: document, documents, beaconMs, registrar } = member(outcome);
    assert.deepEqual(report, { outcome: "granted", name: "sn-1" });
    assert.equal(registrar, "gate");
    assert.equal(beaconMs, NOW_MS);
    const { metadata, spec, expires } = document.body;
    assert.deepEqual(metadata, { name: "sn-1", tenant: "default", labels: { fan: "2", camera: "yes" } });
    assert.deepEqual([spec.node, spec.site, spec.evidence, spec.serial], [device.nodeId, "berlin", "claim", "SN-1"]);
    assert.equal(Date.parse(expires), NOW_MS + 24 * HOUR_MS);
    const store = bench.fleet.store(); // an empty store that knows the fleet id only
    assert.deepEqual(
      documents.map((bytes) => store.submit(bytes, NOW_MS).outcome),
      ["accepted", "accepted", "accepted"],
    );
    assert.equal(bench.store.get("Member", "sn-1")?.digest, document.digest);
  });

  it("gives the same key the same answer, also after a restart", async () => {
    bench.claim("line-1", { serial: "SN-1" });
    const first = member((await bench.join(bench.device(1), { serial: "SN-1" })).outcome);
    bench.restart();
    const again = member((await bench.join(bench.device(1), { serial: "SN-1" })).outcome);
    assert.deepEqual(again.member.bytes, first.member.bytes);
  });

  it("turns a second key with the serial away, remembers it, and lets the first go on", async () => {
    bench.claim("line-1", { serial: "SN-1" });
    await bench.join(bench.device(1), { serial: "SN-1" });
    const thief = bench.device(2);
    assert.deepEqual(stopped((await bench.join(thief, { serial: "SN-1" })).outcome), [
      "denied",
      "identity.claim-taken",
    ]);
    bench.restart();
    assert.deepEqual(
      bench.ledger.refusedDevices().map(({ node, code, serial }) => ({ node, code, serial })),
      [{ node: thief.nodeId, code: "identity.claim-taken", serial: "SN-1" }],
    );
    member((await bench.join(bench.device(1), { serial: "SN-1" })).outcome);
    assert.equal(bench.store.list("Member").length, 1);
  });

  it("keeps an unclaimed device waiting, writes nothing, and admits it once approved", async () => {
    const device = bench.device(3);
    const asked = (await bench.join(device, { serial: "SN-9", model: "box" })).outcome;
    assert.deepEqual(stopped(asked), ["pending", "identity.unclaimed"]);
    assert.ok(asked.outcome === "pending");
    assert.equal(asked.retryMs, 2_000);
    const again = (await bench.join(device, { serial: "SN-9" }, { ticket: asked.ticket })).outcome;
    assert.ok(again.outcome === "pending");
    assert.deepEqual([again.ticket, again.retryMs], [asked.ticket, 4_000]);
    const [waits] = bench.waiting.list(bench.clock.wallMs());
    assert.deepEqual([waits?.node, waits?.serial, waits?.polls], [device.nodeId, "SN-9", 2]);
    assert.equal(bench.ledger.memberCount(), 0);
    bench.claim("approve-1", { serial: "SN-9", key: keyHash(device.key.publicKey) });
    const { member: document } = member(
      (await bench.join(device, { serial: "SN-9" }, { ticket: asked.ticket })).outcome,
    );
    assert.equal(document.body.spec.evidence, "approve");
    assert.deepEqual(bench.waiting.list(bench.clock.wallMs()), []);
  });

  it("slows a waiting device down to a minute, and forgets one that went", async () => {
    let last: DeviceOutcome | undefined;
    for (let i = 0; i < 8; i++) last = (await bench.join(bench.device(3))).outcome;
    assert.ok(last?.outcome === "pending");
    assert.equal(last.retryMs, 60_000);
    await bench.clock.advanceMs(11 * 60_000);
    assert.deepEqual(bench.waiting.list(bench.clock.wallMs()), []);
  });

  it("renews a member after its evidence has gone, with a higher version and the same name", async () => {
    const open = { max: 1, cidrs: ["192.0.2.0/24"] };
    bench.submit(bench.fleet.sign("Batch", "b1", open, [bench.fleet.admission], { expiresMs: NOW_MS + HOUR_MS }));
    const first = member((await bench.join(bench.device(1), { labels: { rack: "r1" } })).outcome);
    assert.deepEqual(stopped((await bench.join(bench.device(2))).outcome), ["pending", "identity.batch-full"]);
    await bench.clock.advanceMs(30 * HOUR_MS); // expired: still welcome
    bench.store.expire(bench.clock.wallMs());
    const renewed = member((await bench.join(bench.device(1))).outcome);
    assert.equal(renewed.member.id, first.member.id);
    assert.equal(renewed.member.body.version, 2);
    assert.deepEqual(renewed.member.body.metadata.labels, { rack: "r1" });
  });

  it("refuses a revoked node and says so", async () => {
    bench.claim("line-1", { serial: "SN-1" });
    const device = bench.device(1);
    await bench.join(device, { serial: "SN-1" });
    const spec = { nodes: [{ node: device.nodeId, generation: 1 }], registrars: [] };
    bench.submit(bench.fleet.sign("Revocation", "fleet", spec, [bench.fleet.security]));
    assert.deepEqual(stopped((await bench.join(device, { serial: "SN-1" })).outcome), ["denied", "identity.revoked"]);
  });

  it("lets a revoked node back in as the next generation, once an operator has approved it anew", async () => {
    const device = bench.device(1);
    const row = { serial: "SN-1", key: keyHash(device.key.publicKey) };
    bench.claim("approve-1", row);
    await bench.join(device, { serial: "SN-1" });
    const spec = { nodes: [{ node: device.nodeId, generation: 1 }], registrars: [] };
    bench.submit(bench.fleet.sign("Revocation", "fleet", spec, [bench.fleet.security]));
    assert.equal(stopped((await bench.join(device, { serial: "SN-1" })).outcome)[1], "identity.revoked");
    await bench.clock.advanceMs(1_000);
    bench.claim("list", row, { serial: "SN-2" });
    assert.equal(
      stopped((await bench.join(device, { serial: "SN-1" })).outcome)[1],
      "identity.revoked",
      "a list is no approval",
    );
    bench.claim("approve-2", row);
    const { body } = member((await bench.join(device, { serial: "SN-1" })).outcome).member;
    assert.deepEqual([body.spec.generation, body.metadata.name], [2, "sn-1"]);
    assert.deepEqual(new Membership(bench.store).of(device.nodeId)?.generation, 2);
  });

  it("renews a member that was off for two months and has no clock, by the registrar's time", async () => {
    bench.claim("line-1", { serial: "SN-1" });
    const device = bench.device(1);
    await bench.join(device, { serial: "SN-1" });
    await bench.clock.advanceMs(60 * 24 * HOUR_MS);
    bench.store.expire(bench.clock.wallMs());
    const stopped1970 = { nowMs: () => NOW_MS + HOUR_MS };
    await assert.rejects(bench.join(device, { serial: "SN-1" }, stopped1970), { code: "identity.clock" });
    const floor = { charter: 1, revocation: 0, timeMs: NOW_MS + HOUR_MS };
    const { beaconMs } = member((await bench.join(device, { serial: "SN-1" }, { ...stopped1970, floor })).outcome);
    assert.equal(beaconMs, bench.clock.wallMs());
    const ahead = { charter: 1, revocation: 0, timeMs: NOW_MS + 61 * 24 * HOUR_MS };
    await assert.rejects(bench.join(device, {}, { nowMs: () => ahead.timeMs, floor: ahead }), {
      code: "identity.clock",
    });
  });

  it("gives two devices with one serial in two tenants, or of one name, different names", async () => {
    bench.claim("line-1", { serial: "SN-1" }, { serial: "SN_1" });
    const a = member((await bench.join(bench.device(1), { serial: "SN-1" })).outcome);
    const b = member((await bench.join(bench.device(2), { serial: "SN_1" })).outcome);
    assert.equal(a.member.body.metadata.name, "sn-1");
    assert.match(b.member.body.metadata.name, /^sn-1-[a-z2-7]{6}$/u);
  });

  it("names a wrong clock on both sides", async () => {
    bench.claim("line-1", { serial: "SN-1" });
    const { outcome, report } = await bench.join(
      bench.device(1),
      { serial: "SN-1" },
      { nowMs: () => NOW_MS - 3 * HOUR_MS },
    );
    assert.deepEqual(stopped(outcome), ["denied", "identity.clock"]);
    assert.equal(report.code, "identity.clock");
    assert.match(report.reason ?? "", /3 hours behind/u);
  });

  it("names a wrong fleet on both sides, and a registrar of another fleet", async () => {
    const token = { ...bench.token, fleet: "ab".repeat(32) };
    const { outcome, report } = await bench.join(bench.device(1), {}, { token });
    assert.deepEqual(stopped(outcome), ["denied", "identity.wrong-fleet"]);
    assert.equal(report.code, "identity.wrong-fleet");
    await assert.rejects(
      bench.join(bench.device(1), {}, { registrar: nodeIdOf(testKey(77).publicKey) }),
      fault("identity.not-registrar"),
    );
    const owner = nodeIdOf(bench.fleet.owners[0].publicKey); // trusted, but not with this
    await assert.rejects(bench.join(bench.device(1), {}, { registrar: owner }), fault("identity.not-registrar"));
    const owners = bench.token.owners.slice(1);
    await assert.rejects(
      bench.join(bench.device(1), {}, { token: { ...bench.token, owners } }),
      fault("identity.wrong-fleet"),
    );
  });

  it("believes no registrar that is behind the token or behind what the node has seen", async () => {
    const device = bench.device(1);
    for (const change of [
      { token: { ...bench.token, minCharter: 2 } },
      { token: { ...bench.token, minRevocation: 1 } },
      { floor: { charter: 2, revocation: 0 } },
      { floor: { charter: 0, revocation: 1 } },
    ]) {
      await assert.rejects(bench.join(device, {}, change), fault("identity.rolled-back"));
    }
  });

  it("brings the revocation list along, with what a newcomer needs to verify it", async () => {
    const spec = { nodes: [{ node: bench.device(9).nodeId, generation: 1 }], registrars: [] };
    bench.submit(bench.fleet.sign("Revocation", "fleet", spec, [bench.fleet.security]));
    bench.claim("line-1", { serial: "SN-1" });
    const token = { ...bench.token, minRevocation: 1 };
    member((await bench.join(bench.device(1), { serial: "SN-1" }, { token })).outcome);
  });

  it("ends no membership after the registrar's own document", async () => {
    const { fleet } = bench;
    const change = { version: 2, expiresMs: NOW_MS + 2 * HOUR_MS };
    bench.submit(fleet.sign("Registrar", "gate", fleet.registrarSpec(), [fleet.owners[0], fleet.owners[1]], change));
    bench.claim("line-1", { serial: "SN-1" });
    const joined = member((await bench.join(bench.device(1), { serial: "SN-1" })).outcome);
    assert.equal(Date.parse(joined.member.body.expires), NOW_MS + 2 * HOUR_MS);
  });

  it("does not admit through a node that is no registrar, or no more", async () => {
    const key = keyHash(bench.fleet.registrar.publicKey);
    const spec = { nodes: [], registrars: [{ key, keepMembers: [] }] };
    bench.submit(bench.fleet.sign("Revocation", "fleet", spec, [bench.fleet.security]));
    bench.claim("line-1", { serial: "SN-1" });
    assert.deepEqual(stopped((await bench.join(bench.device(1), { serial: "SN-1" })).outcome), [
      "denied",
      "identity.not-registrar",
    ]);
  });

  it("admits no more than its Registrar document says, but goes on renewing", async () => {
    const spec = { ...bench.fleet.registrarSpec(), maxMembers: 1 };
    bench.submit(
      bench.fleet.sign("Registrar", "gate", spec, [bench.fleet.owners[0], bench.fleet.owners[1]], { version: 2 }),
    );
    bench.claim("line-1", { serial: "SN-1" }, { serial: "SN-2" });
    await bench.join(bench.device(1), { serial: "SN-1" });
    assert.deepEqual(stopped((await bench.join(bench.device(2), { serial: "SN-2" })).outcome), [
      "denied",
      "identity.registrar-full",
    ]);
    member((await bench.join(bench.device(1), { serial: "SN-1" })).outcome);
  });

  it("follows a chain of 300 charters", async () => {
    const { fleet } = bench;
    const spec = bench.store.charter?.body.spec;
    assert.ok(spec !== undefined);
    for (let version = 2; version <= 300; version++) {
      const next = { ...spec, memberHours: version === 300 ? 1 : version };
      bench.submit(fleet.sign("Charter", "plant", next, [fleet.owners[1], fleet.owners[2]], { version }));
    }
    bench.claim("line-1", { serial: "SN-1" });
    const { member: document, documents } = member((await bench.join(bench.device(1), { serial: "SN-1" })).outcome);
    assert.equal(Date.parse(document.body.expires), NOW_MS + HOUR_MS);
    assert.equal(documents.length, 302);
  });

  it("ends with a Fault when the registrar goes silent or away", async () => {
    const ask = (stream: ByteStream): Promise<DeviceOutcome> =>
      runDeviceJoin(
        new FrameStream(stream, FROM_REGISTRAR),
        bench.deviceDeps(bench.device(1)),
        new AbortController().signal,
      );
    const [d, r] = memoryStreamPair();
    const gone = ask(d);
    r.close();
    await assert.rejects(gone, fault("identity.join-lost"));
    const [reset, other] = memoryStreamPair();
    const broken = ask(reset);
    other.abort(new Error("power cut"));
    await assert.rejects(broken, fault("identity.join-lost"));
    const silent = assert.rejects(ask(memoryStreamPair()[0]), { code: "core.deadline" });
    await bench.clock.advanceMs(30_000);
    await silent;
  });
});
