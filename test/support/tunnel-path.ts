import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { type ByteStream, memoryStreamPair } from "#core";
import { type Meter, relayTcp } from "../../src/routing/tunnel/tcp-relay.ts";

/** Two ends of one TCP connection on loopback; both allow half-open. */
export async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  const port = await listening(server);
  const accepted = once(server, "connection");
  const near = connect({ host: "127.0.0.1", port, allowHalfOpen: true });
  const [far] = (await accepted) as [Socket];
  if (near.connecting) await once(near, "connect");
  server.close();
  for (const socket of [near, far]) socket.on("error", () => undefined);
  return [near, far];
}

/** Listens on a free port of loopback. */
export async function listening(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

/** A connection carried over a stream: `client` and `target` are what the two programs hold. */
export type TunnelPath = {
  client: Socket;
  target: Socket;
  /** How each relay ended, the client's first. */
  ends: Promise<[Error | undefined, Error | undefined]>;
  meters: [Meter, Meter];
};

/** Both relays in this process, over a stream in memory unless another is given. */
export async function tunnelPath(streams: [ByteStream, ByteStream] = memoryStreamPair()): Promise<TunnelPath> {
  const [client, accepted] = await socketPair();
  const [dialled, target] = await socketPair();
  dialled.pause();
  const meters: [Meter, Meter] = [noBytes(), noBytes()];
  const ends = Promise.all([relayTcp(accepted, streams[0], meters[0]), relayTcp(dialled, streams[1], meters[1])]);
  return { client, target, ends, meters };
}

/** Everything that a socket says until its end. */
export async function readAll(socket: Socket): Promise<Buffer> {
  const pieces: Buffer[] = [];
  socket.on("data", (piece: Buffer) => pieces.push(piece));
  socket.resume();
  await once(socket, "end");
  return Buffer.concat(pieces);
}

function noBytes(): Meter {
  return { fromSocketBytes: 0, toSocketBytes: 0 };
}
