import assert from "node:assert/strict";
import fc from "fast-check";
import { SeededRandom } from "#core";
import {
  CIRCUIT_PROBE_MS,
  DOUBT_PROBE_MS,
  IDLE_PROBE_MS,
  LinkHealth,
  type Liveness,
  USED_PROBE_MS,
} from "../../src/mesh/link-health.ts";
import { decodeProbe, encodeProbe, PROBE_BYTES, type Probe, probeLink } from "../../src/mesh/probe-datagram.ts";

const key = new SeededRandom(1).bytes(32);
const link = "0123456789abcdef";

const probes: fc.Arbitrary<Probe> = fc.record({
  type: fc.constantFrom("ask" as const, "answer" as const, "ask-deaf" as const),
  link: fc.constant(link),
  number: fc.nat(0xffff_ffff),
  rttMs: fc.option(
    fc.integer({ min: 1, max: 4_000_000 }).map((us) => us / 1_000),
    { nil: undefined },
  ),
  lossRatio: fc.option(
    fc.nat(10_000).map((share) => share / 10_000),
    { nil: undefined },
  ),
  intervalMs: fc.nat(0xffff),
});

describe("mesh: probe datagram", () => {
  it("reads what was written, and writes it back alike", () => {
    fc.assert(
      fc.property(probes, (probe) => {
        const bytes = encodeProbe(probe, key);
        assert.equal(bytes.length, PROBE_BYTES);
        assert.equal(probeLink(bytes), link);
        const read = decodeProbe(bytes, key);
        assert.deepEqual(read, { ...probe });
        assert.deepEqual(encodeProbe(read ?? probe, key), bytes);
      }),
    );
  });

  it("takes nothing in which one bit was changed, or that was made with another key", () => {
    fc.assert(
      fc.property(probes, fc.nat(PROBE_BYTES * 8 - 1), (probe, bit) => {
        const bytes = encodeProbe(probe, key);
        assert.equal(decodeProbe(bytes, new SeededRandom(2).bytes(32)), undefined);
        bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        assert.equal(decodeProbe(bytes, key), undefined);
      }),
    );
  });

  it("takes no other bytes, whatever they are", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2 * PROBE_BYTES }), (bytes) => {
        assert.equal(decodeProbe(Buffer.from(bytes), key), undefined);
      }),
    );
  });
});

/** `cut`: nothing gets through to this end. */
type Path = { udp: boolean; tcp: boolean; oneWayMs: number; lossRatio: number; cut?: "dialler" | "acceptor" };
type Setting = Partial<Path> & { seed?: number; circuitsAt?: "dialler" | "acceptor"; intervalMs?: number };

/** Two ends of a link, each looking when it wants to, over a path that a test can change. Steps of 5 ms. */
class Wire {
  nowMs = 0;
  path: Path;
  /** Whether the kernel has not taken what either end sent. */
  sending = false;
  sent = { datagrams: 0, stream: 0 };
  readonly dialler: LinkHealth;
  readonly acceptor: LinkHealth;
  readonly states: Record<"dialler" | "acceptor", Liveness> = { dialler: "alive", acceptor: "alive" };
  readonly changes: { end: string; liveness: Liveness; atMs: number }[] = [];
  readonly #random: SeededRandom;
  readonly #intervals: Record<"dialler" | "acceptor", number>;
  readonly #heardMs = { dialler: 0, acceptor: 0 };
  readonly #nextMs = { dialler: 0, acceptor: 0 };
  #flights: { atMs: number; run: () => void }[] = [];

  constructor(setting: Setting = {}) {
    const { seed = 1, circuitsAt, intervalMs = IDLE_PROBE_MS, ...path } = setting;
    this.path = { udp: true, tcp: true, oneWayMs: 10, lossRatio: 0, ...path };
    this.#random = new SeededRandom(seed);
    this.#intervals = { dialler: intervalMs, acceptor: intervalMs };
    if (circuitsAt !== undefined) this.#intervals[circuitsAt] = CIRCUIT_PROBE_MS;
    this.dialler = new LinkHealth("dialler", 0);
    this.acceptor = new LinkHealth("acceptor", 0);
  }

