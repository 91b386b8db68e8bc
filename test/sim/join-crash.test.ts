import assert from "node:assert/strict";
import { FrameStream, memoryStreamPair } from "#core";
import { type DeviceContext, type DeviceState, startDevice, stepDevice } from "../../src/identity/join-device.ts";
import { type RegistrarState, stepRegistrar } from "../../src/identity/join-registrar.ts";
import { type DeviceMessage, FROM_DEVICE, type RegistrarMessage } from "../../src/identity/join-wire.ts";
import type { NodeKey } from "../../src/identity/node-key.ts";
import { REGISTRAR_EFFECTS, type RegistrarEffect } from "../../src/identity/registrar-effect.ts";
import { JoinBench } from "../support/joining.ts";

/** Steps both ends by hand and stops after `survive` effects of the registrar, as kill -9 would. Returns the effects carried out. */
function joinUntil(bench: JoinBench, node: NodeKey, serial: string, survive: number): RegistrarEffect["do"][] {
  const { clock, ...rest } = bench.deviceDeps(node, { serial });
  const context: DeviceContext = { ...rest, nonce: bench.random.bytes(16) };
  const peer = { nodeId: node.nodeId, remoteIp: "192.0.2.9" };
  const sink = new FrameStream(memoryStreamPair()[0], FROM_DEVICE);
  const done: RegistrarEffect["do"][] = [];
  let registrar: RegistrarState = { at: "listening" };
  let { send, state: device }: { send: DeviceMessage; state: DeviceState } = startDevice(context, clock.wallMs());
  for (;;) {
    const step = stepRegistrar(registrar, send, bench.registrar.context(peer));
    registrar = step.state;
    let answer: RegistrarMessage | undefined;
    for (const effect of step.effects) {
      if (done.length === survive) return done;
      bench.registrar.perform(effect, sink, peer);
      done.push(effect.do);
      if (effect.do === "send") answer = effect.message;
    }
    if (answer === undefined) return done; // a pending answer goes through the waiting list
    const next = stepDevice(device, answer, context, clock.wallMs());
    if ("done" in next) return done;
    ({ send, state: device } = next);
  }
}

describe("join, killed at every effect", () => {
  const granted: RegistrarEffect["do"][] = ["send", "admit", "publish", "send"];

  it("goes through the effects that this test kills between", () => {
    using bench = new JoinBench();
    bench.claim("line-1", { serial: "SN-1" });
    assert.deepEqual(joinUntil(bench, bench.device(1), "SN-1", Number.POSITIVE_INFINITY), granted);
    assert.deepEqual(joinUntil(bench, bench.device(2), "SN-1", Number.POSITIVE_INFINITY), ["send", "record", "send"]);
    assert.deepEqual(joinUntil(bench, bench.device(3), "SN-3", Number.POSITIVE_INFINITY), ["send", "wait"]);
    assert.deepEqual(new Set(REGISTRAR_EFFECTS), new Set([...granted, "record", "wait"]), "every effect is killed at");
  });

  for (let survive = 0; survive <= granted.length; survive++) {
    it(`admits once when killed after ${survive} of ${granted.length} effects`, async () => {
      using bench = new JoinBench();
      bench.claim("line-1", { serial: "SN-1" });
      const device = bench.device(1);
      joinUntil(bench, device, "SN-1", survive);
      bench.restart();
      const handedOut = bench.ledger.issuedTo(device.nodeId)?.bytes;
      const rival = await bench.join(bench.device(2), { serial: "SN-1" });
      const { outcome } = await bench.join(device, { serial: "SN-1" });
      const admitted = survive > granted.indexOf("admit");
      assert.equal(rival.outcome.outcome, admitted ? "denied" : "member");
      assert.equal(outcome.outcome, admitted ? "member" : "denied");
      if (outcome.outcome === "member")
        assert.deepEqual(outcome.member.bytes, handedOut, "the same answer as before the crash");
      assert.equal(bench.store.list("Member").length, 1);
      assert.equal(bench.ledger.memberCount(), 1);
    });
  }

  for (let survive = 0; survive <= 3; survive++) {
    it(`turns a thief away when killed after ${survive} of 3 effects`, async () => {
      using bench = new JoinBench();
      bench.claim("line-1", { serial: "SN-1" });
      await bench.join(bench.device(1), { serial: "SN-1" });
      joinUntil(bench, bench.device(2), "SN-1", survive);
      bench.restart();
      assert.equal((await bench.join(bench.device(2), { serial: "SN-1" })).outcome.outcome, "denied");
      assert.equal(bench.ledger.refusedDevices().length, 1);
    });
  }
});
