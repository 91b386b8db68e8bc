import assert from "node:assert/strict";
import type { CircuitView, RouteDetail } from "#api";
import { Yard, type YardNode } from "../support/yard.ts";

describe("areas", function () {
  this.timeout(120_000);
  let yard: Yard;
  let hub: YardNode;
  let mid: YardNode;
  let pump: YardNode;
  let cam: YardNode;
  let h: string;

  /** At hq a hub, which leaves the site, and a pump that only `mid` may talk to; another site with a border, too, and a camera behind it. */
  before(async () => {
    yard = new Yard();
    hub = await yard.demoFleet();
    h = (await hub.status()).name;
    mid = await yard.member(hub, "mid", "hq");
    await yard.member(hub, "spare", "rome");
    ({ pump } = await yard.membersBehind(hub, { pump: "" }, { site: "hq" }));
    ({ cam } = await yard.membersBehind(hub, { cam: "" }, { site: "rome" }));
    await pump.untilSees("mid", "connected");
    await cam.untilSees("spare", "connected");
    const links = [
      ["cam", "spare"],
      ["pump", "mid"],
      [h, "spare"],
      [h, "mid"],
    ].flatMap(([a, b]) => [
      [a, b],
      [b, a],
    ]);
    for (const [from = "", to = ""] of links)
      await yard.until(
        `${from} to tell of its link to ${to}`,
        async () => (await hub.run("describe", "link", from, to)).code === 0,
      );
  });
  after(() => yard[Symbol.asyncDispose]());

  const apply = (spec: object): Promise<string> => {
    const document = { apiVersion: "portolan.dev/v1", kind: "Topology", metadata: { name: "main" }, spec };
    return hub.ok("apply", "-f", yard.write("topology.yaml", JSON.stringify(document)));
  };
  const routeOf = async (node: YardNode, to: string): Promise<RouteDetail | undefined> => {
    const { code, out } = await node.run("route", to, "-o", "json");
    return code === 0 ? (JSON.parse(out) as RouteDetail) : undefined;
  };
  const circuits = async (node: YardNode): Promise<CircuitView[]> =>
    (JSON.parse(await node.ok("get", "circuits", "-o", "json")) as { items: CircuitView[] }).items;
  const forbid = (a: string, b: string): object => ({ from: a, to: b, forbid: true });
  /** Whether the camera knows of the link between two nodes at hq. */
  const knowsInside = async (): Promise<boolean> => {
    const { nodes, links } = await cam.client.call("map", {});
    return links.some(([a, b]) => [nodes[a], nodes[b]].toSorted().join() === "mid,pump");
  };

  it("lead into a site whose links are not known outside, and round a link there that is gone", async () => {
    const links = [
      forbid("pump", h),
      forbid("pump", "spare"),
      forbid("pump", "cam"),
      forbid("cam", h),
      forbid("cam", "mid"),
      forbid("mid", "spare"),
    ];
    await apply({ areas: "site", borders: [h, "spare"], links });
    const route = await yard.until("a loose way from the camera to the pump", async () => {
      const found = await routeOf(cam, "pump");
      return found?.legs.at(-1)?.inside === "hq" ? found : undefined;
    });
    assert.deepEqual(
      route.legs.map(({ from, to }) => [from, to]),
      [
        ["cam", "spare"],
        ["spare", h],
        [h, "pump"],
      ],
    );
    assert.match(await cam.ok("route", "pump"), new RegExp(`${h} → pump: 0, inside hq`, "u"));
    assert.match(await cam.ok("ping", "pump", "-c", "2"), new RegExp(`ms via spare, ${h}`, "u"));
    assert.deepEqual(
      (await circuits(mid)).map(({ name, role }) => [name, role]),
      [["cam/pump", "gateway"]],
    );
    assert.match(await pump.ok("ping", "cam", "-c", "1"), /^cam: [\d.]+ ms over a circuit that it opened$/u);
  });

  it("are not told outside their site, and of who is gone there others hear", async () => {
    assert.equal(await knowsInside(), false);
    await mid.kill();
    await yard.until(
      "the camera to hear that the pump is cut off",
      async () => (await routeOf(cam, "pump")) === undefined,
    );
    assert.match((await cam.run("explain", "pump")).out, /pump/u);
    await mid.up();
    await yard.until("the pump to be back", async () => (await routeOf(cam, "pump")) !== undefined);
    assert.match(await cam.ok("ping", "pump", "-c", "1"), /^pump: [\d.]+ ms/u);
  });

  it("are given up when operators say so", async () => {
    await apply({});
    await yard.until("rome to know of links at hq", knowsInside);
    const route = await yard.until("a way link by link", async () => {
      const found = await routeOf(cam, "pump");
      return found?.legs.every(({ inside }) => inside === undefined) ? found : undefined;
    });
    assert.ok(route.cost > 0);
  });
});
