import assert from "node:assert/strict";
import fc from "fast-check";
import { Ed25519Key, SILENT_LOG, SystemClock, SystemRandom } from "#core";
import { nodeIdOf } from "#identity";
import { answerRecords, fleetTag, readAnswer, startMdns } from "../../src/mesh/mdns.ts";

const [a = "", b = ""] = [1, 2].map((i) => nodeIdOf(new Ed25519Key(new Uint8Array(32).fill(i)).publicKey));
const addressOf = (id: string): string => `/ip4/192.0.2.7/tcp/7433/tls/p2p/${id}`;
const tag = fleetTag("f1");

describe("mesh: mDNS", () => {
  it("reads its own answers, and not those of another fleet or of itself", () => {
    const answers = answerRecords(a, tag, [addressOf(a)]);
    assert.deepEqual(readAnswer({ answers }, tag, b), { own: [addressOf(a)], others: [] });
    const others = [{ tag, address: addressOf(a) }];
    assert.deepEqual(readAnswer({ answers }, fleetTag("f2"), b), { own: [], others });
    assert.deepEqual(readAnswer({ answers }, tag, a), { own: [], others: [] });
  });

  it("passes over whatever else an answer holds", () => {
    fc.assert(
      fc.property(fc.array(fc.string()), (texts) => {
        const answers = [{ name: "x._portolan._udp.local", type: "TXT" as const, data: [`f=${tag}`, ...texts] }];
        assert.deepEqual(readAnswer({ answers }, tag, b), { own: [], others: [] });
      }),
    );
  });

  it("finds a node of the same fleet over multicast on loopback, and says of another that it is there", async () => {
    await using stack = new AsyncDisposableStack();
    const clock = new SystemClock();
    const socket = { port: 20_000 + new SystemRandom().below(20_000), interface: "127.0.0.1", bind: "0.0.0.0" };
    const found: string[] = [];
    const seen = Promise.withResolvers<void>();
    const other = Promise.withResolvers<string>();
    const deps = { clock, log: SILENT_LOG, found: () => assert.fail("not asked"), otherFleet: () => undefined };
    stack.use(startMdns(deps, { self: a, fleet: () => "f2", addresses: () => [addressOf(a)], socket }));
    const silent = { ...deps, found: () => undefined };
    stack.use(startMdns(silent, { self: a, fleet: () => "f1", addresses: () => [addressOf(a)], socket }));
    const hear = (addresses: string[]): void => {
      found.push(...addresses);
      seen.resolve();
    };
    const otherFleet = (fleet: { tag: string }): void => other.resolve(fleet.tag);
    stack.use(
      startMdns({ ...deps, found: hear, otherFleet }, { self: b, fleet: () => "f1", addresses: () => [], socket }),
    );
    await seen.promise;
    assert.equal(await other.promise, fleetTag("f2"));
    assert.deepEqual(found, [addressOf(a)]);
  });
});
