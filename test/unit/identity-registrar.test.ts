import assert from "node:assert/strict";
import { startDevice } from "../../src/identity/join-device.ts";
import { stepRegistrar } from "../../src/identity/join-registrar.ts";
import { RegistrarLedger } from "../../src/identity/registrar-ledger.ts";
import { openStateDatabase } from "../../src/identity/state-database.ts";
import { MAX_WAITING, WaitingList } from "../../src/identity/waiting-list.ts";
import { NOW_MS } from "../support/fleet.ts";
import { JoinBench } from "../support/joining.ts";

const KEY = "aa".repeat(32);
const OTHER = "bb".repeat(32);

describe("registrar's ledger", () => {
  const issued = (node: string, name = node) => ({
    node,
    tenant: "default",
    name,
    expiresMs: NOW_MS,
    bytes: Uint8Array.of(1),
  });

  it("gives a claim to one key, and keeps neither the use nor the document of another", () => {
    const ledger = new RegistrarLedger(openStateDatabase(":memory:"));
    ledger.admit(KEY, { claim: "SN-1" }, issued("a"), NOW_MS);
    ledger.admit(KEY, { claim: "SN-1" }, issued("a"), NOW_MS + 1);
    assert.throws(() => ledger.admit(OTHER, { claim: "SN-1" }, issued("b"), NOW_MS), {
      code: "identity.evidence-taken",
    });
    assert.deepEqual([ledger.claimHolder("SN-1"), ledger.memberCount(), ledger.issuedTo("b")], [KEY, 1, undefined]);
    assert.throws(() => ledger.admit(OTHER, { claim: "SN-2" }, issued("b", "a"), NOW_MS), /UNIQUE/u);
    assert.equal(ledger.claimHolder("SN-2"), undefined, "both or neither");
  });

  it("counts the keys of a batch, and those of the last minute", () => {
    const ledger = new RegistrarLedger(openStateDatabase(":memory:"));
    ledger.admit(KEY, { batch: "b" }, issued("a"), NOW_MS);
    ledger.admit(KEY, { batch: "b" }, issued("a"), NOW_MS + 90_000);
    ledger.admit(OTHER, { batch: "b" }, issued("b"), NOW_MS + 90_000);
    assert.deepEqual(ledger.batchUses("b", KEY, NOW_MS + 30_000), { total: 2, recent: 1, hasKey: true });
    assert.deepEqual(ledger.batchUses("c", KEY, 0), { total: 0, recent: 0, hasKey: false });
  });

  it("remembers the newest 1,000 refused devices", () => {
    const ledger = new RegistrarLedger(openStateDatabase(":memory:"));
    const refused = { code: "identity.claim-taken", serial: "SN-1", address: "192.0.2.1", atMs: NOW_MS };
    for (let i = 0; i < 1_002; i++) ledger.recordRefused({ ...refused, node: `n${i}` });
    ledger.recordRefused({ ...refused, node: "n1001" });
    const nodes = ledger.refusedDevices().map(({ node }) => node);
    assert.deepEqual([nodes.length, nodes[0], nodes.at(-1)], [1_000, "n1001", "n2"]);
  });
});

describe("waiting list", () => {
  const device = (node: string) => ({ node, keyHash: KEY, ticket: "00", address: "", code: "c", reason: "r" });

  it("has room for 1,000 devices, and for those that wait already", () => {
    const waiting = new WaitingList();
    for (let i = 0; i < MAX_WAITING; i++) waiting.ask(device(`n${i}`), NOW_MS);
    assert.deepEqual([waiting.hasRoom("stranger", NOW_MS), waiting.hasRoom("n7", NOW_MS)], [false, true]);
    waiting.remove("n7");
    assert.ok(waiting.hasRoom("stranger", NOW_MS));
  });

  it("lets a device with its ticket ask again without the whole exchange", () => {
    using bench = new JoinBench();
    const node = bench.device(1);
    const context = bench.registrar.context({ nodeId: node.nodeId, remoteIp: "192.0.2.9" });
    const { clock, ...rest } = bench.deviceDeps(node);
    const does = (ticket: Uint8Array): string[] => {
      const asked = startDevice({ ...rest, nonce: bench.random.bytes(16), ticket }, clock.wallMs());
      return stepRegistrar({ at: "listening" }, asked.send, context).effects.map((effect) => effect.do);
    };
    const ticket = bench.random.bytes(16);
    bench.waiting.ask({ ...device(node.nodeId), ticket: Buffer.from(ticket).toString("hex") }, clock.wallMs());
    assert.deepEqual(does(ticket), ["wait"]);
    assert.deepEqual(does(bench.random.bytes(16)), ["send"], "a wrong ticket is none");
  });
});
