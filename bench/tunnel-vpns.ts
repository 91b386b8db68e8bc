import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Clock, errorMessage, withDeadline } from "#core";
import { type Lab, type LabHost, onPath } from "./lab/index.ts";

const COMMAND_MS = 10_000;
const UP_MS = 20_000;
const LOOK_MS = 50;
const NEBULA_PORT = 4_242;
const WIREGUARD_PORT = 51_820;

type Pair = { clock: Clock; lab: Lab; near: LabHost; far: LabHost; directory: string };

/** What carries all of IP between two hosts, in a network of its own. */
export type Vpn = {
  name: string;
  /** Why it cannot run here. */
  missing: (pair: Pair) => Promise<string | undefined>;
  /** Starts it on both hosts; resolves with the far one's address in it. It ends with the lab. */
  start: (pair: Pair) => Promise<string>;
};

/** Nebula as it comes: AES-256-GCM, an MTU of 1,300, in a process of its own over a TUN device. */
const nebula: Vpn = {
  name: "nebula",
  missing: async () => {
    for (const program of ["nebula", "nebula-cert"])
      if (!(await onPath(program))) return `${program} is not installed (Debian: apt-get install nebula)`;
    return undefined;
  },
  start: async ({ clock, lab, near, far, directory }) => {
    const path = (name: string): string => join(directory, `nebula-${name}`);
    const cert = (...argv: string[]): void => void execFileSync("nebula-cert", argv, { stdio: "ignore" });
    cert("ca", "-name", "bench", "-out-crt", path("ca.crt"), "-out-key", path("ca.key"));
    const addresses = new Map([
      [near, "10.77.0.2"],
      [far, "10.77.0.1"],
    ]);
    const all = [{ port: "any", proto: "any", host: "any" }];
    for (const [{ netns }, address] of addresses) {
      const [crt, key, config] = [path(`${netns}.crt`), path(`${netns}.key`), path(`${netns}.yml`)];
      const ca = ["-ca-crt", path("ca.crt"), "-ca-key", path("ca.key")];
      cert("sign", ...ca, "-name", netns, "-ip", `${address}/24`, "-out-crt", crt, "-out-key", key);
      const settings = {
        pki: { ca: path("ca.crt"), cert: crt, key },
        static_host_map: { "10.77.0.1": [`${far.address}:${NEBULA_PORT}`] },
        lighthouse: { am_lighthouse: false, hosts: [] },
        listen: { host: "0.0.0.0", port: NEBULA_PORT },
        tun: { dev: "nebula1" },
        logging: { level: "error" },
        firewall: { outbound: all, inbound: all },
      };
      writeFileSync(config, JSON.stringify(settings)); // which is YAML, too
      lab.start(netns, ["nebula", "-config", config]);
      await untilAddressed(clock, lab, netns, "nebula1");
    }
    return "10.77.0.1";
  },
};

/** WireGuard of the kernel. */
const wireguard: Vpn = {
  name: "wireguard",
  missing: async ({ lab, near }) => {
    if (!(await onPath("wg"))) return "wg is not installed (Debian: apt-get install wireguard-tools)";
    const link = (...words: string[]): Promise<string> => lab.run(near.netns, ["ip", "link", ...words], COMMAND_MS);
    const made = link("add", "wg-try", "type", "wireguard").then(() => link("delete", "wg-try"));
    return made.then(
      () => undefined,
      (error: unknown) => errorMessage(error),
    );
  },
  start: async ({ lab, near, far, directory }) => {
    const hosts = [near, far].map((host, i) => ({ ...host, inside: `10.78.0.${2 - i}`, key: newKey(directory, host) }));
    for (const { netns, inside, key } of hosts) {
      const run = (...argv: string[]): Promise<string> => lab.run(netns, argv, COMMAND_MS);
      const device = `wg-${netns}`;
      await run("ip", "link", "add", device, "type", "wireguard");
      await run("wg", "set", device, "listen-port", `${WIREGUARD_PORT}`, "private-key", key.file);
      for (const peer of hosts.filter((other) => other.netns !== netns)) {
        const endpoint = `${peer.address}:${WIREGUARD_PORT}`;
        await run("wg", "set", device, "peer", peer.key.publicKey, "allowed-ips", peer.inside, "endpoint", endpoint);
      }
      await run("ip", "addr", "add", `${inside}/24`, "dev", device);
      await run("ip", "link", "set", device, "up");
    }
    return "10.78.0.1";
  },
};

export const VPNS: readonly Vpn[] = [nebula, wireguard];

function newKey(directory: string, { netns }: LabHost): { file: string; publicKey: string } {
  const file = join(directory, `wireguard-${netns}.key`);
  const key = execFileSync("wg", ["genkey"]);
  writeFileSync(file, key, { mode: 0o600 });
  return { file, publicKey: execFileSync("wg", ["pubkey"], { input: key, encoding: "utf8" }).trim() };
}

async function untilAddressed(clock: Clock, lab: Lab, netns: string, device: string): Promise<void> {
  await withDeadline(clock, UP_MS, `${device} on ${netns}`, async (signal) => {
    const look = (): Promise<string> => lab.run(netns, ["ip", "-4", "-o", "addr", "show", "dev", device], COMMAND_MS);
    while (!(await look().catch(() => "")).includes("inet")) await clock.sleep(LOOK_MS, signal); // it is not there yet
  });
}
