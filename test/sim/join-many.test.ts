import assert from "node:assert/strict";
import { Ed25519Key, FrameStream, memoryStreamPair, SystemClock } from "#core";
import { MAX_CLAIM_ROWS } from "../../src/identity/kinds.ts";
import { type DeviceMessage, FROM_DEVICE, transcriptHash } from "../../src/identity/join-wire.ts";
import { type RegistrarState, stepRegistrar } from "../../src/identity/join-registrar.ts";
import { nodeIdOf } from "../../src/identity/node-id.ts";
import { TestFleet } from "../support/fleet.ts";
import { JoinBench } from "../support/joining.ts";

/** How many of them join through the device's own code, which verifies everything. */
const WHOLE = 50;

const serialOf = (index: number): string => `CAM-${String(index).padStart(5, "0")}`;

/** A protocol client that believes everything: it says hello, and proves its key. Returns how the registrar answered. */
function joinBlindly(bench: JoinBench, index: number): string {
  const seed = new Uint8Array(32);
  new DataView(seed.buffer).setUint32(0, index + 1);
  const key = new Ed25519Key(seed);
  const peer = { nodeId: nodeIdOf(key.publicKey), remoteIp: "192.0.2.9" };
  const sink = new FrameStream(memoryStreamPair()[0], FROM_DEVICE);
  const hello: DeviceMessage = {
    t: "hello",
    fleet: new Uint8Array(Buffer.from(bench.fleet.id, "hex")),
    key: new Uint8Array(key.publicKey),
    nonce: bench.random.bytes(16),
    timeMs: bench.clock.wallMs(),
    labels: {},
    serial: serialOf(index),
  };
  let answer = "nothing";
  const say = (state: RegistrarState, message: DeviceMessage): RegistrarState => {
    const step = stepRegistrar(state, message, bench.registrar.context(peer));
    for (const effect of step.effects) {
      bench.registrar.perform(effect, sink, peer);
      if (effect.do === "send") answer = effect.message.t;
    }
    return step.state;
  };
  const state = say({ at: "listening" }, hello);
  if (state.at !== "offered") return answer;
  const sealing = new Uint8Array(32).fill(1);
  say(state, { t: "proof", sealing, sig: key.sign(transcriptHash(hello, state.offer, sealing)) });
  return answer;
}

describe("a list of 10,000 claims", function () {
  this.timeout(120_000);

  it("lets every device in, each once, as fast at the end as at the beginning", async () => {
    using bench = new JoinBench(new TestFleet(), ":memory:"); // what the disk takes is not asked here
    const spec = { ...bench.fleet.registrarSpec(), maxMembers: MAX_CLAIM_ROWS };
    const { fleet } = bench;
    bench.submit(fleet.sign("Registrar", "gate", spec, [fleet.owners[0], fleet.owners[1]], { version: 2 }));
    bench.claim("all", ...Array.from({ length: MAX_CLAIM_ROWS }, (_, index) => ({ serial: serialOf(index) })));
    const clock = new SystemClock();
    const laps: number[] = [];
    const startMs = clock.nowMs();
    for (let index = WHOLE; index < MAX_CLAIM_ROWS; index++) {
      const beforeMs = clock.nowMs();
      assert.equal(joinBlindly(bench, index), "granted");
      laps.push(clock.nowMs() - beforeMs);
    }
    const tookMs = clock.nowMs() - startMs;
    for (let index = 0; index < WHOLE; index++) {
      const { outcome } = await bench.join(bench.device(index), { serial: serialOf(index) });
      assert.equal(outcome.outcome, "member");
    }
    const members = bench.store.list("Member");
    assert.equal(members.length, MAX_CLAIM_ROWS);
    assert.equal(bench.ledger.memberCount(), MAX_CLAIM_ROWS);
    for (const of of [
      (member: (typeof members)[number]) => member.body.spec.node,
      (member: (typeof members)[number]) => member.body.metadata.name,
      (member: (typeof members)[number]) => member.body.spec.serial,
    ]) {
      assert.equal(new Set(members.map(of)).size, MAX_CLAIM_ROWS, "no identity twice");
    }
    assert.equal(joinBlindly(bench, MAX_CLAIM_ROWS), "offer", "nobody else: it waits");
    const median = (times: number[]): number => times.toSorted((a, b) => a - b)[times.length >> 1] ?? 0;
    const [first, last] = [median(laps.slice(0, 500)), median(laps.slice(-500))];
    console.log(
      `      ${MAX_CLAIM_ROWS} joins in ${(tookMs / 1_000).toFixed(1)} s; median of the first 500: ${first.toFixed(2)} ms, of the last: ${last.toFixed(2)} ms`,
    );
    assert.ok(last < first * 3 + 1, `a join slowed down from ${first} to ${last} ms`);
  });
});
