import { encodeCbor } from "#core";
import { z } from "zod";
import { type Instance, MAX_SERVICES, Protocol, Rank, ServiceLabels, ServiceName } from "./service.ts";

/** Topic of the statements in which nodes tell of their services (docs/spec/services.md). */
export const SERVICES_TOPIC = "services";
/** Longest reason: a few words. */
export const MAX_REASON_CHARS = 32;

const UnixSeconds = z.int().min(0);
const Port = z.int().min(1).max(65_535);
const Reason = z.string().max(MAX_REASON_CHARS);
/** Later versions may say more of a service, and of the node. */
const Wire = z.object({
  services: z
    .array(
      z
        .tuple([ServiceName, Protocol, Rank, Rank, z.boolean(), UnixSeconds, Reason, ServiceLabels, Port])
        .rest(z.unknown()),
    )
    .max(MAX_SERVICES),
});

/**
 * What a node says of one of its services. Of where it is only the port; its host is the node's own business. Nor of whose tenant, which
 * its member document says.
 */
export type InstanceRecord = Omit<Instance, "node" | "tenant"> & {
  /** Of its target, from 1 to 65535: where clients look for it. */
  port: number;
  /** Unix seconds since which it is healthy, or is not. */
  since: number;
  /** Why it is not healthy, if it was and is not; at most 32 characters. */
  reason: string;
};

/** The value of the statement. */
export function writeInstances(records: readonly InstanceRecord[]): unknown {
  return {
    services: records.map(({ name, protocol, priority, weight, healthy, since, reason, labels, port }) => [
      name,
      protocol,
      priority,
      weight,
      healthy,
      since,
      reason,
      labels,
      port,
    ]),
  };
}

/** By name; `undefined`: it makes no sense. */
export function readInstances(value: unknown): ReadonlyMap<string, InstanceRecord> | undefined {
  const parsed = Wire.safeParse(value);
  if (!parsed.success) return undefined;
  const records = parsed.data.services.map(
    ([name, protocol, priority, weight, healthy, since, reason, labels, port]): InstanceRecord => {
      return { name, protocol, priority, weight, healthy, since, reason, labels, port };
    },
  );
  const byName = new Map(records.map((record) => [record.name, record]));
  return byName.size === records.length ? byName : undefined;
}

/** Bytes of a statement's value. */
export function sizeOfInstances(records: readonly InstanceRecord[]): number {
  return encodeCbor(writeInstances(records)).length;
}
