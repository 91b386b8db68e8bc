import { ServiceName, type Transport } from "../service/service.ts";

/** The top-level domain of all names; it is not in the public root, and RFC 6762 appendix G lists none like it for other use. */
export const ZONE = "mesh";
/** The DNS server's own name: its address, and what SOA and NS records say. No service can have it, for a service's has three labels or more. */
export const SERVER_NAME = `dns.${ZONE}`;

/** A service as a name tells it. `scope`: a tenant, or a site. */
export type ScopedName = { service: string; scope: string };

/** What a DNS name stands for. `part`: something in the zone that may have names below it, and is no service. */
export type MeshName =
  | { kind: "outside" }
  | { kind: "zone" }
  | { kind: "server" }
  | { kind: "part"; scope: string }
  | ({ kind: "service" } & ScopedName)
  /** `_proto._tcp.NAME` (RFC 2782); `isWhole` is false for `_tcp.NAME`, which has names below it only. */
  | ({ kind: "transport"; transport: Transport; isWhole: boolean } & ScopedName);

const PREFIX = /^(?<whole>_[^.]+\.)?_(?<transport>tcp|udp)\.(?<rest>.+)$/u;

/**
 * Reads `api.plant-a.mesh`: service `api` of tenant or site `plant-a`. A site's name may have dots. Capitals count as small letters, and a dot at
 * the end as none (RFC 4343, RFC 1034 §3.1).
 */
export function readName(text: string): MeshName {
  const name = text.toLowerCase().replace(/\.$/u, "");
  if (name === ZONE) return { kind: "zone" };
  if (name === SERVER_NAME) return { kind: "server" };
  if (!name.endsWith(`.${ZONE}`)) return { kind: "outside" };
  const inside = name.slice(0, -ZONE.length - 1);
  const prefix = PREFIX.exec(inside)?.groups;
  if (prefix === undefined) {
    const scoped = scopedName(inside);
    return scoped === undefined ? { kind: "part", scope: inside } : { kind: "service", ...scoped };
  }
  const scoped = scopedName(prefix["rest"] ?? "");
  if (scoped === undefined) return { kind: "part", scope: inside };
  const transport = prefix["transport"] === "udp" ? "udp" : "tcp";
  return { kind: "transport", transport, isWhole: prefix["whole"] !== undefined, ...scoped };
}

/** The name that `readName` reads. */
export function writeName({ service, scope }: ScopedName): string {
  return `${service}.${scope}.${ZONE}`;
}

function scopedName(text: string): ScopedName | undefined {
  const at = text.indexOf(".");
  const [service, scope] = [text.slice(0, at), text.slice(at + 1)];
  return at > 0 && scope !== "" && ServiceName.safeParse(service).success ? { service, scope } : undefined;
}
