import { execFile } from "node:child_process";
import { networkInterfaces } from "node:os";
import { promisify } from "node:util";
import { errorMessage, Fault } from "#core";
import { ipInCidr } from "#identity";

/** `ip` answers in milliseconds. */
const COMMAND_MS = 5_000;
/** What this machine's addresses are is looked up again so seldom: containers and cards come and go. */
const LOOK_MS = 2_000;

export type NetworkCards = typeof networkInterfaces;

/**
 * Makes a block of IPv4 addresses this machine's own, so that its programs and containers reach ports on any of them: a local route (ip-route(8)), which
 * takes no interface and no address per service. `block`: CIDR. Disposing of it takes the route away.
 *
 * Throws Fault `daemon.address-block`: exit `conflict` where a network card has an address in the block, whose network could not be reached any more;
 * `denied` where the system does not let this process, or does not know such routes.
 */
export async function claimBlock(block: string, cards: NetworkCards = networkInterfaces): Promise<AsyncDisposable> {
  const taken = ownAddresses(cards).find((address) => ipInCidr(address, block));
  if (taken !== undefined) {
    throw new Fault("daemon.address-block", `this machine has the address ${taken} in ${block}`, {
      exit: "conflict",
      fix: "take a block that no network of this machine has: --names 10.78.0.1:53",
    });
  }
  const route = ["local", block, "dev", "lo"];
  try {
    await ip("replace", ...route);
  } catch (cause) {
    throw new Fault("daemon.address-block", `${block} cannot become this machine's own: ${errorMessage(cause)}`, {
      exit: "denied",
      fix: "run the daemon on Linux as root, or with CAP_NET_ADMIN, and with iproute2 installed",
      cause,
    });
  }
  return {
    [Symbol.asyncDispose]: () => ip("delete", ...route).catch(() => undefined), // somebody else took it away
  };
}

/**
 * Who may ask for names and use them: this machine's own programs, and those in the networks given, as of containers on it. Others could send packets to the
 * block, too, as soon as it is not loopback's.
 */
export function admission(
  block: string,
  networks: readonly string[],
  nowMs: () => number,
  cards: NetworkCards = networkInterfaces,
): (address: string) => boolean {
  let own = new Set<string>();
  let lookAtMs = Number.NEGATIVE_INFINITY;
  const isOwn = (address: string): boolean => {
    if (nowMs() >= lookAtMs) {
      lookAtMs = nowMs() + LOOK_MS;
      own = new Set(ownAddresses(cards));
    }
    return own.has(address);
  };
  return (address) => isOwn(address) || [block, ...networks].some((network) => ipInCidr(address, network));
}

function ownAddresses(cards: NetworkCards): string[] {
  return Object.values(cards()).flatMap((addresses = []) => addresses.map(({ address }) => address));
}

async function ip(verb: string, ...route: string[]): Promise<void> {
  const env = { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` }; // where Debian keeps it
  await promisify(execFile)("ip", ["-4", "route", verb, ...route], { timeout: COMMAND_MS, env });
}
