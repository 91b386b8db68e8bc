import type { ByteStream } from "#core";
import type { NodeId } from "#identity";

/** One node's offer of a service. */
export type Instance = {
  node: NodeId;
  name: string;
  tenant: string;
  protocol: "tcp" | "udp" | "http";
  labels: Readonly<Record<string, string>>;
  priority: number;
  weight: number;
  healthy: boolean;
};

/** Ordered instances to try for one new connection or flow. `key`: who asks, for choices that stick. */
export type Choose = (key: string) => readonly Instance[];

/** A stream to any member, over a link or a circuit. */
export type OpenStream = (node: NodeId, protocol: string, signal: AbortSignal) => Promise<ByteStream>;

/** Where what this node publishes is; `undefined`: it publishes no such service. */
export type TargetOf = (tenant: string, name: string) => Target | undefined;
export type Target = { host: string; port: number };

/** Whether this node's policy lets a service be at this address. */
export type MayExpose = (ip: string) => boolean;

/** Whether a node may use a service of this one: it is a member of the tenant. */
export type MayReach = (peer: NodeId, tenant: string, name: string) => boolean;
