import { strict as assert } from "node:assert";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SystemClock } from "#core";
import { type Lab, run } from "../../bench/lab/index.ts";
import { until } from "../../bench/portolan.ts";
import { type Coast, PLACES, startCoast } from "./coast.ts";
import { skipWithout, skipWithoutLab } from "./skip-without.ts";

const clock = new SystemClock();
const COMMAND_MS = 30_000;
const POSTGRES = "/usr/lib/postgresql/15/bin";
const WEBSOCKET = join(import.meta.dirname, "websocket.ts");

/** Ordinary programs at one node, and servers at another, with gateways between them; once through `connect`, once through a name. */
describe("unmodified clients", function () {
  this.timeout(120_000);
  const stop = new AbortController();
  let stack: AsyncDisposableStack;
  let lab: Lab;
  let fleet: Coast["fleet"];
  let folder: string;
  let resolvConf: string;

  before(async function () {
    await skipWithoutLab(this);
    stack = new AsyncDisposableStack();
    stack.defer(() => stop.abort());
    ({ lab, fleet, folder } = await startCoast(clock, stack));
    await fleet.stop("cam");
    await fleet.up("cam", ["--names", "127.77.0.1:53"]);
    await fleet.untilLinked({ cam: 2 });
    resolvConf = join(folder, "resolv.conf");
    writeFileSync(resolvConf, "nameserver 127.77.0.1\n");
  });
  after(() => stack?.disposeAsync());

  const publish = async (name: string, port: number, ...flags: string[]): Promise<void> => {
    await fleet.cli("pump", "service", "publish", name, "--to", `127.0.0.1:${port}`, ...flags);
    await fleet.untilServed("cam", name);
  };
  const atPump = (...argv: string[]) => lab.start(PLACES.pump.netns, argv);
  const atCam = (...argv: string[]): Promise<string> => lab.run(PLACES.cam.netns, argv, COMMAND_MS);
  /** The same, with this node's names in its resolv.conf. */
  const atCamByName = (...argv: string[]): Promise<string> =>
    atCam("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', resolvConf, ...argv);

  it("curl and dig", async function () {
    await skipWithout(this, "curl", "dig", "python3");
    atPump("python3", "-m", "http.server", "8000", "--bind", "127.0.0.1", "--directory", folder);
    await publish("web", 8000, "--protocol", "http", "--check", "http=/");
    const port = await fleet.connect("cam", "web", stop.signal);
    for (const page of [
      await atCam("curl", "-sf", `http://127.0.0.1:${port}/`),
      await atCamByName("curl", "-sf", "http://web.default.mesh:8000/"),
      await atCamByName("curl", "-sf", "http://web.pump.mesh:8000/"),
    ])
      assert.match(page, /resolv\.conf/u);
    const srv = await atCamByName("dig", "+short", "SRV", "_http._tcp.web.default.mesh");
    assert.match(srv, /^0 1 8000 _http\._tcp\.web\.default\.mesh\.|^0 1 8000 web\.default\.mesh\./u);
    assert.match(await atCamByName("dig", "+short", "+tcp", "web.default.mesh"), /^127\.77\.\d+\.\d+$/mu);
  });

  it("psql", async function () {
    await skipWithout(this, "psql", `${POSTGRES}/initdb`);
    const data = join(folder, "postgres");
    mkdirSync(data, { mode: 0o700 });
    chmodSync(folder, 0o755);
    await run(clock, COMMAND_MS, ["chown", "nobody:nogroup", data]);
    const asNobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"];
    await run(clock, COMMAND_MS, [...asNobody, `${POSTGRES}/initdb`, "-D", data, "-A", "trust", "-U", "mesh", "-N"]);
    const settings = ["-h", "127.0.0.1", "-k", data, "-p", "5432"];
    atPump(...asNobody, `${POSTGRES}/postgres`, "-D", data, ...settings);
    await publish("db", 5432, "--check", "tcp");
    const port = await fleet.connect("cam", "db", stop.signal);
    const ask = (sql: string, host: string, at: number) => [
      "psql",
      "-h",
      host,
      "-p",
      String(at),
      "-U",
      "mesh",
      "-Atc",
      sql,
      "postgres",
    ];
    await atCam(
      ...ask("create table t as select g, md5(g::text) from generate_series(1, 100000) g", "127.0.0.1", port),
    );
    const sum = "select count(*), md5(string_agg(md5, '' order by g)) from t";
    const direct = await lab.run(PLACES.pump.netns, ask(sum, "127.0.0.1", 5432), COMMAND_MS);
    assert.match(direct, /^100000\|/u);
    assert.equal(await atCam(...ask(sum, "127.0.0.1", port)), direct);
    assert.equal(await atCamByName(...ask(sum, "db.default.mesh", 5432)), direct);
    const copied = await atCamByName(
      "sh",
      "-c",
      '"$@" | wc -l',
      "sh",
      ...ask("copy t to stdout", "db.default.mesh", 5432),
    );
    assert.equal(copied.trim(), "100000");
  });

  it("iperf3, over TCP both ways, and over UDP at the same port", async function () {
    await skipWithout(this, "iperf3");
    atPump("iperf3", "-s", "-B", "127.0.0.1", "-p", "5201");
    await publish("perf", 5201, "--check", "tcp", "--protocol", "tcp+udp");
    await fleet.connect("cam", "perf", stop.signal, { port: 5201 });
    type Report = {
      end: { sum_received?: { bits_per_second: number }; sum?: { lost_percent: number; packets: number } };
    };
    const measure = async (...flags: string[]): Promise<Report["end"]> =>
      (JSON.parse(await atCam("iperf3", "-c", "127.0.0.1", "-p", "5201", "-t", "3", "-J", ...flags)) as Report).end;
    const [there, back] = [await measure(), await measure("-R")].map((end) => end.sum_received?.bits_per_second ?? 0);
    const udp = await measure("-u", "-b", "10M", "-l", "1200");
    const mbit = (bps = 0): string => `${Math.round(bps / 1e6)} Mbit/s`;
    console.log(`      ${mbit(there)} there, ${mbit(back)} back, UDP at 10 Mbit/s loses ${udp.sum?.lost_percent} %`);
    assert.ok((there ?? 0) > 10e6 && (back ?? 0) > 10e6);
    const arrives = ({ sum }: Report["end"]): void =>
      assert.ok((sum?.packets ?? 0) > 1_500 && (sum?.lost_percent ?? 100) < 20, JSON.stringify(sum));
    arrives(udp);
    const byName = async (...flags: string[]): Promise<Report["end"]> => {
      const words = ["iperf3", "-c", "perf.default.mesh", "-p", "5201", "-t", "2", "-J", ...flags];
      return (JSON.parse(await atCamByName(...words)) as Report).end;
    };
    assert.ok(((await byName()).sum_received?.bits_per_second ?? 0) > 10e6);
    arrives(await byName("-u", "-b", "10M", "-l", "1200"));
  });

  it("a WebSocket client", async () => {
    const server = atPump(process.execPath, WEBSOCKET, "serve", "9001");
    await server.line("the server", COMMAND_MS, (line) => line === "ready");
    await publish("live", 9001, "--check", "tcp");
    const port = await fleet.connect("cam", "live", stop.signal);
    const talk = (url: string): string[] => [process.execPath, WEBSOCKET, "talk", url, "30"];
    assert.match(await atCam(...talk(`ws://127.0.0.1:${port}/`)), /^30 equal, closed with 1000/u);
    assert.match(await atCamByName(...talk("ws://live.default.mesh:9001/")), /^30 equal, closed with 1000/u);
  });

  it("are between nodes without a link: what they say goes over a gateway", async () => {
    await until(clock, "the circuit to be seen", async () => (await fleet.gateways("cam")).length > 0);
    assert.match((await fleet.gateways("cam")).join(), /^gate-[12]$/u);
  });
});
