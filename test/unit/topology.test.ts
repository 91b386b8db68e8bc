import assert from "node:assert/strict";
import { type DocumentStore, keyHash, Membership, nodeIdOf, type Spec } from "#identity";
import { NO_POLICY } from "#routing";
import { Topology } from "../../src/daemon/topology.ts";
import { ARTIFACT_SPEC, base64, NOW_MS, TestFleet, testKey } from "../support/fleet.ts";

describe("the topology in force", () => {
  const fleet = new TestFleet();
  const operator = testKey(13);
  const owners = [fleet.owners[0], fleet.owners[1]];
  const nodeOf = (seed: number): string => nodeIdOf(testKey(seed).publicKey);
  const [cam, pump] = [nodeOf(30), nodeOf(31)];

  const member = (name: string, seed: number, labels: Record<string, string>, version = 1): Uint8Array => {
    const spec: Spec<"Member"> = {
      node: nodeOf(seed),
      publicKey: base64(testKey(seed).publicKey),
      site: "rome",
      roles: [],
      sealingKey: base64(new Uint8Array(32)),
      generation: 1,
      registrar: keyHash(fleet.registrar.publicKey),
      evidence: "claim",
    };
    return fleet.sign("Member", name, spec, [fleet.registrar], { labels, version });
  };
  const topology = (links: Spec<"Topology">["links"], version: number, tenant = "default"): Uint8Array =>
    fleet.sign("Topology", "main", links === undefined ? {} : { links }, [operator], { version, tenant });

  function world(): { store: DocumentStore; asked: Topology; take: (bytes: Uint8Array) => string } {
    const store = fleet.seededStore();
    const take = (bytes: Uint8Array): string => store.submit(bytes, NOW_MS).outcome;
    const network: Spec<"Operator"> = { publicKey: base64(operator.publicKey), roles: ["network"], tenant: "*" };
    for (const bytes of [
      fleet.sign("Operator", "net", network, owners),
      member("cam", 30, { rack: "r1" }),
      member("pump", 31, {}),
    ])
      assert.equal(take(bytes), "accepted");
    return { store, asked: new Topology({ store, members: new Membership(store) }), take };
  }
  const cost = (from: string, to: string) => [{ from, to, cost: 7 }];

  it("asks nothing where there is none, and of what another tenant's says nothing counts", () => {
    const { asked, take } = world();
    assert.equal(asked.policy(), NO_POLICY);
    assert.equal(take(topology(cost("*", "*"), 1, "acme")), "accepted");
    assert.equal(asked.policy(), NO_POLICY);
  });

  const ends: Record<string, [string, boolean]> = {
    "a name": ["cam", true],
    "another name": ["cams", false],
    everybody: ["*", true],
    "a label": ["rack=r1", true],
    "a label that is only there": ["rack,name", true],
    "another label": ["rack=r2", false],
    "a site": ["site=rome", true],
    "a node id": [`node=${cam}`, true],
    "a selector that cannot be read": ["a=b=c", false],
  };
  for (const [what, [end, fits]] of Object.entries(ends)) {
    it(`${fits ? "means" : "does not mean"} a node by ${what}`, () => {
      const { asked, take } = world();
      take(topology([{ from: end, to: "pump", cost: 7, oneWay: true }], 1));
      assert.equal(asked.policy().admin(cam, pump), fits ? 7 : 0);
    });
  }

  it("counts in its newest version, and no more once a tombstone names it", () => {
    const { asked, take } = world();
    take(topology(cost("cam", "pump"), 1));
    take(topology(cost("cam", "*"), 2));
    assert.equal(take(topology(cost("cam", "pump"), 1)), "refused");
    assert.equal(asked.policy().admin(pump, cam), 7);
    const target = { kind: "Topology", name: "main" } as const;
    assert.equal(take(fleet.sign("Tombstone", "topology.main", { target, version: 2 }, [fleet.publisher])), "refused");
    assert.equal(take(fleet.sign("Tombstone", "topology.main", { target, version: 2 }, [operator])), "accepted");
    assert.equal(asked.policy(), NO_POLICY);
  });

  it("is for network operators to sign, and for nobody else", () => {
    const { take } = world();
    const signed = fleet.sign("Topology", "main", {}, [fleet.publisher, fleet.admission, fleet.security]);
    assert.equal(take(signed), "refused");
  });

  it("is worked out anew when a member's labels change, and not when an artifact is published", () => {
    const { asked, take } = world();
    take(topology(cost("rack=r2", "pump"), 1));
    const before = asked.policy();
    assert.equal(take(fleet.sign("Artifact", "model:v1", ARTIFACT_SPEC, [fleet.publisher])), "accepted");
    assert.equal(asked.policy(), before);
    assert.equal(before.admin(cam, pump), 0);
    assert.equal(take(member("cam", 30, { rack: "r2" }, 2)), "accepted");
    assert.equal(asked.policy().admin(cam, pump), 7);
  });
});
