import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { ForeignPeer } from "../support/foreign-peer.ts";
import { join, type Shown } from "../support/foreign-join.ts";
import { Yard, type YardNode } from "../support/yard.ts";

const RACERS = 100;
/** Redirects that a racer follows, and times it tries again when there was no place for a stranger. */
const MAX_TRIES = 12;

describe(`${RACERS} devices after one thing, at two registrars`, function () {
  this.timeout(120_000);
  let yard: Yard;
  let hub: YardNode;
  let gate: YardNode;
  let token: string;
  let addresses: string[];

  before(async () => {
    yard = new Yard();
    hub = await yard.demoFleet();
    token = await hub.ok("token");
    gate = yard.node("gate");
    await hub.ok("pass", "create", "gate", "--out", yard.path("gate.pass"));
    await gate.up("--token", token, "--pass-file", yard.path("gate.pass"), "--serial", "GATE", "--site", "berlin");
    await gate.until("member");
    await hub.ok("registrar", "add", "gate");
    await gate.until("registrar");
    addresses = (await Promise.all([hub.status(), gate.status()])).map((status) => status.addresses[0] ?? "");
  });
  after(() => yard[Symbol.asyncDispose]());

  /** What the fleet said at last to one device, which starts at either registrar. */
  async function race(peer: ForeignPeer, index: number, shown: Shown): Promise<Record<string, unknown>> {
    let address = addresses[index % 2] ?? "";
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const answer = await join(peer, token, { ...shown, address }).then(
        (done) => done.answer,
        () => undefined, // no place for a stranger just now
      );
      if (answer === undefined) continue;
      if (answer["t"] !== "redirect") return answer;
      address = (answer["addresses"] as string[])[0] ?? "";
    }
    return { t: "lost" };
  }

  async function raceAll(shown: Shown): Promise<Record<string, unknown>[]> {
    await using peers = new AsyncDisposableStack();
    const racers = await Promise.all(Array.from({ length: RACERS }, async () => peers.use(await ForeignPeer.start())));
    return await Promise.all(racers.map((racer, index) => race(racer, index, shown)));
  }

  function tally(answers: readonly Record<string, unknown>[]): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { t, code } of answers) {
      const said = [t, code].filter((part) => typeof part === "string").join(" ");
      counts[said] = (counts[said] ?? 0) + 1;
    }
    return counts;
  }

  async function membersBy(evidence: string, serial?: string): Promise<number> {
    const { items } = await hub.client.call("nodes.list", {});
    return items.filter((node) => node.evidence === evidence && (serial === undefined || node.serial === serial))
      .length;
  }

  it("admit one of them by a pass, and tell the others why not", async () => {
    await hub.ok("pass", "create", "prize", "--out", yard.path("prize.pass"));
    await gate.untilDocument("Pass/prize");
    const answers = await raceAll({ pass: readFileSync(yard.path("prize.pass"), "utf8") });
    assert.deepEqual(tally(answers), { granted: 1, "denied identity.pass-taken": RACERS - 1 });
    assert.equal(await membersBy("pass"), 2, "the gate, and the one");
  });

  it("admit one of them by a serial that was claimed without a key, and quarantine the others", async () => {
    await hub.ok("admit", "-f", yard.write("prize.csv", "serial,model,key,tenant,labels,expires\nPRIZE,,,,,\n"));
    await gate.untilDocument("ClaimList/prize");
    const answers = await raceAll({ serial: "PRIZE" });
    assert.deepEqual(tally(answers), { granted: 1, "denied identity.claim-taken": RACERS - 1 });
    assert.equal(await membersBy("claim", "PRIZE"), 1);
  });
});
