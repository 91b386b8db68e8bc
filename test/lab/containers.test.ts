import { strict as assert } from "node:assert";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SystemClock } from "#core";
import { Daemons } from "../../bench/daemons.ts";
import type { StartAt } from "../../bench/fleet.ts";
import { type Lab, startLab } from "../../bench/lab/index.ts";
import { until } from "../../bench/portolan.ts";
import { skipWithout, skipWithoutLab } from "./skip-without.ts";

const clock = new SystemClock();
const COMMAND_MS = 10_000;
/** Podman's networks; where Debian puts it. */
const NETAVARK = "/usr/lib/podman/netavark";
const PULL_MS = 60_000;
const BLOCK = "10.77.0.0/16";
const [DOCKER_NETWORK, PODMAN_NETWORK] = ["172.29.0.0/24", "172.30.0.0/24"];
/** What a container runs: the answer of the service, by its name, and through `portolan connect` on the host's side of the container's network. */
const BY_NAME = ["--rm", "--dns", "10.77.0.1", "box:1", "wget", "-qO-", "http://web.default.mesh:8000/"];
const byConnect = (host: string): string[] => ["--rm", "box:1", "wget", "-qO-", `http://${host}:8088/`];
const [HOST, GUEST, STRANGER] = ["h1-1", "h1-2", "h1-3"];
const place = (netns: string, address: string) => ({ netns, address, port: 4001, site: "berlin" });
const PLACES = { hub: place(HOST, "10.1.0.11"), cam: place("h1-4", "10.1.0.14") };

