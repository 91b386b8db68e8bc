import type { Connection } from "@libp2p/interface";
import { encodeFrame } from "#core";
import type { Link } from "./session.ts";

/** Numbers of these probes; far from those that a session counts. */
const FIRST = 2 ** 40;

/**
 * Old connections of peers that seem to have restarted. Such a peer is dead at the other end of them; one that answers a probe there still runs, so
 * its key is in use twice.
 */
export class CloneChallenge {
  readonly #open = new Map<Connection, number>();
  #last = FIRST;

  /** Probes a connection whose peer has said hello anew since. */
  pose({ connection, stream }: Link): void {
    this.#last += 1;
    this.#open.set(connection, this.#last);
    try {
      stream.send(...encodeFrame({ k: "ping", b: { n: this.#last } }));
    } catch {
      // dead, as it should be
    }
  }

  /** Whether the body of a pong answers the probe of its connection. */
  isMetBy(connection: Connection, pong: unknown): boolean {
    const number = this.#open.get(connection);
    return number !== undefined && typeof pong === "object" && pong !== null && "n" in pong && pong.n === number;
  }

  forget(connection: Connection): void {
    this.#open.delete(connection);
  }
}
