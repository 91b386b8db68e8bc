import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { Fault } from "#core";
import { parseNetworks } from "#mesh";
import { formatTarget, type Target } from "./target.ts";

/** What a node may expose unless its configuration says other: itself, and networks without a route from the internet (RFC 1918, RFC 4193). */
export const DEFAULT_EXPOSE: readonly string[] = [
  "127.0.0.0/8",
  "::1/128",
  "10.0.0.0/8",
  "172.16.0.0/12",
  "192.168.0.0/16",
  "fc00::/7",
];
/** Where clouds hand out credentials to whoever asks from the machine: a range around them does not open these, only one inside. */
const METADATA: readonly string[] = ["169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128"];

/** Whether a service at this IP address may be published and dialled; `false` for what is no address. */
export type MayExpose = (address: string) => boolean;

/**
 * The rule that a list of ranges makes. IPv6 forms of IPv4 addresses count as those.
 *
 * Throws Fault `mesh.cidr` (exit `invalid`).
 */
export function exposeRule(cidrs: readonly string[]): MayExpose {
  const isMetadata = parseNetworks(METADATA);
  const isInside = (cidr: string): boolean => isMetadata(cidr.split("/")[0] ?? "");
  const [inside, around] = [cidrs.filter(isInside), cidrs.filter((cidr) => !isInside(cidr))].map(parseNetworks);
  return (address) => {
    const plain = address.replace(/%.*$/u, ""); // the zone of a link-local address
    if (isIP(plain) === 0) return false;
    return (isMetadata(plain) ? inside : around)?.(plain) ?? false;
  };
}

/** Whether a target is forbidden whatever its name turns out to mean: it is an address. */
export function isForbidden({ host }: Target, mayExpose: MayExpose): boolean {
  return isIP(host) !== 0 && !mayExpose(host);
}

/** Fault `routing.expose` (exit `denied`): this node must not expose that. */
export function notExposed(target: Target, address = target.host): Fault {
  const where = address === target.host ? "" : `, which is ${address},`;
  return new Fault("routing.expose", `this node may not expose ${formatTarget(target)}${where} to the fleet`, {
    exit: "denied",
    fix: "Add its range to `expose` in the node's configuration, or to its flags: --expose CIDR.",
    details: { address },
  });
}

/**
 * The addresses to dial for a target, in the resolver's order, those that may be exposed only. The name is looked up each time: what it
 * means now is what is checked. The look-up cannot be stopped; `signal` ends the wait.
 *
 * Throws Fault `routing.expose` (exit `denied`) when all of them are forbidden, `routing.target-unknown` (exit `missing`) when there are none.
 */
export async function resolveTarget(target: Target, mayExpose: MayExpose, signal: AbortSignal): Promise<string[]> {
  const found = isIP(target.host) === 0 ? await addressesOf(target) : [target.host];
  signal.throwIfAborted();
  const allowed = found.filter(mayExpose);
  if (allowed.length === 0) throw notExposed(target, found[0]);
  return allowed;
}

async function addressesOf(target: Target): Promise<string[]> {
  try {
    return (await lookup(target.host, { all: true })).map(({ address }) => address);
  } catch (cause) {
    throw new Fault("routing.target-unknown", `no address of ${target.host} is known`, { exit: "missing", cause });
  }
}
