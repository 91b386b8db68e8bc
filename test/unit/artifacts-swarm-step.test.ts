import assert from "node:assert/strict";
import { SeededRandom } from "#core";
import { leaderWeight } from "../../src/artifacts/swarm/leaders.ts";
import { Swarm } from "../../src/artifacts/swarm/swarm.ts";
import type { SwarmEffect, SwarmEvent, SwarmMessage } from "../../src/artifacts/swarm/swarm-event.ts";

const MIB = 1024 * 1024;
const UNLIMITED = {
  lanBytes: Number.POSITIVE_INFINITY,
  wanBytes: Number.POSITIVE_INFINITY,
  lanInBytes: Number.POSITIVE_INFINITY,
  wanInBytes: Number.POSITIVE_INFINITY,
};

const ROOT = "00".repeat(32);
const CELL = 32 * 1024;

/** One node on virtual time, told by the test what its peers say. */
class Node {
  nowMs = 0;
  readonly effects: SwarmEffect[] = [];
  readonly #swarm: Swarm;

  constructor(room: Partial<typeof UNLIMITED> = {}, wants = true) {
    const ref = { root: ROOT, sizeBytes: 4 * MIB, chunkBytes: 8 * CELL };
    this.#swarm = new Swarm({ ref, self: "me", site: "here", random: new SeededRandom(1), wants, nowMs: 0 });
    for (let chunk = 0; chunk < (wants ? 0 : 16); chunk++) this.step({ type: "stored", chunk });
    this.step({ type: "begin" });
    this.pump(room);
  }

  pump(room: Partial<typeof UNLIMITED> = {}): void {
    this.step({ type: "pump", ...UNLIMITED, ...room });
  }

