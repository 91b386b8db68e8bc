import type { ArtifactView, ResourceName, Resources } from "#api";
import { type Column, Table } from "./table.ts";
import { formatAge, formatBytes } from "./units.ts";

type ColumnsOf = { [N in ResourceName]: (nowMs: number) => Column<Resources[N]["view"]>[] };

const labelText = (labels: Readonly<Record<string, string>>): string =>
  Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(",");

/** What `get` shows of each resource. */
export const COLUMNS: ColumnsOf = {
  nodes: (nowMs) => [
    { head: "NAME", text: (n) => n.name },
    { head: "SITE", text: (n) => n.site },
    { head: "STATE", text: (n) => n.state },
    { head: "RTT", text: (n) => (n.rttMs === undefined ? "" : `${n.rttMs.toFixed(1)} ms`) },
    { head: "SERIAL", text: (n) => n.serial ?? "" },
    { head: "EXPIRES", text: (n) => formatAge(n.expires, nowMs) },
    { head: "REASON", text: (n) => n.reason ?? n.words?.join(" ") ?? "" },
    { head: "ADDRESS", text: (n) => n.address ?? "", wide: true },
    { head: "EVIDENCE", text: (n) => n.evidence ?? "", wide: true },
    { head: "LABELS", text: (n) => labelText(n.labels), wide: true },
    { head: "NODE ID", text: (n) => n.nodeId, wide: true },
  ],
  links: () => [
    { head: "NODE", text: (l) => l.name },
    { head: "SITE", text: (l) => l.site },
    { head: "STATE", text: (l) => l.state },
    { head: "RTT", text: (l) => (l.rttMs === undefined ? "" : `${l.rttMs.toFixed(1)} ms`) },
    { head: "COST", text: (l) => (l.cost === undefined ? "" : String(l.cost)) },
    { head: "LOSS", text: (l) => lossText(l), wide: true },
    { head: "PROBED BY", text: (l) => l.measuredBy ?? "", wide: true },
    { head: "COST IS", text: (l) => (l.terms === undefined ? "" : termsText(l.terms)), wide: true },
    { head: "DIRECTION", text: (l) => l.direction ?? "", wide: true },
    { head: "ADDRESS", text: (l) => l.address ?? "", wide: true },
  ],
  routes: () => [
    { head: "NODE", text: (r) => r.name },
    { head: "SITE", text: (r) => r.site },
    { head: "COST", text: (r) => String(r.cost) },
    { head: "HOPS", text: (r) => String(r.hops) },
    { head: "VIA", text: (r) => r.via },
    { head: "NODE ID", text: (r) => r.nodeId, wide: true },
  ],
  circuits: () => [
    { head: "NODE", text: (c) => c.name },
    { head: "ROLE", text: (c) => c.role },
    { head: "STATE", text: (c) => c.state },
    { head: "VIA", text: (c) => c.via?.join(",") ?? "" },
    { head: "MOVES", text: (c) => String(c.moves) },
    { head: "RTT", text: (c) => (c.rttMs === undefined ? "" : `${c.rttMs.toFixed(1)} ms`) },
    { head: "IN", text: (c) => formatBytes(c.bytesIn) },
    { head: "OUT", text: (c) => formatBytes(c.bytesOut) },
    { head: "NODE ID", text: (c) => c.nodeId, wide: true },
  ],
  services: (nowMs) => [
    { head: "NAME", text: (s) => s.name },
    { head: "PROTOCOL", text: (s) => s.protocols.join(",") },
    { head: "HEALTHY", text: (s) => `${s.healthy}/${s.count}` },
    { head: "COST", text: (s) => (s.cost === undefined ? "" : String(s.cost)) },
    { head: "CHANGED", text: (s) => formatAge(s.changed, nowMs) },
    { head: "TENANT", text: (s) => s.tenant, wide: true },
    { head: "NODES", text: (s) => s.nodes.join(","), wide: true },
    { head: "LABELS", text: (s) => labelText(s.labels), wide: true },
  ],
  artifacts: (nowMs) => [
    { head: "NAME", text: (a) => a.name },
    { head: "SIZE", text: (a) => formatBytes(a.sizeBytes) },
    { head: "FILES", text: (a) => String(a.files) },
    { head: "HERE", text: (a) => copyText(a.local, a.sizeBytes) },
    { head: "COPIES", text: (a) => `${a.copies}/${Math.max(a.wanted, a.copies)}` },
    { head: "AGE", text: (a) => formatAge(a.createdAt, nowMs) },
    { head: "PINNED", text: (a) => (a.pinned ? "yes" : ""), wide: true },
    { head: "BYTES HERE", text: (a) => formatBytes(a.local.bytes), wide: true },
    { head: "TYPE", text: (a) => a.mediaType, wide: true },
    { head: "LABELS", text: (a) => labelText(a.labels), wide: true },
    { head: "ROOT", text: (a) => a.root, wide: true },
  ],
  documents: (nowMs) => [
    { head: "KIND", text: (d) => d.kind },
    { head: "NAME", text: (d) => d.documentName },
    { head: "VERSION", text: (d) => String(d.version) },
    { head: "STATE", text: (d) => d.state },
    { head: "SIGNED BY", text: (d) => d.signers.map(({ name, keyid }) => name || keyid.slice(0, 12)).join(",") },
    { head: "EXPIRES", text: (d) => formatAge(d.expires, nowMs) },
    { head: "TENANT", text: (d) => d.tenant, wide: true },
    { head: "DIGEST", text: (d) => d.digest, wide: true },
    { head: "LABELS", text: (d) => labelText(d.labels), wide: true },
  ],
  tokens: (nowMs) => [
    { head: "NAME", text: (t) => t.name },
    { head: "OPENS", text: (t) => t.opens.map(({ document, left }) => `${document} (${left} left)`).join(", ") },
    { head: "RENDEZVOUS", text: (t) => t.rendezvous.join(",") },
    { head: "EXPIRES", text: (t) => formatAge(t.expires, nowMs) },
    { head: "TOKEN", text: (t) => t.token, wide: true },
  ],
  events: () => [
    { head: "TIME", text: (e) => e.time },
    { head: "TYPE", text: (e) => e.type },
    { head: "SUBJECT", text: (e) => e.subject },
    { head: "OUTCOME", text: (e) => e.outcome },
    { head: "MESSAGE", text: (e) => e.message },
    { head: "ACTOR", text: (e) => e.actor ?? "", wide: true },
    { head: "NUMBER", text: (e) => e.name, wide: true },
  ],
  pending: (nowMs) => [
    { head: "NAME", text: (p) => p.name },
    { head: "VERSION", text: (p) => String(p.version) },
    { head: "SIGNED", text: (p) => `${p.signed.length}/${p.needs.count}` },
    { head: "BY", text: (p) => p.signed.map(({ name, keyid }) => name || keyid.slice(0, 12)).join(",") },
    { head: "MISSING", text: (p) => `${p.needs.role}: ${p.missing.map(({ name }) => name).join(" or ")}` },
    { head: "AGE", text: (p) => formatAge(p.since, nowMs) },
    { head: "DIGEST", text: (p) => p.digest, wide: true },
  ],
};

