import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:tls";
import { z } from "zod";
import { type Clock, Ed25519Key, SILENT_LOG, SystemRandom } from "#core";
import { createTlsContext, startHost } from "#mesh";
import { atLeast, defineBench, median, numberFlag, type Sample } from "./bench.ts";
import type { SinkCpu, SinkReady } from "./transport-sink.ts";

const PROTOCOL = "/bench/bulk/1";
const random = new SystemRandom();
const never = new AbortController().signal;
const Ready: z.ZodType<SinkReady> = z.object({ addresses: z.array(z.string()), rawPort: z.int() });
const Cpu: z.ZodType<SinkCpu> = z.object({ cpuMicros: z.number() });

/** One stream of the mesh between two processes on loopback, beside a bare TLS socket with the same cipher in the same run. */
export const transport = defineBench({
  name: "transport",
  claim: "One mesh stream (TLS 1.3, libp2p, yamux) carries 500 MB/s between two processes on loopback.",
  options: z.object({
    mib: numberFlag(1024, 16, 65_536, "MiB per sample"),
    piece: numberFlag(256, 4, 4_096, "KiB per send"),
    samples: numberFlag(3, 1, 99, "samples of each kind"),
  }),
  missing: async () => undefined,
  run: async ({ clock, progress }, { mib, piece, samples }) => {
    const sink = fork(new URL("./transport-sink.ts", import.meta.url), {
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    try {
      const [message] = await once(sink, "message");
      const { addresses, rawPort } = Ready.parse(message);
      const gate = { offer: () => ({}), judge: () => ({ accepted: true, site: "bench", name: "sink" }) as const };
      await using host = await startHost(
        { clock, random, log: SILENT_LOG, seed: random.bytes(32), gate },
        { listen: [] },
      );
      const { nodeId } = await host.connect(addresses, never);
      const work = { bytes: mib * 1024 * 1024, piece: Buffer.alloc(piece * 1024, 7) };
      const results: Sample[] = [];
      for (let round = 0; round < samples; round++) {
        progress(`round ${round + 1} of ${samples}`);
        const open = (): Promise<void> => sendOverMesh(host.open(nodeId, PROTOCOL, never), work);
        results.push({ kind: "mesh", ...(await measure(clock, sink, work.bytes, open)) });
        results.push({
          kind: "raw-tls",
          ...(await measure(clock, sink, work.bytes, () => sendOverTls(clock, rawPort, work))),
        });
      }
      const speed = (kind: string): number =>
        median(results.filter((s) => s["kind"] === kind).map((s) => Number(s["mbPerSecond"])));
      return {
        conditions: { mib, pieceKib: piece, rawTlsMbPerSecond: speed("raw-tls"), meshMbPerSecond: speed("mesh") },
        setupSeconds: {},
        samples: results,
        bars: [atLeast("mesh stream, MB/s", 500, speed("mesh"))],
      };
    } finally {
      sink.disconnect();
    }
  },
});

type Work = { bytes: number; piece: Buffer };

async function measure(clock: Clock, sink: ChildProcess, bytes: number, send: () => Promise<void>): Promise<Sample> {
  const [sourceBefore, sinkBefore, startMs] = [ownCpu(), await sinkCpu(sink), clock.nowMs()];
  await send();
  const seconds = (clock.nowMs() - startMs) / 1_000;
  const gib = bytes / 2 ** 30;
  return {
    seconds,
    mbPerSecond: bytes / 1e6 / seconds,
    sendCpuSecondsPerGib: (ownCpu() - sourceBefore) / 1e6 / gib,
    receiveCpuSecondsPerGib: ((await sinkCpu(sink)) - sinkBefore) / 1e6 / gib,
  };
}

function ownCpu(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

async function sinkCpu(sink: ChildProcess): Promise<number> {
  const answer = once(sink, "message");
  sink.send("cpu");
  const [message] = await answer;
  return Cpu.parse(message).cpuMicros;
}

async function sendOverMesh(
  opening: ReturnType<Awaited<ReturnType<typeof startHost>>["open"]>,
  work: Work,
): Promise<void> {
  const stream = await opening;
  const ended = new Promise<void>((resolve, reject) => {
    stream.listen({ data: () => undefined, end: (error) => (error === undefined ? resolve() : reject(error)) });
  });
  for (let sent = 0; sent < work.bytes; sent += work.piece.length) if (!stream.send(work.piece)) await stream.drained();
  stream.close();
  await ended;
}

async function sendOverTls(clock: Clock, port: number, work: Work): Promise<void> {
  const { options } = createTlsContext(new Ed25519Key(random.bytes(32)), clock, random);
  const socket = connect({ host: "127.0.0.1", port, ...options });
  await once(socket, "secureConnect");
  socket.resume();
  const ended = once(socket, "end");
  for (let sent = 0; sent < work.bytes; sent += work.piece.length)
    if (!socket.write(work.piece)) await once(socket, "drain");
  socket.end();
  await ended;
}
