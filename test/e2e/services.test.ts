import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import { existsSync } from "node:fs";
import type { ServiceDetail, ServiceView } from "#api";
import { Yard, type YardNode } from "../support/yard.ts";

describe("services of daemons", function () {
  this.timeout(90_000);
  let yard: Yard;
  let hub: YardNode;
  let cam: YardNode;
  let pump: YardNode;
  let web: Server;
  let to: string;
  let status = 200;

  before(async () => {
    web = createServer((_, response) => response.writeHead(status).end());
    web.listen(0, "127.0.0.1");
    await once(web, "listening");
    to = `127.0.0.1:${(web.address() as AddressInfo).port}`;
    yard = new Yard();
    hub = await yard.demoFleet();
    ({ cam, pump } = await yard.membersBehind(hub, { cam: "", pump: "acme" }));
  });
  after(async () => {
    await yard[Symbol.asyncDispose]();
    web.closeAllConnections();
    web.close();
  });

  const list = async (node: YardNode): Promise<ServiceView[]> =>
    (JSON.parse(await node.ok("get", "services", "-o", "json")) as { items: ServiceView[] }).items;
  const detail = async (node: YardNode, name: string): Promise<ServiceDetail> =>
    JSON.parse(await node.ok("describe", "service", name, "-o", "json")) as ServiceDetail;
  /** Waits until a node sees so many instances of a service, and so many of them healthy. */
  const untilSees = (node: YardNode, name: string, count: number, healthy: number): Promise<ServiceView> =>
    yard.until(`${node.name} to see ${healthy}/${count} of ${name}`, async () =>
      (await list(node)).find((seen) => seen.name === name && seen.count === count && seen.healthy === healthy),
    );

  it("are heard of by all nodes, and say nothing of where they are", async () => {
    const flags = ["--check", "http=/healthz", "--protocol", "http", "--label", "tier=edge", "--priority", "7"];
    assert.equal(await cam.ok("service", "publish", "web", "--to", to, ...flags), `web is published: ${to}`);
    const seen = await untilSees(hub, "web", 1, 1);
    assert.deepEqual([seen.nodes, seen.protocols, seen.labels], [["cam"], ["http"], { tier: "edge" }]);
    const { instances, here } = await detail(hub, "web");
    assert.deepEqual(
      instances.map(({ node, state, port, priority, path }) => [node, state, port, priority, path]),
      [["cam", "healthy", Number(to.split(":")[1]), 7, "direct"]],
    );
    assert.equal(here, undefined);
    assert.equal((await detail(cam, "web")).here?.target, to);
    assert.equal(JSON.stringify(await detail(hub, "web")).includes(to), false);
  });

  it("are listed in the formats and by the selectors of the other kinds", async () => {
    assert.equal(await hub.ok("get", "svc", "-o", "name"), "service/web");
    assert.equal(await hub.ok("get", "services", "-l", "tier=core", "-o", "name"), "");
    const [head = "", row = ""] = (await hub.ok("get", "services", "-l", "tier=edge", "-o", "wide")).split("\n");
    assert.match(head, /^NAME +PROTOCOL +HEALTHY +COST +CHANGED +TENANT +NODES +LABELS$/u);
    assert.match(row, /^web +http +1\/1 +\d+ +\S+ +default +cam +tier=edge$/u);
    assert.equal(await yard.ok("__complete", "--data", hub.data, "service", "unpublish", "w"), "web");
    assert.match(await hub.ok("describe", "service", "web"), /NODE +NODE ID .*STATE.* PORT /u);
  });

  it("belong to the tenant of their node, whatever that says", async () => {
    await pump.ok("service", "publish", "web", "--to", to);
    await untilSees(pump, "web", 1, 1);
    const foreign = await untilSees(hub, "acme/web", 1, 1);
    assert.deepEqual([foreign.tenant, foreign.nodes], ["acme", ["pump"]]);
    assert.equal((await untilSees(cam, "acme/web", 1, 1)).count, 1, "told on by the hub");
    const [relayed] = (await detail(cam, "acme/web")).instances;
    assert.deepEqual([relayed?.node, relayed?.path], ["pump", "relayed"]);
    assert.equal((await untilSees(cam, "web", 1, 1)).nodes.join(), "cam");
  });

  it("are explained: where connections go, and why that way", async () => {
    const text = await cam.ok("explain", "acme/web");
    assert.match(
      text,
      /^acme\/web is on 1 node, healthy on 1: connections go to pump, priority 0, cost \d+\nto pump: cost /u,
    );
    assert.match(await cam.ok("explain", "web"), /: connections go to this node itself, priority 7, cost 0$/u);
    const json = JSON.parse(await cam.ok("explain", "acme/web", "-o", "json"));
    assert.deepEqual([json.service.name, json.explanation.name], ["acme/web", "pump"]);
    assert.equal(await cam.ok("explain", "acme/web", "-o", "name"), "service/acme/web");
    assert.equal(await yard.ok("__complete", "--data", cam.data, "explain", "acme/"), "acme/web");
    assert.match(await cam.fails(4, "explain", "wob"), /there is no node "wob", and no service of that name/u);
  });

  it("show everywhere that they fail, why, and that they are back", async () => {
    status = 503;
    await untilSees(hub, "web", 1, 0);
    assert.match(await hub.ok("explain", "web"), /^web is on 1 node, and healthy on none\n {2}cam: HTTP status 503$/u);
    const [bad] = (await detail(hub, "web")).instances;
    assert.deepEqual([bad?.state, bad?.reason], ["unhealthy", "HTTP status 503"]);
    status = 200;
    await untilSees(hub, "web", 1, 1);
  });

  it("have a check that hangs killed, and show what it printed", async () => {
    const left = yard.path("left-over");
    const check = `exec=echo looking; (sleep 30; touch ${left}) & wait`;
    await hub.ok("service", "publish", "stuck", "--to", to, "--check", check);
    const seen = await yard.until("the check to fail twice", async () => {
      const found = await detail(hub, "stuck");
      return found.instances[0]?.state === "unhealthy" && found;
    });
    assert.equal(seen.instances[0]?.reason, "no answer within 2 s");
    assert.deepEqual([seen.here?.lastCheck, seen.here?.output], ["no answer within 2 s", "looking"]);
    await hub.ok("service", "unpublish", "stuck");
    await yard.until("it to be gone", async () => (await hub.run("describe", "service", "stuck")).code === 4);
    const { out } = await yard.exec(["/bin/sh", "-c", `pgrep -f '[s]leep 30; touch ${left}' || true`]);
    assert.equal(out, "", "nothing of the check is left");
    assert.equal(existsSync(left), false);
  });

  it("go with their node, and are back with it by themselves, and meanwhile another one stands in", async () => {
    const spare = createServer((_, response) => response.writeHead(204).end());
    await once(spare.listen(0, "127.0.0.1"), "listening");
    await hub.ok("service", "publish", "spare", "--to", `127.0.0.1:${(spare.address() as AddressInfo).port}`);
    await untilSees(hub, "spare", 1, 1);
    const listening = Promise.withResolvers<number>();
    const wanted = { service: "web", failover: ["spare"], listen: { host: "127.0.0.1", port: 0 } };
    hub.client.job("connect", wanted, (now) => listening.resolve(now.port)).catch(listening.reject); // for as long as the hub runs
    const url = `http://127.0.0.1:${await listening.promise}/`;
    const answer = async (): Promise<number> => (await fetch(url, { headers: { connection: "close" } })).status;
    assert.equal(await answer(), 200);
    await cam.kill();
    assert.equal(await answer(), 204, "at once, before anybody said that the service is gone");
    await yard.until("the hub to drop it", async () => (await list(hub)).every(({ name }) => name !== "web"));
    assert.match(await hub.fails(4, "describe", "service", "web"), /there is no service "web"/u);
    await cam.upDialling();
    await untilSees(hub, "web", 1, 1);
    await yard.until("connections to go to it again", async () => (await answer()) === 200);
    spare.close();
  });

  it("are gone everywhere once they are unpublished, also when the daemon dies right after", async () => {
    await cam.ok("service", "unpublish", "web");
    await cam.kill();
    await cam.upDialling();
    await hub.untilSees("cam", "connected");
    await yard.until("the hub to drop it", async () => (await list(hub)).every(({ name }) => name !== "web"));
    assert.match(await cam.fails(4, "service", "unpublish", "web"), /publishes no service web/u);
  });

  it("are refused with the reason where something is wrong with them", async () => {
    const publish = (code: number, name: string, target: string, ...flags: string[]): Promise<string> =>
      cam.fails(code, "service", "publish", name, "--to", target, ...flags);
    assert.match(await publish(2, "Cam", "127.0.0.1:80"), /name: lower-case letters/u);
    assert.match(await publish(2, "x".repeat(64), "127.0.0.1:80"), /at most 63/u);
    for (const target of ["127.0.0.1:0", "127.0.0.1:65536"])
      assert.match(await publish(2, "cam", target), /a port is a number from 1 to 65535/u);
    assert.match(await publish(2, "cam", "127.1:80"), /neither an address nor a host name/u);
    assert.match(await publish(2, "cam", "::1"), /is not HOST:PORT/u);
    assert.match(await publish(2, "cam", "127.0.0.1:80", "--priority", "65536"), /--priority 65536 is not/u);
    assert.match(await publish(2, "cam", "127.0.0.1:80", "--check", "ping"), /is not a check/u);
    for (const target of ["169.254.169.254:80", "192.0.2.7:80", "[::ffff:169.254.169.254]:80", "0.0.0.0:80"])
      assert.match(await publish(3, "cam", target), /may not expose.*\n.*--expose/su);
    await cam.ok("service", "publish", "cam", "--to", "127.0.0.1:80");
    await cam.ok("service", "publish", "cam", "--to", "127.0.0.1:80");
    assert.match(await publish(5, "cam", "127.0.0.1:81"), /another service as cam.*--replace/su);
    await cam.ok("service", "publish", "cam", "--to", "127.0.0.1:81", "--replace");
    assert.equal((await detail(cam, "cam")).here?.target, "127.0.0.1:81");
    assert.match(await cam.fails(2, "delete", "service", "cam"), /service unpublish cam/u);
  });

  it("may be where the configuration says, and fail where it says so no longer", async () => {
    await pump.stop();
    await pump.upDialling("--expose", "192.0.2.0/24");
    await pump.ok("service", "publish", "far", "--to", "192.0.2.7:80");
    const [kept] = (await detail(pump, "web")).instances;
    assert.deepEqual([kept?.state, kept?.reason], ["unhealthy", "its address may not be exposed"]);
    await pump.stop();
    assert.match(await pump.fails(10, "service", "publish", "more", "--to", "192.0.2.7:81"), /portolan up/u);
  });
});
