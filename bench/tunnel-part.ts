import { once } from "node:events";
import { type AddressInfo, createServer, type Server } from "node:net";
import { SILENT_LOG, SystemClock, SystemRandom } from "#core";
import { startHost } from "#mesh";
import { listenTcp, TunnelHost, TunnelOpener } from "#routing";

/** What one process of the benchmark is: the services, the node beside them, or the node that people connect to. */
export type TunnelPart = { role: "target" } | { role: "far"; ports: Ports } | { role: "near"; addresses: string[] };
/** Where each service listens. */
export type Ports = { sink: number; echo: number };
/** What a part says once it is ready. */
export type PartReady = { ports: Ports; addresses: string[] };

const SERVICES = ["sink", "echo"] as const;
const never = new AbortController().signal;

/** Length of the number that the sink is sent first: how many bytes come. */
export const COUNT_BYTES = 8;

/** One takes as many bytes as it is told, and then says so; the other sends back what it gets. */
async function serveTargets(): Promise<Ports> {
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
  return { sink: await listen(sink), echo: await listen(echo) };
}

async function listen(server: Server): Promise<number> {
  server.listen({ host: "127.0.0.1", port: 0, backlog: 1_024 });
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

async function startNode(listenAt: string[]) {
  const [clock, random] = [new SystemClock(), new SystemRandom()];
  const gate = { offer: () => ({}), judge: () => ({ accepted: true, site: "bench", name: "bench" }) as const };
  const deps = { clock, random, log: SILENT_LOG, seed: random.bytes(32), gate };
  return { clock, host: await startHost(deps, { listen: listenAt }) };
}

/** The tunnels of this process, which lives as long as they do. */
let tunnels: TunnelHost | undefined;

async function serveTunnels(ports: Ports): Promise<string[]> {
  const { clock, host } = await startNode(["/ip4/127.0.0.1/tcp/0/tls"]);
  tunnels = new TunnelHost({
    clock,
    log: SILENT_LOG,
    handle: (protocol, handler) => host.handle(protocol, (stream, { nodeId }) => handler(stream, nodeId)),
    targetOf: (_, name) => {
      const service = SERVICES.find((known) => known === name);
      return service && { host: "127.0.0.1", port: ports[service] };
    },
    mayReach: () => true,
    mayExpose: () => true,
  });
  return host.addresses();
}

async function listenForTunnels(addresses: string[]): Promise<Ports> {
  const { clock, host } = await startNode([]);
  const { nodeId } = await host.connect(addresses, never);
  host.handle("/portolan/tunnel/1", (stream) => stream.abort(new Error("this node publishes nothing")), {});
  const opener = new TunnelOpener({ clock, open: host.open.bind(host) });
  const open = async (name: string): Promise<number> => {
    const instance = { node: nodeId, name, tenant: "default", protocol: "tcp" as const };
    const choose = () => [{ ...instance, labels: {}, priority: 0, weight: 1, healthy: true }];
    const listener = await listenTcp({ clock, log: SILENT_LOG, opener, choose }, { host: "127.0.0.1", port: 0 });
    return listener.address.port;
  };
  return { sink: await open("sink"), echo: await open("echo") };
}

async function start(part: TunnelPart): Promise<Partial<PartReady>> {
  if (part.role === "target") return { ports: await serveTargets() };
  if (part.role === "far") return { addresses: await serveTunnels(part.ports) };
  return { ports: await listenForTunnels(part.addresses) };
}

process.once("message", (part: TunnelPart) => {
  void start(part).then((ready) => process.send?.(ready));
});
process.on("disconnect", () => {
  tunnels?.[Symbol.dispose]();
  process.exit();
});
