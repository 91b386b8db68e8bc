import assert from "node:assert/strict";
import { Ed25519Key } from "#core";
import { nodeIdOf, publicKeyOf } from "#identity";
import { AdvertisedCost } from "../../src/routing/advertised-cost.ts";
import { LinkPenalty } from "../../src/routing/link-penalty.ts";
import { MAX_LINKS, readAdvertisement, writeAdvertisement } from "../../src/routing/link-state.ts";

describe("advertised cost", () => {
  /** The costs that are told, if each is as soon as it may be. */
  const told = (first: number, ...costs: number[]): number[] => {
    const cost = new AdvertisedCost(first);
    return costs.filter((next) => {
      cost.measure(next);
      const isTold = cost.change !== undefined;
      if (isTold) cost.tell();
      return isTold;
    });
  };

  it("is told anew when a change holds for three measurements", () => {
    assert.deepEqual(told(100, 200, 200), []);
    assert.deepEqual(told(100, 200, 200, 200), [200]);
  });

  it("does not follow jitter of a tenth, or of 15", () => {
    assert.deepEqual(told(1_000, ...Array.from({ length: 50 }, (_, i) => (i % 2 === 0 ? 1_099 : 901))), []);
    assert.deepEqual(told(20, ...Array.from({ length: 50 }, (_, i) => (i % 2 === 0 ? 34 : 6))), []);
  });

  it("does not follow what swings from one side to the other", () => {
    assert.deepEqual(told(100, ...Array.from({ length: 50 }, (_, i) => (i % 2 === 0 ? 200 : 20))), []);
  });

  it("says which way it changed, for as long as that holds and is not told", () => {
    const cost = new AdvertisedCost(100);
    const after = (...costs: number[]): string | undefined => {
      for (const one of costs) cost.measure(one);
      return cost.change;
    };
    assert.deepEqual([after(300, 300), after(300), after(300)], [undefined, "worse", "worse"]);
    assert.equal(after(101), undefined, "it is as before");
    assert.equal(after(40, 40, 40), "better");
    cost.tell();
    assert.equal(after(40, 40, 40), undefined);
  });
});

describe("link penalty", () => {
  it("halves every minute, until it is none", () => {
    const link = new LinkPenalty();
    link.up(1_000);
    assert.deepEqual(
      [0, 60, 120, 180, 600].map((s) => link.at(1_000 + s * 1_000)),
      [200, 100, 50, 25, 0],
    );
  });

  it("grows while a link comes and goes, up to a bound", () => {
    const link = new LinkPenalty();
    for (let second = 0; second < 100; second++) link.up(second * 1_000);
    assert.ok(link.at(99_000) === 1_600, `${link.at(99_000)}`);
  });
});

describe("link-state advertisement", () => {
  const terms = { latency: 3, loss: 0, load: 7, money: 420, penalty: 25 };
  const peers = Array.from({ length: MAX_LINKS + 20 }, (_, i) =>
    nodeIdOf(new Ed25519Key(Buffer.alloc(32, i + 1)).publicKey),
  );

  const key = publicKeyOf(peers[0] ?? "");

  it("is read as it was written", () => {
    const told = { transit: true, links: new Map([[peers[0] ?? "", terms]]) };
    assert.deepEqual(readAdvertisement(writeAdvertisement(told)), told);
  });

  it("tells of the links that cost least, where there are more than fit", () => {
    const links = new Map(peers.map((peer, i) => [peer, { ...terms, latency: peers.length - i }]));
    const read = readAdvertisement(writeAdvertisement({ transit: false, links }));
    assert.deepEqual([...(read?.links.keys() ?? [])], peers.slice(20).toReversed());
  });

  it("may say more than this version knows", () => {
    const value = { transit: true, links: [[key, 1, 2, 3, 4, 5, "later"]], area: "x" };
    assert.deepEqual(readAdvertisement(value)?.links.get(peers[0] ?? ""), {
      latency: 1,
      loss: 2,
      load: 3,
      money: 4,
      penalty: 5,
    });
  });

  for (const [what, value] of Object.entries({
    "no links": { transit: true },
    "a negative cost": { transit: true, links: [[key, -1, 0, 0, 0, 0]] },
    "a huge cost": { transit: true, links: [[key, 1e9, 0, 0, 0, 0]] },
    "no node": { transit: true, links: [[peers[0], 1, 0, 0, 0, 0]] },
    "too short a key": { transit: true, links: [[key.subarray(1), 1, 0, 0, 0, 0]] },
    "too many links": { transit: true, links: peers.map((peer) => [publicKeyOf(peer), 1, 0, 0, 0, 0]) },
    "a missing term": { transit: true, links: [[key, 1, 0, 0, 0]] },
    "no mapping": [1],
  })) {
    it(`counts for nothing with ${what}`, () => assert.equal(readAdvertisement(value), undefined));
  }
});
