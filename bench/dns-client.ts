import { createSocket } from "node:dgram";
import dns from "dns-packet";
import { type Clock, withDeadline } from "#core";

/** A server that knows a service answers from memory; one that does not looks in the DHT for 2 s first. */
const ANSWER_MS = 5_000;
/** Ids are 16 bits wide. */
const IDS = 65_536;

/** Asks one DNS server for addresses, over UDP and as often as is wanted at a time. */
export class DnsClient implements Disposable {
  readonly #clock: Clock;
  readonly #server: { host: string; port: number };
  readonly #socket = createSocket("udp4");
  readonly #waiting = new Map<number, (answer: dns.DecodedPacket) => void>();
  #id = 0;

  constructor(clock: Clock, server: { host: string; port: number }) {
    this.#clock = clock;
    this.#server = server;
    this.#socket.on("message", (bytes) => {
      const answer = dns.decode(bytes);
      this.#waiting.get(answer.id ?? -1)?.(answer);
    });
  }

  /** Whether the name has an address. Throws Fault `core.deadline` when no answer comes. */
  async hasAddress(name: string): Promise<boolean> {
    const { host, port } = this.#server;
    this.#id = (this.#id + 1) % IDS;
    const id = this.#id;
    const question = dns.encode({ type: "query", id, questions: [{ type: "A", name }] });
    const ask = (): Promise<dns.DecodedPacket> =>
      new Promise((resolve) => {
        this.#waiting.set(id, resolve);
        this.#socket.send(question, port, host);
      });
    try {
      const answer = await withDeadline(this.#clock, ANSWER_MS, `the answer for ${name}`, ask);
      return (answer.answers ?? []).some(({ type }) => type === "A");
    } finally {
      this.#waiting.delete(id);
    }
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}