/** A host whose daemon answers names outside loopback, and two neighbours that have a route there: one as a container has, one that is nobody's. */
describe("services for containers", function () {
  this.timeout(120_000);
  let stack: AsyncDisposableStack;
  let lab: Lab;
  let fleet: Daemons<keyof typeof PLACES>;
  let folder: string;

  const upWithNames = (): Promise<unknown> => {
    const networks = ["10.1.0.12/32", DOCKER_NETWORK, PODMAN_NETWORK];
    return fleet.up("hub", ["--names", "10.77.0.1:53", ...networks.flatMap((network) => ["--names-for", network])]);
  };
  /** What a command prints, or nothing where it fails. */
  const at = (netns: string, ...argv: string[]): Promise<string> => lab.run(netns, argv, COMMAND_MS).catch(() => "");
  const routes = (): Promise<string> => at(HOST, "ip", "route", "show", "table", "local");

  before(async function () {
    await skipWithoutLab(this, "curl", "dig", "python3");
    stack = new AsyncDisposableStack();
    lab = stack.use(await startLab(clock, { sites: 1, hostsPerSite: 4 }));
    folder = mkdtempSync(join(tmpdir(), "guests-"));
    stack.defer(() => rmSync(folder, { recursive: true, force: true }));
    const startAt: StartAt = ({ netns = "" }, argv, options) => lab.start(netns, argv, options);
    fleet = stack.use(new Daemons({ clock, startAt }, join(folder, "fleet"), PLACES));
    await fleet.fleet();
    await fleet.stop("hub");
    await upWithNames();
    lab.start("h1-4", ["python3", "-m", "http.server", "8000", "--bind", "127.0.0.1", "--directory", folder]);
    await fleet.cli("cam", "service", "publish", "web", "--to", "127.0.0.1:8000", "--check", "tcp");
    await fleet.untilServed("hub", "web");
    const connecting = new AbortController();
    stack.defer(() => connecting.abort());
    await fleet.connect("hub", "web", connecting.signal, { host: "0.0.0.0", port: 8088 });
    for (const guest of [GUEST, STRANGER]) await at(guest, "ip", "route", "add", BLOCK, "via", "10.1.0.11");
  });
  after(() => stack?.disposeAsync());

  const dig = async (netns: string): Promise<string> =>
    (await at(netns, "dig", "+short", "+time=1", "+tries=2", "@10.77.0.1", "web.default.mesh", "A")).trim();
  const curl = async (netns: string, address: string): Promise<string> => {
    const words = ["-sf", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "5", `http://${address}:8000/`];
    return at(netns, "curl", ...words);
  };

  it("lead a program of the host, and of a network that was named, to a service", async () => {
    const address = await dig(HOST);
    assert.match(address, /^10\.77\.\d+\.\d+$/u);
    assert.equal(await curl(HOST, address), "200");
    assert.equal(await dig(GUEST), address);
    assert.equal(await curl(GUEST, address), "200");
  });

  it("say nothing to anybody else who has a route, and the service takes no connection from there", async () => {
    const address = await dig(HOST);
    assert.doesNotMatch(await dig(STRANGER), /10\.77/u);
    assert.equal(await curl(STRANGER, address), "");
  });

  /** The smallest image there is, as a tar archive. */
  function image(): string {
    const bin = join(folder, "rootfs", "bin");
    mkdirSync(bin, { recursive: true });
    mkdirSync(join(folder, "rootfs", "etc"), { recursive: true });
    copyFileSync("/bin/busybox", join(bin, "busybox"));
    for (const tool of ["sh", "wget"]) rmSync(join(bin, tool), { force: true });
    for (const tool of ["sh", "wget"]) symlinkSync("busybox", join(bin, tool));
    return join(folder, "rootfs");
  }

  it("lead a stock docker container to a service", async function () {
    await skipWithout(this, "dockerd", "docker", "busybox", "tar");
    const at = join(folder, "docker");
    mkdirSync(at);
    const socket = `unix://${at}/docker.sock`;
    const settings = {
      "data-root": join(at, "root"),
      "exec-root": join(at, "exec"),
      pidfile: join(at, "docker.pid"),
      hosts: [socket],
      bip: "172.29.0.1/24",
      iptables: false,
      ip6tables: false,
    };
    writeFileSync(join(at, "daemon.json"), JSON.stringify(settings));
    await using dockerd = lab.start(HOST, ["dockerd", "--config-file", join(at, "daemon.json")]);
    const docker = (...argv: string[]): Promise<string> => lab.run(HOST, ["docker", "-H", socket, ...argv], PULL_MS);
    await until(clock, "dockerd to answer", () =>
      docker("version").then(
        () => true,
        () => false,
      ),
    );
    await lab.run(HOST, ["sh", "-c", `tar -C ${image()} -c . | docker -H ${socket} import - box:1`], PULL_MS);
    assert.match(await docker("run", ...BY_NAME), /Directory listing/u);
    assert.match(await docker("run", ...byConnect("172.29.0.1")), /Directory listing/u);
    await dockerd.stop();
  });

  it("lead a podman container to a service", async function () {
    await skipWithout(this, "podman", NETAVARK, "runc", "busybox", "tar");
    const at = join(folder, "podman");
    mkdirSync(at);
    const file = (name: string, ...lines: string[]): string => {
      writeFileSync(join(at, name), `${lines.join("\n")}\n`);
      return join(at, name);
    };
    const storage = ["[storage]", 'driver = "overlay"', `runroot = "${at}/run"`, `graphroot = "${at}/graph"`];
    const engine = ["[engine]", 'cgroup_manager = "cgroupfs"', 'events_logger = "file"', 'runtime = "runc"'];
    const limits = ["[containers]", 'default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]'];
    const network = ["[network]", `default_subnet = "${PODMAN_NETWORK}"`, `network_config_dir = "${at}/networks"`];
    const env = [
      `CONTAINERS_STORAGE_CONF=${file("storage.conf", ...storage)}`,
      `CONTAINERS_CONF=${file("containers.conf", ...limits, ...engine, ...network, 'network_backend = "netavark"')}`,
    ];
    const podman = (...argv: string[]): Promise<string> => lab.run(HOST, ["env", ...env, "podman", ...argv], PULL_MS);
    const archive = join(at, "box.tar");
    await lab.run(HOST, ["tar", "-C", image(), "-cf", archive, "."], PULL_MS);
    await podman("import", archive, "box:1");
    assert.match(await podman("run", ...BY_NAME), /Directory listing/u);
    assert.match(await podman("run", ...byConnect("172.30.0.1")), /Directory listing/u);
    await podman("system", "reset", "--force"); // its mounts are the machine's
  });

  it("take the block's route away with the daemon, also when the one before was killed", async () => {
    assert.match(await routes(), /^local 10\.77\.0\.0\/16 dev lo/mu);
    fleet.signal("hub", "SIGKILL");
    await upWithNames();
    await fleet.untilServed("hub", "web");
    assert.match(await dig(GUEST), /^10\.77\./u);
    await fleet.stop("hub");
    assert.doesNotMatch(await routes(), /10\.77/u);
  });

  it("are not answered from a block in which the host has an address, and the log says why", async () => {
    await fleet.up("hub", ["--names", "10.1.0.1:53"]);
    const { server } = await fleet.client("hub").call("names", {});
    assert.equal(server, undefined);
    assert.doesNotMatch(await routes(), /^local 10\.1\.0\.0\/16/mu);
  });
});
