import type { Stream, StreamMuxer } from "@libp2p/interface";
import { Fault } from "#core";

/** What asks for a protocol in multistream-select 1.0, and what agrees to it: the same lines, each with its length before it. */
export function agreementOn(protocol: string): Uint8Array {
  const lines = ["/multistream/1.0.0\n", `${protocol}\n`].map((line) => Buffer.from(line));
  if (lines.some((line) => line.length > 0x7f)) {
    throw new Fault("mesh.protocol-name", `${protocol} is too long for a length of one byte`); // none of ours is
  }
  return Buffer.concat(lines.flatMap((line) => [Buffer.from([line.length]), line]));
}

/**
 * Opens a stream and asks for a protocol without waiting for the answer, so that what is said first goes along with that: a round trip less, at each
 * link of a circuit. The answer comes before anything else that the peer says.
 */
export async function openEagerly(muxer: StreamMuxer, protocol: string, signal: AbortSignal): Promise<Stream> {
  const stream = await muxer.createStream({ signal });
  stream.protocol = protocol;
  stream.send(agreementOn(protocol));
  return stream;
}
