import type { Connection, Stream } from "@libp2p/interface";
import { asError, type Clock, encodeFrame, SystemRandom, withDeadline } from "#core";
import { membershipOffer } from "./foreign-documents.ts";
import { type Admission, join } from "./foreign-join.ts";
import { ForeignPeer, framesOf, send } from "./foreign-peer.ts";
import type { ForeignBlob } from "./foreign-swarm.ts";

/**
 * What a hostile member does. All say that they have everything. `wrong-cells`: offers all, and sends garbage for what is accepted;
 * `stall`: offers all until something is accepted, and sends nothing; `lying-haves`: offers nothing, and is silent when it is asked by name.
 */
export type Malice = "wrong-cells" | "stall" | "lying-haves";

/** Message codes: docs/spec/swarm.md. */
const [JOIN, LEAVE, HAVE, OFFER, ACCEPT, READY, WANT, CELLS, MAP_WANT, MAP] = [
  0, 1, 3, 6, 7, 9, 10, 13, 15, 16,
] as const;
const WANTS_NOTHING = 0;
/** A node that does not want the blob yet says "leave"; it is asked again after so long. */
const REJOIN_MS = 200;
const HELLO_MS = 20_000;
const HELLO_TRIES = 5;
const HELLO_PAUSE_MS = 300;
const CELL_BYTES = 32 * 1024;

/** A member that was admitted like any other, and lies in the swarm: built from docs/spec, on a plain js-libp2p node. */
export class HostilePeer implements AsyncDisposable {
  readonly name: string;
  readonly malice: Malice;
  readonly #peer: ForeignPeer;
  readonly #admission: Admission;
  readonly #stop = new AbortController();
  /** Where something was accepted and never came. */
  readonly #stalling = new WeakSet<Stream>();
  /** Payload of cells that it sent; none of it can be of use. */
  sentBytes = 0;
  /** Offers of its that were accepted, and chunks that it was asked for. */
  accepted = 0;
  wanted = 0;

  private constructor(name: string, malice: Malice, peer: ForeignPeer, admission: Admission) {
    this.name = name;
    this.malice = malice;
    this.#peer = peer;
    this.#admission = admission;
  }

  /** Joins with a serial that was claimed; its name is the serial. Throws when it is not admitted. */
  static async join(token: string, serial: string, malice: Malice): Promise<HostilePeer> {
    const peer = await ForeignPeer.start();
    const { admission, answer } = await join(peer, token, { serial });
    if (admission === undefined) throw new Error(`${serial} was not admitted: ${JSON.stringify(answer)}`);
    return new HostilePeer(serial, malice, peer, admission);
  }

  /** Says hello at an address and takes part in the swarm of this blob there, until it is disposed of. */
  async attack(clock: Clock, address: string, blob: ForeignBlob): Promise<void> {
    const hello = async (): Promise<Connection> => {
      for (let tries = 1; ; tries++) {
        try {
          return (await this.#peer.hello(address, membershipOffer(this.#admission))).connection;
        } catch (error) {
          if (tries === HELLO_TRIES) throw error; // a node gives a stranger 3 s, which a busy machine may miss
          await clock.sleep(tries * HELLO_PAUSE_MS);
        }
      }
    };
    const connection = await withDeadline(clock, HELLO_MS, "a hostile hello", hello);
    void this.#takePart(clock, connection, blob).catch(() => undefined); // it was cut off, or the test is over
  }

  async #takePart(clock: Clock, connection: Connection, blob: ForeignBlob): Promise<void> {
    const stream = await connection.newStream(["/portolan/swarm/1"]);
    const root = new Uint8Array(Buffer.from(blob.root, "hex"));
    const say = (...fields: unknown[]): void => send(stream, fields);
    say(JOIN, 0, root, blob.sizeBytes, WANTS_NOTHING, []);
    for await (const { header } of framesOf(stream)) {
      const [code, , chunk = 0] = header as number[];
      if (code === LEAVE) {
        await clock.sleep(REJOIN_MS, this.#stop.signal);
        say(JOIN, 0, root, blob.sizeBytes, WANTS_NOTHING, []);
      } else this.#answer(stream, blob, code, chunk);
    }
  }

  #answer(stream: Stream, blob: ForeignBlob, code: number | undefined, chunk: number): void {
    const chunks = Math.ceil(blob.sizeBytes / blob.chunkBytes);
    if (code === JOIN) send(stream, [HAVE, 0, [0, chunks]]);
    if (code === JOIN || code === READY) {
      const stalled = this.malice === "stall" && this.#stalling.has(stream);
      if (this.malice !== "lying-haves" && !stalled) for (let at = 0; at < chunks; at++) send(stream, [OFFER, 0, at]);
    } else if (code === MAP_WANT && this.malice !== "stall") {
      send(stream, [MAP, 0, chunk]); // without hashes: I do not know them
    } else if (code === WANT) {
      this.wanted += 1;
    } else if (code === ACCEPT) {
      this.accepted += 1;
      this.#stalling.add(stream);
      if (this.malice === "wrong-cells") this.#sendGarbage(stream, blob, chunk);
    }
  }

  #sendGarbage(stream: Stream, blob: ForeignBlob, chunk: number): void {
    const bytes = Math.min(blob.chunkBytes, blob.sizeBytes - chunk * blob.chunkBytes);
    this.sentBytes += bytes;
    const garbage = new SystemRandom().bytes(bytes);
    stream.send(Buffer.concat(encodeFrame([CELLS, 0, chunk, 0, Math.ceil(bytes / CELL_BYTES), 0], [garbage])));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(asError("the test is over"));
    await this.#peer[Symbol.asyncDispose]();
  }
}
