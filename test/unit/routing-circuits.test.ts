import assert from "node:assert/strict";
import { SeededRandom } from "#core";
import { BetterPath, HOLD_GAIN_MS } from "../../src/routing/circuit/better-path.ts";
import { PathWatch } from "../../src/routing/circuit/path-watch.ts";
import type { CarrierSecret } from "#mesh";
import { encodeCircuitFrame, FrameCipher } from "../../src/routing/circuit/circuit-frame.ts";
import { ReliableLine } from "../../src/routing/circuit/reliable-line.ts";
import { MAX_WINDOW_BYTES, SendWindow } from "../../src/routing/circuit/send-window.ts";

const SECRET: CarrierSecret = { bytes: new Uint8Array(32).fill(7), cipher: "aes-128-gcm" };

/** One end of a line, with what it sent that is not delivered yet and what came to it. */
class End {
  readonly line: ReliableLine;
  wire: Uint8Array[] = [];
  came: Uint8Array[] = [];
  shaken: Uint8Array[] = [];
  ends = 0;
  resets = 0;

  constructor(role: "source" | "target", nowMs: () => number) {
    this.line = new ReliableLine(role, {
      nowMs,
      send: (pieces) => this.wire.push(...pieces.map((piece) => Buffer.from(piece))),
      handshake: (pieces) => this.shaken.push(...pieces),
      data: (pieces, bytes) => {
        this.came.push(...pieces);
        this.line.taken(bytes);
      },
      ended: () => (this.ends += 1),
      acked: () => undefined,
      reset: () => (this.resets += 1),
    });
  }

  get text(): string {
    return Buffer.concat(this.came).toString();
  }
}

/** Two ends, and the path between them. */
class Pair {
  readonly source: End;
  readonly target: End;
  nowMs = 0;
  #epoch = -1;

  constructor() {
    this.source = new End("source", () => this.nowMs);
    this.target = new End("target", () => this.nowMs);
    this.move();
  }

