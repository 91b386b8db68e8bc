import assert from "node:assert/strict";
import fc from "fast-check";
import { Ed25519Key, SeededRandom, VirtualClock } from "#core";
import { nodeIdOf } from "#identity";
import { AddressBook, FORGET_MS, MAX_KNOWN_PEERS, MAX_TOLD_BY_ONE } from "../../src/mesh/address-book.ts";
import type { NeighbourEffect } from "../../src/mesh/neighbour-event.ts";
import { DEFAULT_NEIGHBOURS, Neighbours } from "../../src/mesh/neighbours.ts";

const ids = Array.from({ length: 80 }, (_, i) => nodeIdOf(new Ed25519Key(new Uint8Array(32).fill(i + 1)).publicKey));
const [self = "", ...others] = ids;
const [peer = "", second = ""] = others;
const address = (id: string, port = 7433): string => `/ip4/192.0.2.7/tcp/${port}/tls/p2p/${id}`;

function book(clock = new VirtualClock()): AddressBook {
  return new AddressBook(self, clock);
}

type Setting = {
  clock?: VirtualClock;
  busy?: readonly string[];
  seed?: number;
  signed?: Record<string, string>;
  leaves?: (id: string) => boolean;
};

function neighbours({
  clock = new VirtualClock(),
  busy = [],
  seed = 3,
  signed = {},
  leaves,
}: Setting = {}): Neighbours {
  const random = new SeededRandom(seed);
  const isBusy = (id: string): boolean => busy.includes(id);
  return new Neighbours({
    self,
    clock,
    random,
    ownSite: () => "berlin",
    siteOf: (id) => signed[id],
    seeds: () => [],
    isBusy,
    ...(leaves && { leavesSite: leaves }),
  });
}

function comeUp(core: Neighbours, id: string, site: string): NeighbourEffect[] {
  return core.step({ type: "up", peer: id, site, addresses: [address(id)] });
}

const peersOf = (effects: readonly NeighbourEffect[], type: "dial" | "part"): string[] =>
  effects.flatMap((effect) => (effect.type === type ? [effect.peer] : []));

