import assert from "node:assert/strict";
import { type ByteStream, Fault, memoryStreamPair, VirtualClock } from "#core";
import { collect } from "../contract/byte-stream.ts";
import { GrowthBudget } from "../../src/routing/tunnel/flow-window.ts";
import type { OpenStream } from "../../src/routing/tunnel/ports.ts";
import { Trunk } from "../../src/routing/tunnel/trunk.ts";
import { TRUNK_MS, Trunks } from "../../src/routing/tunnel/trunks.ts";

const REQUEST = Buffer.from("tcp default cam");

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(setImmediate);
}

/** The trunks of a node to others in memory, which take in every flow and end a trunk when they are told to. */
function world() {
  const clock = new VirtualClock();
  const streams: ByteStream[] = [];
  let failure: Error | undefined;
  const open: OpenStream = async () => {
    await turns(1);
    if (failure !== undefined) throw failure;
    const [near, far] = memoryStreamPair();
    const host: Trunk = new Trunk({
      clock,
      stream: far,
      growth: new GrowthBudget(),
      opened: (flow) => {
        host.accept(flow);
        flow.listen({ data: () => undefined, end: () => flow.close() });
      },
    });
    streams.push(far);
    return near;
  };
  const fail = (error?: Error): void => {
    failure = error;
  };
  return { clock, streams, fail, trunks: new Trunks(clock, open) };
}

describe("trunks", () => {
  it("open one for all who ask at a time, and one for each node", async () => {
    const { trunks, streams } = world();
    const [first, second, other] = await Promise.all([trunks.to("a"), trunks.to("a"), trunks.to("b")]);
    assert.equal(first, second);
    assert.notEqual(first, other);
    assert.equal(trunks.live("a"), first);
    assert.equal(streams.length, 2);
  });

  it("take new flows for 10 s; then there is another, and the old one ends with its last flow", async () => {
    const { trunks, clock } = world();
    const old = await trunks.to("a");
    const flow = old.open(REQUEST);
    await flow.accepted;
    await clock.advanceMs(TRUNK_MS);
    assert.equal(trunks.live("a"), undefined);
    const next = await trunks.to("a");
    assert.notEqual(next, old);
    assert.equal(old.isOver, false);
    flow.listen({ data: () => undefined, end: () => undefined });
    flow.close();
    while (!old.isOver) await turns(1);
    assert.equal(next.isOver, false);
  });

  it("end after 10 s without flows", async () => {
    const { trunks, clock } = world();
    const trunk = await trunks.to("a");
    await clock.advanceMs(TRUNK_MS - 1);
    await turns(10);
    assert.equal(trunk.isOver, false);
    await clock.advanceMs(1);
    while (!trunk.isOver) await turns(1);
    assert.equal(trunks.live("a"), undefined);
  });

  it("are opened anew when one has died, or could not be opened", async () => {
    const { trunks, streams, fail } = world();
    fail(new Fault("mesh.not-connected", "no connection", { exit: "offline" }));
    await assert.rejects(trunks.to("a"), { code: "mesh.not-connected" });
    fail();
    const trunk = await trunks.to("a");
    streams[0]?.abort(new Error("cut"));
    while (!trunk.isOver) await turns(1);
    assert.notEqual(await trunks.to("a"), trunk);
  });

  it("give up on a node that does not answer after 20 s", async () => {
    const clock = new VirtualClock();
    const [near, far] = memoryStreamPair();
    const { promise, resolve } = Promise.withResolvers<ByteStream>();
    const trunks = new Trunks(clock, () => promise);
    const given = assert.rejects(trunks.to("a"), { code: "core.deadline" });
    await clock.advanceMs(20_000);
    await given;
    const ended = collect(far).ended;
    resolve(near);
    assert.ok((await ended) instanceof Error, "what came too late is left open");
  });
});
