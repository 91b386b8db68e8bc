import assert from "node:assert/strict";
import { SwarmWorld, type WorldOptions, type WorldResult } from "../../bench/sim/swarm-world.ts";

const SMALL: WorldOptions = {
  seed: 1,
  sizeBytes: 32 * 1024 * 1024,
  sites: 1,
  nodesPerSite: 9,
  uplinkBps: 50e6,
  wanBps: 20e6,
};

/** The checks that the scenarios make, by name; those that do not hold. */
function red(options: WorldOptions): string[] {
  const result = new SwarmWorld(options).run();
  const checks: Record<string, (result: WorldResult) => boolean> = {
    "all survivors finish": ({ unfinished }) => unfinished === 0,
    "nothing comes twice": ({ duplicateRatio }) => duplicateRatio <= 0.001,
    "one copy crosses the WAN": ({ wanCopies }) => wanCopies <= 1.03,
    "every liar is named": ({ liars, liarsNamed }) => liars === liarsNamed,
    "no wrong cell is taken": ({ wrongCells }) => wrongCells === 0,
  };
  return Object.keys(checks).filter((name) => checks[name]?.(result) !== true);
}

describe("swarm scheduler with a part taken away", () => {
  const worlds = {
    refund: { ...SMALL, nodesPerSite: 11, dyingRatio: 0.4 },
    veto: { ...SMALL, sites: 3, nodesPerSite: 4, uplinkBps: 100e6 },
    verification: { ...SMALL, liarRatio: 0.3 },
  } satisfies Record<NonNullable<WorldOptions["broken"]>, WorldOptions>;
  const expected = {
    refund: ["all survivors finish"],
    veto: ["nothing comes twice", "one copy crosses the WAN"],
    verification: ["every liar is named", "no wrong cell is taken"],
  };

  for (const broken of ["refund", "veto", "verification"] as const) {
    it(`holds with ${broken}, and without it "${expected[broken].join('" and "')}" fails`, () => {
      assert.deepEqual(red(worlds[broken]), []);
      const fails = red({ ...worlds[broken], broken });
      for (const name of expected[broken])
        assert.ok(fails.includes(name), `${name} still holds; red: ${fails.join(", ")}`);
    });
  }
});