  step(event: SwarmEvent): void {
    this.effects.push(...this.#swarm.step(event, this.nowMs));
  }

  /** A peer that says nothing about what it has, so that it is not asked by name either. */
  meet(peer: string, site = "here", { wants = false, reach = [] as string[] } = {}): void {
    const status = { wants, yields: false, foreground: false, reach };
    this.step({ type: "peer-up", peer, site, status });
  }

  hear(peer: string, message: SwarmMessage): void {
    this.step({ type: "said", peer, message });
  }

  /** Lets time pass in ticks. */
  wait(ms: number): void {
    for (const endMs = this.nowMs + ms; this.nowMs < endMs; ) {
      this.nowMs += 100;
      this.step({ type: "tick" });
    }
  }

  said(to: string, type: SwarmMessage["type"]): number {
    return this.effects.filter((effect) => effect.type === "say" && effect.to === to && effect.message.type === type)
      .length;
  }

  /** What was offered to a peer so far. */
  offered(to: string): number[] {
    return this.effects.flatMap((effect) =>
      effect.type === "say" && effect.to === to && effect.message.type === "offer" ? [effect.message.chunk] : [],
    );
  }

  get blamed(): string[] {
    return this.effects.flatMap((effect) => (effect.type === "blame" ? [`${effect.peer} ${effect.blame}`] : []));
  }
}

describe("swarm: what a leecher makes of its peers", () => {
  it("waits for the WAN from when it takes over from an importer, and only then leaves that to another", () => {
    const me = new Node();
    const weight = (id: string): number => leaderWeight(ROOT, id, "there");
    const importer = Array.from({ length: 50 }, (_, i) => `near-${i}`).find((id) => weight(id) > weight("me")) ?? "";
    const [wants, reach] = [true, ["there"]];
    for (const near of [importer, "third"]) me.meet(near, "here", { wants, reach: near === "third" ? [] : reach });
    me.meet("far", "there");
    const wait = (seconds: number): void => {
      for (let i = 0; i < seconds; i++) {
        me.hear("far", { type: "have", runs: [0, 16] }); // again, because it is not believed for long while nothing comes
        me.wait(1_000);
      }
    };
    wait(30);
    const yielded = (): boolean =>
      me.effects.some((effect) => effect.type === "say" && effect.message.type === "status" && effect.message.yields);
    me.step({ type: "peer-down", peer: importer });
    wait(9);
    assert.equal(yielded(), false, "it had no chance yet");
    wait(2);
    assert.equal(yielded(), true);
  });

  it("leaves one that stalls, and names one that stalls again and again", () => {
    const me = new Node();
    me.meet("slow");
    me.hear("slow", { type: "offer", chunk: 0 });
    assert.equal(me.said("slow", "accept"), 1);
    me.wait(2_500);
    assert.equal(me.said("slow", "cancel"), 1);
    assert.deepEqual(me.blamed, []);
    me.hear("slow", { type: "offer", chunk: 1 });
    assert.equal(me.said("slow", "decline"), 1);
    me.wait(5_500);
    assert.ok(me.said("slow", "ready") > 0);
    me.hear("slow", { type: "offer", chunk: 2 });
    assert.equal(me.said("slow", "accept"), 2);
    me.wait(2_500);
    assert.deepEqual(me.blamed, ["slow ignored"]);
  });

  it("does not hold a stall against one that finished a chunk since", () => {
    const me = new Node();
    me.meet("slow");
    for (let chunk = 0; chunk < 3; chunk++) {
      me.hear("slow", { type: "offer", chunk });
      me.wait(2_500); // stalls
      me.wait(5_500);
      me.hear("slow", { type: "offer", chunk });
      me.step({ type: "cells", peer: "slow", chunk, first: 0, count: 8, bytes: 256 * 1024 });
    }
    assert.equal(me.said("slow", "cancel"), 3);
    assert.deepEqual(me.blamed, []);
  });

  it("takes nothing over the WAN that a member of its site has or gets, until that one gives it up", () => {
    const me = new Node();
    me.meet("near");
    me.meet("far", "there");
    me.hear("near", { type: "have", runs: [0, 1] });
    me.hear("near", { type: "claim", runs: [1, 1], wan: true });
    for (let chunk = 0; chunk < 3; chunk++) me.hear("far", { type: "offer", chunk });
    assert.deepEqual([me.said("far", "decline"), me.said("far", "accept")], [2, 1]);
    me.hear("near", { type: "unclaim", runs: [1, 1] });
    me.hear("far", { type: "offer", chunk: 1 });
    assert.equal(me.said("far", "accept"), 2);
  });

  it("tells that a chunk no longer comes, even to one that knows only by a refusal that it came", () => {
    const me = new Node();
    for (const near of ["giver", "other"]) me.meet(near);
    me.wait(100);
    me.hear("giver", { type: "offer", chunk: 0 });
    me.hear("other", { type: "offer", chunk: 0 });
    assert.equal(me.said("other", "decline"), 1, "it has it as good as, which the other takes note of");
    me.step({ type: "peer-down", peer: "giver" });
    me.wait(100);
    assert.equal(me.said("other", "unclaim"), 1);
  });

  it("accepts no more than its own limit, and says when there is room again", () => {
    const me = new Node({ lanInBytes: 300 * 1024 });
    me.meet("fast");
    for (let chunk = 0; chunk < 4; chunk++) me.hear("fast", { type: "offer", chunk });
    assert.deepEqual([me.said("fast", "accept"), me.said("fast", "decline")], [2, 2]); // the second overdraws it
    me.wait(200);
    assert.equal(me.said("fast", "ready"), 0);
    me.pump();
    me.wait(100);
    assert.equal(me.said("fast", "ready"), 1);
  });

  it("accepts little from one that has shown nothing yet, and more once a chunk from it was right", () => {
    const me = new Node();
    me.meet("new");
    for (let chunk = 0; chunk < 8; chunk++) me.hear("new", { type: "offer", chunk });
    assert.deepEqual([me.said("new", "accept"), me.said("new", "decline")], [6, 2]);
    me.wait(200);
    assert.equal(me.said("new", "ready"), 0);
    me.step({ type: "cells", peer: "new", chunk: 0, first: 0, count: 8, bytes: 256 * 1024 });
    assert.equal(me.said("new", "ready"), 1);
    for (let chunk = 6; chunk < 8; chunk++) me.hear("new", { type: "offer", chunk });
    assert.equal(me.said("new", "accept"), 8);
  });

  it("accepts from its site while its limit allows nothing more over the WAN", () => {
    const me = new Node({ wanInBytes: 0 });
    me.meet("near");
    me.meet("far", "there");
    me.hear("far", { type: "offer", chunk: 0 });
    me.hear("near", { type: "offer", chunk: 1 });
    assert.deepEqual([me.said("far", "accept"), me.said("far", "decline"), me.said("near", "accept")], [0, 1, 1]);
    me.wait(200);
    assert.equal(me.said("far", "ready"), 0);
    me.pump();
    me.wait(100);
    assert.equal(me.said("far", "ready"), 1);
  });
});

describe("swarm: what a node offers", () => {
  it("offers as much to others when one that did not answer is gone", () => {
    const me = new Node({}, false);
    const offeredTo = (peer: string): number => {
      me.meet(peer, "here", { wants: true });
      me.pump();
      return me.offered(peer).length;
    };
    const toFirst = offeredTo("first");
    assert.ok(toFirst > 0);
    assert.equal(offeredTo("second"), 0, "enough is on offer");
    me.step({ type: "peer-down", peer: "first" });
    me.pump();
    assert.equal(me.offered("second").length, toFirst);
  });

  it("passes a chunk of a member on when all of it is here, and while it comes where somebody has all", () => {
    for (const whole of [false, true]) {
      const me = new Node();
      if (whole) me.meet("seed");
      me.meet("other", "here", { wants: true });
      me.meet("third", "here", { wants: true });
      me.hear("other", { type: "offer", chunk: 1 });
      me.step({ type: "cells", peer: "other", chunk: 1, first: 0, count: 1, bytes: CELL });
      me.pump();
      assert.deepEqual(me.offered("third"), whole ? [1] : []);
      me.step({ type: "cells", peer: "other", chunk: 1, first: 1, count: 7, bytes: 7 * CELL });
      me.pump();
      assert.deepEqual(me.offered("third"), [1]);
    }
  });

  it("sends what another envoy is to send first only where nobody has all, or once it has all itself", () => {
    const rival = ["b", "c", "d", "e", "f", "g"].find(
      (id) => leaderWeight(ROOT, id, "site-2") > leaderWeight(ROOT, "me", "site-2"),
    );
    assert.ok(rival !== undefined);
    for (const whole of [false, true]) {
      const me = new Node();
      me.meet(rival, "here", { wants: !whole, reach: ["site-2"] });
      me.meet("far", "site-1", { wants: true });
      me.step({ type: "stored", chunk: 1 }); // first site-2's
      me.pump();
      assert.deepEqual(me.offered("far"), whole ? [] : [1]);
      for (let chunk = 0; chunk < 16; chunk += 2) me.hear("far", { type: "have", runs: [chunk, 1] });
      for (let chunk = 0; chunk < 16; chunk++) me.step({ type: "stored", chunk });
      me.pump();
      assert.ok(me.offered("far").some((chunk) => chunk % 2 === 1));
    }
  });

  it("sends at full speed again at once when a limit that kept it thin is gone", () => {
    const me = new Node({}, false);
    me.meet("peer", "here", { wants: true });
    let [done, sent] = [0, 0];
    /** Lets time pass; the peer accepts all, and has each cell after 1 ms. */
    const send = (ms: number, lanBytes: (nowMs: number) => number): void => {
      for (const endMs = me.nowMs + ms; me.nowMs < endMs; me.nowMs += 1) {
        for (; done < me.effects.length; done++) {
          const effect = me.effects[done];
          if (effect?.type === "say" && effect.message.type === "offer") {
            me.hear("peer", { type: "accept", chunk: effect.message.chunk });
          } else if (effect?.type === "send") {
            sent += effect.bytes;
            me.step({ type: "acked", peer: "peer", bytes: effect.bytes });
          }
        }
        me.pump({ lanBytes: lanBytes(me.nowMs) });
      }
    };
    send(5, () => MIB - sent); // so that its frames are large
    send(3_000, (nowMs) => (nowMs % 156 === 0 ? CELL : 0));
    assert.ok(sent > MIB && sent < 2 * MIB, `${sent} bytes`);
    send(200, () => Number.POSITIVE_INFINITY);
    assert.equal(sent, 4 * MIB);
  });
});
