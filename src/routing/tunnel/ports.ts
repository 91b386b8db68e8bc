import type { ByteStream } from "#core";
import type { NodeId } from "#identity";
import type { Instance } from "../service/service.ts";
import type { Target } from "../service/target.ts";

/** Ordered instances to try for one new connection or flow. `key`: who asks, for choices that stick. */
export type Choose = (key: string) => readonly Instance[];

/** A stream to any member, over a link or a circuit. */
export type OpenStream = (node: NodeId, protocol: string, signal: AbortSignal) => Promise<ByteStream>;

/** Where what this node publishes is; `undefined`: it publishes no such service. */
export type TargetOf = (tenant: string, name: string) => Target | undefined;

/** Whether a node may use a service of this one: it is a member of the tenant. */
export type MayReach = (peer: NodeId, tenant: string, name: string) => boolean;
