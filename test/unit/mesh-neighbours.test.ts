import assert from "node:assert/strict";
import fc from "fast-check";
import { Ed25519Key, SeededRandom } from "#core";
import { nodeIdOf } from "#identity";
import {
  AddressBook,
  FORGET_MS,
  MAX_KNOWN_PEERS,
  planDials,
  type Surroundings,
  WANTED_ELSEWHERE,
  WANTED_NEIGHBOURS,
} from "../../src/mesh/neighbours.ts";

const ids = Array.from({ length: 80 }, (_, i) => nodeIdOf(new Ed25519Key(new Uint8Array(32).fill(i + 1)).publicKey));
const [self = "", ...others] = ids;
const address = (id: string, port = 7433): string => `/ip4/192.0.2.7/tcp/${port}/tls/p2p/${id}`;

function surroundings(more: Partial<Surroundings> = {}): Surroundings {
  return { connected: new Map(), dialling: new Set(), ownSite: "berlin", nowMs: 0, slots: 100, ...more };
}

describe("mesh: neighbours", () => {
  it("takes hints of others, but not of itself, without a node id, or unreadable", () => {
    const book = new AddressBook(self);
    const [peer = ""] = others;
    book.hint([address(peer), address(self), "/ip4/192.0.2.7/tcp/1/tls", "nonsense"], "berlin", 0);
    assert.deepEqual(
      [...book.peers()].map(({ nodeId }) => nodeId),
      [peer],
    );
  });

  it("keeps the address that worked before those the peer names", () => {
    const book = new AddressBook(self);
    const [peer = ""] = others;
    book.hint([address(peer, 1)], undefined, 0);
    book.reached(peer, "berlin", [address(peer, 2), address(self, 3)], address(peer, 4), 0);
    assert.deepEqual(book.get(peer)?.addresses, [address(peer, 4), address(peer, 2)]);
  });

  it("waits longer after each failure, and longest after a refusal", () => {
    const [a = "", b = ""] = others;
    const book = new AddressBook(self);
    book.hint([address(a), address(b)], undefined, 0);
    const random = new SeededRandom(1);
    const waits = [1, 2, 3].map(() => {
      book.failed(a, false, 0, random);
      return book.get(a)?.notBeforeMs ?? 0;
    });
    for (const [i, ms] of waits.entries()) assert.ok(ms >= 750 * 2 ** i && ms <= 1_250 * 2 ** i, String(ms));
    book.failed(b, true, 0, random);
    assert.ok((book.get(b)?.notBeforeMs ?? 0) >= 3_750);
    assert.deepEqual(planDials(book, surroundings({ nowMs: 100 }), random), []);
    for (let i = 0; i < 40; i++) book.failed(a, false, 0, random);
    assert.ok((book.get(a)?.notBeforeMs ?? 0) <= 375_000);
  });

  it("shares the neighbours it wants between its own site and the others", () => {
    const book = new AddressBook(self);
    for (const [i, peer] of others.entries()) book.hint([address(peer)], i < 60 ? "berlin" : "porto", 0);
    const plan = planDials(book, surroundings(), new SeededRandom(3));
    assert.equal(plan.length, WANTED_NEIGHBOURS);
    assert.equal(plan.filter((peer) => book.get(peer)?.site === "porto").length, WANTED_ELSEWHERE);
  });

  it("dials nobody when it has enough, and fills up from other sites when its own is small", () => {
    const book = new AddressBook(self);
    for (const [i, peer] of others.entries()) book.hint([address(peer)], i < 3 ? "berlin" : "porto", 0);
    assert.equal(planDials(book, surroundings(), new SeededRandom(3)).length, WANTED_NEIGHBOURS);
    const connected = new Map(others.slice(0, WANTED_NEIGHBOURS).map((peer) => [peer, "porto"]));
    assert.deepEqual(planDials(book, surroundings({ connected }), new SeededRandom(3)), []);
  });

  it("never plans a connected peer, one being dialled, one that waits, or more than there are slots", () => {
    const peers = fc.subarray(others);
    fc.assert(
      fc.property(peers, peers, peers, fc.nat(20), fc.integer(), (up, busy, waiting, slots, seed) => {
        const book = new AddressBook(self);
        book.hint(
          others.map((peer) => address(peer)),
          undefined,
          0,
        );
        const random = new SeededRandom(seed);
        for (const peer of waiting) book.failed(peer, false, 0, random);
        const connected = new Map(up.map((peer) => [peer, "porto"]));
        const plan = planDials(book, surroundings({ connected, dialling: new Set(busy), slots }), random);
        assert.ok(plan.length <= Math.max(0, slots - busy.length));
        assert.equal(new Set(plan).size, plan.length);
        for (const peer of plan) assert.ok(!connected.has(peer) && !busy.includes(peer) && !waiting.includes(peer));
      }),
    );
  });

  it("remembers whom it reached, forgets who is long gone, and keeps the last few all the same", () => {
    const book = new AddressBook(self);
    for (const [i, peer] of others.slice(0, 12).entries()) book.reached(peer, "berlin", [address(peer)], undefined, i);
    book.hint([address(others[20] ?? "")], undefined, 0); // never reached
    const remembered = book.remembered();
    assert.equal(remembered.length, 12);
    const later = new AddressBook(self);
    later.recall(remembered, FORGET_MS + 11);
    assert.equal(later.size, 8);
    assert.ok(later.get(others[11] ?? ""));
  });

  it("holds a bounded number of peers and drops those it never reached first", () => {
    const book = new AddressBook(self);
    const [friend = ""] = others;
    book.reached(friend, "berlin", [address(friend)], undefined, 0);
    const key = new Uint8Array(32);
    for (let i = 0; i < MAX_KNOWN_PEERS + 50; i++) {
      key.set([i & 0xff, i >> 8, 5]);
      book.hint([address(nodeIdOf(key))], undefined, i);
    }
    assert.equal(book.size, MAX_KNOWN_PEERS);
    assert.ok(book.get(friend));
  });
});
