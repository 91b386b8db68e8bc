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
    assert.deepEqual(readAnswer({ answers }, tag, b), [addressOf(a)]);
    assert.deepEqual(readAnswer({ answers }, fleetTag("f2"), b), []);
    assert.deepEqual(readAnswer({ answers }, tag, a), []);
  });

  it("passes over whatever else an answer holds", () => {
    fc.assert(
      fc.property(fc.array(fc.string()), (texts) => {
        const answers = [{ name: "x._portolan._udp.local", type: "TXT" as const, data: [`f=${tag}`, ...texts] }];
        assert.deepEqual(readAnswer({ answers }, tag, b), []);
      }),
    );
  });

  it("finds a node of the same fleet over multicast on loopback, and no other", async () => {
    await using stack = new AsyncDisposableStack();
    const clock = new SystemClock();
    const socket = { port: 20_000 + new SystemRandom().below(20_000), interface: "127.0.0.1", bind: "0.0.0.0" };
    const found: string[] = [];
    const seen = Promise.withResolvers<void>();
    const deps = { clock, log: SILENT_LOG, found: () => assert.fail("not asked") };
    stack.use(startMdns(deps, { self: a, fleet: () => "f2", addresses: () => [addressOf(a)], socket }));
    const silent = { ...deps, found: () => undefined };
    stack.use(startMdns(silent, { self: a, fleet: () => "f1", addresses: () => [addressOf(a)], socket }));
    const hear = (addresses: string[]): void => {
      found.push(...addresses);
      seen.resolve();
    };
    stack.use(startMdns({ ...deps, found: hear }, { self: b, fleet: () => "f1", addresses: () => [], socket }));
    await seen.promise;
    assert.deepEqual(found, [addressOf(a)]);
  });
});
