import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { startDaemon, startOffline } from "#daemon";
import { SystemClock, SystemRandom } from "#core";
import { Bystander } from "../support/bystander.ts";
import { CliHarness } from "../support/cli-harness.ts";

const CONTENT = Buffer.from(new SystemRandom().bytes(1024 * 1024 + 1_234));

describe("torrents by the command line", function () {
  this.timeout(60_000);
  let cli: CliHarness;

  const run = async (...argv: string[]): Promise<string> => {
    const { code, out, err } = await cli.run(argv);
    assert.equal(code, 0, `portolan ${argv.join(" ")}: ${err}`);
    return out;
  };

  before(async () => {
    cli = new CliHarness();
    cli.deps = { ...cli.deps, startDaemon, startOffline };
    await run("fleet", "create", "plant", "--demo");
    writeFileSync(cli.path("model.bin"), CONTENT);
    await run("publish", cli.path("model.bin"), "--name", "model:1");
  });
  after(() => cli.dispose());

  it("exports an artifact, and publishes what a BitTorrent client has of it under another name", async () => {
    const torrent = cli.path("model.torrent");
    const [magnet = "", path] = (await run("export", "model:1", "--torrent", "-o", torrent)).split("\n");
    assert.equal(path, torrent);
    await using other = new Bystander();
    await other.seed(readFileSync(torrent), cli.home);
    const peer = await other.address();
    await run("publish", "--from-torrent", torrent, "--peer", peer, "--name", "again:1", "--label", "from=torrent");
    await run("publish", "--from-torrent", magnet, "--peer", peer, "--name", "again:2");
    const artifacts = await run("get", "artifacts", "-o", "json");
    const { items } = JSON.parse(artifacts) as { items: { name: string; root: string; local: { state: string } }[] };
    const again = items.filter(({ name }) => name.startsWith("again"));
    assert.equal(again.length, 2);
    for (const { root, local } of again) {
      assert.equal(root, items.find(({ name }) => name === "model:1")?.root);
      assert.equal(local.state, "complete");
    }
    assert.match(await run("get", "events"), /artifact.exported/u);
  });

  it("serves one until it is stopped, at the address that it was given", async () => {
    const torrent = cli.path("seeded.torrent");
    const port = await freePort();
    const stop = new AbortController();
    const seeding = cli.run(
      ["export", "model:1", "--torrent", "-o", torrent, "--force", "--seed", `127.0.0.1:${port}`],
      undefined,
      stop.signal,
    );
    const clock = new SystemClock();
    while (!(await isOpen(port))) await clock.sleep(50);
    await using other = new Bystander();
    mkdirSync(cli.path("got"));
    await other.fetch(readFileSync(torrent), cli.path("got"), `127.0.0.1:${port}`);
    assert.deepEqual(readFileSync(cli.path("got/model.bin")), CONTENT);
    while (cli.current.out === "") await clock.sleep(50); // it says its link once, a moment after it listens
    stop.abort();
    const { code, out } = await seeding;
    assert.match(out, /^magnet:\?xt=urn:btih:[0-9a-f]{40}\n$/u);
    assert.equal(code, 130);
    while (await isOpen(port)) await clock.sleep(50); // the daemon hears of it a moment later
  });

  it("says what is wrong with what was asked", async () => {
    const cases: [string[], number, RegExp][] = [
      [["publish", "--name", "m"], 2, /a path, or --from-torrent/u],
      [["publish", "x", "--from-torrent", "y", "--name", "m"], 2, /a path, or --from-torrent/u],
      [["publish", "--from-torrent", "magnet:?dn=x", "--name", "m"], 2, /no magnet link/u],
      [["publish", "--from-torrent", cli.path("model.bin"), "--name", "m"], 2, /cannot be read/u],
      [["publish", "--from-torrent", cli.path("none"), "--name", "m"], 4, /does not exist/u],
      [["export", "model:1", "--torrent", "-o", cli.path("model.bin")], 5, /exists/u],
      [["export", "model:1", "--torrent", "-o", cli.path("no/such")], 4, /no folder/u],
      [["export", "model:9", "--torrent", "-o", cli.path("x")], 4, /no artifact "model:9"/u],
      [["export", "model:1", "--torrent", "-o", cli.path("x"), "--seed", "6881"], 2, /IP address and a port/u],
    ];
    for (const [argv, code, message] of cases) {
      const result = await cli.run(argv);
      assert.deepEqual([result.code, message.test(result.err)], [code, true], `${argv.join(" ")}: ${result.err}`);
    }
  });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function isOpen(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  const open = await once(socket, "connect").then(
    () => true,
    () => false,
  );
  socket.destroy();
  return open;
}