describe("mesh: address book", () => {
  it("takes hints of others, but not of itself, without a node id, or unreadable", () => {
    const peers = book();
    peers.hint([address(peer), address(self), "/ip4/192.0.2.7/tcp/1/tls", "nonsense"], "berlin");
    assert.deepEqual(
      [...peers.peers()].map(({ nodeId }) => nodeId),
      [peer],
    );
  });

  it("keeps the address that worked before those the peer names", () => {
    const peers = book();
    peers.hint([address(peer, 1)]);
    peers.reached(peer, "berlin", [address(peer, 2), address(self, 3)], address(peer, 4));
    assert.deepEqual(peers.get(peer)?.addresses, [address(peer, 4), address(peer, 2)]);
    peers.hint([address(peer, 5)]);
    assert.deepEqual(peers.get(peer)?.addresses, [address(peer, 4), address(peer, 5), address(peer, 2)]);
  });

  it("waits longer after each failure, up to a bound, and longer after a refusal", () => {
    const peers = book();
    peers.hint([address(peer), address(second)]);
    const random = new SeededRandom(1);
    const rest = (id: string): number => peers.get(id)?.restsUntilMs ?? 0;
    for (let failures = 0; failures < 3; failures++) {
      peers.failed(peer, "unreachable", random);
      assert.ok(rest(peer) >= 750 * 2 ** failures && rest(peer) <= 1_250 * 2 ** failures, String(rest(peer)));
    }
    peers.failed(second, "refused", random);
    assert.ok(rest(second) >= 3_750);
    for (let i = 0; i < 40; i++) peers.failed(peer, "unreachable", random);
    assert.ok(rest(peer) <= 375_000);
    assert.ok((peers.get(peer)?.notBeforeMs ?? 0) <= 15_000, "a node without neighbours tries again sooner");
    peers.failed(second, "other-fleet", random);
    assert.ok((peers.get(second)?.notBeforeMs ?? 0) > 2_000_000, "but not at those of another fleet");
  });

  it("tries the lost ones again when one of them that could not be reached is back", () => {
    const peers = book();
    for (const id of [peer, second]) {
      peers.reached(id, "porto", [address(id)], undefined);
      peers.lost(id);
      for (let i = 0; i < 9; i++) peers.failed(id, "unreachable", new SeededRandom(1));
    }
    peers.reached(peer, "porto", [address(peer)], undefined);
    assert.equal(peers.get(second)?.restsUntilMs, 0);
  });

  it("lets one peer's hints push out neither what others said nor where somebody was reached", () => {
    const peers = book();
    peers.reached(second, "porto", [address(second)], undefined);
    peers.hint([address(second, 9)], "berlin", peer);
    assert.equal(peers.get(second)?.site, "porto");
    assert.equal(peers.get(second)?.addresses[0], address(second));
    const [honest = "", ...invented] = Array.from({ length: MAX_KNOWN_PEERS + 200 }, (_, i) => `12D3Invented${i}`);
    const wide = new AddressBook(self, new VirtualClock(), (text) => text.slice(text.lastIndexOf("/") + 1));
    wide.hint([address(honest)], "porto", second);
    for (const id of invented) wide.hint([address(id)], "porto", peer);
    assert.equal(wide.size, 1 + MAX_TOLD_BY_ONE);
    assert.ok(wide.get(honest) !== undefined);
    assert.ok(wide.get(invented.at(-1) ?? "") !== undefined, "the newest are kept");
  });

  it("remembers whom it reached, forgets who is long gone, and keeps the last few all the same", () => {
    const clock = new VirtualClock(0);
    const peers = book(clock);
    for (const [i, id] of others.slice(0, 12).entries()) {
      clock.jumpWallMs(i === 0 ? 0 : 1);
      peers.reached(id, "berlin", [address(id)], undefined);
    }
    peers.hint([address(others[20] ?? "")]); // never reached
    const remembered = peers.remembered();
    assert.equal(remembered.length, 12);
    clock.jumpWallMs(FORGET_MS + 11);
    const later = book(clock);
    later.recall(remembered);
    assert.equal(later.size, 8);
    assert.ok(later.get(others[11] ?? ""));
  });

  it("holds a bounded number of peers and drops those it never reached first", () => {
    const peers = book();
    peers.reached(peer, "berlin", [address(peer)], undefined);
    const key = new Uint8Array(32);
    for (let i = 0; i < MAX_KNOWN_PEERS + 50; i++) {
      key.set([i & 0xff, i >> 8, 5]);
      peers.hint([address(nodeIdOf(key))]);
    }
    assert.equal(peers.size, MAX_KNOWN_PEERS);
    assert.ok(peers.get(peer));
  });
});

