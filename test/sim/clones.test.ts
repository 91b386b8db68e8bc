import assert from "node:assert/strict";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { VirtualClock } from "#core";
import { keyHash, type NodeId } from "#identity";
import { NOW_MS, TestFleet, testKey } from "../support/fleet.ts";
import { admit, link, Machine, pass } from "../support/machine.ts";

const MINUTE_MS = 60_000;

describe("two machines with one key and no neighbour in common", function () {
  this.timeout(60_000);
  const fleet = new TestFleet();
  const documents = [
    fleet.charter,
    ...fleet.foundation(),
    ...["twin", "left", "right", "late"].map((name, i) => admit(fleet, 61 + i, name)),
  ];
  let root: string;
  let clock: VirtualClock;
  let machines: Machine[];
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "ptl-clones-"));
    clock = new VirtualClock(NOW_MS);
    machines = [];
  });
  afterEach(async () => {
    await Promise.all(machines.map((machine) => machine.off()));
    rmSync(root, { recursive: true, force: true });
  });

  /** What every daemon says as soon as it runs. */
  function start(machine: Machine): Machine {
    if (!machines.includes(machine)) machines.push(machine);
    machine.on(clock);
    machine.node.state.store.pinFleet(fleet.id);
    machine.submit(...documents);
    machine.gossip.publish("copies", []);
    return machine;
  }

  const isShutOut = (at: Machine, node: NodeId): boolean => at.node.state.quarantine.sinceMs(node) !== undefined;
  const alertsOf = ({ node }: Machine): number =>
    node.state.events.list(1_000).filter(({ type }) => type === "security.clone").length;

  it("are both shut out everywhere within a second, and come back when an operator approves the key", async () => {
    const [original, left, right] = [61, 62, 63].map((seed) => start(new Machine(root, seed))) as [
      Machine,
      Machine,
      Machine,
    ];
    link(original, left);
    link(left, right);
    await pass(clock, MINUTE_MS, 10_000);
    const copy = start(new Machine(root, 61, "copy"));
    link(copy, right);
    await pass(clock, 1_000, 100);
    const twin = original.host.nodeId;
    for (const at of [left, right]) assert.ok(isShutOut(at, twin));
    for (const at of [original, left, right, copy]) assert.ok(alertsOf(at) > 0, "it is on record");

    await copy.off();
    await pass(clock, 1_000, 100);
    const row = { serial: "twin", key: keyHash(testKey(61).publicKey) };
    const approval = fleet.sign("ClaimList", "again", { rows: [row] }, [fleet.admission], { nowMs: clock.wallMs() });
    for (const at of [left, right]) at.submit(approval);
    const late = start(new Machine(root, 64));
    late.submit(approval);
    link(late, left); // hears what was said before the approval
    await pass(clock, 1_000, 100);
    for (const at of [left, right, late]) assert.ok(!isShutOut(at, twin));
  });

  it("are not suspected after a restart, nor when a data directory was put back and the clock is dead, too", async () => {
    const [twin, left, right] = [61, 62, 63].map((seed) => start(new Machine(root, seed))) as [
      Machine,
      Machine,
      Machine,
    ];
    link(left, right);
    link(twin, left);
    await twin.off();
    cpSync(twin.folder, join(root, "backup"), { recursive: true });
    for (let restarts = 0; restarts < 3; restarts++) {
      await pass(clock, MINUTE_MS, 10_000);
      start(twin);
      link(twin, left);
      link(twin, right);
      await pass(clock, 1_000, 100);
      await twin.off();
    }
    rmSync(twin.folder, { recursive: true });
    cpSync(join(root, "backup"), twin.folder, { recursive: true });
    const now = clock;
    clock = new VirtualClock(0);
    start(twin);
    clock = now;
    for (const other of [left, right]) link(twin, other);
    twin.gossip.publish("copies", ["restored"]);
    await pass(clock, MINUTE_MS, 10_000);
    assert.deepEqual([alertsOf(left), alertsOf(right), alertsOf(twin)], [0, 0, 0]);
    const heard = right.gossip.latest("copies").find(({ origin }) => origin === twin.host.nodeId);
    assert.deepEqual(heard?.value, ["restored"], "and what it says is heard again");
  });
});
