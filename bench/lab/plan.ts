/** The access link between a site's gateway and the inet, the same both ways. */
export type WanOptions = {
  /** Bits per second; 0 is unlimited. */
  rateBps: number;
  /** One way, over one access link: two sites are twice this apart, a round trip four times. */
  delayMs: number;
  jitterMs: number;
  /** Tail-drop queue before the bottleneck. */
  queueBytes: number;
  /** Chance that a frame is lost, 0..1. */
  lossRatio: number;
};

export type LabOptions = {
  sites: number;
  hostsPerSite: number;
  /** Bits per second from each host to its switch; 0 is unshaped. */
  hostUpBps: number;
  /** Bits per second from the switch to each host; 0 is unshaped. */
  hostDownBps: number;
  /** Needed when there is more than one site. */
  wan: WanOptions;
  /** Sites whose gateway masquerades and refuses connections from outside. */
  natSites: readonly number[];
  /** TCP and UDP ports of such gateways that lead to a host, as a router's port forward does. */
  forwards: readonly Forward[];
};

/** `port` at the outside of the gateway of `site` leads to the same port of its host `index`. */
export type Forward = { site: number; index: number; port: number };

/** 10.S.0.0/16 leaves the second number for the site, and the last one for the host. */
export const MAX_SITES = 200;
export const MAX_HOSTS_PER_SITE = 200;

/** One site, unshaped. WAN queue: 100 ms at 20 Mbit/s, as access routers have. */
export const DEFAULT_LAB: Readonly<LabOptions> = {
  sites: 1,
  hostsPerSite: 2,
  hostUpBps: 0,
  hostDownBps: 0,
  wan: { rateBps: 20e6, delayMs: 15, jitterMs: 0, queueBytes: 256 * 1024, lossRatio: 0 },
  natSites: [],
  forwards: [],
};

/** A host of the lab: `site` and `index` count from 1; `netns` is its namespace and its name everywhere. */
export type LabHost = { netns: string; site: number; index: number; address: string };

/** The namespace of a site's gateway; its WAN interface is `wan0`, its switch `lan0`, the port of host I `pI`. */
export const gatewayOf = (site: number): string => `gw${site}`;

/** The address of a site's gateway on its WAN link. */
export const outsideOf = (site: number): string => `172.16.${site}.2`;

/** Hosts of all sites in order: site 1 first. Throws RangeError on a size that the address plan cannot hold. */
export function labHosts({ sites, hostsPerSite }: LabOptions): LabHost[] {
  if (!inRange(sites, MAX_SITES) || !inRange(hostsPerSite, MAX_HOSTS_PER_SITE)) {
    throw new RangeError(`a lab has 1 to ${MAX_SITES} sites of 1 to ${MAX_HOSTS_PER_SITE} hosts`);
  }
  return Array.from({ length: sites * hostsPerSite }, (_, i) => {
    const site = Math.floor(i / hostsPerSite) + 1;
    const index = (i % hostsPerSite) + 1;
    return { netns: `h${site}-${index}`, site, index, address: `10.${site}.0.${10 + index}` };
  });
}

/** Shell commands that make the namespaces, switches, host links and their shapers. WAN devices come from wanemu. */
export function lanScript(options: LabOptions): string[] {
  const lines = hasWan(options) ? [...addNetns("inet"), forward("inet")] : [];
  for (let site = 1; site <= options.sites; site++) {
    const gateway = gatewayOf(site);
    lines.push(
      ...addNetns(gateway),
      forward(gateway),
      `ip -n ${gateway} link add lan0 type bridge mcast_snooping 0`,
      `ip -n ${gateway} addr add 10.${site}.0.1/24 dev lan0`,
      `ip -n ${gateway} link set lan0 up`,
    );
  }
  return [...lines, ...labHosts(options).flatMap((host) => hostScript(host, options))];
}

/** Shell commands that address and route the WAN devices, and set up NAT where asked. */
export function wanScript(options: LabOptions): string[] {
  if (!hasWan(options)) return [];
  return Array.from({ length: options.sites }, (_, i) => siteWanScript(i + 1, options)).flat();
}

/** Arguments of wanemu for a site's access link: side A is the inet's `wS`, side B the gateway's `wan0`. */
export function wanemuArguments(site: number, wan: WanOptions, seed: number): string[] {
  const { rateBps, delayMs, jitterMs, queueBytes, lossRatio } = wan;
  const numbers = [rateBps, delayMs * 1000, jitterMs * 1000, queueBytes, lossRatio * 1e6, seed];
  return ["inet", `w${site}`, gatewayOf(site), "wan0", ...numbers.map((n) => String(Math.round(n)))];
}

/** Whether the sites are joined by access links: a single site has none. */
export const hasWan = (options: LabOptions): boolean => options.sites > 1;

const inRange = (n: number, max: number): boolean => Number.isInteger(n) && n >= 1 && n <= max;

const forward = (netns: string): string => `ip netns exec ${netns} sysctl -qw net.ipv4.ip_forward=1`;

const addNetns = (netns: string): string[] => [`ip netns add ${netns}`, `ip -n ${netns} link set lo up`];

/** tbf: a burst of 32 KiB is 2.6 ms at 100 Mbit/s; a queue of 256 KiB is what small switches and routers have. */
const shape = (netns: string, device: string, rateBps: number): string[] =>
  rateBps === 0 ? [] : [`tc -n ${netns} qdisc add dev ${device} root tbf rate ${rateBps}bit burst 32k limit 256k`];

function hostScript({ netns, site, index, address }: LabHost, options: LabOptions): string[] {
  const gateway = gatewayOf(site);
  return [
    ...addNetns(netns),
    `ip -n ${netns} link add eth0 type veth peer name p${index} netns ${gateway}`,
    `ip -n ${gateway} link set p${index} master lan0 up`,
    `ip -n ${netns} addr add ${address}/24 dev eth0`,
    `ip -n ${netns} link set eth0 up`,
    `ip -n ${netns} route add default via 10.${site}.0.1`,
    ...shape(netns, "eth0", options.hostUpBps),
    ...shape(gateway, `p${index}`, options.hostDownBps),
  ];
}

function siteWanScript(site: number, { natSites, forwards }: LabOptions): string[] {
  const gateway = gatewayOf(site);
  const open = forwards.filter((forward) => forward.site === site);
  return [
    `ip -n inet addr add 172.16.${site}.1/30 dev w${site}`,
    `ip -n inet link set w${site} up`,
    `ip -n ${gateway} addr add ${outsideOf(site)}/30 dev wan0`,
    `ip -n ${gateway} link set wan0 up`,
    `ip -n ${gateway} route add default via 172.16.${site}.1`,
    ...(natSites.includes(site)
      ? natScript(gateway, open)
      : [`ip -n inet route add 10.${site}.0.0/24 via ${outsideOf(site)}`]),
  ];
}

function natScript(gateway: string, forwards: readonly Forward[]): string[] {
  const table = `ip netns exec ${gateway} iptables -w`;
  const lead = ({ site, index, port }: Forward, protocol: string): string =>
    `${table} -t nat -A PREROUTING -i wan0 -p ${protocol} --dport ${port} -j DNAT --to-destination 10.${site}.0.${10 + index}`;
  return [
    `${table} -t nat -A POSTROUTING -o wan0 -j MASQUERADE`,
    ...forwards.flatMap((forward) => ["tcp", "udp"].map((protocol) => lead(forward, protocol))),
    `${table} -A FORWARD -i wan0 -m conntrack --ctstate ESTABLISHED,RELATED,DNAT -j ACCEPT`,
    `${table} -A FORWARD -i wan0 -j DROP`,
  ];
}
