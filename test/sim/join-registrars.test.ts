import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type DeviceOutcome, startDevice } from "../../src/identity/join-device.ts";
import { stepRegistrar } from "../../src/identity/join-registrar.ts";
import { transcriptHash } from "../../src/identity/join-wire.ts";
import { keyHash, nodeIdOf } from "../../src/identity/node-id.ts";
import { createPass, passKey } from "../../src/identity/pass.ts";
import { base64, TestFleet, testKey } from "../support/fleet.ts";
import { JoinBench } from "../support/joining.ts";

/** Two registrars of one fleet; what one accepts reaches the other when `meet` is called. */
class TwoRegistrars implements Disposable {
  readonly fleet = new TestFleet();
  readonly a = new JoinBench(this.fleet);
  readonly b: JoinBench;

  constructor() {
    const key = testKey(21);
    this.b = new JoinBench(this.fleet, mkdtempSync(join(tmpdir(), "ptl-join-")), key);
    const spec = this.fleet.registrarSpec(key);
    this.submit(this.fleet.sign("Registrar", "gate-b", spec, [this.fleet.owners[0], this.fleet.owners[1]]));
  }

  submit(bytes: Uint8Array): void {
    this.a.submit(bytes);
    this.b.submit(bytes);
  }

  meet(): void {
    const all = [...this.a.store.all(), ...this.b.store.all()];
    for (const { bytes } of all) for (const { store, clock } of [this.a, this.b]) store.submit(bytes, clock.wallMs());
  }

  /** A pass with a home, as text; `again`: how it is signed anew, with another one. */
  pass(name: string, home: JoinBench): { text: string; handOver: (to: JoinBench) => Uint8Array } {
    const text = createPass(this.a.random);
    const publicKey = base64(passKey(text, this.fleet.id).publicKey);
    const sign = (at: JoinBench, version: number): Uint8Array =>
      this.fleet.sign("Pass", name, { publicKey, home: at.nodeId }, [this.fleet.admission], { version });
    this.submit(sign(home, 1));
    return { text, handOver: (to) => sign(to, 2) };
  }

  [Symbol.dispose](): void {
    this.a[Symbol.dispose]();
    this.b[Symbol.dispose]();
  }
}

function said(outcome: DeviceOutcome): string {
  if (outcome.outcome === "member") return "member";
  return outcome.outcome === "redirect" ? `redirect ${outcome.home}` : `${outcome.outcome} ${outcome.code}`;
}

