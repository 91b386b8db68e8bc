import assert from "node:assert/strict";
import type { Connection } from "@libp2p/interface";
import fc from "fast-check";
import {
  type ByteStream,
  encodeFrame,
  type Fault,
  faultCode,
  memoryStreamPair,
  SystemRandom,
  VirtualClock,
} from "#core";
import { type GateVerdict, type Greeting, type HelloHooks, startHello } from "../../src/mesh/hello-exchange.ts";
import { MAX_WINDOW_BYTES, MuxGuard } from "../../src/mesh/mux-guard.ts";
import { drawProbeKey } from "../../src/mesh/probe-sockets.ts";
import { type Link, preferredLink } from "../../src/mesh/session.ts";
import { MAX_STRANGERS, MAX_STRANGERS_PER_NETWORK, networkOf, StrangerBudget } from "../../src/mesh/stranger-budget.ts";

const random = new SystemRandom();
const never = new AbortController().signal;
const ACCEPT: GateVerdict = { accepted: true, site: "berlin", name: "cam" };
const REFUSE: GateVerdict = { accepted: false, code: "no", reason: "not today" };

type Side = { greeting?: Greeting; fault?: Fault; messages: [string, unknown][]; ended: boolean };

/** One end of a hello, with what it came to. */
function side(stream: ByteStream, role: "dialler" | "acceptor", verdict: GateVerdict): Side {
  const outcome: Side = { messages: [], ended: false };
  const hooks: HelloHooks = {
    self: () => ({
      boot: random.bytes(16),
      addresses: ["/ip4/192.0.2.1/tcp/1/tls"],
      offer: { role },
      probe: drawProbeKey(random),
    }),
    judge: () => verdict,
    accepted: (greeting) => {
      outcome.greeting = greeting;
      return {
        message: (kind, body) => outcome.messages.push([kind, body]),
        ended: () => {
          outcome.ended = true;
        },
      };
    },
    failed: (fault) => {
      outcome.fault = fault;
    },
  };
  startHello(stream, role, hooks);
  return outcome;
}