  /** What is on its way is lost; both go on over another path, the target first, as in life. */
  move(): void {
    this.#epoch += 1;
    const { source, target } = this;
    for (const end of [source, target]) {
      end.wire = [];
      end.line.detach();
    }
    const received = source.line.received;
    const answered = target.line.received;
    target.line.attach(this.#epoch, received);
    source.line.attach(this.#epoch, answered);
  }

  key(secret = SECRET): this {
    this.source.line.key(secret);
    this.target.line.key(secret);
    this.settle();
    return this;
  }

  /** Delivers what is on its way, in pieces of so many bytes, until nothing is. */
  settle(pieceBytes = Number.POSITIVE_INFINITY): void {
    const { source, target } = this;
    while (source.wire.length + target.wire.length > 0) {
      for (const [from, to] of [
        [source, target],
        [target, source],
      ] as const) {
        const bytes = Buffer.concat(from.wire);
        from.wire = [];
        for (let at = 0; at < bytes.length; at += pieceBytes) to.line.receive(bytes.subarray(at, at + pieceBytes));
      }
      for (const { line } of [source, target]) line.acknowledge();
    }
  }
}

describe("routing: a line over one path after another", () => {
  it("goes on where it broke, wherever that is", () => {
    const said = "what is said over a line";
    const probe = new Pair();
    probe.key();
    probe.source.line.write([Buffer.from(said)]);
    probe.source.line.end();
    const onTheWay = Buffer.concat(probe.source.wire).length;
    for (let cut = 0; cut <= onTheWay; cut++) {
      const pair = new Pair();
      pair.key();
      pair.source.line.write([Buffer.from(said)]);
      pair.source.line.end();
      pair.target.line.write([Buffer.from("answer")]);
      pair.target.line.receive(Buffer.concat(pair.source.wire).subarray(0, cut));
      pair.move();
      pair.settle();
      assert.deepEqual([pair.target.text, pair.source.text], [said, "answer"], `cut at ${cut}`);
      assert.deepEqual([pair.target.ends, pair.source.line.isFinished], [1, true], `cut at ${cut}`);
    }
  });

  it("loses and doubles nothing over many moves at random", () => {
    for (let seed = 1; seed <= 12; seed++) {
      const random = new SeededRandom(seed);
      const pair = new Pair();
      pair.key();
      const [there, back]: [Buffer[], Buffer[]] = [[], []];
      for (let step = 0; step < 60; step++) {
        pair.nowMs += random.below(50);
        for (const [end, said] of [
          [pair.source, there],
          [pair.target, back],
        ] as const) {
          if (end.line.room <= 0 || random.below(3) > 0) continue;
          const piece = Buffer.from(random.bytes(random.below(40_000)));
          said.push(piece);
          end.line.write([piece.subarray(0, 10), piece.subarray(10)]);
        }
        if (random.below(4) === 0) pair.move();
        if (random.below(2) === 0) pair.settle(100 + random.below(70_000));
      }
      pair.settle();
      assert.ok(Buffer.concat(there).equals(Buffer.concat(pair.target.came)), `seed ${seed}, there`);
      assert.ok(Buffer.concat(back).equals(Buffer.concat(pair.source.came)), `seed ${seed}, back`);
    }
  });

  it("loses and doubles nothing when the path before delivers and acknowledges while the next one is opened", () => {
    const pair = new Pair();
    pair.key();
    pair.target.line.write([Buffer.from("hello, ")]);
    const received = pair.source.line.received; // what the opening says
    pair.settle();
    pair.target.line.write([Buffer.from("whole "), Buffer.from("world")]);
    pair.target.line.end();
    pair.source.line.receive(Buffer.concat(pair.target.wire)); // comes, and is not acknowledged any more
    pair.target.wire = [];
    pair.source.wire = [];
    pair.target.line.attach(1, received);
    pair.source.line.attach(1, pair.target.line.received);
    pair.settle();
    assert.deepEqual([pair.source.text, pair.source.ends], ["hello, whole world", 1]);
    assert.deepEqual([pair.target.line.isFinished, pair.target.line.isWaiting], [true, false]);
  });

  it("takes only what is new of what comes again", () => {
    const pair = new Pair().key();
    pair.target.line.write([Buffer.from("ab"), Buffer.from("cd")]);
    pair.settle();
    pair.target.line.attach(1, 0);
    pair.source.line.attach(1, 0);
    const cipher = new FrameCipher(SECRET, "target", 1);
    const data = (offset: number, ...texts: string[]): Buffer =>
      Buffer.concat(
        encodeCircuitFrame(
          "data",
          offset,
          texts.map((text) => Buffer.from(text)),
          cipher,
        ),
      );
    pair.source.line.receive(data(2, "c", "de"));
    assert.equal(pair.source.text, "abcde");
    assert.throws(() => pair.source.line.receive(data(6, "g")), { code: "routing.circuit-frame" });
  });

  it("says the same under either cipher, and nothing that can be read on the way", () => {
    for (const cipher of ["aes-128-gcm", "chacha20-poly1305"] as const) {
      const pair = new Pair().key({ ...SECRET, cipher });
      const said = Buffer.from("what nobody on the way may read ".repeat(5_000));
      pair.source.line.write([said.subarray(0, 1_000), said.subarray(1_000)]);
      const wire = Buffer.concat(pair.source.wire);
      assert.ok(!wire.includes("nobody") && wire.length > said.length, cipher);
      pair.settle(4_000);
      assert.ok(said.equals(Buffer.concat(pair.target.came)), cipher);
      pair.source.line.end();
      pair.settle();
      assert.deepEqual([pair.target.ends, pair.source.line.isFinished], [1, true], cipher);
    }
  });

  it("carries a handshake before there is a key, which counts as nothing after it, and is bounded", () => {
    const pair = new Pair();
    pair.source.line.shake([Buffer.from("client"), Buffer.from(" hello")]);
    pair.settle(5);
    assert.equal(Buffer.concat(pair.target.shaken).toString(), "client hello");
    assert.deepEqual([pair.target.line.received, pair.target.line.owesAck], [0, false]);
    pair.key();
    pair.source.line.write([Buffer.from("hello")]);
    pair.settle();
    assert.deepEqual([pair.target.text, pair.target.line.received], ["hello", 5]);
    const late = new Pair().key();
    const shake = Buffer.concat(encodeCircuitFrame("handshake", 0, [Buffer.from("late")], undefined));
    assert.throws(() => late.target.line.receive(shake), { code: "routing.circuit-frame" });
    const endless = new Pair();
    endless.source.line.shake([Buffer.alloc(16_385)]);
    assert.throws(() => endless.settle(), { code: "routing.circuit-frame" });
  });

  it("refuses what was changed on its way, once both have the key", () => {
    const pair = new Pair();
    pair.key();
    pair.source.line.write([Buffer.from("hello")]);
    const bytes = Buffer.concat(pair.source.wire);
    for (let at = 0; at < bytes.length; at++) {
      const other = new Pair();
      other.key();
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] as number) ^ 1;
      const longer = Buffer.concat([changed, Buffer.alloc(70_000)]); // where the length was changed more must come
      assert.throws(() => other.target.line.receive(longer), { code: "routing.circuit-frame" }, `byte ${at}`);
      assert.equal(other.target.text, "");
    }
  });

  it("refuses what was recorded on another path, and data that is not sealed", () => {
    const pair = new Pair();
    pair.key();
    pair.source.line.write([Buffer.from("hello")]);
    const recorded = Buffer.concat(pair.source.wire);
    pair.move();
    assert.throws(() => pair.target.line.receive(recorded), { code: "routing.circuit-frame" });
    const bare = Buffer.concat(encodeCircuitFrame("data", 0, [Buffer.from("hello")], undefined));
    for (const end of [new Pair(), new Pair().key()]) {
      const receiving = (): void => end.target.line.receive(Buffer.concat([bare, Buffer.alloc(64)]));
      assert.throws(receiving, { code: "routing.circuit-frame" });
    }
  });

  it("waits for its own key when the peer has it first", () => {
    const pair = new Pair();
    pair.source.line.key(SECRET);
    pair.source.line.write([Buffer.from("hello")]);
    pair.settle();
    assert.equal(pair.target.text, "");
    pair.target.line.key(SECRET);
    pair.settle();
    assert.equal(pair.target.text, "hello");
  });

  it("refuses an offset that cannot be, and more than a window", () => {
    const pair = new Pair().key();
    pair.source.line.write([Buffer.from("hello")]);
    assert.throws(() => pair.source.line.attach(1, 6), { code: "routing.circuit-offset" });
    pair.settle();
    const greedy = new Pair();
    greedy.source.line.key(SECRET);
    const stuck = new ReliableLine("target", {
      nowMs: () => 0,
      send: () => undefined,
      handshake: () => undefined,
      data: () => undefined, // and never takes it
      ended: () => undefined,
      acked: () => undefined,
      reset: () => undefined,
    });
    stuck.attach(0, 0);
    stuck.key(SECRET);
    assert.throws(
      () => {
        for (let sent = 0; sent <= MAX_WINDOW_BYTES + 65_536; sent += 65_536) {
          greedy.source.line.write([Buffer.alloc(65_536)]);
          stuck.receive(Buffer.concat(greedy.source.wire.splice(0)));
        }
      },
      { code: "routing.circuit-frame" },
    );
  });
});

