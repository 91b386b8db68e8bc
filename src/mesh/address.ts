import { BlockList, isIPv6 } from "node:net";
import { networkInterfaces } from "node:os";
import { multiaddr } from "@multiformats/multiaddr";
import { Fault } from "#core";
import type { NodeId } from "#identity";

/** Where a node listens: `/ip4/A/tcp/P/tls/p2p/ID`, also with `ip6`, `dns`, `dns4`, `dns6`, and without `/p2p/ID`. */
export type DialAddress = {
  /** The address as it was written. */
  text: string;
  host: string;
  port: number;
  nodeId: NodeId | undefined;
};

/** Longest address that is looked at: a DNS name of 253 characters and a node id fit. */
export const MAX_ADDRESS_CHARS = 400;

/**
 * Reads an address that this transport can dial or listen on.
 *
 * Throws Fault `mesh.address` (exit `invalid`).
 */
export function parseAddress(text: string): DialAddress {
  let parts: { name: string; value?: string }[] = [];
  try {
    if (text.length <= MAX_ADDRESS_CHARS) parts = multiaddr(text).getComponents();
  } catch {
    // told apart below: no parts
  }
  const [host, tcp, tls, p2p, ...more] = parts;
  const isHost = /^(?:ip[46]|dns[46]?)$/u.test(host?.name ?? "");
  if (
    !isHost ||
    host?.value === undefined ||
    tcp?.name !== "tcp" ||
    tls?.name !== "tls" ||
    more.length > 0 ||
    (p2p && p2p.name !== "p2p")
  ) {
    throw new Fault("mesh.address", `"${text.slice(0, 100)}" is not an address of a Portolan node`, {
      exit: "invalid",
      fix: "An address looks like /ip4/192.0.2.7/tcp/7433/tls/p2p/12D3Koo….",
    });
  }
  return { text, host: host.value, port: Number(tcp.value), nodeId: p2p?.value };
}

/** An IPv4 address that a socket for both families writes as IPv6, as IPv4. */
export function plainIp(host: string): string {
  return host.replace(/^::ffff:(?=\d+\.)/u, "");
}

/** The address for an IP and a port, without a node id. */
export function formatAddress(host: string, port: number): string {
  const plain = plainIp(host);
  return `/${isIPv6(plain) ? "ip6" : "ip4"}/${plain}/tcp/${port}/tls`;
}

/** What can be announced for a socket bound to `host`: itself, or every usable address of the machine if it is bound to all. */
export function announcedHosts(host: string): string[] {
  if (host !== "0.0.0.0" && host !== "::") return [host];
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const usable = all.filter(
    (net) => !net.internal && !net.address.startsWith("fe80:") && (host === "::" || net.family === "IPv4"),
  );
  return usable.length > 0 ? usable.map((net) => net.address) : ["127.0.0.1"];
}

/**
 * The networks in which addresses are dialled directly, as a test on a host.
 *
 * Throws Fault `mesh.cidr` (exit `invalid`).
 */
export function parseNetworks(cidrs: readonly string[]): (host: string) => boolean {
  const list = new BlockList();
  for (const cidr of cidrs) {
    const [base = "", bits = ""] = cidr.split("/");
    try {
      list.addSubnet(base, /^\d{1,3}$/u.test(bits) ? Number(bits) : -1, isIPv6(base) ? "ipv6" : "ipv4");
    } catch (cause) {
      throw new Fault("mesh.cidr", `"${cidr}" is not a network`, {
        exit: "invalid",
        fix: "Write it like 10.1.0.0/16.",
        cause,
      });
    }
  }
  return (host) => list.check(host, isIPv6(host) ? "ipv6" : "ipv4");
}
