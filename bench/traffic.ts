import { gatewayOf, type Lab } from "./lab/index.ts";

/** Bytes on the wire with Ethernet headers, from interface counters, over the time of a distribution; copies of the file. */
export type Traffic = {
  interface: string;
  bytesIn: number;
  bytesOut: number;
  copiesIn: number;
  copiesOut: number;
  drops: number;
};

/** Bytes that a host's `eth0` or a site's `wan0` has carried, Ethernet headers included. */
export type Reading = { interface: string; rxBytes: number; txBytes: number; drops: number };

/** Every host's link. Its shapers queue rather than drop, and do not say when they drop. */
export function readHosts(lab: Lab): Promise<Reading[]> {
  return Promise.all(
    lab.hosts.map(async ({ netns }) => {
      const { rxBytes, txBytes } = await lab.counters(netns, "eth0");
      return { interface: `${netns}/eth0`, rxBytes, txBytes, drops: 0 };
    }),
  );
}

/** Every site's WAN link, in order; none when there is one site only. */
export async function readWans(lab: Lab): Promise<Reading[]> {
  if (lab.options.sites === 1) return [];
  return await Promise.all(
    Array.from({ length: lab.options.sites }, async (_, i) => {
      const { rxBytes, txBytes } = await lab.counters(gatewayOf(i + 1), "wan0");
      const { up, down } = await lab.wanCounters(i + 1);
      return { interface: `${gatewayOf(i + 1)}/wan0`, rxBytes, txBytes, drops: up.queueDrops + down.queueDrops };
    }),
  );
}

/** What came and went between two readings. */
export function traffic(after: Reading, before: Reading | undefined, sizeBytes: number): Traffic {
  const bytesIn = after.rxBytes - (before?.rxBytes ?? 0);
  const bytesOut = after.txBytes - (before?.txBytes ?? 0);
  return {
    interface: after.interface,
    bytesIn,
    bytesOut,
    copiesIn: bytesIn / sizeBytes,
    copiesOut: bytesOut / sizeBytes,
    drops: after.drops - (before?.drops ?? 0),
  };
}
