import assert from "node:assert/strict";
import { SeededRandom } from "#core";
import { leaderWeight } from "../../src/artifacts/swarm/leaders.ts";
import { Swarm } from "../../src/artifacts/swarm/swarm.ts";
import type { SwarmEffect } from "../../src/artifacts/swarm/swarm-event.ts";

const REF = { root: "00".repeat(32), sizeBytes: 16 * 256 * 1024, chunkBytes: 256 * 1024 };
const NEAR = ["a", "b", "c", "d"];
const SITES = ["x", "y", "z"];
const farOf = (site: string): string[] => [1, 2, 3].map((n) => `${site}${n}`);
const UNLIMITED = {
  lanBytes: Number.POSITIVE_INFINITY,
  wanBytes: Number.POSITIVE_INFINITY,
  lanInBytes: Number.POSITIVE_INFINITY,
  wanInBytes: Number.POSITIVE_INFINITY,
};

const best = (nodes: readonly string[], site: string): string | undefined =>
  nodes.toSorted((a, b) => leaderWeight(REF.root, b, site) - leaderWeight(REF.root, a, site))[0];

/** Whom a node that has all, of a site of four that reach three others, offers chunks to over the WAN. */
function offers(self: string, without: readonly string[] = []): Set<string> {
  const random = new SeededRandom(1);
  const swarm = new Swarm({ ref: REF, self, site: "home", random, wants: false, nowMs: 0 });
  const effects: SwarmEffect[] = [];
  const meet = (peer: string, site: string, wants: boolean): void => {
    const status = { wants, yields: false, foreground: false, reach: site === "home" ? SITES : ["home"] };
    effects.push(...swarm.step({ type: "peer-up", peer, site, status }, 0));
  };
  for (let chunk = 0; chunk < 16; chunk++) swarm.step({ type: "stored", chunk }, 0);
  for (const peer of NEAR) if (peer !== self) meet(peer, "home", false);
  for (const site of SITES) for (const peer of farOf(site)) meet(peer, site, true);
  for (const peer of without) swarm.step({ type: "peer-down", peer }, 0);
  effects.length = 0;
  effects.push(...swarm.step({ type: "pump", ...UNLIMITED }, 1));
  return new Set(effects.flatMap((e) => (e.type === "say" && e.message.type === "offer" ? [e.to] : [])));
}

describe("swarm: the envoys between sites", () => {
  it("exports to each site from one member, to one importer of it", () => {
    for (const self of NEAR) {
      const expected = SITES.filter((site) => best(NEAR, site) === self).map((site) => best(farOf(site), "home"));
      assert.deepEqual([...offers(self)].toSorted(), expected.toSorted());
    }
  });

  it("gives the sites of an envoy that is gone, and the chunks for an importer that is gone, to the next ones", () => {
    const site = "x";
    const [gone, importer] = [best(NEAR, site) ?? "", best(farOf(site), "home") ?? ""];
    const rest = NEAR.filter((node) => node !== gone);
    const next = best(rest, site) ?? "";
    assert.ok(!offers(next).has(importer));
    assert.ok(offers(next, [gone]).has(importer));
    const second =
      best(
        farOf(site).filter((node) => node !== importer),
        "home",
      ) ?? "";
    assert.ok(offers(next, [gone, importer]).has(second));
  });

  it("spreads many sites over the members of one", () => {
    const sites = Array.from({ length: 30 }, (_, at) => `site-${at}`);
    const members = Array.from({ length: 17 }, (_, at) => `node-${at}`);
    const load = members.map((node) => sites.filter((site) => best(members, site) === node).length);
    assert.ok(Math.max(...load) <= 6, load.join(" "));
  });
});
