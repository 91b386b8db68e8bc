import { Fault } from "#core";
import type { NodeId } from "#identity";
import { z } from "zod";
import { type Check, formatCheck, parseCheck } from "./check.ts";
import { formatTarget, parseTarget, type Target } from "./target.ts";

/** Services of one node: a gateway with a camera on each port of its switches stays far below. */
export const MAX_SERVICES = 1_000;
const MAX_LABELS = 16;

/** `tcp+udp`: it speaks both at one port, as DNS servers do. */
export const Protocol = z.enum(["tcp", "udp", "tcp+udp", "http"]);
export type Protocol = z.output<typeof Protocol>;
/** What carries a protocol. */
export type Transport = "tcp" | "udp";

/** A DNS label (RFC 1123 §2.1) in lower case, so that a service can stand in a host name. */
export const ServiceName = z
  .string()
  .max(63, "at most 63 characters")
  .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/u, "lower-case letters, digits and - only, and no - at the ends");
/** Preference and weight are those of SRV records (RFC 2782). */
export const Rank = z.int().min(0, "a number from 0 to 65535").max(65_535, "a number from 0 to 65535");
export const ServiceLabels = z
  .record(z.string().min(1).max(63), z.string().max(63))
  .refine((labels) => Object.keys(labels).length <= MAX_LABELS, `at most ${MAX_LABELS} labels`);

const Draft = z.strictObject({
  name: ServiceName,
  /** The target: `HOST:PORT`. */
  to: z.string(),
  protocol: Protocol.default("tcp"),
  labels: ServiceLabels.default({}),
  /** `tcp`, `http=/PATH` or `exec=COMMAND`. */
  check: z.string().optional(),
  priority: Rank.default(0),
  weight: Rank.default(1),
});
/** A service as a person writes it. */
export type ServiceDraft = z.input<typeof Draft>;

/** Something that this node publishes: what it is called, where it is, how it is checked. */
export type Service = {
  name: string;
  target: Target;
  protocol: Protocol;
  labels: Readonly<Record<string, string>>;
  /** Without one it counts as healthy. */
  check: Check | undefined;
  /** The lower, the sooner it is tried. */
  priority: number;
  /** Its share among those of the same priority. */
  weight: number;
};

/** A service on one node, as the fleet knows it. */
export type Instance = {
  node: NodeId;
  name: string;
  tenant: string;
  protocol: Protocol;
  labels: Readonly<Record<string, string>>;
  priority: number;
  weight: number;
  healthy: boolean;
};

export function transportsOf(protocol: Protocol): readonly Transport[] {
  if (protocol === "tcp+udp") return ["tcp", "udp"];
  return [protocol === "udp" ? "udp" : "tcp"];
}

/** Throws Fault `routing.service`, `routing.target` or `routing.check` (exit `invalid`), which say what is wrong. */
export function parseService(draft: unknown): Service {
  const parsed = Draft.safeParse(draft);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw badService(`${issue?.path.join(".") ?? ""}: ${issue?.message ?? "invalid"}`);
  }
  const { to, check, ...rest } = parsed.data;
  const service = { ...rest, target: parseTarget(to), check: check === undefined ? undefined : parseCheck(check) };
  if (service.protocol === "udp" && (service.check?.kind === "tcp" || service.check?.kind === "http"))
    throw badService(`check: ${service.check.kind} says nothing of a UDP service; a command can, with exec=COMMAND`);
  return service;
}

/** What `parseService` reads, with nothing left to a default. */
export function draftOf({ target, check, ...rest }: Service): ServiceDraft {
  return { ...rest, to: formatTarget(target), ...(check === undefined ? {} : { check: formatCheck(check) }) };
}

function badService(message: string): Fault {
  return new Fault("routing.service", `this service cannot be published: ${message}`, {
    exit: "invalid",
    fix: "Like: portolan service publish cam --to 192.168.7.20:554 --check tcp",
  });
}

/** Those that all instances have with the same value: what differs is no label of the service. */
export function sharedLabels([first, ...others]: readonly Pick<Service, "labels">[]): Record<string, string> {
  const shared = Object.entries(first?.labels ?? {}).filter(([key, value]) =>
    others.every(({ labels }) => labels[key] === value),
  );
  return Object.fromEntries(shared);
}
