import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Clock } from "#core";
import type { YardNode } from "../support/yard.ts";

/** How a daemon is at one moment. */
export type Vitals = {
  name: string;
  rssMib: number;
  fds: number;
  /** How long the daemon took to answer a question on its socket: its event loop's lag, and the machine's. */
  answerMs: number;
};

/** What a daemon may come to, whatever it has been through. Limits are generous: a leak passes any, given time. */
export const LIMITS = { rssMib: 400, fds: 200, answerMs: 5_000 } as const;

/** Looks at a daemon from outside. `undefined` when it ended meanwhile. */
export async function vitalsOf(clock: Clock, node: YardNode): Promise<Vitals | undefined> {
  try {
    const { pid, name } = node;
    const rssKib = Number(/^VmRSS:\s+(\d+) kB$/mu.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
    const fds = readdirSync(`/proc/${pid}/fd`).length;
    const askedMs = clock.nowMs();
    await node.status();
    return { name, rssMib: Math.round(rssKib / 1_024), fds, answerMs: Math.round(clock.nowMs() - askedMs) };
  } catch {
    return undefined;
  }
}

/** What in these figures is over a limit, in words. */
export function complaintsOf(vitals: Vitals): string[] {
  return (["rssMib", "fds", "answerMs"] as const)
    .filter((figure) => vitals[figure] > LIMITS[figure])
    .map((figure) => `${vitals.name}: ${figure} ${vitals[figure]}, at most ${LIMITS[figure]}`);
}

/** Lines of a daemon's log that nobody should have to read. */
export function errorsIn(log: string): string[] {
  return log.split("\n").filter((line) => /^\S+ error |Unhandled|Uncaught|^\s+at .*\.ts:/u.test(line));
}

/** Files in a store that no blob owns, relative to it. The daemon must not run. */
export function orphansIn(store: string): string[] {
  if (!existsSync(join(store, "store.db"))) return [];
  using database = new DatabaseSync(join(store, "store.db"));
  const roots = new Set(
    database
      .prepare("SELECT root FROM blobs")
      .all()
      .map(({ root }) => String(root)),
  );
  return readdirSync(store, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.startsWith("store.db") && !roots.has(entry.name))
    .map((entry) => join(entry.parentPath, entry.name).slice(store.length + 1));
}
