import { readdir, readFile, readlink } from "node:fs/promises";
import type { Clock } from "#core";
import { type Bypass, findBypasses, parseTcpTable, type TcpRow } from "./tcp-table.ts";

/** A process of the fleet and its site. */
export type Resident = { pid: number; site: number };

const SAMPLE_MS = 500;

/**
 * Looks at the kernel's own table of TCP connections, again and again, for any that goes round the links. A connection that is new
 * can be in the table before its owner is known, so one that cannot be placed counts when it is still there at the next look.
 */
export class SocketWatch {
  readonly #clock: Clock;
  readonly #residents: () => readonly Resident[];
  readonly #found = new Map<string, Bypass>();
  #suspects = new Set<string>();
  #samples = 0;

  constructor(clock: Clock, residents: () => readonly Resident[]) {
    this.#clock = clock;
    this.#residents = residents;
  }

  /** What went round the links so far. */
  get found(): Bypass[] {
    return [...this.#found.values()];
  }

  /** Looks so far. */
  get samples(): number {
    return this.#samples;
  }

  /** Looks until the signal fires. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.sample();
      await this.#clock.sleep(SAMPLE_MS, signal).catch(() => undefined);
    }
  }

  /** One look. */
  async sample(): Promise<void> {
    const residents = this.#residents();
    const tables = new Map<string, number>(); // network namespace → a process in it
    for (const { pid } of residents) tables.set(await readlink(`/proc/${pid}/ns/net`).catch(() => ""), pid);
    tables.delete(""); // has ended
    const suspects = new Set<string>();
    for (const [namespace, pid] of tables) {
      const rows = await readTable(pid);
      const owners = await socketOwners(residents);
      for (const bypass of findBypasses(rows, owners)) {
        const name = `${namespace} ${bypass.local} ${bypass.remote}`;
        suspects.add(name);
        if (bypass.peerSite !== undefined || this.#suspects.has(name)) this.#found.set(name, bypass);
      }
    }
    this.#suspects = suspects;
    this.#samples += 1;
  }
}

async function readTable(pid: number): Promise<TcpRow[]> {
  const texts = ["tcp", "tcp6"].map((table) => readFile(`/proc/${pid}/net/${table}`, "utf8").catch(() => ""));
  return (await Promise.all(texts)).flatMap(parseTcpTable);
}

/** Which site has the socket of an inode. */
async function socketOwners(residents: readonly Resident[]): Promise<Map<number, number>> {
  const owners = new Map<number, number>();
  for (const { pid, site } of residents) {
    const folder = `/proc/${pid}/fd`;
    for (const fd of await readdir(folder).catch(() => [])) {
      const target = await readlink(`${folder}/${fd}`).catch(() => "");
      const inode = /^socket:\[(\d+)\]$/u.exec(target)?.[1];
      if (inode !== undefined) owners.set(Number(inode), site);
    }
  }
  return owners;
}
