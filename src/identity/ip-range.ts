import { Address4, Address6 } from "ip-address";

/** How far an address reaches: this machine, networks without a route from the internet, or anywhere. */
export type IpScope = "loopback" | "private" | "public";

/** An address in canonical form: IPv4-mapped IPv6 is the IPv4 address that it stands for. `undefined` for anything but an address. */
function parseIp(text: string): Address4 | Address6 | undefined {
  if (Address4.isValid(text)) return new Address4(text);
  if (!Address6.isValid(text)) return undefined;
  const v6 = new Address6(text);
  return v6.isMapped4() ? v6.to4() : v6;
}

/** Whether `text` is a CIDR such as `10.0.0.0/8` or `2001:db8::/32`. */
export function isCidr(text: string): boolean {
  return text.includes("/") && (Address4.isValid(text) || Address6.isValid(text));
}

/**
 * Whether an address lies in a CIDR. Mapped addresses count as IPv4, so a dual-stack socket cannot be used to walk round a rule.
 * `false` when either is malformed.
 */
export function ipInCidr(ip: string, cidr: string): boolean {
  const address = ip.includes("/") ? undefined : parseIp(ip);
  if (address === undefined || !isCidr(cidr)) return false;
  const range = Address4.isValid(cidr) ? new Address4(cidr) : new Address6(cidr);
  return address.v4 === range.v4 && address.isHostInSubnet(range);
}

/** The scope of an address; `undefined` when it is not one. Unspecified, link-local and carrier-grade NAT addresses count as private. */
export function ipScope(ip: string): IpScope | undefined {
  const address = parseIp(ip);
  if (address === undefined) return undefined;
  if (address.isLoopback()) return "loopback";
  const inner = address.isPrivate() || address.isLinkLocal() || address.isCGNAT() || address.isUnspecified();
  return inner ? "private" : "public";
}