/** What a cost is the sum of: `1 + money 420 + penalty 165`. */
export function termsText(terms: Readonly<Record<string, number | undefined>>): string {
  const parts = Object.entries(terms).flatMap(([term, value = 0]) => (value === 0 ? [] : [`${term} ${value}`]));
  return ["1", ...parts].join(" + ");
}

function lossText({
  lossRatio,
  measuredBy,
}: {
  lossRatio?: number | undefined;
  measuredBy?: string | undefined;
}): string {
  if (lossRatio !== undefined) return `${(lossRatio * 100).toFixed(1)} %`;
  return measuredBy === undefined ? "" : "unknown";
}

function copyText({ state, bytes, precedence }: ArtifactView["local"], sizeBytes: number): string {
  if (state !== "transferring" || sizeBytes === 0) return state;
  return `${Math.floor((bytes / sizeBytes) * 100)}%${precedence === "background" ? " (background)" : ""}`;
}

/** The table of a resource, as wide as the terminal allows. */
export function tableOf<N extends ResourceName>(
  resource: N,
  items: readonly Resources[N]["view"][],
  options: { nowMs: number; wide: boolean; maxChars: number },
): Table<Resources[N]["view"]> {
  const columns = COLUMNS[resource](options.nowMs).filter(({ wide }) => options.wide || wide !== true);
  return new Table(columns, items, options.maxChars);
}
