import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FrameStream, memoryStreamPair, VirtualClock } from "#core";
import { FROM_DEVICE, FROM_REGISTRAR, runDeviceJoin } from "#identity";
import { ARTIFACT_SPEC, NOW_MS, TestFleet } from "../support/fleet.ts";
import { admit, hello, link, Machine, pass } from "../support/machine.ts";
import { MemoryHost } from "../support/memory-mesh.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** The machines of the site sleep for the rest of each day. */
const AWAKE_MS = 2 * HOUR_MS;

const fleet = new TestFleet();

describe("a site that nobody reaches for 30 days, on virtual time", function () {
  this.timeout(120_000);
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "ptl-alone-"));
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  it("goes on through two power cuts without a clock: no hello fails, documents move; revocations come first at reunion", async () => {
    const outside = new VirtualClock(NOW_MS);
    let inside = new VirtualClock(NOW_MS);
    let asleepMs = 0;
    const hub = new Machine(root, 20);
    const site = [new Machine(root, 61), new Machine(root, 62), new Machine(root, 63)] as const;
    const [gateway, plain, stolen] = site;
    const names = ["gateway", "plain", "stolen"];
    const documents = [fleet.charter, ...fleet.foundation(), ...names.map((name, i) => admit(fleet, 61 + i, name))];
    for (const machine of [hub, ...site]) {
      machine.on(machine === hub ? outside : inside, () => (machine === hub ? 0 : asleepMs));
      machine.node.state.store.pinFleet(fleet.id);
      machine.submit(...documents);
    }
    const linkSite = (): void => {
      for (const [a, b] of [
        [gateway, plain],
        [gateway, stolen],
        [plain, stolen],
      ] as const)
        link(a, b);
    };
    linkSite();
    link(gateway, hub);
    for (let i = 0; i < 12; i++) await Promise.all([pass(outside, 10_000, 5_000), pass(inside, 10_000, 5_000)]);
    assert.equal(plain.node.state.time.confirmed, true, "the time comes through the gateway");
    gateway.host.disconnect(hub.host.nodeId, "the WAN is cut");

    let hellos = 0;
    let moved = 0;
    for (let day = 1; day <= 30; day++) {
      asleepMs += DAY_MS - AWAKE_MS;
      await pass(inside, AWAKE_MS, HOUR_MS);
      if (day === 10 || day === 20) {
        await Promise.all(site.map((machine) => machine.off()));
        inside = new VirtualClock(0); // 1970
        asleepMs = 0;
        for (const machine of site) machine.on(inside, () => asleepMs);
        linkSite();
        await pass(inside, 60_000, 10_000);
      }
      for (const a of site) for (const b of site) if (a !== b) hellos += Number(hello(a, b));
      const nowMs = plain.node.state.trustedMs();
      plain.submit(fleet.sign("Artifact", `day-${day}`, ARTIFACT_SPEC, [fleet.publisher], { nowMs }));
      await pass(inside, 2_000, 100);
      moved += Number(stolen.node.state.store.get("Artifact", `day-${day}`) !== undefined);
    }
    assert.deepEqual([hellos, moved], [30 * 6, 30]);
    const agesMs = site.map(({ node }) => node.state.trustedMs() - NOW_MS);
    for (const ageMs of agesMs)
      assert.ok(Math.abs(ageMs - 30 * DAY_MS) < HOUR_MS, `the time is ${ageMs / DAY_MS} days on`);
    const { members, contact, clock } = gateway.node.state;
    assert.ok(members.all().filter(({ autonomous }) => autonomous).length === 3 && !contact.inTouch(clock.nowMs()));

    // outside a month went by too, and one of the machines was reported stolen
    await hub.off();
    const later = new VirtualClock(NOW_MS + 30 * DAY_MS);
    hub.on(later);
    const nodes = [{ node: stolen.host.nodeId, generation: 1 }];
    hub.submit(
      fleet.sign("Revocation", "fleet", { nodes, registrars: [] }, [fleet.security], { nowMs: later.wallMs() }),
    );
    const verdict = gateway.gate.judge(hub.host.nodeId, hub.gate.offer());
    assert.ok(verdict.accepted && verdict.settled !== undefined, "streams wait for the revocations");
    const settled = new Set<string>();
    void verdict.settled.then(() => settled.add("gateway"));
    assert.ok(
      hub.gate.judge(gateway.host.nodeId, gateway.gate.offer()).accepted,
      "a registrar that just started hears no other",
    );
    MemoryHost.link(gateway.host, hub.host);
    assert.equal(settled.size, 0);
    for (let i = 0; i < 60 && settled.size === 0; i++)
      await Promise.all([pass(later, 500, 100), pass(inside, 500, 100)]);
    assert.equal(settled.size, 1);
    assert.equal(members.of(stolen.host.nodeId), undefined);
    assert.equal(gateway.gate.judge(stolen.host.nodeId, stolen.gate.offer()).accepted, false);

    const { state } = gateway.node;
    const [ours, theirs] = memoryStreamPair();
    const peer = { nodeId: gateway.host.nodeId, remoteIp: "192.0.2.9" };
    const signal = new AbortController().signal;
    const served = hub.node.registrar.serve(new FrameStream(theirs, FROM_DEVICE), peer, signal);
    const outcome = await runDeviceJoin(
      new FrameStream(ours, FROM_REGISTRAR),
      {
        clock: inside,
        random: state.random,
        nowMs: state.trustedMs,
        node: state.data.key,
        token: { fleet: fleet.id, owners: [], rendezvous: [], minCharter: 0, minRevocation: 0 },
        floor: { charter: 1, revocation: 1, timeMs: state.time.floorMs() },
        facts: { labels: {} },
        registrar: hub.host.nodeId,
      },
      signal,
    );
    await served;
    assert.ok(outcome.outcome === "member" && outcome.member.body.metadata.name === "gateway");
    await Promise.all([hub, ...site].map((machine) => machine.off()));
  });

  it("goes back to the right time at the owners' word, also on a node that was off, and not twice", async () => {
    const wrong = new VirtualClock(NOW_MS + 400 * DAY_MS);
    const machine = new Machine(root, 61);
    machine.on(wrong);
    const { store, time } = machine.node.state;
    store.pinFleet(fleet.id);
    machine.submit(fleet.charter, ...fleet.foundation());
    time.observe({ timeMs: wrong.wallMs(), registrar: "gate" }, 1);
    await machine.off();

    const right = new VirtualClock(NOW_MS);
    machine.on(right);
    assert.equal(machine.node.state.trustedMs(), wrong.wallMs(), "what was persisted holds it there");
    const spec = { time: new Date(NOW_MS).toISOString(), ahead: new Date(wrong.wallMs()).toISOString() };
    const reset = fleet.sign("TimeReset", "fleet", spec, [fleet.owners[0], fleet.owners[1]], { nowMs: wrong.wallMs() });
    const forged = fleet.sign("TimeReset", "fleet", spec, [fleet.security], { nowMs: wrong.wallMs() });
    machine.submit(forged);
    assert.equal(machine.node.state.trustedMs(), wrong.wallMs());
    machine.submit(reset);
    assert.equal(machine.node.state.trustedMs(), NOW_MS);
    await right.advanceMs(HOUR_MS);
    await machine.off();
    machine.on(new VirtualClock(NOW_MS + 2 * HOUR_MS));
    assert.equal(machine.node.state.trustedMs(), NOW_MS + 2 * HOUR_MS, "a version counts once");
    assert.equal(machine.node.state.store.list("TimeReset").length, 1);
    await machine.off();
  });
});
