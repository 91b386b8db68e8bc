import assert from "node:assert/strict";
import type { RouteView } from "#api";
import { Yard, type YardNode } from "../support/yard.ts";

describe("routes between daemons", function () {
  this.timeout(60_000);
  let yard: Yard;
  let hub: YardNode;
  let cam: YardNode;
  let pump: YardNode;

  before(async () => {
    yard = new Yard();
    hub = await yard.demoFleet();
    ({ cam, pump } = await yard.membersBehind(hub, { cam: "", pump: "" }));
  });
  after(() => yard[Symbol.asyncDispose]());

  const routes = async (node: YardNode): Promise<RouteView[]> =>
    (JSON.parse(await node.ok("get", "routes", "-o", "json")) as { items: RouteView[] }).items;

  it("lead over a node in between, where two are no neighbours", async () => {
    const seen = await yard.until("a way from cam to pump", async () =>
      (await routes(cam)).find(({ name }) => name === "pump"),
    );
    const { name } = await hub.status();
    assert.deepEqual([seen.hops, seen.via, seen.site], [2, name, "berlin"]);
    const text = await cam.ok("route", "pump");
    assert.match(text, /^to pump: cost \d+, 2 hops\n {2}cam → n-\w+: \d+ = 1 \+ (latency \d+ \+ )?money 420/u);
    assert.match(text, /\nthere is no other way$/u);
  });

  it("are told link by link, also of links between others", async () => {
    const { name } = await hub.status();
    const link = JSON.parse(await cam.ok("describe", "link", name, "pump", "-o", "json")) as {
      cost: number;
      terms: object;
    };
    assert.deepEqual(Object.keys(link.terms), ["latency", "loss", "load", "money", "penalty", "admin"]);
    assert.ok(link.cost > 420);
    const [head = "", row = ""] = (await cam.ok("get", "links", "-o", "wide")).split("\n");
    assert.match(head, / COST IS /u);
    assert.match(row, / 1 \+ (latency \d+ \+ )?(loss \d+ \+ )?money 420 \+ penalty \d+ /u);
  });

  it("are opened by who can: doctor says who has connected, and does not guess", async () => {
    assert.match(
      await hub.ok("doctor"),
      /ok +reach: Listens at \S+\. Others connect from other sites: (cam|pump) in berlin did just now/u,
    );
    assert.match(await cam.ok("doctor"), /info +reach: This node accepts no connections: others reach it over those/u);
  });

  it("outlive a node in between that stands still for two seconds: nobody takes anybody for dead", async () => {
    process.kill(hub.pid, "SIGSTOP");
    await yard.clock.sleep(2_000);
    process.kill(hub.pid, "SIGCONT");
    await yard.clock.sleep(4_000); // whoever was taken for dead would be so by now
    for (const node of [hub, cam, pump]) assert.doesNotMatch(node.log, /neighbour down/u, node.name);
    assert.ok((await routes(cam)).some(({ name }) => name === "pump"));
  });

  it("end with the node that they lead to or through", async () => {
    await pump.kill();
    await yard.until("cam to hear that pump is gone", async () => (await cam.run("route", "pump")).code === 4);
    await hub.kill();
    await yard.until("cam to have no way at all", async () => (await routes(cam)).length === 0);
  });

  it("say what is wrong with what was asked for", async () => {
    assert.match(await cam.fails(4, "route", "nobody"), /there is no route "nobody"/u);
    assert.match(await cam.fails(4, "describe", "link", "cam", "nobody"), /there is no link "cam\/nobody"/u);
    assert.match(await cam.fails(2, "describe", "node", "cam", "pump"), /only a link has two ends/u);
  });

  it("lead through no node that was told to carry nothing", async () => {
    await hub.up("--no-transit");
    await pump.upDialling();
    await hub.untilSees("pump", "connected");
    await hub.untilSees("cam", "connected");
    await yard.until("cam to know the way to the hub", async () => (await routes(cam)).length === 1);
    await yard.until("the hub to know both", async () => (await routes(hub)).length === 2);
    assert.deepEqual(
      (await routes(cam)).map(({ hops }) => hops),
      [1],
    );
  });
});
