import type { DatabaseSync } from "node:sqlite";
import { type Clock, errorMessage, type Log } from "#core";
import type { ListenAddress } from "../tunnel/listen-address.ts";
import type { TunnelOpener } from "../tunnel/tunnel-opener.ts";
import { type AnswerDeps, answerMessage } from "./answer-names.ts";
import { Forwarder } from "./dns-forward.ts";
import { type DnsServerDeps, startDnsServer } from "./dns-server.ts";
import { NamedListeners } from "./named-listeners.ts";
import { serversIn } from "./resolv-conf.ts";
import { ServiceAddresses } from "./service-addresses.ts";
import { ServiceNames, type ServiceNamesDeps } from "./service-names.ts";

/** Where the server listens unless it is told: the first of these that it can have. Linux has all of 127.0.0.0/8, other systems 127.0.0.1 only. */
export const DEFAULT_SERVERS: readonly ListenAddress[] = [
  { host: "127.77.0.1", port: 53 },
  { host: "127.77.0.1", port: 7353 },
  { host: "127.0.0.1", port: 7353 },
];
/** Services have addresses in it where the server's own does not say other. */
const DEFAULT_RANGE = "127.77";
/** Where `portolan dns install` keeps the file that it replaced, if it replaced one. */
const BEFORE_INSTALL = "/etc/resolv.conf.before-portolan";
/** What stands there changes by hand only; so often it is looked for. */
const LOOK_EVERY_MS = 5_000;

export type MeshNamesDeps = Omit<ServiceNamesDeps, "opener"> & {
  opener: TunnelOpener;
  db: DatabaseSync;
  log: Log;
  /** Trusted Unix time in milliseconds. */
  trustedMs: () => number;
  /** Who may ask, and use what the answer leads to; absent: everybody who reaches it. */
  admits?: (address: string) => boolean;
};

/** Where names are answered, and the ports that are open for them. */
export type MeshNames = AsyncDisposable & {
  readonly server: ListenAddress;
  ports(): ReturnType<NamedListeners["all"]>;
};

/**
 * Answers DNS for `*.mesh` at the first of these addresses that it can have. Services get addresses in the same block of 65,536 as the server
 * (127.78.0.1 gives those of 127.78.0.0/16), but for 127.0.0.1, where other programs are: then it is 127.77.0.0/16.
 *
 * `undefined`: it can have none, which the log says; a node without names is a node all the same.
 */
export async function startMeshNames(
  deps: MeshNamesDeps,
  wanted: readonly ListenAddress[],
): Promise<MeshNames | undefined> {
  const { log } = deps;
  let reason = "";
  for (const address of wanted) {
    try {
      return await startAt(deps, address);
    } catch (error) {
      reason = errorMessage(error);
    }
  }
  log.warn("names of services are not answered here", { reason, fix: "give --names HOST:PORT, or --names off" });
  return undefined;
}

async function startAt(deps: MeshNamesDeps, at: ListenAddress): Promise<MeshNames> {
  const { clock, random, log, opener, admits } = deps;
  const admission = admits === undefined ? {} : { admits };
  await using stack = new AsyncDisposableStack();
  const listeners = stack.use(new NamedListeners({ clock, log, opener, ...admission }));
  const isInUse = (address: string): boolean => listeners.isInUse(address);
  const addresses = new ServiceAddresses({ ...deps, range: rangeOf(at.host), isInUse });
  const names = new ServiceNames(deps, addresses, listeners);
  const servers = watchServers(clock, at.host);
  const answerDeps: AnswerDeps = {
    find: (name) => names.find(name),
    forwarder: new Forwarder({ clock, random, servers }),
    forwards: () => servers().length > 0,
    server: at.host,
  };
  const answer: DnsServerDeps["answer"] = (...query) => answerMessage(answerDeps, ...query);
  const server = stack.use(await startDnsServer({ clock, log, answer, ...admission }, at));
  const running = stack.move();
  return {
    server: server.address,
    ports: () => listeners.all(),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** The first two numbers of the block in which services have addresses. */
export function rangeOf(host: string): string {
  const block = /^\d{1,3}\.\d{1,3}(?=\.)/u.exec(host)?.[0];
  return block === undefined || block === "127.0" ? DEFAULT_RANGE : block;
}

/** The servers to which other questions go, as this machine asked them before it was told to ask here. */
function watchServers(clock: Clock, own: string): () => readonly string[] {
  let servers: readonly string[] = [];
  let dueMs = Number.NEGATIVE_INFINITY;
  return () => {
    if (clock.nowMs() >= dueMs) {
      dueMs = clock.nowMs() + LOOK_EVERY_MS;
      servers = serversIn(BEFORE_INSTALL).filter((server) => server !== own);
    }
    return servers;
  };
}
