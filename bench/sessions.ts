import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { z } from "zod";
import { type Clock, Fault, withDeadline } from "#core";
import { atMost, type Bar, defineBench, numberFlag, percentile, type Sample } from "./bench.ts";
import { Daemons } from "./daemons.ts";
import { type Place, startLocally } from "./fleet.ts";

/** What the service sends: numbered blocks, so that a lost, doubled or changed one is seen. */
const BLOCK_BYTES = 64 * 1024;
const BLOCK_EVERY_MS = 5;
/** So long after the fault a stall counts as its doing. */
const WATCH_MS = 6_000;
const PORT = 7_640;
const SERVICE = "film";

const FAULTS = ["killed", "silent"] as const;
type FaultName = (typeof FAULTS)[number];

/** A transfer through the circuit: where it is, and the longest pause since it was asked last. */
class Reader {
  readonly #clock: Clock;
  readonly #socket: Socket;
  #bytes = 0;
  #lastMs: number;
  #pauseMs = 0;
  failure: string | undefined;

  constructor(clock: Clock, port: number) {
    this.#clock = clock;
    this.#lastMs = clock.nowMs();
    this.#socket = connect(port, "127.0.0.1");
    this.#socket.on("data", (piece: Buffer) => this.#read(piece));
    this.#socket.on("error", (error) => (this.failure ??= error.message));
    this.#socket.on("close", () => (this.failure ??= "it was closed"));
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The longest pause since the last call, in milliseconds. */
  takePause(): number {
    const pauseMs = Math.max(this.#pauseMs, this.#clock.nowMs() - this.#lastMs);
    this.#pauseMs = 0;
    return pauseMs;
  }

  end(): void {
    this.#socket.removeAllListeners("close");
    this.#socket.destroy();
  }

  #read(piece: Buffer): void {
    const nowMs = this.#clock.nowMs();
    this.#pauseMs = Math.max(this.#pauseMs, nowMs - this.#lastMs);
    this.#lastMs = nowMs;
    for (let at = 0; at < piece.length; ) {
      const left = BLOCK_BYTES - ((this.#bytes + at) % BLOCK_BYTES);
      const part = piece.subarray(at, at + left);
      const wanted = Math.floor((this.#bytes + at) / BLOCK_BYTES) & 0xff;
      if (part[0] !== wanted || part.at(-1) !== wanted) this.failure ??= `block ${wanted} is another one`;
      at += part.length;
    }
    this.#bytes += piece.length;
  }
}

async function startServer(clock: Clock): Promise<Server> {
  const server = createServer((socket) => {
    const sending = async (): Promise<void> => {
      for (let block = 0; !socket.destroyed; block++) {
        if (!socket.write(Buffer.alloc(BLOCK_BYTES, block & 0xff))) await once(socket, "drain");
        await clock.sleep(BLOCK_EVERY_MS);
      }
    };
    socket.on("error", () => undefined);
    sending().catch(() => undefined); // the reader is gone
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return server;
}

const place = (index: number, site: string, hidden = false): Place => ({
  address: "127.0.0.1",
  port: PORT + index,
  site,
  hidden,
});
/** Two gateways and two nodes that nobody can dial; a service at one of these, read from the other. */
const PLACES = {
  "gate-1": place(0, "hq"),
  "gate-2": place(1, "hq"),
  reader: place(2, "rome", true),
  host: place(3, "berlin", true),
};
type World = Daemons<keyof typeof PLACES>;
const LINKED = { reader: 2, host: 2 };

export const sessions = defineBench({
  name: "sessions",
  claim: "a connection to a service goes on when the gateway that carries it dies or falls silent",
  options: z.object({ rounds: numberFlag(5, 1, 100, "faults of each kind") }),
  missing: () => Promise.resolve(undefined),
  async run(context, { rounds }) {
    const { clock, progress } = context;
    await using stack = new AsyncDisposableStack();
    const stop = new AbortController();
    stack.defer(() => stop.abort());
    const server = await startServer(clock);
    stack.defer(() => void server.close());
    const deps = { clock, startAt: startLocally(clock) };
    const world: World = stack.use(new Daemons(deps, context.directory, PLACES));
    const startMs = clock.nowMs();
    await world.fleet();
    await world.untilLinked(LINKED);
    const { port } = server.address() as AddressInfo;
    await world.cli("host", "service", "publish", SERVICE, "--to", `127.0.0.1:${port}`);
    const reader = new Reader(clock, await world.connect("reader", SERVICE, stop.signal));
    stack.defer(() => reader.end());
    await withDeadline(clock, 30_000, "the first bytes", async () => {
      while (reader.bytes < BLOCK_BYTES) await clock.sleep(50);
    });
    const setupSeconds = { start: (clock.nowMs() - startMs) / 1_000 };
    const samples: Sample[] = [];
    for (let round = 0; round < rounds && reader.failure === undefined; round++) {
      for (const fault of FAULTS) samples.push(await breakOnce(world, reader, clock, fault));
      progress(`round ${round + 1} of ${rounds}: ${JSON.stringify(samples.slice(-2))}`);
    }
    const lost = reader.failure === undefined ? 0 : 1;
    if (reader.failure !== undefined) progress(`the connection broke: ${reader.failure}`);
    const conditions = { rounds, blockBytes: BLOCK_BYTES, blockEveryMs: BLOCK_EVERY_MS, bytes: reader.bytes };
    return { conditions, setupSeconds, samples, bars: [...barsOf(samples), atMost("connections lost", 0, lost)] };
  },
});

/** One fault under a running transfer: how long the reader got nothing. */
async function breakOnce(world: World, reader: Reader, clock: Clock, fault: FaultName): Promise<Sample> {
  const [gateway] = await world.gateways("reader");
  if (gateway === undefined) throw new Fault("bench.no-circuit", "the reader has a link to the host");
  const before = reader.takePause();
  world.signal(gateway, fault === "killed" ? "SIGKILL" : "SIGSTOP");
  const startMs = clock.nowMs();
  await clock.sleep(WATCH_MS);
  const sample = {
    fault,
    stallMs: Math.round(reader.takePause()),
    pauseBeforeMs: Math.round(before),
    tookMs: Math.round(clock.nowMs() - startMs),
  };
  if (fault === "silent") world.signal(gateway, "SIGCONT");
  else await world.up(gateway);
  await world.untilLinked(LINKED);
  return sample;
}

function barsOf(samples: readonly Sample[]): Bar[] {
  const limits: Record<FaultName, number> = { killed: 500, silent: 1_300 };
  return FAULTS.map((fault) => {
    const stalls = samples.filter((sample) => sample["fault"] === fault).map(({ stallMs }) => Number(stallMs));
    return atMost(`stall when the gateway is ${fault}, ms, p95`, limits[fault], percentile(stalls, 0.95));
  });
}
