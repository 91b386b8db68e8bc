import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { SystemClock } from "#core";
import { runCampaign } from "../fuzz/campaign.ts";
import { savedInputs, savedTargets } from "../fuzz/corpus.ts";
import { findDecoders, NOT_FUZZED } from "../fuzz/decoders.ts";
import { judge } from "../fuzz/judge.ts";
import { TARGETS } from "../fuzz/targets.ts";
import { runWatched } from "../fuzz/watched.ts";
import { TARGETS as PLANTED } from "../support/planted-targets.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const clock = new SystemClock();
/** For each parser in every run of the tests; `npm run fuzz` is for more. */
const SHORT_MS = 150;
/** The same in every run: a change is to be judged by what it does. `npm run fuzz` draws new ones. */
const SEED = 1;
const PATIENCE_MS = 20_000;

describe("parsers under fuzz", function () {
  this.timeout(60_000);

  it("are all that there are: a decoder in src is fed by a target, or says why not", () => {
    const covered = new Set(TARGETS.flatMap(({ covers }) => covers));
    const files = new Set([...covered].map((place) => place.split("#")[0]));
    const decoders = findDecoders(ROOT);
    const isFed = (place: string): boolean => covered.has(place) || (!place.includes("#") && files.has(place));
    assert.deepEqual(
      decoders.filter((place) => !isFed(place) && NOT_FUZZED[place] === undefined),
      [],
      "add it to a target in test/fuzz/targets, or to NOT_FUZZED with the reason",
    );
    assert.deepEqual(
      Object.keys(NOT_FUZZED).filter((place) => !decoders.includes(place) || isFed(place)),
      [],
      "needs no reason any more",
    );
  });

  it("are named once, and saved inputs belong to one of them", () => {
    const names = TARGETS.map(({ name }) => name);
    assert.equal(new Set(names).size, names.length);
    assert.deepEqual(
      savedTargets().filter((name) => !names.includes(name)),
      [],
    );
  });

  for (const target of TARGETS) {
    it(`${target.name}: takes or refuses what once broke it, and some new input`, async () => {
      const saved = savedInputs(target.name);
      const eat = await target.prepare();
      for (const { name, input } of saved) {
        assert.equal(
          (await judge(eat, target.refuses, input)).failure,
          undefined,
          `test/corpus/${target.name}/${name}`,
        );
      }
      const { failure } = await runCampaign(target, clock, { seed: SEED, ms: SHORT_MS, corpus: [] });
      assert.equal(
        failure?.what,
        undefined,
        `npm run fuzz -- ${target.name} 60 --seed ${SEED}: ${Buffer.from(failure?.minimal ?? []).toString("base64")}`,
      );
    });
  }
});

describe("the fuzzer", function () {
  this.timeout(120_000);
  const planted = (name: string) => PLANTED.find((target) => target.name === name) ?? assert.fail(name);
  const found: readonly [string, RegExp, string?][] = [
    ["throws", /^threw TypeError: undefined is not a function$/u, ",;"],
    ["surprises", /^threw Fault core.other/u, ",,"],
    ["errs", /^wrong: something else came out$/u, ";;"],
    ["dawdles", /^slow: over \d+ ms/u],
    ["gobbles", /^greedy: \d+ MiB/u, "ee"],
    ["leaks", /^leaks: \d+ MiB kept/u],
  ];
  for (const [name, what, minimal] of found) {
    it(`finds a decoder that ${name}`, async () => {
      const options = { seed: 1, ms: PATIENCE_MS, maxInputs: 20_000, corpus: [] };
      const { failure } = await runCampaign(planted(name), clock, options);
      assert.match(failure?.what ?? "nothing", what);
      if (minimal !== undefined) assert.equal(Buffer.from(failure?.minimal ?? []).toString(), minimal);
    });
  }

  it("feeds the same inputs for the same seed", async () => {
    const fed = async (): Promise<string[]> => {
      const inputs: string[] = [];
      const about = (input: Uint8Array): void => void inputs.push(Buffer.from(input).toString("base64"));
      await runCampaign(planted("errs"), clock, { seed: 9, ms: PATIENCE_MS, maxInputs: 40, corpus: [], about });
      return inputs;
    };
    assert.deepEqual(await fed(), await fed());
  });

  it("names the input that a thread did not come back from, or that changed every object", async () => {
    const targets = new URL("../support/planted-targets.ts", import.meta.url).href;
    const options = { seed: 1, ms: PATIENCE_MS, targets };
    const hung = await runWatched(clock, { ...options, target: "loops" });
    assert.match(hung.failure?.what ?? "", /^hangs: over/u);
    assert.match(Buffer.from(hung.failure?.input ?? []).toString("latin1"), /ttt/u);
    const { failure } = await runWatched(clock, { ...options, target: "pollutes" });
    assert.match(failure?.what ?? "", /^polluted: every object now has a "polluted"/u);
  });
});
