import assert from "node:assert/strict";
import { Resolver } from "node:dns/promises";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { Yard, type YardNode } from "../support/yard.ts";

/** A block of addresses that no other test takes. */
const SERVER = "127.81.0.1:0";

describe("names of services", function () {
  this.timeout(90_000);
  let yard: Yard;
  let hub: YardNode;
  let cam: YardNode;
  let pump: YardNode;
  let web: Server;
  let port: number;
  let resolver: Resolver;

  before(async () => {
    web = createServer((request, response) => response.end(`hello from ${request.headers.host}`));
    web.listen(0, "127.0.0.1");
    await once(web, "listening");
    ({ port } = web.address() as AddressInfo);
    yard = new Yard();
    hub = await yard.demoFleet();
    ({ cam } = await yard.membersBehind(hub, { cam: "plant-a" }));
    ({ pump } = await yard.membersBehind(hub, { pump: "plant-a" }, { site: "genoa", flags: ["--names", SERVER] }));
    await cam.ok(
      "service",
      "publish",
      "api",
      "--to",
      `127.0.0.1:${port}`,
      "--protocol",
      "http",
      "--label",
      "tier=edge",
    );
    const { server } = await pump.client.call("names", {});
    assert.equal(server?.host, "127.81.0.1");
    resolver = new Resolver({ timeout: 5_000, tries: 2 });
    resolver.setServers([`${server.host}:${server.port}`]);
  });
  after(async () => {
    await yard[Symbol.asyncDispose]();
    web.closeAllConnections();
    web.close();
  });

  const addressOf = (name: string): Promise<string> =>
    yard.until(`${name} to have an address`, () =>
      resolver.resolve4(name).then(
        ([address]) => address,
        () => undefined,
      ),
    );

  it("lead from one node to a service of another, by tenant and by site, on its own port", async () => {
    for (const name of ["api.plant-a.mesh", "api.berlin.mesh"]) {
      const address = await addressOf(name);
      assert.match(address, /^127\.81\./u);
      const response = await fetch(`http://${address}:${port}/`, { headers: { host: name } });
      assert.match(await response.text(), /^hello from /u);
    }
    const { ports } = await pump.client.call("names", {});
    assert.equal(ports.length, 2);
    await assert.rejects(resolver.resolve4("api.genoa.mesh"), { code: "ENOTFOUND" });
  });

  it("say more to who asks for SRV and TXT", async () => {
    await addressOf("api.plant-a.mesh");
    assert.deepEqual(await resolver.resolveSrv("_http._tcp.api.plant-a.mesh"), [
      { type: "SRV", name: "api.plant-a.mesh", port, priority: 0, weight: 1 },
    ]);
    assert.deepEqual(await resolver.resolveTxt("api.plant-a.mesh"), [["protocol=http", "tier=edge"]]);
  });

  it("are told to a machine's resolver by dns install, and found to work by dns status", async () => {
    const root = yard.path("root");
    mkdirSync(join(root, "usr/lib/systemd"), { recursive: true });
    writeFileSync(join(root, "usr/lib/systemd/systemd-resolved"), "");
    await pump.ok("dns", "install", "--root", root);
    const { server } = await pump.client.call("names", {});
    const text = readFileSync(join(root, "etc/systemd/resolved.conf.d/portolan.conf"), "utf8");
    assert.ok(text.includes(`\nDNS=127.81.0.1:${server?.port}\n`), text);
    const said = JSON.parse(await pump.ok("dns", "status", "--root", root, "-o", "json")) as Record<string, string>;
    assert.equal(said["server"], "answers");
    await pump.ok("dns", "uninstall", "--root", root);
    assert.match(await hub.fails(10, "dns", "install", "--root", root), /answers no names/u); // it runs with --names off
  });

  it("have the same address after a restart", async () => {
    const before = await addressOf("api.plant-a.mesh");
    await pump.stop();
    await pump.upDialling("--names", SERVER);
    await pump.until("member");
    const { server } = await pump.client.call("names", {});
    resolver.setServers([`${server?.host}:${server?.port}`]);
    assert.equal(await addressOf("api.plant-a.mesh"), before);
    // a way to the other node may take a moment more
    const isServed = () =>
      fetch(`http://${before}:${port}/`).then(
        ({ ok }) => ok,
        () => false,
      );
    await yard.until("the service to be reached", isServed);
  });
});
