import assert from "node:assert/strict";
import fc from "fast-check";
import { linkCost } from "../../src/routing/link-cost.ts";

const near = { rttMs: 1, lossRatio: 0, loadRatio: 0, suspect: false, sameSite: true, penalty: 0 };

describe("link cost", () => {
  it("is one hop for a quick link in the own site", () => assert.equal(linkCost(near).total, 1));

  it("does not follow jitter below 10 ms or above 120 ms", () => {
    assert.equal(linkCost({ ...near, rttMs: 9 }).latency, linkCost(near).latency);
    assert.equal(linkCost({ ...near, rttMs: 121 }).latency, linkCost({ ...near, rttMs: 4_000 }).latency);
  });

  it("counts a link that was never measured as a slow one", () => {
    assert.equal(linkCost({ ...near, rttMs: undefined }).latency, linkCost({ ...near, rttMs: 500 }).latency);
  });

  it("takes the worst link of the own site before the quickest of another", () => {
    assert.ok(
      linkCost({ ...near, rttMs: 5_000, lossRatio: 1, loadRatio: 1 }).total <
        linkCost({ ...near, sameSite: false }).total,
    );
  });

  it("rules out a link whose probes go unanswered", () => {
    assert.equal(linkCost({ ...near, suspect: true }).total, Number.POSITIVE_INFINITY);
  });

  it("counts loss, where it is known", () => {
    assert.equal(linkCost({ ...near, lossRatio: undefined }).loss, 0);
    assert.equal(linkCost({ ...near, lossRatio: 0.004 }).loss, 0);
    const [some, more, most] = [0.01, 0.05, 0.5].map((lossRatio) => linkCost({ ...near, lossRatio }).loss);
    assert.ok(0 < (some ?? 0) && (some ?? 0) < (more ?? 0) && (more ?? 0) < (most ?? 0));
  });

  it("counts how busy a link is from half of the time on, and less than that it is slow or loses", () => {
    const [half, more, always] = [0.5, 0.75, 1].map((loadRatio) => linkCost({ ...near, loadRatio }));
    assert.deepEqual([half?.load, more?.load, always?.load], [0, 50, 100]);
    assert.ok((always?.total ?? 0) < linkCost({ ...near, rttMs: 120 }).total);
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
