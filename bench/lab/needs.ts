import { access, constants } from "node:fs/promises";
import { delimiter, join } from "node:path";

/** Programs that the lab calls, and the Debian packages they come in. */
const TOOLS: Readonly<Record<string, string>> = {
  ip: "iproute2",
  tc: "iproute2",
  unshare: "util-linux",
  nsenter: "util-linux",
  setpriv: "util-linux",
  gcc: "gcc libc6-dev",
  iptables: "iptables",
};

/** Why a lab cannot run here, in words for the user; `undefined` when it can. */
export async function labNeeds(): Promise<string | undefined> {
  if (process.platform !== "linux") return "network namespaces need Linux";
  if (process.getuid?.() !== 0) return "network namespaces and TAP devices need root: run it with sudo";
  for (const [tool, packages] of Object.entries(TOOLS)) {
    if (!(await onPath(tool))) return `${tool} is missing: apt-get install ${packages}`;
  }
  try {
    await access("/dev/net/tun", constants.R_OK | constants.W_OK);
  } catch {
    return "/dev/net/tun is missing: load the tun module, or give the container that device";
  }
  return undefined;
}

/** Whether a program can be found on the PATH. */
export async function onPath(tool: string): Promise<boolean> {
  const directories = (process.env["PATH"] ?? "").split(delimiter);
  const tries = directories.map((directory) => access(join(directory, tool), constants.X_OK));
  return (await Promise.allSettled(tries)).some((result) => result.status === "fulfilled");
}
