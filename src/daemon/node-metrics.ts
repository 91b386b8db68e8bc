import { Counter, Gauge, type Registry } from "prom-client";
import type { Host } from "#mesh";
import type { ArtifactKeeper } from "./artifact-keeper.ts";
import type { OpenNode } from "./node.ts";

/** Registers what an operator watches of a node. Gauges are worked out when they are collected, so an idle node pays nothing. */
export function registerNodeMetrics(registry: Registry, node: OpenNode, host: Host, keeper: ArtifactKeeper): void {
  const { state, copies } = node;
  const registers = [registry];
  const add = (gauge: Gauge): void => registry.registerMetric(gauge);
  const gauge = (name: string, help: string, value: () => number | Promise<number>): void => {
    add(
      new Gauge({
        name: `portolan_${name}`,
        help,
        registers: [],
        async collect() {
          this.set(await value());
        },
      }),
    );
  };
  gauge("neighbours", "Live sessions with other nodes.", () => host.sessions().length);
  gauge(
    "neighbours_suspect",
    "Sessions whose probes go unanswered.",
    () => host.sessions().filter((session) => session.suspect()).length,
  );
  gauge("members", "Nodes that the fleet has admitted, as this node knows.", () => state.members.all().length);
  gauge("joins_waiting", "Devices that wait here for approval.", () => state.waiting.list(state.trustedMs()).length);
  gauge("documents", "Documents in force.", () => [...state.store.all()].length);
  gauge("charter_version", "Version of the charter in force.", () => state.store.charter?.body.version ?? 0);
  gauge(
    "clock_offset_seconds",
    "This machine's clock less the fleet's time.",
    () => (state.clock.wallMs() - state.trustedMs()) / 1_000,
  );
  gauge("member_expires_seconds", "When this node's membership ends, Unix time; 0 while it is no member.", () =>
    Math.floor((state.members.of(state.data.key.nodeId)?.expiresMs ?? 0) / 1_000),
  );
  gauge("store_bytes", "Bytes on disk in the artifact store.", async () => (await keeper.usage()).usedBytes);
  gauge("store_due_bytes", "Bytes still to come of what is on its way.", async () => (await keeper.usage()).dueBytes);
  gauge(
    "store_limit_bytes",
    "What the store may hold: its quota, or less where the disk does not have that much.",
    async () => (await keeper.usage()).limitBytes,
  );
  gauge("pinned", "Artifacts that are pinned here.", () => node.pins.all().length);
  add(
    new Gauge({
      name: "portolan_copies",
      help: "This node's copies of artifacts by state.",
      labelNames: ["state"],
      registers: [],
      collect() {
        this.reset();
        for (const { state: is } of copies.allOwn()) this.inc({ state: is });
      },
    }),
  );
  countTransfers(registers, node);
  countEvents(registers, node);
}

/** Payload bytes that came over the mesh: from the own site they cost nothing, over the WAN they do. */
function countTransfers(registers: Registry[], { copies }: OpenNode): void {
  const received = new Counter({
    name: "portolan_artifact_received_bytes_total",
    help: "Artifact payload received since start, by where it came from.",
    labelNames: ["from"],
    registers,
  });
  const counted = new Map<string, { site: number; wan: number }>();
  for (const { name, version, bytesFromSite, bytesFromWan } of copies.allOwn()) {
    counted.set(`${name}@${version}`, { site: bytesFromSite, wan: bytesFromWan });
  }
  copies.onChange(() => {
    for (const { name, version, bytesFromSite, bytesFromWan } of copies.allOwn()) {
      const key = `${name}@${version}`;
      const before = counted.get(key) ?? { site: 0, wan: 0 };
      received.inc({ from: "site" }, Math.max(0, bytesFromSite - before.site));
      received.inc({ from: "wan" }, Math.max(0, bytesFromWan - before.wan));
      counted.set(key, { site: bytesFromSite, wan: bytesFromWan });
    }
  });
}

function countEvents(registers: Registry[], { state }: OpenNode): void {
  const events = new Counter({
    name: "portolan_events_total",
    help: "Events recorded since start, by type and outcome.",
    labelNames: ["type", "outcome"],
    registers,
  });
  state.events.onEvent(({ type, outcome }) => events.inc({ type, outcome }));
}
