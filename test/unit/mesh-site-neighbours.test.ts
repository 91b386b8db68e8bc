import assert from "node:assert/strict";
import { SiteNeighbours } from "#mesh";
import { MemoryHost } from "../support/memory-mesh.ts";

describe("mesh: neighbours of the own site", () => {
  /** A node in berlin with one neighbour there and one in rome. */
  function start() {
    const [own, near, far] = [
      new MemoryHost("own", "berlin"),
      new MemoryHost("near", "berlin"),
      new MemoryHost("far", "rome"),
    ];
    let site: string | undefined = "berlin";
    const view = new SiteNeighbours(own, () => site);
    const events: string[] = [];
    view.onSession(({ nodeId }, event) => events.push(`${nodeId} ${event}`));
    const take = (): string[] => events.splice(0);
    return { own, near, far, view, take, move: (to: string | undefined) => (site = to) };
  }

  it("are none until that is switched on, and none after", () => {
    const { own, near, far, view, take } = start();
    MemoryHost.link(own, near);
    MemoryHost.link(own, far);
    assert.deepEqual([view.sessions().length, view.session("near"), take()], [0, undefined, []]);
    view.turn(true);
    assert.deepEqual(take(), ["near up"]);
    view.turn(true);
    assert.deepEqual([view.sessions().length, view.session("far"), take()], [1, undefined, []]);
    own.disconnect("near", "gone");
    own.disconnect("far", "gone");
    assert.deepEqual(take(), ["near down"]);
    MemoryHost.link(own, near);
    assert.deepEqual(take(), ["near up"]);
    view.turn(false);
    assert.deepEqual([view.sessions().length, take()], [0, ["near down"]]);
    own.disconnect("near", "gone");
    assert.deepEqual(take(), []);
  });

  it("come up when the node learns where it is", () => {
    const { own, near, view, take, move } = start();
    move(undefined);
    view.turn(true);
    MemoryHost.link(own, near);
    view.turn(true);
    assert.deepEqual(take(), []);
    move("berlin");
    view.turn(true);
    assert.deepEqual(take(), ["near up"]);
  });

  it("alone are heard", async () => {
    const { own, near, far, view } = start();
    MemoryHost.link(own, near);
    MemoryHost.link(own, far);
    view.turn(true);
    const heard: string[] = [];
    view.onMessage("news", ({ nodeId }) => heard.push(nodeId));
    for (const host of [far, near]) host.session("own")?.send("news", 1);
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(heard, ["near"]);
  });
});
