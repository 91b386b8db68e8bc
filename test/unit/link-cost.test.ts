import assert from "node:assert/strict";
import fc from "fast-check";
import { linkCost } from "#routing";

const near = { rttMs: 1, suspect: false, sameSite: true };

describe("link cost", () => {
  it("is nothing for a quick link in the own site", () => assert.equal(linkCost(near).total, 0));

  it("does not follow jitter below 10 ms or above 120 ms", () => {
    assert.equal(linkCost({ ...near, rttMs: 9 }).latency, linkCost(near).latency);
    assert.equal(linkCost({ ...near, rttMs: 121 }).latency, linkCost({ ...near, rttMs: 4_000 }).latency);
  });

  it("counts a link that was never measured as a slow one", () => {
    assert.equal(linkCost({ ...near, rttMs: undefined }).latency, linkCost({ ...near, rttMs: 500 }).latency);
  });

  it("takes the slowest link of the own site before the quickest of another", () => {
    assert.ok(linkCost({ ...near, rttMs: 5_000 }).total < linkCost({ ...near, sameSite: false }).total);
  });

  it("rules out a link whose probes go unanswered", () => {
    assert.equal(linkCost({ ...near, suspect: true }).total, Number.POSITIVE_INFINITY);
  });

  it("never falls when the round trip grows", () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 1e6, noNaN: true }),
        fc.double({ min: 0, max: 1e6, noNaN: true }),
        (a, b) => {
          const [low, high] = a < b ? [a, b] : [b, a];
          assert.ok(linkCost({ ...near, rttMs: low }).total <= linkCost({ ...near, rttMs: high }).total);
        },
      ),
    );
  });
});
