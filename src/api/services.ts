import { z } from "zod";
import { Labels, Name } from "./messages.ts";
import { Base } from "./views.ts";

const Time = z.string();
const Count = z.int().nonnegative();
const Protocol = z.enum(["tcp", "udp", "tcp+udp", "http"]);

/** A service for this node to publish; what its parts may be, the node says. */
export const PublishService = z.strictObject({
  name: z.string().max(256),
  /** `HOST:PORT`, as this node reaches it. */
  to: z.string().max(512),
  protocol: Protocol.default("tcp"),
  labels: Labels.default({}),
  /** `tcp`, `http=/PATH` or `exec=COMMAND`. */
  check: z.string().max(1_024).optional(),
  priority: z.number().default(0),
  weight: z.number().default(1),
  /** Put it in the place of another one of that name. */
  replace: z.boolean().default(false),
});

/** A service on one node. */
export const InstanceView = z.object({
  node: z.string(),
  nodeId: z.string(),
  site: z.string(),
  /** `unknown`: this node's own, not checked yet. */
  state: z.enum(["healthy", "unhealthy", "unknown"]),
  /** Since when it is so. */
  since: Time,
  /** Why it is unhealthy. */
  reason: z.string().optional(),
  protocol: Protocol,
  /** At which its name leads to it. */
  port: z.number().int(),
  /** The lower, the sooner it is tried; among those of one priority, by weight. */
  priority: z.number().int(),
  weight: z.number().int(),
  /** Of the way there; 0 on this node. */
  cost: z.number(),
  path: z.enum(["local", "direct", "relayed"]),
  labels: z.record(z.string(), z.string()),
});

/** A service of one tenant, on whichever nodes publish it. `name` is NAME, or TENANT/NAME where it is not this node's tenant. */
export const ServiceView = z.object({
  ...Base,
  tenant: z.string(),
  /** Where nodes differ, all of them. */
  protocols: z.array(Protocol),
  /** Nodes that publish it, and those of them where it is healthy. */
  count: z.number().int(),
  healthy: z.number().int(),
  /** Of the way to the closest healthy instance. */
  cost: z.number().optional(),
  /** Names, the closest first. */
  nodes: z.array(z.string()),
  /** The last time that an instance changed its state. */
  changed: Time,
});

/** What this node itself publishes by that name, which it tells nobody. */
export const PublishedView = z.object({
  target: z.string(),
  check: z.string().optional(),
  /** How the last check ended, and the last that its command printed. */
  lastCheck: z.string().optional(),
  output: z.string().optional(),
});

/** A service, with every instance. `here`: what this node publishes. */
export const ServiceDetail = ServiceView.extend({ instances: z.array(InstanceView), here: PublishedView.optional() });

/** Where this node answers DNS for names of services, and the ports that are open for those. No `server`: it answers nowhere. */
export const Names = z.object({
  server: z.object({ host: z.string(), port: z.number().int() }).optional(),
  ports: z.array(z.object({ address: z.string(), port: z.number().int(), transport: z.enum(["tcp", "udp"]) })),
});

/** How one of several instances is chosen for a connection. */
export const STRATEGIES = ["closest", "least-open", "weighted", "sticky"] as const;

export const Connect = z.strictObject({
  service: Name,
  /** Services to go to, in this order, where no instance of it takes a connection; of the same tenant. */
  failover: z.array(Name).max(4).default([]),
  tenant: Name.optional(),
  /** Where to listen; port 0 takes a free one. */
  listen: z.strictObject({ host: z.union([z.ipv4(), z.ipv6()]), port: z.int().min(0).max(65_535) }),
  strategy: z.enum(STRATEGIES).default("closest"),
  /** Of the instances of the service; empty: all of them. */
  selector: z.string().max(1_000).default(""),
});

/** What a listener does, for as long as the job lasts. */
export const ConnectProgress = z.object({
  host: z.string(),
  port: z.int(),
  protocol: z.enum(["tcp", "udp", "tcp+udp"]),
  /** Those of the services that were not known of when it began; connections go there as soon as they are. */
  missing: z.array(z.string()),
  /** Connections, or flows of datagrams: open now, opened in all, that no instance took, that there was no room for. */
  open: Count,
  opened: Count,
  failed: Count,
  dropped: Count,
  /** From the clients to the service, and back. */
  sentBytes: Count,
  receivedBytes: Count,
});

export type InstanceView = z.output<typeof InstanceView>;
export type ServiceView = z.output<typeof ServiceView>;
export type ServiceDetail = z.output<typeof ServiceDetail>;
export type Names = z.output<typeof Names>;
export type Connect = z.output<typeof Connect>;
export type ConnectProgress = z.output<typeof ConnectProgress>;
