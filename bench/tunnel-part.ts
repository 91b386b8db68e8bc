import { once } from "node:events";
import { type AddressInfo, createServer, type Server } from "node:net";
import { createInterface } from "node:readline";
import { Ed25519Key, SILENT_LOG, SystemClock, SystemRandom } from "#core";
import { type Host, startHost } from "#mesh";
import { Circuits, listenTcp, TunnelHost, TunnelOpener } from "#routing";
import { COUNT_BYTES, fill } from "./tunnel-load.ts";

/** Where each service listens. */
export type Ports = { sink: number; echo: number };

/**
 * What one process of the benchmark is: the services; the node beside them; a gateway, which knows the next node on the way; the node that people connect to, with
 * the way to the far node; or somebody who uses the sink. `ip`: where it listens or connects.
 */
export type TunnelPart = { ip: string } & (
  | { role: "target" }
  | { role: "far"; ports: Ports }
  | { role: "gateway"; next: string[] }
  | { role: "near"; next: string[]; path: string[] }
  | { role: "client"; ports: Ports; bytes: number }
);
/** What a part says once it is ready, or done. */
export type PartReady = {
  ports?: Ports | undefined;
  addresses?: string[] | undefined;
  mbPerSecond?: number | undefined;
};

const SERVICES = ["sink", "echo"] as const;
const [clock, random] = [new SystemClock(), new SystemRandom()];
const never = new AbortController().signal;

/** One takes as many bytes as it is told, and then says so; the other sends back what it gets. */
async function serveTargets(ip: string): Promise<Ports> {
  const sink = createServer({ noDelay: true }, (socket) => {
    let leftBytes: number | undefined;
    socket.on("data", (piece: Buffer) => {
      leftBytes ??= Number(piece.readBigUInt64BE()) + COUNT_BYTES; // a socket's first piece is never shorter
      leftBytes -= piece.length;
      if (leftBytes === 0) socket.write("k");
    });
    socket.on("error", () => socket.destroy());
  });
  const echo = createServer({ noDelay: true }, (socket) => {
    socket.pipe(socket);
    socket.on("error", () => socket.destroy());
  });
  return { sink: await listen(sink, ip), echo: await listen(echo, ip) };
}

async function listen(server: Server, host: string): Promise<number> {
  server.listen({ host, port: 0, backlog: 1_024 });
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

/** A host that opens circuits along `path`, and carries those of others. */
async function startNode(ip: string, path: string[] = []) {
  const seed = random.bytes(32);
  const gate = { offer: () => ({}), judge: () => ({ accepted: true, site: "bench", name: "bench" }) as const };
  const deps = { clock, random, log: SILENT_LOG, seed, gate };
  const host = await startHost(deps, { listen: [`/ip4/${ip}/tcp/0/tls`] });
  const circuits = new Circuits({
    ...deps,
    host,
    key: new Ed25519Key(seed),
    fleet: () => "bench",
    trustedMs: () => clock.wallMs(),
    isMember: () => true,
    isNear: () => true,
    mayUse: () => true,
    detour: () => undefined,
    transit: () => true,
    pathsTo: () => [path],
    costAlong: () => 1,
  });
  return { host, circuits };
}

/** Of the far node: they live as long as its process. */
let tunnels: TunnelHost | undefined;

async function serveTunnels(ip: string, ports: Ports): Promise<Host> {
  const { host } = await startNode(ip);
  tunnels = new TunnelHost({
    clock,
    log: SILENT_LOG,
    handle: (protocol, handler) => host.handle(protocol, (stream, { nodeId }) => handler(stream, nodeId)),
    targetOf: (_, name) => {
      const service = SERVICES.find((known) => known === name);
      return service && { host: ip, port: ports[service] };
    },
    mayReach: () => true,
    mayExpose: () => true,
  });
  return host;
}

async function listenForTunnels({ ip, next, path }: { ip: string; next: string[]; path: string[] }): Promise<Ports> {
  const { host, circuits } = await startNode(ip, path);
  const node = path.at(-1) ?? "";
  await host.connect(next, never);
  const opener = new TunnelOpener({
    clock,
    open: async (peer, protocol, signal) => {
      if (path.length === 1) return host.open(peer, protocol, signal, { eager: true });
      await circuits.connect(peer, signal);
      return host.openCarried(peer, protocol, signal, { eager: true });
    },
  });
  const open = async (name: string): Promise<number> => {
    const instance = { node, name, tenant: "default", protocol: "tcp" as const, labels: {} };
    const choose = () => [{ ...instance, priority: 0, weight: 1, healthy: true }];
    const listener = await listenTcp({ clock, log: SILENT_LOG, opener, choose }, { host: ip, port: 0 });
    return listener.address.port;
  };
  return { sink: await open("sink"), echo: await open("echo") };
}

async function start(part: TunnelPart): Promise<PartReady> {
  if (part.role === "target") return { ports: await serveTargets(part.ip) };
  if (part.role === "far") return { addresses: (await serveTunnels(part.ip, part.ports)).addresses() };
  if (part.role === "near") return { ports: await listenForTunnels(part) };
  if (part.role === "client") {
    const startMs = clock.nowMs();
    await fill(part.ip, part.ports.sink, part.bytes);
    return { mbPerSecond: part.bytes / 1e3 / (clock.nowMs() - startMs) };
  }
  const { host } = await startNode(part.ip);
  await host.connect(part.next, never);
  return { addresses: host.addresses() };
}

const orders = createInterface(process.stdin);
orders.on("line", (line) => {
  void start(JSON.parse(line) as TunnelPart).then((ready) => console.log(JSON.stringify(ready)));
});
orders.on("close", () => {
  tunnels?.[Symbol.dispose]();
  process.exit();
});
