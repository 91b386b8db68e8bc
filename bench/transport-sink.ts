import { type AddressInfo, createServer } from "node:net";
import { TLSSocket } from "node:tls";
import { Ed25519Key, SILENT_LOG, SystemClock, SystemRandom } from "#core";
import { createTlsContext, startHost } from "#mesh";

/** What the receiving process says once it listens. */
export type SinkReady = { addresses: string[]; rawPort: number };
/** What it says when asked: CPU microseconds used so far. */
export type SinkCpu = { cpuMicros: number };

const [clock, random] = [new SystemClock(), new SystemRandom()];
const host = await startHost(
  {
    clock,
    random,
    log: SILENT_LOG,
    seed: random.bytes(32),
    gate: { offer: () => ({}), judge: () => ({ accepted: true, site: "bench", name: "source" }) },
  },
  { listen: ["/ip4/127.0.0.1/tcp/0/tls"] },
);
host.handle("/bench/bulk/1", (stream) => {
  stream.listen({ data: () => undefined, end: () => stream.close() });
});
const tls = createTlsContext(new Ed25519Key(random.bytes(32)), clock, random);
const raw = createServer((tcp) => {
  const socket = new TLSSocket(tcp, { isServer: true, ...tls.options });
  socket.on("data", () => undefined);
  socket.on("end", () => socket.end());
  socket.on("error", () => socket.destroy());
});
raw.listen(0, "127.0.0.1", () => {
  const ready: SinkReady = { addresses: host.addresses(), rawPort: (raw.address() as AddressInfo).port };
  process.send?.(ready);
});
process.on("message", () => {
  const { user, system } = process.cpuUsage();
  const cpu: SinkCpu = { cpuMicros: user + system };
  process.send?.(cpu);
});
process.on("disconnect", () => process.exit());