  advance(ms: number): void {
    for (const endMs = this.nowMs + ms; this.nowMs < endMs; this.nowMs += 5) {
      const due = this.#flights.filter(({ atMs }) => atMs <= this.nowMs);
      this.#flights = this.#flights.filter(({ atMs }) => atMs > this.nowMs);
      for (const { run } of due) run();
      this.#look("dialler");
      this.#look("acceptor");
    }
  }

  /** This end wants the link probed so often from now on. */
  want(end: "dialler" | "acceptor", intervalMs: number): void {
    this.#intervals[end] = intervalMs;
    this.#nextMs[end] = this.nowMs;
  }

  /** Bulk goes to this end: bytes are heard all the time. */
  hear(end: "dialler" | "acceptor"): void {
    this.#heardMs[end] = this.nowMs;
  }

  /** When an end first changed to this state since `sinceMs`. */
  changedMs(end: string, liveness: Liveness, sinceMs: number): number {
    const change = this.changes.find((c) => c.end === end && c.liveness === liveness && c.atMs >= sinceMs);
    return change === undefined ? Number.POSITIVE_INFINITY : change.atMs - sinceMs;
  }

  #look(end: "dialler" | "acceptor"): void {
    if (this.nowMs < this.#nextMs[end] || this.states[end] === "dead") return;
    const use = {
      heardMs: this.#heardMs[end],
      sending: this.sending,
      intervalMs: this.#intervals[end],
      doubtMs: DOUBT_PROBE_MS,
      datagrams: true,
    };
    const { liveness, datagram, stream, nextMs } = this[end].check(use, this.nowMs);
    this.#nextMs[end] = Math.min(nextMs, this.nowMs + 500);
    if (liveness !== this.states[end]) this.changes.push({ end, liveness, atMs: this.nowMs });
    this.states[end] = liveness;
    const other = end === "dialler" ? "acceptor" : "dialler";
    if (datagram !== undefined) this.#datagram(other, { ...datagram, link });
    if (stream !== undefined) this.#stream(end, other, stream);
  }

  #datagram(to: "dialler" | "acceptor", probe: Probe): void {
    this.sent.datagrams += 1;
    const back = to === "dialler" ? "acceptor" : "dialler";
    this.#fly("udp", to, () => {
      if (this[to].asked(probe, this.nowMs)) {
        this.sent.datagrams += 1;
        this.#fly("udp", back, () => this[back].answered(probe.number, this.nowMs));
      }
    });
  }

  #stream(from: "dialler" | "acceptor", to: "dialler" | "acceptor", number: number): void {
    this.sent.stream += 1;
    this.#fly("tcp", to, () => {
      this.hear(to);
      this[to].askedOnStream(this[from].rttMs);
      this.#fly("tcp", from, () => {
        this.hear(from);
        this[from].answeredOnStream(number, this.nowMs);
      });
    });
  }

  #fly(by: "udp" | "tcp", to: "dialler" | "acceptor", run: () => void): void {
    if (!this.path[by] || this.path.cut === to || (by === "udp" && this.#random.unit() < this.path.lossRatio)) return;
    this.#flights.push({ atMs: this.nowMs + this.path.oneWayMs, run });
  }
}

