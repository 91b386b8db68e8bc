import { noise } from "@chainsafe/libp2p-noise";
import { generateKeyPairFromSeed } from "@libp2p/crypto/keys";
import type { Connection } from "@libp2p/interface";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p, type Libp2p, type Libp2pOptions } from "libp2p";
import { type Clock, Ed25519Key, errorMessage, Fault, type Random, withDeadline } from "#core";
import { parseAddress } from "./address.ts";
import { acceptOver, type Carrier, connectOver } from "./carrier.ts";
import { STRANGER_LIMITS } from "./gatekeeper.ts";
import { GuardedYamux, MuxGuards, NATIVE_WINDOW_BYTES, STANDARD_WINDOW_BYTES } from "./mux-guard.ts";
import type { DialRoute } from "./socket-dial.ts";
import { StrangerBudget } from "./stranger-budget.ts";
import { createTlsContext } from "./tls-handshake.ts";
import { SECURE_TIMEOUT_MS, type TlsListener } from "./tls-listener.ts";
import { TlsTransport } from "./tls-transport.ts";

/** Connections in all. Our own budget for strangers and neighbours is far below; libp2p must not prune by its own rules. */
const MAX_CONNECTIONS = 2_048;
/** One address: TCP, TLS and yamux. */
const DIAL_TIMEOUT_MS = 5_000;
/** A further address of the same peer is tried beside the first after this long (RFC 8305 §5). */
const DIAL_STAGGER_MS = 250;
/** Addresses tried of one peer. */
const MAX_DIALLED_ADDRESSES = 16;

export type NodeDeps = { clock: Clock; random: Random; seed: Uint8Array };
export type NodeOptions = { listen: readonly string[]; announce: readonly string[]; route: DialRoute };

/** The parts inside libp2p, as it hands them to its own services. */
export type Libp2pParts = Parameters<NonNullable<Libp2pOptions["transports"]>[number]>[0];

/** libp2p with our transport, and the few things of it that the host uses. */
export type Libp2pNode = {
  libp2p: Libp2p;
  /** Listens. Throws Fault `mesh.listen`. */
  start: () => Promise<void>;
  parts: Libp2pParts;
  guards: MuxGuards;
  /** Gives back the place that an inbound connection took among the strangers: a member has it. */
  releaseStranger: (connection: Connection) => void;
  /** Where connections are accepted, by socket. */
  listening: () => { host: string; port: number }[];
  /** Whether this host is dialled without a proxy. */
  isDirect: (host: string) => boolean;
  /** Dials the addresses of one peer, staggered; the first that is secured wins. */
  dial: (addresses: readonly string[], signal: AbortSignal) => Promise<Connection>;
  /** Connects over bytes that others carry; throws as `connectOver` of carrier.ts. */
  connectOver: (carrier: Carrier, signal: AbortSignal) => Promise<Connection>;
  acceptOver: (carrier: Carrier, signal: AbortSignal) => Promise<void>;
};

