import { killRounds } from "../support/kill-rounds.ts";

/** `KILL_ROUNDS=50 KILL_SEED=7 npm test -- test/e2e/kill-rounds.test.ts` for more of them, or the same ones again. */
const ROUNDS = Number(process.env["KILL_ROUNDS"] ?? 2);

describe("nodes that are killed in the middle of transfers", function () {
  this.timeout(120_000 + ROUNDS * 180_000);

  it(`${ROUNDS} times: every survivor ends byte-exact, and who comes back gets little of it again`, async () => {
    const seed = process.env["KILL_SEED"];
    await killRounds(ROUNDS, seed === undefined ? undefined : Number(seed), (line) => console.log(`      ${line}`));
  });
});
