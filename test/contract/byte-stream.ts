import assert from "node:assert/strict";
import type { ByteStream } from "#core";

/** What arrived at one end, and a promise of how it ended. */
export type Collected = { bytes: () => Buffer; ended: Promise<Error | undefined> };

/** Listens and keeps everything. */
export function collect(stream: ByteStream): Collected {
  const pieces: Uint8Array[] = [];
  const { promise, resolve } = Promise.withResolvers<Error | undefined>();
  stream.listen({ data: (piece) => pieces.push(piece), end: resolve });
  return { bytes: () => Buffer.concat(pieces), ended: promise };
}

/** 32 MiB: more than any window and buffer between two ends. */
const FLOOD_PIECES = 512;

/** Waits until a count has stood still for 1,000 turns of the event loop. */
async function stalled(count: () => number): Promise<void> {
  for (let still = 0, last = count(); still < 1_000; still++) {
    await new Promise(setImmediate);
    if (count() !== last) still = 0;
    last = count();
  }
}

/** What every ByteStream promises: run on the memory twin here, and on the real adapter by whoever writes it. */
export function byteStreamContract(name: string, makePair: () => Promise<[ByteStream, ByteStream]>): void {
  describe(`byte stream contract: ${name}`, () => {
    it("carries pieces in order, both ways at once", async () => {
      const [a, b] = await makePair();
      const [atA, atB] = [collect(a), collect(b)];
      for (let i = 0; i < 50; i++) {
        a.send(Buffer.from(`a${i} `), new Uint8Array(0), Buffer.from(`+ `));
        b.send(Buffer.from(`b${i} `));
      }
      a.close();
      b.close();
      assert.equal(await atA.ended, undefined);
      assert.equal(await atB.ended, undefined);
      assert.equal(atB.bytes().toString(), Array.from({ length: 50 }, (_, i) => `a${i} + `).join(""));
      assert.equal(atA.bytes().toString(), Array.from({ length: 50 }, (_, i) => `b${i} `).join(""));
    });

    it("delivers what came before anybody listened", async () => {
      const [a, b] = await makePair();
      a.send(Buffer.from("early"));
      a.close();
      await new Promise(setImmediate);
      const atB = collect(b);
      assert.equal(await atB.ended, undefined);
      assert.equal(atB.bytes().toString(), "early");
    });

    it("lets the other direction go on after a close", async () => {
      const [a, b] = await makePair();
      const [atA, atB] = [collect(a), collect(b)];
      a.send(Buffer.from("question"));
      a.close();
      assert.equal(await atB.ended, undefined);
      b.send(Buffer.from("answer"));
      b.close();
      assert.equal(await atA.ended, undefined);
      assert.equal(atA.bytes().toString(), "answer");
    });

    it("holds a sender back while its reader pauses, and loses nothing when it goes on", async () => {
      const [a, b] = await makePair();
      b.pause();
      const atB = collect(b);
      const piece = Buffer.alloc(64 * 1024, 7);
      let sent = 0;
      const sending = (async () => {
        for (; sent < FLOOD_PIECES; sent++) if (!a.send(piece)) await a.drained();
        a.close();
      })();
      await stalled(() => sent);
      assert.ok(sent < FLOOD_PIECES, "32 MiB went to a reader that does not read");
      const [heldBytes, sentBytes] = [a.heldBytes + b.heldBytes, sent * piece.length];
      assert.ok(
        heldBytes > sentBytes / 2 && heldBytes < sentBytes + 2 * piece.length,
        `${heldBytes} of ${sentBytes} held`,
      );
      b.resume();
      await sending;
      assert.equal(await atB.ended, undefined);
      assert.equal(atB.bytes().length, FLOOD_PIECES * piece.length);
      assert.equal(b.heldBytes, 0);
    });

    it("ends a wait for drain with the signal's reason", async () => {
      const [a, b] = await makePair();
      b.pause();
      collect(b);
      while (a.send(Buffer.alloc(64 * 1024)));
      const controller = new AbortController();
      const reason = new Error("enough");
      const waiting = assert.rejects(a.drained(controller.signal), reason);
      controller.abort(reason);
      await waiting;
      a.abort(reason);
    });

    it("tells both sides of an abort, ends their waits, and refuses to send after it", async () => {
      const [a, b] = await makePair();
      const [atA, atB] = [collect(a), collect(b)];
      b.pause();
      while (a.send(Buffer.alloc(64 * 1024)));
      const waiting = assert.rejects(a.drained());
      a.abort(new Error("give up"));
      assert.ok((await atA.ended) instanceof Error);
      assert.ok((await atB.ended) instanceof Error);
      await waiting;
      assert.throws(() => a.send(Buffer.from("late")));
      assert.throws(() => b.send(Buffer.from("late")));
      await assert.rejects(b.drained());
    });

    it("refuses to send after its own close, and an abort after both closed changes nothing", async () => {
      const [a, b] = await makePair();
      const [atA, atB] = [collect(a), collect(b)];
      a.close();
      assert.throws(() => a.send(Buffer.from("late")), { code: "core.stream-ended" });
      b.close();
      assert.equal(await atA.ended, undefined);
      assert.equal(await atB.ended, undefined);
      a.abort(new Error("too late to matter"));
      b.abort(new Error("too late to matter"));
    });
  });
}