/** Builds the node, not yet started. */
export async function createNode(deps: NodeDeps, options: NodeOptions): Promise<Libp2pNode> {
  const { clock } = deps;
  const guards = new MuxGuards();
  const muxing = { clock, guards, limits: STRANGER_LIMITS };
  const nativeMuxer = new GuardedYamux({ ...muxing, initialWindowBytes: NATIVE_WINDOW_BYTES });
  const standardMuxer = new GuardedYamux({ ...muxing, initialWindowBytes: STANDARD_WINDOW_BYTES });
  const budget = new StrangerBudget(clock);
  const tls = createTlsContext(new Ed25519Key(deps.seed), clock, deps.random);
  let transport: TlsTransport | undefined;
  let parts: Libp2pParts | undefined;
  const listeners = new Set<TlsListener>();
  let listenFault: Fault | undefined;
  const makeTransport = (components: Libp2pParts): TlsTransport => {
    parts = components;
    transport = new TlsTransport({
      clock,
      log: components.logger.forComponent("portolan:tls"),
      tls,
      muxerFactory: nativeMuxer,
      budget,
      route: options.route,
      listeners,
      onListenFailed: (fault) => {
        listenFault ??= fault;
      },
    });
    return transport;
  };
  const libp2p = await createLibp2p({
    start: false,
    privateKey: await generateKeyPairFromSeed("Ed25519", deps.seed),
    addresses: { listen: [...options.listen], announce: [...options.announce] },
    transports: [makeTransport],
    connectionEncrypters: [noise()],
    streamMuxers: [() => standardMuxer],
    connectionMonitor: { enabled: false }, // the sessions' own probes say who is alive
    connectionManager: {
      maxConnections: MAX_CONNECTIONS,
      maxIncomingPendingConnections: MAX_CONNECTIONS, // the budget for strangers is narrower
      inboundConnectionThreshold: MAX_CONNECTIONS,
      inboundUpgradeTimeout: SECURE_TIMEOUT_MS,
      inboundStreamProtocolNegotiationTimeout: SECURE_TIMEOUT_MS,
      reconnectRetries: 0,
    },
  });
  if (transport === undefined || parts === undefined) throw new Fault("mesh.libp2p", "libp2p made no transport");
  const dial = transport.dial.bind(transport);
  const { upgrader, logger } = parts;
  const carrying = { tls, muxerFactory: nativeMuxer, upgrader, log: logger.forComponent("portolan:carrier") };
  return {
    libp2p,
    start: async () => {
      try {
        await libp2p.start();
      } catch (error) {
        throw listenFault ?? error;
      }
    },
    parts,
    guards,
    listening: () => [...listeners].flatMap((listener) => listener.bound()),
    isDirect: (host) => options.route.proxy === undefined || options.route.isLan(host),
    connectOver: (carrier, signal) => connectOver(carrier, carrying, signal),
    acceptOver: (carrier, signal) => acceptOver(carrier, carrying, signal),
    releaseStranger: ({ remoteAddr, direct }) => {
      if (!direct) return; // it took no place
      const [ip, tcp] = remoteAddr.getComponents();
      budget.proved(ip?.value ?? "", Number(tcp?.value));
    },
    dial: (addresses, signal) =>
      race(clock, addresses, signal, (address, inner) => dial(multiaddr(address), { signal: inner, upgrader })),
  };
}

/** Dials the addresses, each some time after the one before, until one is secured. */
async function race(
  clock: Clock,
  addresses: readonly string[],
  signal: AbortSignal,
  dial: (address: string, signal: AbortSignal) => Promise<Connection>,
): Promise<Connection> {
  const targets = addresses.slice(0, MAX_DIALLED_ADDRESSES).map(parseAddress);
  const over = new AbortController();
  const onAbort = (): void => over.abort(signal.reason);
  signal.throwIfAborted();
  signal.addEventListener("abort", onAbort, { once: true });
  const attempts = targets.map(async ({ text }, index) => {
    if (index > 0) await clock.sleep(DIAL_STAGGER_MS * index, over.signal);
    const connection = await withDeadline(
      clock,
      DIAL_TIMEOUT_MS,
      `dialling ${text}`,
      (s) => dial(text, s),
      over.signal,
    );
    if (over.signal.aborted) connection.abort(new Fault("mesh.superfluous", "another address was faster"));
    over.abort();
    return connection;
  });
  try {
    return await Promise.any(attempts);
  } catch (error) {
    signal.throwIfAborted();
    throw noAddress(addresses, error instanceof AggregateError ? (error.errors as unknown[]) : [error]);
  } finally {
    over.abort();
    signal.removeEventListener("abort", onAbort);
  }
}

/** What a person should hear of several failures: a wrong peer or a bad certificate says more than silence. */
function noAddress(addresses: readonly string[], errors: unknown[]): Fault {
  const faults = errors.filter((error) => error instanceof Fault);
  const telling = faults.find((fault) => fault.code !== "mesh.dial" && fault.code !== "core.deadline");
  if (telling !== undefined) return telling;
  if (faults.length === 1 && faults[0] !== undefined) return faults[0];
  const tried = errors.map(errorMessage).join("; ");
  return new Fault("mesh.dial", addresses.length === 0 ? "no address to dial" : `no address answers: ${tried}`, {
    exit: "offline",
    fix: "Check that the node is up and that its port is open in the firewall.",
    details: { addresses: addresses.join(" ") },
  });
}
