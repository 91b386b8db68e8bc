import { readFileSync, statSync } from "node:fs";
import { isIP } from "node:net";
import { MAX_SERVERS } from "./dns-forward.ts";

/** Far more than a resolver reads of it. */
const MAX_BYTES = 64 * 1024;

/** The servers that a `resolv.conf` names, in its order; none where there is no such file. */
export function serversIn(path: string): string[] {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined || !stat.isFile() || stat.size > MAX_BYTES) return [];
  return nameserversOf(readFileSync(path, "utf8"));
}

/** The addresses in the `nameserver` lines of a `resolv.conf` (resolv.conf(5)); others are passed over. */
export function nameserversOf(text: string): string[] {
  const lines = text.split("\n").map((line) => /^nameserver\s+(\S+)\s*$/u.exec(line)?.[1] ?? "");
  return lines.filter((address) => isIP(address.replace(/%.*$/u, "")) !== 0).slice(0, MAX_SERVERS);
}
