import assert from "node:assert/strict";
import fc from "fast-check";
import { decodeCbor, encodeCbor, Fault, faultCode, FrameStream, memoryStreamPair, SeededRandom } from "#core";
import { signBeacon } from "../../src/identity/beacon.ts";
import { type DeviceContext, type DeviceState, startDevice, stepDevice } from "../../src/identity/join-device.ts";
import { stepRegistrar } from "../../src/identity/join-registrar.ts";
import {
  FROM_DEVICE,
  type JoinOffer,
  type JoinProof,
  parseDeviceMessage,
  parseRegistrarMessage,
  type RegistrarMessage,
  transcriptHash,
} from "../../src/identity/join-wire.ts";
import { signMember } from "../../src/identity/member.ts";
import { keyHash } from "../../src/identity/node-id.ts";
import type { NodeKey } from "../../src/identity/node-key.ts";
import { base64, NOW_MS, testKey } from "../support/fleet.ts";
import { JoinBench } from "../support/joining.ts";

const refuses = (code: string, run: () => unknown): void => {
  assert.throws(run, (error) => {
    assert.equal(faultCode(error), code, String(error));
    return true;
  });
};

describe("join, with a hostile end", () => {
  let bench: JoinBench;
  let device: NodeKey;
  beforeEach(() => {
    bench = new JoinBench();
    bench.claim("line-1", { serial: "SN-1" });
    device = bench.device(1);
  });
  afterEach(() => bench[Symbol.dispose]());

  /** A device that has asked, an honest offer, and an honest grant for it. */
  function exchange() {
    const { clock, ...rest } = bench.deviceDeps(device, { serial: "SN-1" });
    const context: DeviceContext = { ...rest, nonce: bench.random.bytes(16) };
    const peer = { nodeId: device.nodeId, remoteIp: "192.0.2.9" };
    const asked = startDevice(context, clock.wallMs());
    const registrar = bench.registrar.context(peer);
    const offered = stepRegistrar({ at: "listening" }, asked.send, registrar);
    const [effect] = offered.effects;
    assert.ok(effect?.do === "send" && effect.message.t === "offer");
    const offer = effect.message;
    const step = (state: DeviceState, message: RegistrarMessage) => stepDevice(state, message, context, NOW_MS);
    const proved = step(asked.state, offer);
    assert.ok("send" in proved && proved.send.t === "proof");
    return { asked, offer, offered: offered.state, proved, proof: proved.send, registrar, step, context };
  }

  it("signs nothing for a registrar that forges, leaves out or reorders", () => {
    const { asked, offer, step } = exchange();
    const { fleet } = bench;
    const spec = bench.store.charter?.body.spec;
    assert.ok(spec !== undefined);
    const mine = { ...spec, owners: [{ name: "eve", publicKey: base64(testKey(66).publicKey) }], threshold: 1 };
    const forged = fleet.sign("Charter", "plant", mine, [testKey(66)], { version: 2 });
    const half = fleet.sign("Charter", "plant", { ...spec, memberHours: 1 }, [fleet.owners[0]], { version: 2 });
    const change = (part: Partial<JoinOffer>) => () => step(asked.state, { ...offer, ...part });
    refuses("identity.wrong-fleet", change({ charters: [forged] }));
    refuses("identity.wrong-fleet", change({ charters: [...offer.charters, forged], charter: 2 }));
    refuses("identity.wrong-fleet", change({ charters: [...offer.charters, half], charter: 2 }));
    refuses("identity.join-answer", change({ charter: 2 }));
    refuses("identity.not-registrar", change({ documents: [] }));
    const eve = fleet.sign("Registrar", "gate", fleet.registrarSpec(), [testKey(66)]);
    refuses("identity.not-registrar", change({ documents: [eve] }));
    const key = keyHash(fleet.registrar.publicKey);
    const revoked = fleet.sign("Revocation", "fleet", { nodes: [], registrars: [{ key, keepMembers: [] }] }, [
      fleet.security,
    ]);
    refuses("identity.not-registrar", change({ documents: [...fleet.foundation(), revoked] }));
    refuses("identity.clock", change({ timeMs: NOW_MS + 6 * 60_000 }));
  });

  it("takes no membership that is not its own, not signed by the registrar, or not fresh", () => {
    const { proved, step, context, asked } = exchange();
    const { fleet, store } = bench;
    const draft = {
      fleet: fleet.id,
      name: "sn-1",
      version: 1,
      generation: 1,
      publicKey: device.key.publicKey,
      sealing: device.sealingPublic,
      used: undefined,
      grant: { outcome: "granted", evidence: "claim", use: undefined, tenant: "default", labels: {} },
      nowMs: NOW_MS,
      expiresMs: NOW_MS + 3_600_000,
    } as const;
    const member = signMember(fleet.registrar, draft);
    const beacon = signBeacon(store, fleet.registrar, "gate", NOW_MS, context.nonce);
    const grant = (part: { member?: Uint8Array; beacon?: Uint8Array }) => () => {
      const again = exchange();
      assert.ok("send" in again.proved);
      const answer = signBeacon(store, fleet.registrar, "gate", NOW_MS, again.context.nonce);
      return again.step(again.proved.state, { t: "granted", member, beacon: answer, ...part });
    };
    assert.ok(
      "send" in proved && "done" in step(proved.state, { t: "granted", member, beacon }),
      "the honest one passes",
    );
    refuses("identity.join-answer", grant({ member: signMember(testKey(66), draft) }));
    refuses(
      "identity.join-answer",
      grant({ member: signMember(fleet.registrar, { ...draft, publicKey: bench.device(2).key.publicKey }) }),
    );
    refuses(
      "identity.join-answer",
      grant({ member: signMember(fleet.registrar, { ...draft, sealing: bench.device(2).sealingPublic }) }),
    );
    refuses(
      "identity.join-answer",
      grant({ member: signMember(fleet.registrar, { ...draft, nowMs: NOW_MS - 9e6, expiresMs: NOW_MS }) }),
    );
    refuses(
      "identity.join-answer",
      grant({ beacon: signBeacon(store, fleet.registrar, "gate", NOW_MS, new Uint8Array(16)) }),
    );
    refuses("identity.join-answer", grant({ beacon: signBeacon(store, fleet.registrar, "gate", NOW_MS) }));
    refuses("identity.join-answer", () => step(asked.state, { t: "granted", member, beacon }));
  });

  it("does nothing for a device whose proof is wrong, foreign or out of turn", () => {
    const { asked, offer, offered, proof, registrar } = exchange();
    const code = (state: Parameters<typeof stepRegistrar>[0], message: Parameters<typeof stepRegistrar>[1]): string => {
      const { effects } = stepRegistrar(state, message, registrar);
      const [effect] = effects;
      assert.equal(effects.length, 1);
      assert.ok(effect?.do === "send" && effect.message.t === "denied");
      return effect.message.code;
    };
    const other = bench.device(2);
    const signed = (key: NodeKey, sealing: Uint8Array): JoinProof => ({
      t: "proof",
      sealing,
      sig: key.key.sign(transcriptHash(asked.send, offer, sealing)),
    });
    assert.equal(code(offered, { ...proof, sealing: other.sealingPublic }), "identity.proof");
    assert.equal(code(offered, signed(other, device.sealingPublic)), "identity.proof");
    assert.equal(code(offered, asked.send), "identity.join-order");
    assert.equal(code({ at: "listening" }, proof), "identity.join-order");
    assert.equal(code({ at: "done" }, proof), "identity.join-order");
    assert.equal(code({ at: "listening" }, { ...asked.send, key: other.key.publicKey }), "identity.key-mismatch");
    const later = { ...offer, nonce: bench.random.bytes(16) };
    assert.equal(code({ at: "offered", hello: asked.send, offer: later }, proof), "identity.proof");
    assert.equal(bench.ledger.memberCount(), 0);
  });

  it("answers any bytes of a stranger with an end, never with a crash or a write", async () => {
    const random = new SeededRandom(3);
    for (let round = 0; round < 50; round++) {
      const [d, r] = memoryStreamPair();
      const served = bench.registrar.serve(
        new FrameStream(r, FROM_DEVICE),
        { nodeId: device.nodeId, remoteIp: undefined },
        new AbortController().signal,
      );
      d.listen({ data: () => undefined, end: () => undefined });
      const body = encodeCbor(round % 2 === 0 ? { t: "hello" } : [...random.bytes(8)]);
      const prefix = new DataView(new ArrayBuffer(8));
      prefix.setUint32(0, round % 5 === 0 ? 0xffff_ffff : body.length);
      d.send(new Uint8Array(prefix.buffer), body);
      await assert.rejects(served, Fault);
    }
    assert.equal(bench.ledger.memberCount() + bench.ledger.refusedDevices().length, 0);
  });

  it("parses any CBOR into a message or a Fault, and back to the same bytes", () => {
    const { asked, offer, proof } = exchange();
    const samples: Record<string, unknown>[] = [
      asked.send,
      offer,
      proof,
      { t: "denied", code: "x.y", reason: "r", fix: "f" },
    ];
    const field = fc.constantFrom("t", "key", "nonce", "labels", "timeMs", "serial", "sig", "charters", "extra");
    const value = fc.oneof(
      fc.string(),
      fc.integer(),
      fc.uint8Array({ maxLength: 40 }),
      fc.constant(null),
      fc.array(fc.string(), { maxLength: 3 }),
    );
    fc.assert(
      fc.property(fc.constantFrom(...samples), field, value, (sample, name, wrong) => {
        const bytes = encodeCbor({ ...sample, [name]: wrong });
        for (const parse of [parseDeviceMessage, parseRegistrarMessage]) {
          try {
            assert.deepEqual(encodeCbor(parse(decodeCbor(bytes, 1e6))), bytes);
          } catch (error) {
            assert.equal(faultCode(error), "identity.join-wire", String(error));
          }
        }
      }),
    );
  });
});