describe("mesh: neighbours", () => {
  it("dials no other site from a node that is to stay at home, but where there is nobody at home, and lets such links go later", async () => {
    const clock = new VirtualClock();
    const [home, abroad] = [others.slice(0, 2), others.slice(2, 10)];
    const border = abroad[0] ?? "";
    const signed = Object.fromEntries([...home.map((id) => [id, "berlin"]), ...abroad.map((id) => [id, "porto"])]);
    const core = neighbours({ clock, signed, leaves: (id) => id === border });
    core.step({ type: "told", from: border, peers: abroad.map((id) => ({ addresses: [address(id)], site: "porto" })) });
    assert.deepEqual(peersOf(core.step({ type: "look" }), "dial"), [border]);
    comeUp(core, border, "porto");
    core.step({ type: "degree", from: border, degree: 12 });
    core.step({ type: "told", from: border, peers: home.map((id) => ({ addresses: [address(id)], site: "berlin" })) });
    assert.deepEqual(peersOf(core.step({ type: "look" }), "dial").toSorted(), home.toSorted());
    for (const id of home) comeUp(core, id, "berlin");
    await clock.advanceMs(600_000);
    assert.deepEqual(peersOf(core.step({ type: "look" }), "part"), [border]);
    assert.deepEqual(peersOf(core.step({ type: "look" }), "dial"), []);
  });

  const { wantedHere, wantedElsewhere, most } = DEFAULT_NEIGHBOURS;

  it("shares the neighbours it wants between its own site and the others, a few dials at a time", () => {
    const core = neighbours();
    for (const [i, id] of others.entries()) core.book.hint([address(id)], i < 60 ? "berlin" : "porto");
    const dialled: string[] = [];
    for (let dials = peersOf(core.step({ type: "look" }), "dial"); dials.length > 0; ) {
      assert.ok(dials.length <= 8);
      dialled.push(...dials);
      for (const id of dials) comeUp(core, id, core.book.get(id)?.site ?? "");
      dials = peersOf(core.step({ type: "look" }), "dial");
    }
    assert.equal(dialled.length, wantedHere + wantedElsewhere);
    assert.equal(dialled.filter((id) => core.book.get(id)?.site === "porto").length, wantedElsewhere);
  });

  it("dials for its share of other sites although its own site has dialled it full", () => {
    const core = neighbours();
    for (const id of others.slice(0, 20)) comeUp(core, id, "berlin");
    core.book.hint([address(others[20] ?? "")], "berlin");
    core.book.hint([address(others[21] ?? "")], "porto");
    assert.deepEqual(peersOf(core.step({ type: "look" }), "dial"), [others[21]]);
  });

  it("goes by the site that is signed for a peer, whatever others say", () => {
    const [liar = "", porto = "", accomplice = ""] = others.slice(20);
    const core = neighbours({ signed: { [porto]: "porto", [accomplice]: "berlin" } });
    for (const id of others.slice(0, 20)) comeUp(core, id, "berlin");
    const told = [
      { addresses: [address(porto)], site: "berlin" },
      { addresses: [address(accomplice)], site: "porto" },
    ];
    core.step({ type: "told", from: liar, peers: told });
    assert.deepEqual(peersOf(core.step({ type: "look" }), "dial"), [porto]);
  });

  it("never dials a neighbour, one being dialled, or one that waits", () => {
    const some = fc.subarray(others);
    fc.assert(
      fc.property(some, some, fc.integer(), (up, waiting, seed) => {
        const core = neighbours({ seed });
        core.book.hint(others.map((id) => address(id)));
        for (const id of waiting) core.book.failed(id, "unreachable", new SeededRandom(seed));
        for (const id of up) comeUp(core, id, "porto");
        const dials = [...core.step({ type: "look" }), ...core.step({ type: "look" })];
        const dialled = peersOf(dials, "dial");
        assert.ok(dialled.length <= 8);
        assert.equal(new Set(dialled).size, dialled.length);
        for (const id of dialled) assert.ok(!up.includes(id) && !waiting.includes(id));
      }),
    );
  });

  it("takes whoever comes when it is full, tells it of others, and parts from one that is not in use", () => {
    const busy = others.slice(0, most - 1);
    const core = neighbours({ busy });
    for (const id of others.slice(0, most)) assert.deepEqual(peersOf(comeUp(core, id, "berlin"), "part"), []);
    const effects = comeUp(core, others[most] ?? "", "berlin");
    assert.deepEqual(peersOf(effects, "part"), [others[most - 1]]);
    assert.ok(effects.some((effect) => effect.type === "tell" && effect.to === others[most]));
    assert.deepEqual(peersOf(core.step({ type: "look" }), "dial"), [], "it is not dialled again at once");
  });

  it("looks for a lost neighbour once a minute even when it has enough", async () => {
    const clock = new VirtualClock();
    const core = neighbours({ clock });
    for (const id of others.slice(0, 30)) comeUp(core, id, "porto");
    for (const id of others.slice(0, 2)) core.step({ type: "down", peer: id });
    const dialled: string[] = [];
    for (let second = 0; second < 200; second++) {
      const dials = peersOf(core.step({ type: "look" }), "dial");
      for (const id of dials) core.step({ type: "dialled", peer: id, failure: "unreachable" });
      dialled.push(...dials);
      await clock.advanceMs(1_000);
    }
    assert.ok(dialled.length >= 2 && dialled.length <= 5, String(dialled.length));
  });
});