describe("several registrars", () => {
  let two: TwoRegistrars;
  beforeEach(() => {
    two = new TwoRegistrars();
  });
  afterEach(() => two[Symbol.dispose]());

  async function ask(bench: JoinBench, seed: number, pass?: string, serial?: string): Promise<string> {
    const change = pass === undefined ? {} : { pass };
    return said((await bench.join(bench.device(seed), serial === undefined ? {} : { serial }, change)).outcome);
  }

  it("let a pass be used at its home only", async () => {
    const { a, b } = two;
    const { text } = two.pass("p", b);
    assert.equal(await ask(a, 1, text), "redirect gate-b");
    assert.equal(await ask(b, 1, text), "member");
    assert.equal(await ask(b, 2, text), "denied identity.pass-taken");
    assert.equal(await ask(a, 2, text), "redirect gate-b", "before it has heard");
    two.meet();
    assert.equal(await ask(a, 2, text), "denied identity.pass-taken", "it has heard, from the member document");
    assert.deepEqual(
      b.ledger.refusedDevices().map(({ code }) => code),
      ["identity.pass-taken"],
    );
  });

  it("let nobody in by what names no home: apart from each other they could not agree on one", async () => {
    const { a, b, fleet } = two;
    const text = createPass(a.random);
    const publicKey = base64(passKey(text, fleet.id).publicKey);
    two.submit(fleet.sign("Pass", "bare", { publicKey }, [fleet.admission]));
    two.submit(fleet.sign("ClaimList", "bare", { rows: [{ serial: "SN-1" }] }, [fleet.admission]));
    for (const bench of [a, b]) {
      assert.equal(await ask(bench, 1, text), "pending identity.home-unnamed");
      assert.equal(await ask(bench, 2, undefined, "SN-1"), "pending identity.home-unnamed");
    }
    two.submit(fleet.sign("Batch", "bare", { max: 5, cidrs: [] }, [fleet.admission]));
    assert.equal(await ask(a, 3), "pending identity.home-unnamed");
    two.submit(fleet.sign("Pass", "bare", { publicKey, home: a.nodeId }, [fleet.admission], { version: 2 }));
    assert.equal(await ask(a, 1, text), "member");
  });

  it("take no pass that they do not know, and none whose key did not sign", async () => {
    const { a } = two;
    const { text } = two.pass("p", a);
    assert.equal(await ask(a, 1, createPass(a.random)), "pending identity.pass-unknown");
    const thief = a.device(2); // it has seen the pass's document, and not the pass
    const { send: hello } = startDevice({ ...a.deviceDeps(thief), nonce: a.random.bytes(16) }, a.clock.wallMs());
    const peer = { nodeId: thief.nodeId, remoteIp: "192.0.2.9" };
    const { state } = stepRegistrar({ at: "listening" }, hello, a.registrar.context(peer));
    assert.ok(state.at === "offered");
    const transcript = transcriptHash(hello, state.offer, thief.sealingPublic);
    const key = new Uint8Array(passKey(text, two.fleet.id).publicKey);
    const sig = thief.key.sign(transcript);
    const proof = { t: "proof", sealing: thief.sealingPublic, sig, pass: { key, sig } } as const;
    const { effects } = stepRegistrar(state, proof, a.registrar.context(peer));
    assert.deepEqual(
      effects.map((effect) => effect.do === "send" && effect.message.t === "denied" && effect.message.code),
      ["identity.proof"],
    );
  });

  it("give the same key the same answer, also when its answer was lost and its home is another now", async () => {
    const { a, b } = two;
    const { text, handOver } = two.pass("p", a);
    assert.equal(await ask(a, 1, text), "member");
    const [first] = a.store.list("Member");
    two.meet();
    two.submit(handOver(b));
    assert.equal(await ask(b, 1, text), "member");
    assert.equal(await ask(b, 2, text), "denied identity.pass-taken");
    two.meet();
    assert.deepEqual(
      b.store.list("Member").map(({ body }) => [body.metadata.name, body.spec.node, body.spec.used]),
      [[first?.body.metadata.name, first?.body.spec.node, first?.body.spec.used]],
      "one identity",
    );
  });

  it("refuse at the old home as soon as it has heard of the new one", async () => {
    const { a, b } = two;
    const { text, handOver } = two.pass("p", a);
    b.submit(handOver(b));
    assert.equal(await ask(b, 1, text), "member");
    a.submit(handOver(b));
    assert.equal(await ask(a, 2, text), "redirect gate-b");
    two.meet();
    a.restart();
    assert.equal(await ask(a, 2, text), "denied identity.pass-taken", "learnt, and kept");
  });

  it("record it when both gave one thing away while they were apart", async () => {
    const { a, b } = two;
    const { text, handOver } = two.pass("p", a);
    b.submit(handOver(b)); // a is cut off, and does not hear of it
    assert.deepEqual([await ask(a, 1, text), await ask(b, 2, text)], ["member", "member"]);
    two.meet();
    const names = [a, b].map((bench) => bench.usedTwice);
    assert.deepEqual(
      names.map((ids) => ids.length),
      [1, 1],
    );
    assert.notEqual(names[0]?.[0], names[1]?.[0], "each names the other's");
  });

  it("learn what was used before they became one, and what was used while they were off", async () => {
    const { a } = two;
    const { text, handOver } = two.pass("p", a);
    assert.equal(await ask(a, 1, text), "member");
    const key = testKey(22);
    using late = new JoinBench(two.fleet, mkdtempSync(join(tmpdir(), "ptl-join-")), key);
    for (const { bytes } of a.store.all()) late.store.submit(bytes, late.clock.wallMs());
    const spec = two.fleet.registrarSpec(key);
    late.submit(two.fleet.sign("Registrar", "gate-c", spec, [two.fleet.owners[0], two.fleet.owners[1]]));
    late.submit(handOver(late));
    assert.equal(await ask(late, 2, text), "denied identity.pass-taken");
  });

  it("share a batch's number, a serial and its key", async () => {
    const { a, b, fleet } = two;
    const home = nodeIdOf(testKey(21).publicKey);
    two.submit(fleet.sign("Batch", "few", { max: 1, cidrs: [], home }, [fleet.admission]));
    two.submit(fleet.sign("ClaimList", "line", { rows: [{ serial: "SN-1" }], home }, [fleet.admission]));
    assert.equal(await ask(a, 1), "redirect gate-b");
    assert.equal(await ask(a, 2, undefined, "SN-1"), "redirect gate-b");
    assert.deepEqual([await ask(b, 1), await ask(b, 2, undefined, "SN-1")], ["member", "member"]);
    two.meet();
    assert.equal(await ask(a, 3), "pending identity.batch-full");
    assert.equal(await ask(a, 3, undefined, "SN-1"), "denied identity.claim-taken");
    assert.equal(await ask(a, 3), "denied identity.claim-quarantined", "and it stays out without the serial too");
  });

  it("let who waits for the claims of a registrar that was shut out wait", async () => {
    const { a, fleet } = two;
    const { text } = two.pass("p", two.b);
    const key = { key: keyHash(testKey(21).publicKey), keepMembers: [] };
    two.submit(fleet.sign("Revocation", "fleet", { nodes: [], registrars: [key] }, [fleet.security]));
    assert.equal(await ask(a, 1, text), "pending identity.home-gone");
  });
});
