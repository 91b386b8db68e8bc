import assert from "node:assert/strict";
import { Fault } from "#core";
import { atMost } from "../../bench/bench.ts";
import { runScenario } from "../sim/run-scenario.ts";
import { choose, type Scenario } from "../sim/scenario.ts";
import { SCENARIOS } from "../sim/scenarios.ts";

const named = (name: string, long = false): Scenario => ({
  name,
  claim: "",
  long,
  run: (seed) => ({ figures: { seed }, bars: [atMost("seed", 5, seed)] }),
});

describe("npm run sim", () => {
  it("knows every scenario by one name of its own", () => {
    const names = SCENARIOS.map(({ name }) => name);
    assert.equal(new Set(names).size, names.length);
    for (const name of names) assert.match(name, /^[a-z0-9-]+\/[a-z0-9-]+$/u);
  });

  it("chooses one, a family, or all, and long ones only by name", () => {
    const all = [named("swarm/a"), named("swarm/b", true), named("swarm-2/a")];
    const chosen = (word: string): string[] => choose(all, word).map(({ name }) => name);
    assert.deepEqual(chosen("all"), ["swarm/a", "swarm-2/a"]);
    assert.deepEqual(chosen("swarm"), ["swarm/a"]);
    assert.deepEqual(chosen("swarm/b"), ["swarm/b"]);
    assert.deepEqual(chosen("swar"), []);
  });

  it("says of a run that does not hold what did not, and how to see it again", async () => {
    assert.deepEqual((await runScenario(named("a/b"), 5)).failures, []);
    const { failures, replay } = await runScenario(named("a/b"), 6);
    assert.deepEqual(failures, ["seed is 6, must be ≤ 5"]);
    assert.equal(replay, "npm run sim -- a/b --seed 6");
    const broken = { ...named("a/b"), run: () => Promise.reject(new Fault("sim.split", "two halves")) };
    assert.deepEqual((await runScenario(broken, 1)).failures, ["two halves"]);
  });

  it("comes to the same for the same seed", async () => {
    const [scenario] = choose(SCENARIOS, "swarm/dead-leaders");
    assert.ok(scenario);
    const [one, two] = [await scenario.run(3), await scenario.run(3)];
    assert.deepEqual({ ...one.figures, decisionUs: 0 }, { ...two.figures, decisionUs: 0 });
    assert.notDeepEqual((await scenario.run(4)).figures["ratio"], one.figures["ratio"]);
  });
});
