import assert from "node:assert/strict";
import { SwarmWorld, type WorldOptions, type WorldResult } from "../../bench/sim/swarm-world.ts";

const MIB = 1024 * 1024;
const ONE_SITE: WorldOptions = {
  seed: 1,
  sizeBytes: 256 * MIB,
  sites: 1,
  nodesPerSite: 9,
  uplinkBps: 50e6,
  wanBps: 20e6,
};
const THREE_SITES: WorldOptions = { ...ONE_SITE, sizeBytes: 100 * MIB, sites: 3, nodesPerSite: 4, uplinkBps: 100e6 };

function run(options: WorldOptions): WorldResult {
  const result = new SwarmWorld(options).run();
  assert.equal(result.unfinished, 0, `seed ${options.seed}: ${JSON.stringify(result)}`);
  return result;
}

function atMost(name: keyof WorldResult, bar: number, result: WorldResult): void {
  assert.ok(result[name] <= bar, `${name} over ${bar}: ${JSON.stringify(result)}`);
}

describe("swarm scheduler on virtual time", () => {
  for (const seed of [1, 2]) {
    it(`reaches 8 nodes within 5 % of the fluid bound (seed ${seed})`, () => {
      const result = run({ ...ONE_SITE, seed });
      atMost("ratio", 1.05, result);
      atMost("duplicateRatio", 0, result);
    });

    it(`brings one copy to each of two other sites within 12 % of the bound (seed ${seed})`, () => {
      const result = run({ ...THREE_SITES, seed });
      atMost("ratio", 1.12, result);
      atMost("wanCopies", 1.01, result);
    });
  }

  it("reaches nodes with uplinks of 10 to 100 Mbit/s within 6 % of the bound", () => {
    atMost("ratio", 1.06, run({ ...ONE_SITE, mixed: true }));
  });

  it("loses little when every fifth node dies", () => {
    atMost("ratio", 1.1, run({ ...ONE_SITE, sizeBytes: 128 * MIB, nodesPerSite: 11, dyingRatio: 0.2 }));
  });

  it("goes on when the leaders of sites die, and crosses the WAN only for what was on its way", () => {
    const result = run({ ...THREE_SITES, leadersDie: true });
    atMost("ratio", 1.2, result);
    atMost("wanCopies", 1.03, result);
  });

  it("names every liar, and loses little to them", () => {
    const result = run({ ...ONE_SITE, nodesPerSite: 11, liarRatio: 0.3 });
    atMost("ratio", 1.05, result);
    assert.ok(result.liars > 0);
    assert.equal(result.liarsNamed, result.liars);
  });

  it("gives the same run for the same seed", () => {
    const small = { ...THREE_SITES, sizeBytes: 8 * MIB, liarRatio: 0.2, dyingRatio: 0.1 };
    const [first, again] = [run(small), run(small)];
    assert.deepEqual({ ...first, decisionUs: 0 }, { ...again, decisionUs: 0 });
  });
});