describe("routing: how much a circuit has on its way", () => {
  /** A path that passes on so many bytes a millisecond after so long; the window after some seconds of sending all it allows. */
  function settled(bytesPerMs: number, rttMs: number): { bytes: number; rttMs: number | undefined } {
    const window = new SendWindow();
    let [sent, acked, nowMs, freeMs] = [0, 0, 0, 0];
    const onTheWay: { offset: number; atMs: number }[] = [];
    for (; nowMs < 25_000; nowMs += 1) {
      for (let next = onTheWay[0]; next !== undefined && next.atMs <= nowMs; next = onTheWay[0]) {
        acked = next.offset;
        window.acked(acked, nowMs);
        onTheWay.shift();
      }
      while (sent - acked < window.bytes) {
        const from = sent;
        sent += 16_384;
        freeMs = Math.max(freeMs, nowMs) + 16_384 / bytesPerMs;
        onTheWay.push({ offset: sent, atMs: freeMs + rttMs });
        window.sent(from, sent, acked, nowMs);
      }
    }
    return { bytes: window.bytes, rttMs: window.rttMs };
  }

  it("grows to what a long path holds, and not to what only waits in queues", () => {
    const rows: [bytesPerMs: number, rttMs: number][] = [
      [25_000, 100], // 200 Mbit/s
      [2_500, 200],
      [12_500, 40],
    ];
    for (const [bytesPerMs, rttMs] of rows) {
      const { bytes } = settled(bytesPerMs, rttMs);
      const held = bytesPerMs * rttMs;
      assert.ok(bytes >= held && bytes <= Math.max(4 * held, 300_000), `${bytes} for ${held}`);
    }
  });

  it("stays small on a short path, and below the most on any", () => {
    assert.ok(settled(1_000, 1).bytes <= 150_000);
    assert.equal(settled(1_000_000, 500).bytes, MAX_WINDOW_BYTES);
  });
});

