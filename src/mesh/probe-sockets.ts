import { createSocket, type Socket } from "node:dgram";
import { isIPv6 } from "node:net";
import { type Clock, errorMessage, type Log, type Random, RateLimit } from "#core";
import { plainIp } from "./address.ts";
import {
  decodeProbe,
  encodeProbe,
  PROBE_BYTES,
  PROBE_KEY_BYTES,
  PROBE_LINK_BYTES,
  type Probe,
  probeLink,
} from "./probe-datagram.ts";

/** Datagrams of nobody we know, a second: 512 neighbours that all restarted cost less. Beyond it the sockets close for a while. */
const STRANGE_PER_SECOND = 1_000;
/** How long: the kernel answers a flood at a fraction of our price, and links are probed on their streams meanwhile. */
const CLOSED_MS = 10_000;
/** What the kernel keeps of datagrams while this process is busy; a probe costs it under 1 KiB. */
const RECEIVE_BUFFER_BYTES = 256 * 1024;

/** One side's name for a link and its key for probes about it, drawn anew for every connection, told in the hello. */
export type ProbeKey = { link: Uint8Array; key: Uint8Array };

/** Where datagrams of one peer come from, or go to. */
export type ProbeTarget = { host: string; port: number };

/** Hears the probes of one link; their MAC is good. */
export type ProbeHearer = (probe: Probe, from: ProbeTarget) => void;

type Link = { key: Uint8Array; hear: ProbeHearer };

export function drawProbeKey(random: Random): ProbeKey {
  return { link: random.bytes(PROBE_LINK_BYTES), key: random.bytes(PROBE_KEY_BYTES) };
}

type Deps = { clock: Clock; log: Log /** Where this node accepts connections now. */; listening: () => ProbeTarget[] };

/**
 * UDP sockets on the numbers of the listening TCP ports, or on any where this node only dials. Nobody gets an answer from
 * here: a probe that proves to be a neighbour's is handed on, everything else is dropped, and a flood closes the sockets.
 */
export class ProbeSockets implements Disposable {
  readonly #deps: Deps;
  readonly #links = new Map<string, Link>();
  readonly #strange: RateLimit;
  readonly #stop = new AbortController();
  #sockets: { socket: Socket; isV6: boolean }[] = [];
  #warned = false;

  constructor(deps: Deps) {
    this.#deps = deps;
    this.#strange = new RateLimit(deps.clock, STRANGE_PER_SECOND, STRANGE_PER_SECOND);
  }

  open(): void {
    const listening = this.#deps.listening();
    const wanted = listening.length > 0 ? listening : [{ host: "0.0.0.0", port: 0 }];
    for (const { host, port } of wanted) {
      this.#bind(host, port);
      if (host === "::") this.#bind("0.0.0.0", port); // TCP takes both on one socket
    }
  }

  [Symbol.dispose](): void {
    this.#stop.abort(new Error("stopped"));
    this.#close();
  }

  /** Hands on what comes about a link. Returns how to stop. */
  listen({ link, key }: ProbeKey, hear: ProbeHearer): () => void {
    const name = Buffer.from(link).toString("hex");
    this.#links.set(name, { key, hear });
    return () => this.#links.delete(name);
  }

  /** Sends one probe, if it can: one that is lost here is lost as on the way. `peer`: its name and key for the link. */
  send(probe: Omit<Probe, "link">, peer: ProbeKey, { host, port }: ProbeTarget): void {
    const isV6 = isIPv6(host);
    const socket = this.#sockets.find((each) => each.isV6 === isV6)?.socket;
    const link = Buffer.from(peer.link).toString("hex");
    socket?.send(encodeProbe({ ...probe, link }, peer.key), port, host, () => undefined);
  }

  #bind(host: string, port: number): void {
    const isV6 = isIPv6(host);
    const family = isV6 ? ({ type: "udp6", ipv6Only: true } as const) : ({ type: "udp4" } as const);
    const socket = createSocket({ ...family, recvBufferSize: RECEIVE_BUFFER_BYTES });
    socket.on("error", (error) => {
      this.#sockets = this.#sockets.filter((each) => each.socket !== socket);
      socket.close();
      if (!this.#warned) this.#deps.log.warn("no UDP probes here", { host, port, reason: errorMessage(error) });
      this.#warned = true;
    });
    socket.on("message", (bytes, { address, port: fromPort }) =>
      this.#receive(bytes, { host: plainIp(address), port: fromPort }),
    );
    socket.bind({ address: host, port }, () => {
      if (this.#stop.signal.aborted) socket.close();
      else this.#sockets.push({ socket, isV6 });
    });
  }

  #receive(bytes: Buffer, from: ProbeTarget): void {
    const link = bytes.length === PROBE_BYTES ? this.#links.get(probeLink(bytes) ?? "") : undefined;
    const probe = link === undefined ? undefined : decodeProbe(bytes, link.key);
    if (probe !== undefined) link?.hear(probe, from);
    else if (!this.#strange.take()) this.#pause();
  }

  #pause(): void {
    this.#deps.log.warn("a flood of datagrams: no UDP probes for a while", { pauseMs: CLOSED_MS });
    this.#close();
    this.#deps.clock.sleep(CLOSED_MS, this.#stop.signal).then(
      () => this.open(),
      () => undefined,
    );
  }

  #close(): void {
    for (const { socket } of this.#sockets.splice(0)) socket.removeAllListeners("message").close();
  }
}