describe("mesh: link health", () => {
  it("measures by datagrams, tells the acceptor, and costs little at rest", () => {
    const wire = new Wire();
    wire.advance(60_000);
    for (const end of [wire.dialler, wire.acceptor]) {
      assert.equal(end.measuredBy, "udp");
      assert.ok(Math.abs((end.rttMs ?? 0) - 20) <= 5, String(end.rttMs));
      assert.equal(end.lossRatio, 0);
    }
    assert.ok(wire.sent.datagrams <= 64, `${wire.sent.datagrams} datagrams in a minute`);
    assert.ok(wire.sent.stream <= 3, `${wire.sent.stream} probes on the stream`);
    assert.deepEqual(wire.changes, []);
  });

  it("does not suspect a link at rest that comes into use", () => {
    for (const ends of [["dialler"], ["acceptor"], ["dialler", "acceptor"]] as const) {
      const wire = new Wire();
      for (let restMs = 0; restMs <= 2_000; restMs += 105) {
        for (const end of ends) wire.want(end, IDLE_PROBE_MS);
        wire.advance(30_000 + restMs);
        for (const end of ends) wire.want(end, CIRCUIT_PROBE_MS);
        wire.advance(3_000);
      }
      assert.deepEqual(wire.changes, [], ends.join());
    }
  });

  it("sees loss that TCP hides, within a few percent", () => {
    const wire = new Wire({ lossRatio: 0.05, intervalMs: USED_PROBE_MS });
    wire.advance(120_000);
    for (const end of [wire.dialler, wire.acceptor]) {
      const loss = end.lossRatio ?? 0;
      assert.ok(loss > 0.03 && loss < 0.18, `${loss} for 0.0975 there and back`);
    }
    assert.deepEqual(wire.changes, [], "loss alone makes nobody suspect");
  });

  it("knows how busy the link was in the last half minute, and does not take one long look for a long time", () => {
    const wire = new Wire();
    const { dialler } = wire;
    wire.advance(60_000);
    assert.equal(dialler.loadRatio, 0);
    wire.sending = true;
    wire.advance(30_000);
    assert.ok(Math.abs(dialler.loadRatio - 0.63) < 0.02, `${dialler.loadRatio}`);
    wire.advance(120_000);
    assert.ok(dialler.loadRatio > 0.97);
    wire.sending = false;
    wire.advance(30_000);
    const before = dialler.loadRatio;
    assert.ok(before < 0.4);
    wire.nowMs += 600_000;
    wire.sending = true;
    wire.advance(1);
    assert.ok(dialler.loadRatio - before < 0.06, "a process that stood still for ten minutes");
  });

  it("probes on the stream where datagrams do not pass, with loss unknown, and comes back to datagrams", () => {
    const wire = new Wire({ udp: false });
    wire.advance(60_000);
    assert.equal(wire.dialler.measuredBy, "stream");
    assert.equal(wire.dialler.lossRatio, undefined);
    assert.deepEqual(wire.changes, []);
    assert.ok(wire.sent.datagrams < 15, `${wire.sent.datagrams} datagrams into nothing`);
    wire.path.udp = true;
    wire.advance(70_000);
    assert.equal(wire.dialler.measuredBy, "udp");
    wire.path.udp = false;
    wire.advance(30_000);
    assert.equal(wire.dialler.measuredBy, "stream");
    assert.deepEqual(
      wire.changes.filter(({ liveness }) => liveness === "dead"),
      [],
    );
  });

  const holes: [string, Setting, number, number][] = [
    ["at rest", {}, 3_000, 6_000],
    ["just used", { intervalMs: USED_PROBE_MS }, 1_500, 5_500],
    ["with a live circuit", { intervalMs: CIRCUIT_PROBE_MS }, 800, 5_500],
    ["with a circuit that only the acceptor knows of", { circuitsAt: "acceptor" }, 2_800, 6_000],
    ["with a round trip of 400 ms and a live circuit", { intervalMs: CIRCUIT_PROBE_MS, oneWayMs: 200 }, 2_600, 6_000],
    ["where only the stream is left", { udp: false }, 3_700, 6_000],
  ];
  for (const [name, setting, suspectMs, deadMs] of holes) {
    it(`is suspect, then dead, in a black hole ${name}`, () => {
      for (let seed = 1; seed <= 10; seed++) {
        const wire = new Wire({ seed, ...setting });
        wire.advance(20_000 + seed * 215);
        const sinceMs = wire.nowMs;
        wire.path = { ...wire.path, udp: false, tcp: false };
        wire.advance(8_000);
        for (const end of ["dialler", "acceptor"]) {
          const suspect = wire.changedMs(end, "suspect", sinceMs);
          const dead = wire.changedMs(end, "dead", sinceMs);
          assert.ok(suspect <= suspectMs, `${end} suspect after ${suspect} ms`);
          assert.ok(dead >= 3_000 && dead <= deadMs, `${end} dead after ${dead} ms`);
        }
      }
    });
  }

  for (const cut of ["dialler", "acceptor"] as const) {
    it(`is suspect at both ends when nothing gets through to the ${cut}, and at neither once it does again`, () => {
      for (const intervalMs of [CIRCUIT_PROBE_MS, USED_PROBE_MS, IDLE_PROBE_MS]) {
        for (let seed = 1; seed <= 10; seed++) {
          const wire = new Wire({ seed, intervalMs });
          wire.advance(20_000 + seed * 215);
          const sinceMs = wire.nowMs;
          wire.path.cut = cut;
          wire.advance(2_950);
          const deafMs = wire.changedMs(cut, "suspect", sinceMs);
          const unheardMs = wire.changedMs(cut === "dialler" ? "acceptor" : "dialler", "suspect", sinceMs);
          assert.ok(deafMs <= 2_800, `the deaf end suspect after ${deafMs} ms`);
          assert.ok(unheardMs <= deafMs + 300, `the other end ${unheardMs - deafMs} ms later`);
          delete wire.path.cut;
          wire.advance(1_000);
          assert.deepEqual(wire.states, { dialler: "alive", acceptor: "alive" });
        }
      }
    });
  }

  it("is not suspect while bytes come, although every probe is lost behind them", () => {
    const wire = new Wire({ intervalMs: CIRCUIT_PROBE_MS });
    wire.advance(5_000);
    wire.path.udp = false;
    for (let i = 0; i < 100; i++) {
      wire.hear("dialler");
      wire.hear("acceptor");
      wire.advance(100);
    }
    assert.deepEqual(wire.changes, []);
  });

  it("is dead when datagrams pass and the connection does not", () => {
    const wire = new Wire();
    wire.advance(5_000);
    wire.path.tcp = false;
    wire.advance(120_000);
    assert.equal(wire.states.dialler, "dead");
  });

  it("blames nobody when this process stood still", () => {
    const wire = new Wire({ intervalMs: CIRCUIT_PROBE_MS });
    wire.advance(5_000);
    const { dialler } = wire;
    for (const stoodMs of [300, 4_000, 60_000]) {
      const nowMs = wire.nowMs + stoodMs;
      dialler.forgive(stoodMs, nowMs);
      const { liveness } = dialler.check(
        { heardMs: 0, sending: false, intervalMs: CIRCUIT_PROBE_MS, doubtMs: DOUBT_PROBE_MS, datagrams: true },
        nowMs,
      );
      assert.equal(liveness, "alive", `after ${stoodMs} ms`);
      wire.nowMs = nowMs;
    }
  });

  it("answers no probe twice", () => {
    const health = new LinkHealth("acceptor", 0);
    const probe: Probe = { type: "ask", link, number: 7, rttMs: 1, lossRatio: undefined, intervalMs: 2_000 };
    assert.equal(health.asked(probe, 1), true);
    assert.equal(health.asked(probe, 2), false);
    assert.equal(health.asked({ ...probe, number: 6 }, 3), false);
  });

  it("takes an answer to nothing for nothing", () => {
    const health = new LinkHealth("dialler", 0);
    health.answered(1, 5);
    health.answeredOnStream(1, 5);
    assert.equal(health.rttMs, undefined);
    assert.equal(health.measuredBy, undefined);
  });
});
