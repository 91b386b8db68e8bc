import assert from "node:assert/strict";
import { runScenario } from "./run-scenario.ts";
import { choose } from "./scenario.ts";
import { SCENARIOS } from "./scenarios.ts";

describe("daemons over hosts in memory, on virtual time", function () {
  this.timeout(180_000);

  it("30 of them join, keep neighbours and bring artifacts to all, also to those who were away (seed 1)", async () => {
    const [scenario] = choose(SCENARIOS, "fleet/30");
    assert.ok(scenario);
    const { failures, replay } = await runScenario(scenario, 1);
    assert.deepEqual(failures, [], replay);
  });
});
