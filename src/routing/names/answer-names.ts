import { type Query, RCODE, type Rcode, readQuery, type Reply, udpLimit, writeReply } from "./dns-message.ts";
import { type Found, replyTo } from "./name-answers.ts";
import { type MeshName, readName } from "./mesh-name.ts";
import type { Forwarder } from "./dns-forward.ts";

/** Answer over TCP: as long as its prefix can say. */
const MAX_TCP_BYTES = 65_535;

export type AnswerDeps = {
  /** What a name of the zone stands for. */
  find: (name: MeshName) => Promise<Found>;
  /** For all other names. */
  forwarder: Pick<Forwarder, "ask">;
  forwards: () => boolean;
  /** The DNS server's own address. */
  server: string;
};

/** Answers one DNS message; `undefined`: it gets no answer. */
export async function answerMessage(
  { find, forwarder, forwards, server }: AnswerDeps,
  message: Uint8Array,
  transport: "udp" | "tcp",
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  const query = readQuery(message);
  if (query === undefined) return undefined;
  const limit = transport === "udp" ? udpLimit(query) : MAX_TCP_BYTES;
  const { question, refusal } = query;
  if (refusal !== undefined || question === undefined) return refuse(query, refusal ?? RCODE.malformed, limit);
  const name = readName(question.name);
  if (name.kind === "outside" && forwards()) {
    return (await forwarder.ask(message, query, transport, signal)) ?? refuse(query, RCODE.failed, limit);
  }
  return writeReply(query, replyTo(question, name, await find(name), server), limit);
}

function refuse(query: Query, rcode: Rcode, maxBytes: number): Uint8Array {
  const reply: Reply = { rcode, authoritative: false, answers: [], authorities: [] };
  return writeReply(query, reply, maxBytes);
}
