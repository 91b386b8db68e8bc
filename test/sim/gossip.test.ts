import assert from "node:assert/strict";
import { runScenario } from "./run-scenario.ts";
import { choose } from "./scenario.ts";
import { SCENARIOS } from "./scenarios.ts";

describe("gossip among 300 nodes, on virtual time", function () {
  this.timeout(120_000);

  it("reaches all over feeds, and makes up for dead nodes, newcomers and a cut (seed 1)", async () => {
    const [scenario] = choose(SCENARIOS, "gossip/300");
    assert.ok(scenario);
    const { failures, replay } = await runScenario(scenario, 1);
    assert.deepEqual(failures, [], replay);
  });
});
