import { type ByteStream, type Clock, Fault, type Random } from "#core";
import type { NodeId } from "#identity";
import type { Host } from "#mesh";
import { pass } from "./circuit/splice.ts";

/** libp2p's own (libp2p specifications, ping): what comes is sent back, 32 bytes at a time. */
const PING_PROTOCOL = "/ipfs/ping/1.0.0";
const PING_BYTES = 32;
/** Streams that ask at a time; each holds 32 bytes. */
const MAX_ASKING = 256;

/** Answers pings of members. */
export function answerPings(host: Pick<Host, "handle">): void {
  let asking = 0;
  host.handle(PING_PROTOCOL, (stream) => {
    if (asking >= MAX_ASKING) {
      stream.abort(new Fault("routing.pings", "too many pings at a time"));
      return;
    }
    asking += 1;
    let isOver = false;
    pass(stream, stream, () => {
      if (!isOver) asking -= 1;
      isOver = true;
    });
  });
}

export type PingDeps = {
  clock: Clock;
  random: Random;
  open: (peer: NodeId, protocol: string, signal: AbortSignal) => Promise<ByteStream>;
};

/** The round trip to a node in milliseconds, over a stream that is open already. Throws what `open` throws, or Fault `routing.ping`. */
export async function ping(peer: NodeId, { clock, random, open }: PingDeps, signal: AbortSignal): Promise<number> {
  const stream = await open(peer, PING_PROTOCOL, signal);
  const sent = random.bytes(PING_BYTES);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let came = Buffer.alloc(0);
  stream.listen({
    data: (piece) => {
      came = Buffer.concat([came, piece.subarray(0, PING_BYTES)]);
      if (came.length < PING_BYTES) return;
      if (came.equals(sent)) resolve();
      else reject(new Fault("routing.ping", `${peer} answered with other bytes than it was sent`));
    },
    end: (error) => reject(error ?? new Fault("routing.ping", `${peer} ended the ping`, { exit: "offline" })),
  });
  const atMs = clock.nowMs();
  stream.send(sent);
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await promise;
    return clock.nowMs() - atMs;
  } finally {
    signal.removeEventListener("abort", onAbort);
    stream.close();
  }
}