/** Lets memory streams deliver what is under way. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
}

describe("mesh: hello", () => {
  it("ends in a session when both accept", async () => {
    const [a, b] = memoryStreamPair();
    const [atA, atB] = [side(a, "dialler", ACCEPT), side(b, "acceptor", ACCEPT)];
    await settle();
    for (const each of [atA, atB]) {
      assert.equal(each.fault, undefined);
      assert.partialDeepStrictEqual(each.greeting, { site: "berlin", addresses: ["/ip4/192.0.2.1/tcp/1/tls"] });
    }
    a.send(...encodeFrame({ k: "hi", b: 1 }));
    await settle();
    assert.deepEqual(atB.messages, [["hi", 1]]);
  });

  for (const [who, dialler, acceptor] of [
    ["acceptor", ACCEPT, REFUSE],
    ["dialler", REFUSE, ACCEPT],
  ] as const) {
    it(`gives neither side a session when the ${who} refuses, and tells the other why`, async () => {
      const [a, b] = memoryStreamPair();
      const sides = [side(a, "dialler", dialler), side(b, "acceptor", acceptor)];
      await settle();
      const [refused, refuser] = who === "acceptor" ? sides : sides.toReversed();
      assert.equal(refused?.fault?.code, "mesh.refused");
      assert.deepEqual(refused?.fault?.details, { code: "no", reason: "not today" });
      assert.equal(refuser?.fault?.code, "mesh.peer-refused");
      assert.deepEqual([refused?.greeting, refuser?.greeting], [undefined, undefined]);
    });
  }

  it("refuses a hello of another version or with unknown members", async () => {
    const good = { t: "hello", v: 1, boot: new Uint8Array(16), addrs: [], offer: {} };
    for (const bad of [
      { ...good, v: 2 },
      { ...good, more: 1 },
      { ...good, boot: new Uint8Array(15) },
      { t: "ready" },
    ]) {
      const [a, b] = memoryStreamPair();
      const acceptor = side(b, "acceptor", ACCEPT);
      a.send(...encodeFrame(bad));
      await settle();
      assert.ok(acceptor.fault, JSON.stringify(bad));
      assert.equal(acceptor.greeting, undefined);
    }
  });

  it("never accepts, and always comes to an end, whatever bytes a peer sends", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 8 }), async (pieces) => {
        const [a, b] = memoryStreamPair();
        const acceptor = side(b, "acceptor", ACCEPT);
        a.listen({ data: () => undefined, end: () => undefined });
        for (const piece of pieces) a.send(piece);
        a.close();
        await settle();
        assert.equal(acceptor.greeting, undefined);
        assert.match(acceptor.fault?.code ?? "", /^mesh\./u);
      }),
      { numRuns: 200 },
    );
  });

  it("ends the session on a malformed message", async () => {
    const [a, b] = memoryStreamPair();
    side(a, "dialler", ACCEPT);
    const acceptor = side(b, "acceptor", ACCEPT);
    await settle();
    a.send(...encodeFrame({ k: "", b: 1 }));
    await settle();
    assert.ok(acceptor.ended);
    assert.deepEqual(acceptor.messages, []);
  });
});

describe("mesh: which link carries the session", () => {
  const link = (direction: "inbound" | "outbound"): Link => {
    const connection = { direction } as Connection;
    return { connection, greeting: { boot: "1", addresses: [], site: "", name: "" } } as unknown as Link;
  };
  const cases: [string, string, string, Link, Link, "current" | "newer"][] = [
    ["the newer of two dials by the same side", "a", "b", link("inbound"), link("inbound"), "newer"],
    ["the one the lower id dialled: ours", "a", "b", link("outbound"), link("inbound"), "current"],
    ["the one the lower id dialled: theirs", "b", "a", link("outbound"), link("inbound"), "newer"],
  ];
  for (const [name, self, peer, current, newer, kept] of cases) {
    it(`keeps ${name}`, () => {
      assert.equal(preferredLink(self, peer, current, newer), kept === "newer" ? newer : current);
    });
  }
});

describe("mesh: budget of strangers", () => {
  it("gives each network a few places and all together a bounded number", async () => {
    const budget = new StrangerBudget(new VirtualClock());
    let admitted = 0;
    for (let net = 0; net < 30; net++) {
      for (let i = 0; i <= MAX_STRANGERS_PER_NETWORK; i++) {
        void budget.admit(`10.0.${net}.1`, i, never).then((ok) => (admitted += Number(ok)));
      }
    }
    await settle();
    assert.equal(admitted, MAX_STRANGERS);
    assert.equal(budget.strangers, MAX_STRANGERS);
  });

  it("lets the next of a network in when a place comes free, and gives up after a while", async () => {
    const clock = new VirtualClock();
    const budget = new StrangerBudget(clock);
    for (const port of [1, 2, 3, 4]) assert.ok(await budget.admit("10.0.0.1", port, never));
    const fifth = budget.admit("10.0.0.2", 5, never);
    const sixth = budget.admit("10.0.0.2", 6, never);
    assert.ok(await budget.admit("10.0.1.1", 7, never));
    budget.release("10.0.0.1", 1);
    budget.release("10.0.0.1", 1); // giving back twice frees one place only
    assert.ok(await fifth);
    await clock.advanceMs(5_000);
    assert.equal(await sixth, false);
    assert.equal(budget.strangers, 5);
  });

  it("does not let a member that comes back wait behind strangers of its network", async () => {
    const budget = new StrangerBudget(new VirtualClock());
    assert.ok(await budget.admit("10.0.0.9", 1, never));
    budget.proved("10.0.0.9", 1);
    for (let port = 1; port <= 100; port++) void budget.admit("10.0.0.66", port, never);
    for (const port of [2, 3, 4, 5]) assert.ok(await budget.admit("::ffff:10.0.0.9", port, never), `port ${port}`);
    let fifth = false;
    void budget.admit("10.0.0.9", 6, never).then((ok) => (fifth = ok));
    await settle();
    assert.ok(!fifth, "one host cannot take all places, though");
    budget.release("10.0.0.9", 2);
    await settle();
    assert.ok(fifth, "its turn comes before the strangers that wait");
    assert.equal(budget.strangers, MAX_STRANGERS_PER_NETWORK + 4);
  });

  it("never counts wrong, whoever comes and goes", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(6), fc.boolean()), { maxLength: 60 }), async (steps) => {
        const clock = new VirtualClock();
        const budget = new StrangerBudget(clock);
        const inside: [string, number][] = [];
        for (const [port, [net, leave]] of steps.entries()) {
          const host = `10.0.${net}.1`;
          const leaving = leave ? inside.shift() : undefined;
          if (leaving !== undefined) budget.release(...leaving);
          else void budget.admit(host, port, never).then((ok) => ok && inside.push([host, port]));
          await settle();
          assert.equal(budget.strangers, inside.length);
        }
        await clock.advanceMs(10_000);
        for (const place of inside.splice(0)) budget.release(...place);
        assert.equal(budget.strangers, 0);
      }),
      { numRuns: 30 },
    );
  });

  it("groups addresses by /24 and /64", () => {
    assert.equal(networkOf("192.0.2.7"), networkOf("192.0.2.200"));
    assert.equal(networkOf("::ffff:192.0.2.7"), networkOf("192.0.2.9"));
    assert.notEqual(networkOf("192.0.2.7"), networkOf("192.0.3.7"));
    assert.equal(networkOf("2001:db8::1"), networkOf("2001:db8:0:0:ffff::9"));
    assert.notEqual(networkOf("2001:db8::1"), networkOf("2001:db8:0:1::1"));
  });
});

describe("mesh: mux guard", () => {
  const header = (type: number, flags: number, stream: number, length: number): Buffer => {
    const bytes = Buffer.alloc(12);
    bytes[1] = type;
    bytes.writeUInt16BE(flags, 2);
    bytes.writeUInt32BE(stream, 4);
    bytes.writeUInt32BE(length, 8);
    return bytes;
  };
  const data = (stream: number, length: number, flags = 0): Buffer[] => [
    header(0, flags, stream, length),
    Buffer.alloc(length, 1),
  ];

  it("passes what a member sends, however it is cut", () => {
    const bytes = Buffer.concat([
      header(1, 1, 1, 0),
      ...data(1, 5_000, 1),
      header(2, 1, 0, 7),
      ...data(3, 10, 1),
      ...data(1, 70_000),
    ]);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 9_000 })), (cuts) => {
        const guard = new MuxGuard(new VirtualClock());
        guard.limit({ maxBytes: bytes.length, maxStreams: 3 });
        let at = 0;
        for (const cut of [...cuts, bytes.length]) {
          guard.check(bytes.subarray(at, at + cut));
          at += cut;
        }
      }),
    );
  });

  it("refuses a frame that no window allows, before its body comes", () => {
    const guard = new MuxGuard(new VirtualClock());
    assert.throws(
      () => guard.check(header(0, 0, 1, MAX_WINDOW_BYTES + 1)),
      (error) => faultCode(error) === "mesh.frame",
    );
  });

  it("counts a stranger's bytes and streams, and stops counting for a member", () => {
    const guard = new MuxGuard(new VirtualClock());
    guard.limit({ maxBytes: 100, maxStreams: 2 });
    guard.check(Buffer.concat([header(1, 1, 1, 0), header(2, 1, 0, 9), header(1, 1, 3, 0)])); // the ping is no stream
    assert.throws(
      () => guard.check(header(1, 1, 5, 0)),
      (error) => faultCode(error) === "mesh.stranger-limit",
    );
    const talker = new MuxGuard(new VirtualClock());
    talker.limit({ maxBytes: 100, maxStreams: 2 });
    assert.throws(
      () => talker.check(Buffer.concat(data(1, 100))),
      (error) => faultCode(error) === "mesh.stranger-limit",
    );
    const member = new MuxGuard(new VirtualClock());
    member.limit(undefined);
    for (let i = 0; i < 100; i++) member.check(Buffer.concat([header(1, 1, 2 * i + 1, 0), ...data(1, 1_000)]));
  });
});
