import assert from "node:assert/strict";
import type { Explanation, RouteDetail } from "#api";
import { Yard, type YardNode } from "../support/yard.ts";

type Rules = { links?: object[]; transit?: object[] };

describe("a topology", function () {
  this.timeout(90_000);
  let yard: Yard;
  let hub: YardNode;
  let spare: YardNode;
  let cam: YardNode;
  let pump: YardNode;
  /** The hub's own name. */
  let h: string;

  before(async () => {
    yard = new Yard();
    hub = await yard.demoFleet();
    spare = await yard.member(hub, "spare", "rome");
    // what one sends the other goes over the hub, in their own site, or the spare, in another
    ({ cam, pump } = await yard.membersBehind(hub, { cam: "", pump: "" }, { site: "hq" }));
    for (const node of [cam, pump]) await node.untilSees("spare", "connected");
    h = (await hub.status()).name;
    await untilVia(cam, "pump", h);
  });
  after(() => yard[Symbol.asyncDispose]());

  const fileOf = (rules: Rules): string => {
    const document = { apiVersion: "portolan.dev/v1", kind: "Topology", metadata: { name: "main" }, spec: rules };
    return yard.write("topology.yaml", JSON.stringify(document));
  };
  const apply = (rules: Rules, ...flags: string[]): Promise<string> => hub.ok("apply", "-f", fileOf(rules), ...flags);
  const routeOf = async (from: YardNode, to: string): Promise<RouteDetail> =>
    JSON.parse(await from.ok("route", to, "-o", "json")) as RouteDetail;
  const untilVia = (from: YardNode, to: string, via: string): Promise<RouteDetail> =>
    yard.until(`${from.name} to reach ${to} over ${via}`, async () => {
      const { code, out } = await from.run("route", to, "-o", "json");
      const route = code === 0 ? (JSON.parse(out) as RouteDetail) : undefined;
      return route?.via === via && route.hops === 2 && route;
    });
  const untilCircuit = (via: string): Promise<unknown> =>
    yard.until(`the circuit to go over ${via}`, async () => {
      const { items } = await cam.client.call("circuits.list", {});
      return items.find(({ name, role }) => name === "pump" && role === "source")?.via?.join() === via;
    });

  it("moves a way by what an operator adds to a link's cost, and says so", async () => {
    await apply({ links: [{ from: "cam", to: h, cost: 5_000 }] });
    const route = await untilVia(cam, "pump", "spare");
    assert.ok(route.legs.every(({ admin }) => admin === 0));
    const [back] = (await untilVia(pump, "cam", "spare")).legs;
    assert.equal(back?.admin, 0);
    assert.match(await cam.ok("describe", "link", "cam", h), /Admin: +5000/u);
    assert.match(await pump.ok("describe", "link", h, "cam"), /Admin: +5000/u); // both directions, at every node
    assert.match(await cam.ok("get", "links", "-o", "wide"), /admin 5000/u);
    assert.match(
      await cam.ok("route", "pump"),
      new RegExp(`if that fails: cost 5\\d{3}, 2 hops\\n {2}cam → ${h}: 5\\d{3} = 1 .*admin 5000`, "u"),
    );
  });

  it("says before it is signed which ways it would change, and signs nothing", async () => {
    const before = await hub.untilDocument("Topology/main");
    const rules = fileOf({ links: [{ from: "cam", to: h, cost: 10 }] });
    const { out, err } = await hub.run("apply", "-f", rules, "--dry-run");
    assert.match(err, /would sign Topology\/default\/main version 2, which needs 1 network/u);
    assert.match(out, /^FROM +TO +BEFORE +AFTER\n/u);
    assert.match(out, new RegExp(`cam +pump +\\d+ via spare +\\d+ via ${h}\\n`, "u"));
    const json = JSON.parse(await hub.ok("apply", "-f", rules, "--dry-run", "-o", "json")) as {
      total: number;
      changes: { from: string; to: string; after: { via: string[] } }[];
    };
    assert.equal(json.changes.length, json.total);
    assert.deepEqual(json.changes.find(({ from, to }) => from === "pump" && to === "cam")?.after.via, [h]);
    assert.deepEqual(await hub.untilDocument("Topology/main"), before);
    const placement = { artifact: "model:v1", selector: "site=rome" };
    const other = { apiVersion: "portolan.dev/v1", kind: "Placement", metadata: { name: "p" }, spec: placement };
    const said = await hub.run("apply", "-f", yard.write("placement.json", JSON.stringify(other)), "--dry-run");
    assert.match(said.err, /would sign Placement\/default\/p version 1, which needs 1 publisher/u);
    assert.equal(said.code, 0);
    assert.equal((await hub.run("describe", "placement", "p")).code, 4);
  });

  it("moves it back when it is deleted", async () => {
    await hub.ok("delete", "topology", "main");
    await untilVia(cam, "pump", h);
    assert.doesNotMatch(await cam.ok("get", "links", "-o", "wide"), /admin/u);
  });

  it("forbids a link: ways and circuits leave it within seconds, and nothing goes straight over it", async () => {
    await cam.ok("ping", "pump", "-c", "1");
    await untilCircuit(h);
    await apply({ links: [{ from: "name=cam", to: h, forbid: true }] });
    await untilVia(cam, "pump", "spare");
    await untilCircuit("spare");
    assert.match(await cam.ok("get", "links"), new RegExp(`${h} +hq +forbidden `, "u"));
    assert.match(await spare.ok("describe", "link", "cam", h), /State: +forbidden/u);
    assert.match(await cam.ok("ping", h, "-c", "1"), /ms via spare$/u);
  });

  it("is told as the reason why a cheaper way is not taken", async () => {
    const text = await cam.ok("explain", "pump");
    assert.match(text, /^to pump: cost \d+, 2 hops\n {2}cam → spare: /u);
    assert.match(text, new RegExp(`\nnot taken: cost \\d+, via ${h}: cam → ${h} forbidden by topology main$`, "u"));
    const json = JSON.parse(await cam.ok("explain", "pump", "-o", "json")) as Explanation;
    assert.deepEqual(
      json.untaken.map(({ why, at, via }) => ({ why, at, via })),
      [{ why: "forbidden", at: [["cam", h]], via: [h] }],
    );
    assert.equal(json.route?.legs[0]?.to, "spare");
    assert.match(await cam.fails(4, "explain", "nobody"), /there is no node "nobody", and no service of that name/u);
    assert.match(await cam.fails(2, "explain", "cam"), /cam is this node itself/u);
  });

  it("says who must not carry for others", async () => {
    await apply({ transit: [{ node: h, carry: false }] });
    await yard.until("cam to hear of it", async () =>
      (await cam.client.call("links.list", {})).items.every(({ state }) => state === "up"),
    );
    assert.equal((await routeOf(cam, "pump")).via, "spare");
    assert.equal((await routeOf(cam, h)).hops, 1); // it is still an end
    assert.match(await cam.ok("explain", "pump"), new RegExp(`via ${h}: ${h} does not carry for others`, "u"));
  });

  it("is refused when it would cut nodes off, unless one insists", async () => {
    const cut = fileOf({ links: [{ from: "name in (cam)", to: "*", forbid: true }] });
    const { version } = await hub.untilDocument("Topology/main");
    const said = await hub.fails(5, "apply", "-f", cut);
    assert.match(said, /it would cut the fleet: no way would lead any more to cam \(from 3 nodes\), /u);
    assert.match(said, /--force/u);
    assert.equal((await hub.untilDocument("Topology/main")).version, version);
    assert.match((await hub.run("apply", "-f", cut, "--dry-run")).err, /warning: it would cut the fleet/u);
    await hub.ok("apply", "-f", cut, "--force");
    await yard.until("cam to have no way to pump", async () => (await cam.run("route", "pump")).code === 4);
    assert.match(
      await cam.ok("explain", "pump"),
      /^no way leads to pump\nnot taken: cost \d+, via .* forbidden by topology main/u,
    );
    assert.match(await hub.ok("delete", "topology", "main"), /^$/u); // documents still go over the link
    await untilVia(cam, "pump", h);
  });

  const refused: Record<string, { rules: Rules; code: number; says: RegExp }> = {
    "a node that is none": {
      rules: { links: [{ from: "cm", to: "*", cost: 1 }] },
      code: 4,
      says: /spec\.links\.0\.from: there is no node "cm"/u,
    },
    "a node that is none to carry": {
      rules: { transit: [{ node: "cm", carry: false }] },
      code: 4,
      says: /spec\.transit\.0\.node/u,
    },
    "a negative cost": {
      rules: { links: [{ from: "cam", to: "*", cost: -1 }] },
      code: 2,
      says: /spec\.links\.0\.cost/u,
    },
    "a huge cost": {
      rules: { links: [{ from: "cam", to: "*", cost: 10_001 }] },
      code: 2,
      says: /spec\.links\.0\.cost/u,
    },
    "forbid beside cost": {
      rules: { links: [{ from: "cam", to: "*", cost: 1, forbid: true }] },
      code: 2,
      says: /one of cost, prefer and forbid/u,
    },
    "a rule that does nothing": {
      rules: { links: [{ from: "cam", to: "*" }] },
      code: 2,
      says: /one of cost, prefer and forbid/u,
    },
    "forbid in one direction": {
      rules: { links: [{ from: "cam", to: "*", forbid: true, oneWay: true }] },
      code: 2,
      says: /both directions/u,
    },
    "a selector that cannot be read": {
      rules: { links: [{ from: "a=b=c", to: "*", cost: 1 }] },
      code: 2,
      says: /"a=b=c" cannot be read/u,
    },
    "an unknown member": { rules: { links: [{ from: "cam", to: "*", costs: 1 }] }, code: 2, says: /costs/u },
  };
  for (const [what, { rules, code, says }] of Object.entries(refused)) {
    it(`is refused with ${what}`, async () => {
      assert.match(await hub.fails(code, "apply", "-f", fileOf(rules)), says);
    });
  }

  it("is refused with a key that stands twice, with another name, and in another tenant", async () => {
    const head = "apiVersion: portolan.dev/v1\nkind: Topology\n";
    const twice = yard.write("twice.yaml", `${head}metadata: { name: main }\nspec: { links: [], links: [] }\n`);
    assert.match(await hub.fails(2, "apply", "-f", twice), /unique.* at line 4/u);
    const other = yard.write("other.yaml", `${head}metadata: { name: second }\nspec: {}\n`);
    assert.match(await hub.fails(2, "apply", "-f", other), /its name is main/u);
    const tenant = yard.write("tenant.yaml", `${head}metadata: { name: main, tenant: acme }\nspec: {}\n`);
    assert.match(await hub.fails(2, "apply", "-f", tenant), /its tenant is default/u);
  });

  it("is taken with a selector that nobody fits, and that is said", async () => {
    const { code, err } = await hub.run(
      "apply",
      "-f",
      fileOf({ links: [{ from: "site=atlantis", to: "*", cost: 1 }] }),
    );
    assert.equal(code, 0);
    assert.match(err, /warning: spec\.links\.0\.from: no node matches "site=atlantis" now/u);
  });
});
