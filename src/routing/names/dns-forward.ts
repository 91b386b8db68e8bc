import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect, isIPv6, type Socket } from "node:net";
import { type Clock, Fault, type Random, withDeadline } from "#core";
import { DatagramReader, encodeDatagram } from "../tunnel/datagrams.ts";
import type { Query } from "./dns-message.ts";

/** One server, one question. */
const SERVER_MS = 2_000;
/** As many as resolvers take from resolv.conf (resolv.conf(5), MAXNS). */
export const MAX_SERVERS = 3;
/** Questions that are passed on at a time; each has a socket. */
const MAX_FORWARDS = 128;
const PORT = 53;
const HEADER_BYTES = 12;

export type ForwarderDeps = {
  clock: Clock;
  random: Random;
  /** IP addresses of servers to ask, the first first; none: nothing is passed on. */
  servers: () => readonly string[];
  /** Default: 53. */
  port?: number;
};

/** Passes questions that are not ours on to other servers, as this machine asked them before. */
export class Forwarder {
  readonly #deps: ForwarderDeps;
  #running = 0;

  constructor(deps: ForwarderDeps) {
    this.#deps = deps;
  }

  /** The answer of the first server that gives one; `undefined`: there is no server to ask, or none answers. */
  async ask(message: Uint8Array, query: Query, transport: "udp" | "tcp", signal: AbortSignal) {
    const servers = this.#deps.servers().slice(0, MAX_SERVERS);
    if (this.#running >= MAX_FORWARDS) return undefined;
    this.#running += 1;
    try {
      for (const server of servers) {
        const answer = await this.#askOne(server, message, query, transport, signal).catch(() => undefined);
        if (answer !== undefined) return answer;
      }
      return undefined;
    } finally {
      this.#running -= 1;
    }
  }

  /** From a port of its own and under an id drawn anew: an answer is hard to forge by somebody who does not see the question (RFC 5452). */
  async #askOne(server: string, message: Uint8Array, query: Query, transport: "udp" | "tcp", parent: AbortSignal) {
    const { clock, random, port = PORT } = this.#deps;
    const id = random.below(65_536);
    const asked = withId(message, id);
    const exchange = transport === "udp" ? overUdp : overTcp;
    const isAnswer = (answer: Uint8Array): boolean => answersTo(answer, id, query);
    const work = (signal: AbortSignal) => exchange({ server, port, asked, isAnswer, signal });
    return withId(await withDeadline(clock, SERVER_MS, `the DNS server ${server}`, work, parent), query.id);
  }
}

type Exchange = {
  server: string;
  port: number;
  asked: Uint8Array;
  isAnswer: (message: Uint8Array) => boolean;
  signal: AbortSignal;
};

async function overUdp({ server, port, asked, isAnswer, signal }: Exchange): Promise<Uint8Array> {
  const socket = createSocket(isIPv6(server) ? "udp6" : "udp4");
  try {
    socket.connect(port, server); // hears that server only
    await once(socket, "connect", { signal });
    socket.send(asked);
    for (;;) {
      const [message] = (await once(socket, "message", { signal })) as [Uint8Array];
      if (isAnswer(message)) return message;
    }
  } finally {
    socket.close();
  }
}

async function overTcp({ server, port, asked, isAnswer, signal }: Exchange): Promise<Uint8Array> {
  const socket = connect({ host: server, port, signal });
  const reader = new DatagramReader();
  try {
    socket.on("error", () => undefined); // the iteration throws it
    socket.write(Buffer.concat(encodeDatagram(asked)));
    for await (const piece of socket as Socket & AsyncIterable<Uint8Array>) {
      const answers: Uint8Array[] = [];
      reader.push(piece, (message) => answers.push(message));
      const answer = answers.find(isAnswer);
      if (answer !== undefined) return answer;
    }
    throw new Fault("routing.dns-forward", "the server hung up");
  } finally {
    socket.destroy();
  }
}

/** An answer to this question, with its id. */
function answersTo(message: Uint8Array, id: number, { questionBytes }: Query): boolean {
  const bytes = Buffer.from(message.buffer, message.byteOffset, message.length);
  if (bytes.length < HEADER_BYTES + questionBytes.length || bytes.readUInt16BE(0) !== id) return false;
  const question = bytes.subarray(HEADER_BYTES, HEADER_BYTES + questionBytes.length);
  return ((bytes[2] ?? 0) & 0x80) !== 0 && question.equals(questionBytes);
}

function withId(message: Uint8Array, id: number): Uint8Array {
  const copy = Buffer.from(message);
  copy.writeUInt16BE(id, 0);
  return copy;
}
