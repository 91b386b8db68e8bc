import { isIPv4, isIPv6 } from "node:net";
import { Fault } from "#core";

/** Where a service listens, as its host reaches it: an IP address or a host name, and a port from 1 to 65535. */
export type Target = { host: string; port: number };

/** Longest host name (RFC 1035 §2.3.4). */
const MAX_HOST_CHARS = 253;
const HOST_NAME = /^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$/u;
const FORM = /^(?:\[([0-9A-Fa-f:.]{2,45})\]|([^\s:[\]/]+)):(\d{1,5})$/u;

/** Reads `192.168.7.20:554`, `[fd00::7]:554` or `printer.local:631`. Throws Fault `routing.target` (exit `invalid`). */
export function parseTarget(text: string): Target {
  const [, bracketed, plain = "", digits] = text.length <= MAX_HOST_CHARS + 6 ? (FORM.exec(text) ?? []) : [];
  const port = Number(digits);
  if (digits === undefined) throw refuse(text, "it is not HOST:PORT");
  if (port < 1 || port > 65_535) throw refuse(text, "a port is a number from 1 to 65535");
  if (bracketed !== undefined) {
    if (!isIPv6(bracketed)) throw refuse(text, `${bracketed} is not an IPv6 address`);
    return { host: bracketed, port };
  }
  // a resolver takes 127.1 and 010.0.0.1 for addresses too, and not all of them for the same
  if (!HOST_NAME.test(plain) || (/^[\d.]+$/u.test(plain) && !isIPv4(plain)))
    throw refuse(text, `${plain} is neither an address nor a host name`);
  return { host: plain, port };
}

/** The text that `parseTarget` reads. */
export function formatTarget({ host, port }: Target): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}

function refuse(text: string, why: string): Fault {
  return new Fault("routing.target", `"${text.slice(0, 100)}" is no target: ${why}`, {
    exit: "invalid",
    fix: "Write it like 192.168.7.20:554, [fd00::7]:554 or localhost:8080.",
  });
}
