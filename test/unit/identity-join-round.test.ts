import assert from "node:assert/strict";
import fc from "fast-check";
import { Fault, faultCode } from "#core";
import { heaviestRegistrar } from "../../src/identity/home-registrar.ts";
import { JoinRound, MAX_REDIRECTS } from "../../src/identity/join-round.ts";

describe("a device's round over its fleet", () => {
  it("asks one address after the other, none twice", () => {
    const round = new JoinRound(["a", "b", "a"]);
    assert.deepEqual([round.next(), round.next(), round.next()], [["a"], ["b"], undefined]);
    assert.equal(faultCode(round.failure()), "identity.no-registrar");
  });

  it("asks whom it was sent to next, at all addresses at once", () => {
    const round = new JoinRound(["a", "b"]);
    round.next();
    round.redirected({ addresses: ["x", "y"], home: "gate" });
    assert.deepEqual([round.next(), round.next()], [["x", "y"], ["b"]]);
  });

  it("names the home that nobody reached, also when no address of it is known", () => {
    for (const addresses of [["x"], []]) {
      const round = new JoinRound(["a"]);
      round.next();
      round.redirected({ addresses, home: "gate-7" });
      for (let next = round.next(); next !== undefined; next = round.next()) round.failed(new Error("silence"));
      const failure = round.failure();
      assert.ok(failure instanceof Fault);
      assert.equal(failure.code, "identity.home-unreachable");
      assert.match(failure.message, /home registrar gate-7 is not reachable, pending/u);
      assert.match(failure.fix ?? "", /registrar handover gate-7/u);
    }
  });

  it("gives the first failure when nobody sent it on", () => {
    const round = new JoinRound(["a", "b"]);
    const [first, second] = [new Error("first"), new Error("second")];
    round.failed(first);
    round.failed(second);
    assert.equal(round.failure(), first);
  });

  it("ends whatever it is told, after as many redirects as it follows", () => {
    const answers = fc.array(fc.array(fc.stringMatching(/^[a-z]$/u), { maxLength: 20 }), { maxLength: 200 });
    fc.assert(
      fc.property(answers, (redirects) => {
        const round = new JoinRound(["a"]);
        const asked: string[] = [];
        for (let next = round.next(); next !== undefined; next = round.next()) {
          asked.push(...next);
          const addresses = redirects.shift();
          if (addresses === undefined) round.failed(new Error("no"));
          else round.redirected({ addresses });
        }
        assert.equal(new Set(asked).size, asked.length);
        assert.ok(asked.length <= 1 + MAX_REDIRECTS * 20);
      }),
    );
    const loop = new JoinRound(["a0"]);
    for (let i = 1; loop.next() !== undefined; i++) loop.redirected({ addresses: [`a${i}`], home: "gate" });
    assert.equal(faultCode(loop.failure()), "identity.redirects");
  });
});

describe("the home of a document", () => {
  const registrars = ["r1", "r2", "r3", "r4"];
  const ids = Array.from({ length: 400 }, (_, i) => `Pass/default/p-${i}`);

  it("is the same whatever the order, and nobody where there is none", () => {
    for (const id of ids) {
      assert.equal(heaviestRegistrar(id, registrars), heaviestRegistrar(id, registrars.toReversed()));
    }
    assert.equal(heaviestRegistrar("Pass/default/p", []), undefined);
  });

  it("moves only from a registrar that goes, and spreads over those that stay", () => {
    const counts = new Map<string, number>();
    for (const id of ids) {
      const before = heaviestRegistrar(id, registrars);
      const after = heaviestRegistrar(id, ["r1", "r2", "r4"]);
      if (before === "r3") counts.set(after ?? "", (counts.get(after ?? "") ?? 0) + 1);
      else assert.equal(after, before);
    }
    assert.equal(counts.size, 3);
    for (const count of counts.values()) assert.ok(count > 10, `${count} of about 33`);
  });
});
