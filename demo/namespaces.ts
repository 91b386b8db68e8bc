import type { Children } from "./children.ts";

/** Commands that run something in a network namespace of its own; both end as the command itself, with its process id. */
export type Namespaces = {
  /** In a new one whose loopback is up. */
  create(argv: readonly string[]): string[];
  /** In that of a running process. */
  join(pid: number, argv: readonly string[]): string[];
};

/** Debian keeps `ip` where the PATH of ordinary users does not look. */
export const SYSTEM_PATH = "/usr/sbin:/sbin:/usr/bin:/bin";
/** A namespace is made in under 10 ms. */
const PROBE_MS = 5_000;

/** Root needs no user namespace, in which it could not read what belongs to others. */
const NAMESPACES = [
  { create: ["--net"], join: ["--net"] },
  { create: ["--user", "--map-root-user", "--net"], join: ["--user", "--net", "--preserve-credentials"] },
];

/** What this system allows: namespaces for root, for every user, or `undefined` for none. */
export async function findNamespaces(children: Children, signal: AbortSignal): Promise<Namespaces | undefined> {
  for (const { create, join } of NAMESPACES) {
    const namespaces: Namespaces = {
      create: (argv) => ["unshare", ...create, "--", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", ...argv],
      join: (pid, argv) => ["nsenter", `--target=${pid}`, ...join, "--", ...argv],
    };
    const env = { PATH: `${process.env["PATH"]}:${SYSTEM_PATH}` };
    try {
      await children.run(namespaces.create(["true"]), PROBE_MS, signal, env);
      await children.run(["nsenter", "--version"], PROBE_MS, signal, env);
      return namespaces;
    } catch {
      signal.throwIfAborted(); // else: not this kind
    }
  }
  return undefined;
}
