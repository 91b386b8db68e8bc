import { createHash } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import makeMdns, { type MulticastDNS, type Options, type ResponsePacket } from "multicast-dns";
import { type Clock, errorMessage, fitsItsCounts, type Log } from "#core";
import type { NodeId } from "#identity";
import { MAX_ADDRESS_CHARS, parseAddress } from "./address.ts";
import { MAX_HELLO_ADDRESSES } from "./hello-exchange.ts";

/** DNS-SD service (RFC 6763); the port of the mesh is in the addresses of the TXT record. */
export const MDNS_SERVICE = "_portolan._udp.local";
/** Queries start close together and thin out (RFC 6762 §5.2). */
const FIRST_QUERY_MS = 1_000;
const LAST_QUERY_MS = 300_000;
/** A TXT string holds 255 bytes (RFC 1035 §3.3). */
const MAX_TXT_BYTES = 255;
/** Records of one answer that are looked at. */
const MAX_RECORDS = 64;
/** Answers one node gives in a second, however often it is asked (RFC 6762 §6). */
const ANSWER_PAUSE_MS = 1_000;

/** A node of another fleet that answered on this network. */
export type OtherFleet = { /** 16 hex digits that stand for the fleet. */ tag: string; address: string };

export type MdnsDeps = {
  clock: Clock;
  log: Log;
  found: (addresses: string[]) => void;
  /** Another fleet answered; called for every such answer. */
  otherFleet: (seen: OtherFleet) => void;
};
export type MdnsOptions = {
  self: NodeId;
  /** Nothing is asked or answered while the fleet is unknown. */
  fleet: () => string | undefined;
  /** What to announce; nothing while it is empty. */
  addresses: () => readonly string[];
  /** For tests: another port and interface than mDNS proper. */
  socket?: Options;
};

/**
 * Looks for nodes of the same fleet on the local network and answers those who look. Two fleets on one network do not
 * mix: answers carry a tag of the fleet. Where multicast does not work this does nothing, and says so once.
 */
export function startMdns(deps: MdnsDeps, options: MdnsOptions): AsyncDisposable {
  const { clock, log, found, otherFleet } = deps;
  const socket = options.socket?.socket ?? createSocket({ type: "udp4", reuseAddr: true });
  const mdns = makeMdns({ ...options.socket, socket: passingOver(socket) });
  const stop = new AbortController();
  let warned = false;
  const failed = (error: unknown): void => {
    if (!warned) log.warn("mDNS does not work here", { reason: errorMessage(error) });
    warned = true;
  };
  mdns.on("error", failed);
  mdns.on("warning", () => undefined); // packets of others that cannot be read
  mdns.on("response", (response) => {
    const fleet = options.fleet();
    if (fleet === undefined) return;
    const { own, others } = readAnswer(response, fleetTag(fleet), options.self);
    if (own.length > 0) found(own);
    for (const seen of others) otherFleet(seen);
  });
  let answeredMs = Number.NEGATIVE_INFINITY;
  mdns.on("query", ({ questions = [] }) => {
    const asked = questions.some(({ name, type }) => name === MDNS_SERVICE && type === "PTR");
    const fleet = options.fleet();
    const addresses = options.addresses();
    if (!asked || fleet === undefined || addresses.length === 0) return;
    if (clock.nowMs() - answeredMs < ANSWER_PAUSE_MS) return;
    answeredMs = clock.nowMs();
    mdns.respond(
      { answers: answerRecords(options.self, fleetTag(fleet), addresses) },
      (error) => error && failed(error),
    );
  });
  const asking = ask(mdns, clock, () => options.fleet() !== undefined, failed, stop.signal);
  return {
    [Symbol.asyncDispose]: async () => {
      stop.abort(new Error("stopped"));
      await asking;
      await new Promise<void>((resolve) => mdns.destroy(() => resolve()));
    },
  };
}

/** The socket, deaf to datagrams that would keep the DNS decoder busy. */
function passingOver(socket: Socket): Socket {
  const emit = socket.emit.bind(socket) as (event: string, ...given: unknown[]) => boolean;
  return Object.assign(socket, {
    emit: (event: string, ...given: unknown[]): boolean =>
      event === "message" && !fitsItsCounts(given[0] as Uint8Array) ? false : emit(event, ...given),
  });
}

async function ask(
  mdns: MulticastDNS,
  clock: Clock,
  ready: () => boolean,
  failed: (error: unknown) => void,
  signal: AbortSignal,
): Promise<void> {
  let pauseMs = FIRST_QUERY_MS;
  while (!signal.aborted) {
    if (ready()) {
      mdns.query({ questions: [{ name: MDNS_SERVICE, type: "PTR" }] }, (error) => error && failed(error));
      pauseMs = Math.min(pauseMs * 3, LAST_QUERY_MS);
    }
    await clock.sleep(pauseMs, signal).catch(() => undefined);
  }
}

/** A short tag, so that the fleet id itself is not shouted over the network. */
export function fleetTag(fleet: string): string {
  return createHash("sha256").update(`portolan-mdns-v1:${fleet}`).digest("hex").slice(0, 16);
}

type Answers = NonNullable<ResponsePacket["answers"]>;

/** PTR and TXT records: `f=<tag>`, then one `a=<address>` each. */
export function answerRecords(self: NodeId, tag: string, addresses: readonly string[]): Answers {
  const instance = `${self.slice(-12).toLowerCase()}.${MDNS_SERVICE}`;
  const data = addresses
    .map((address) => `a=${address}`)
    .filter((text) => text.length <= MAX_TXT_BYTES)
    .slice(0, MAX_HELLO_ADDRESSES);
  return [
    { name: MDNS_SERVICE, type: "PTR", ttl: 120, data: instance },
    { name: instance, type: "TXT", ttl: 120, data: [`f=${tag}`, ...data] },
  ];
}

/** The addresses of other nodes with this tag in an answer, and one of each node with another. Anything else is passed over. */
export function readAnswer(
  response: Partial<Pick<ResponsePacket, "answers" | "additionals">>,
  tag: string,
  self: NodeId,
): { own: string[]; others: OtherFleet[] } {
  const own: string[] = [];
  const others: OtherFleet[] = [];
  const { answers = [], additionals = [] } = response;
  for (const record of [...answers, ...additionals].slice(0, MAX_RECORDS)) {
    if (record.type !== "TXT" || !record.name.endsWith(MDNS_SERVICE)) continue;
    const texts = (Array.isArray(record.data) ? record.data : [record.data]).map(String);
    const said = texts.filter((text) => text.startsWith("a=")).map((text) => text.slice(2));
    const addresses = said.slice(0, MAX_HELLO_ADDRESSES).filter((address) => isPeerAddress(address, self));
    const [address] = addresses;
    const named = texts.find((text) => /^f=[0-9a-f]{16}$/u.test(text))?.slice(2);
    if (named === tag) own.push(...addresses);
    else if (named !== undefined && address !== undefined) others.push({ tag: named, address });
  }
  return { own, others };
}

function isPeerAddress(address: string, self: NodeId): boolean {
  if (address.length > MAX_ADDRESS_CHARS) return false;
  try {
    const { nodeId } = parseAddress(address);
    return nodeId !== undefined && nodeId !== self;
  } catch {
    return false;
  }
}
