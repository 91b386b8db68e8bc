import type { Answer, Question } from "dns-packet";
import type { KnownInstance } from "../service/service-directory.ts";
import { type Protocol, type Transport, transportsOf } from "../service/service.ts";
import { type MeshName, SERVER_NAME, ZONE } from "./mesh-name.ts";
import { RCODE, type Reply } from "./dns-message.ts";

/** Instances come and go; the address of a name stays. */
const TTL_SECONDS = 30;
/** What is not there may be published the next moment. */
const NEGATIVE_TTL_SECONDS = 5;
/** Ports of one name that are opened and told; usually all instances have the same. */
export const MAX_PORTS = 8;
/** A string of a TXT record (RFC 1035 §3.3). */
const MAX_TXT_BYTES = 255;
const MAX_RANK = 65_535;

/** A port on which a service is reached, and its preference among the others (RFC 2782). */
export type ServiceEnd = { transport: Transport; port: number; priority: number; weight: number; healthy: boolean };

/** A service that a name stands for. */
export type NamedService = {
  /** IPv4, of this node: there it listens for the service. */
  address: string;
  ends: readonly ServiceEnd[];
  protocols: readonly Protocol[];
  /** Those that all instances have. */
  labels: Readonly<Record<string, string>>;
};

/** `empty`: nothing of that name, but there are names below it. `failed`: it cannot be said just now. */
export type Found = NamedService | "nothing" | "empty" | "failed";

/** The ports that the instances of a service tell, that of the closest healthy one first. */
export function endsOf(instances: readonly KnownInstance[]): ServiceEnd[] {
  const ends = new Map<string, ServiceEnd>();
  const closestFirst = instances.toSorted((a, b) => Number(b.healthy) - Number(a.healthy) || a.cost - b.cost);
  for (const { protocol, port, priority, weight, healthy } of closestFirst) {
    for (const transport of transportsOf(protocol)) {
      const key = `${transport} ${port}`;
      const end = ends.get(key);
      if (end === undefined) ends.set(key, { transport, port, priority, weight, healthy });
      else if (healthy === end.healthy) ends.set(key, joined(end, { ...end, priority, weight }));
    }
  }
  return [...ends.values()].slice(0, MAX_PORTS);
}

/** The better priority; of instances with that, all weights. */
function joined(a: ServiceEnd, b: ServiceEnd): ServiceEnd {
  if (a.priority !== b.priority) return a.priority < b.priority ? a : b;
  return { ...a, weight: Math.min(a.weight + b.weight, MAX_RANK) };
}

/** What is said to a question for a name of the zone. `server`: the DNS server's own address. */
export function replyTo(question: Question, name: MeshName, found: Found, server: string): Reply {
  if (name.kind === "outside") return { ...NO_RECORDS, rcode: RCODE.refused };
  if (found === "failed") return { ...NO_RECORDS, rcode: RCODE.failed };
  const negative = { authoritative: true, answers: [], authorities: [soa(NEGATIVE_TTL_SECONDS)] };
  const isThere = found !== "nothing" || name.kind === "zone" || name.kind === "server";
  if (!isThere) return { ...negative, rcode: RCODE.noName };
  const answers = recordsOf(question, name, found, server);
  if (answers.length === 0) return { ...negative, rcode: RCODE.ok };
  return { rcode: RCODE.ok, authoritative: true, answers, authorities: [] };
}

const NO_RECORDS = { authoritative: false, answers: [], authorities: [] };

function recordsOf(question: Question, name: MeshName, found: Found, server: string): Answer[] {
  const { name: owner } = question;
  const type: string = question.type; // ANY among them
  const wants = (...types: readonly string[]): boolean => types.includes(type) || type === "ANY";
  if (name.kind === "zone") {
    const ns: Answer = { type: "NS", name: owner, ttl: TTL_SECONDS, data: SERVER_NAME };
    return [...(wants("SOA") ? [soa(TTL_SECONDS)] : []), ...(wants("NS") ? [ns] : [])];
  }
  if (name.kind === "server") return wants("A") ? [addressRecord(owner, server)] : [];
  if (typeof found === "string") return [];
  if (name.kind === "transport") {
    const { transport, isWhole } = name;
    return isWhole && wants("SRV") ? srvRecords(owner, `${name.service}.${name.scope}.${ZONE}`, found, transport) : [];
  }
  switch (type) {
    case "A":
    case "ANY": // one of the record sets is enough (RFC 8482 §4.1)
      return [addressRecord(owner, found.address)];
    case "SRV":
      return srvRecords(owner, owner, found);
    case "TXT":
      return [{ type: "TXT", name: owner, ttl: TTL_SECONDS, data: texts(found) }];
    default:
      return []; // AAAA too: IPv6 has no block of loopback addresses to give out
  }
}

function addressRecord(name: string, data: string): Answer {
  return { type: "A", name, ttl: TTL_SECONDS, data };
}

/** Where the service is healthy; all lead to the name's own address. */
function srvRecords(name: string, target: string, { ends }: NamedService, transport?: Transport): Answer[] {
  const told = ends.filter((end) => end.healthy && (transport === undefined || end.transport === transport));
  return told.map(({ port, priority, weight }) => {
    return { type: "SRV", name, ttl: TTL_SECONDS, data: { port, priority, weight, target } };
  });
}

function texts({ protocols, labels }: NamedService): string[] {
  const said = [...protocols.map((one) => `protocol=${one}`), ...Object.entries(labels).map(([k, v]) => `${k}=${v}`)];
  return said.filter((text) => Buffer.byteLength(text) <= MAX_TXT_BYTES);
}

function soa(ttl: number): Answer {
  const times = { refresh: 3_600, retry: 600, expire: 86_400, minimum: NEGATIVE_TTL_SECONDS }; // nobody copies the zone: only the last counts
  return { type: "SOA", name: ZONE, ttl, data: { mname: SERVER_NAME, rname: `portolan.${ZONE}`, serial: 1, ...times } };
}
