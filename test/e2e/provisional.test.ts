import assert from "node:assert/strict";
import { Yard, type YardNode } from "../support/yard.ts";

describe("a newcomer, with real daemons", function () {
  this.timeout(60_000);
  let yard: Yard;
  let hub: YardNode;
  let token: string;

  before(async () => {
    ({ yard, hub, token } = await Yard.withFleet());
    await hub.ok("batch", "open", "--max", "5", "--until", "1h");
  });
  after(() => yard[Symbol.asyncDispose]());

  async function newcomer(name: string): Promise<YardNode> {
    const node = yard.node(name);
    await node.up("--token", token, "--serial", name, "--site", "hq");
    await node.until("member");
    return node;
  }

  async function untilProvisional(seer: YardNode, who: string, is: boolean): Promise<void> {
    await yard.until(`${seer.name} to see ${who} ${is ? "" : "not "}provisional`, async () => {
      const seen = await seer.look(() => seer.client.call("nodes.get", { name: who }));
      return seen !== undefined && (seen.provisional === true) === is;
    });
  }

  it("is provisional while it has the word of one node only, also after a restart, and then is confirmed by a second", async () => {
    const one = await newcomer("one");
    await untilProvisional(one, "one", true);
    await untilProvisional(hub, "one", true);
    assert.match(await hub.ok("get", "nodes", "-o", "wide"), /one .*provisional: only its registrar/u);
    await one.kill();
    await one.up();
    await untilProvisional(hub, "one", true);
    await hub.publish("file:v1", "content\n");
    await one.untilArtifact("file:v1"); // it works all the same

    const startMs = yard.clock.nowMs();
    const two = await newcomer("two");
    for (const seer of [hub, one, two]) {
      await untilProvisional(seer, "one", false);
      await untilProvisional(seer, "two", false);
    }
    console.log(`      started and confirmed in ${Math.round(yard.clock.nowMs() - startMs)} ms`);
  });
});