describe("routing: whether a path still leads anywhere", () => {
  /** Checks every 150 ms, hearing what is said at those times; when the path was doubtful first. */
  function doubtfulMs(
    heardAtMs: (nowMs: number) => boolean,
    { rttMs = 10, usedUntilMs = 60_000, stallMs = 0 } = {},
  ): number | undefined {
    const watch = new PathWatch(0);
    for (let nowMs = 150; nowMs < 60_000; nowMs += nowMs === 3_000 && stallMs > 0 ? stallMs : 150) {
      if (heardAtMs(nowMs)) watch.heard(nowMs);
      if (nowMs <= usedUntilMs) watch.used(nowMs);
      if (watch.check(nowMs, rttMs, false).doubtful) return nowMs;
    }
    return undefined;
  }

  it("is doubted soon after the last sign of life, later where the round trip is long, and not where something comes", () => {
    assert.equal(
      doubtfulMs(() => true),
      undefined,
    );
    const fast = doubtfulMs((nowMs) => nowMs <= 3_000) ?? 0;
    const slow = doubtfulMs((nowMs) => nowMs <= 3_000, { rttMs: 300 }) ?? 0;
    assert.ok(fast - 3_000 > 600 && fast - 3_000 <= 900, `${fast}`);
    assert.ok(slow - 3_000 > 1_800 && slow - 3_000 <= 2_100, `${slow}`);
  });

  it("is not doubted for what this process slept through", () => {
    assert.equal(
      doubtfulMs((nowMs) => nowMs !== 5_000, { stallMs: 2_000 }),
      undefined,
    );
  });

  it("is asked when a flow pauses, unless something came again, and not again and again", () => {
    const watch = new PathWatch(0);
    watch.heard(1_000);
    assert.equal(watch.checkPause(1_010), false);
    assert.equal(watch.checkPause(1_020), true);
    assert.equal(watch.checkPause(1_040), false);
    watch.heard(1_130);
    assert.deepEqual([watch.checkPause(1_140), watch.checkPause(1_150)], [false, true]);
  });

  it("is asked seldom while nobody uses it", () => {
    const idle = doubtfulMs((nowMs) => nowMs <= 30_000, { usedUntilMs: 1_000 }) ?? 0;
    assert.ok(idle > 35_000 && idle < 36_500, `${idle}`);
  });
});

describe("routing: when a circuit goes a better way", () => {
  const [here, there] = [
    ["g", "b"],
    ["h", "b"],
  ];

  it("needs a clear gain that lasts", () => {
    const rows: [best: number, current: number, moves: boolean][] = [
      [300, 400, true],
      [381, 400, false],
      [380, 400, true],
    ];
    for (const [best, current, moves] of rows) {
      const better = new BetterPath();
      const at = (nowMs: number): boolean =>
        better.isDue({ path: there, cost: best }, { path: here, cost: current }, nowMs);
      assert.deepEqual(
        [at(0), at(HOLD_GAIN_MS - 1), at(HOLD_GAIN_MS)],
        [false, false, moves],
        `${best} for ${current}`,
      );
    }
  });

  it("does not count gains of different ways together, and waits for nothing when a link is gone", () => {
    const better = new BetterPath();
    const current = { path: here, cost: 100 };
    assert.equal(better.isDue({ path: there, cost: 10 }, current, 0), false);
    assert.equal(better.isDue({ path: ["i", "b"], cost: 10 }, current, HOLD_GAIN_MS), false);
    assert.equal(better.isDue({ path: there, cost: 10 }, current, HOLD_GAIN_MS + 1), false);
    assert.equal(better.isDue({ path: there, cost: 900 }, { path: here, cost: undefined }, HOLD_GAIN_MS + 2), true);
    assert.equal(better.isDue({ path: here, cost: 900 }, { path: here, cost: undefined }, HOLD_GAIN_MS + 3), false);
  });
});
