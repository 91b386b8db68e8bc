import type { Bitset } from "../bitset.ts";
import type { Runs } from "./swarm-event.ts";

/** Runs in one message; a map with more is sent in several. Two integers each, so a message stays under 64 KiB. */
export const MAX_RUNS = 4_096;

/** The members of a set as runs, in lists of at most `MAX_RUNS` runs. */
export function runsOf(set: Bitset): Runs[] {
  const lists: number[][] = [];
  let list: number[] = [];
  let first = -1;
  let next = -1;
  const close = (): void => {
    if (first < 0) return;
    list.push(first, next - first);
    if (list.length < MAX_RUNS * 2) return;
    lists.push(list);
    list = [];
  };
  for (const index of set.values()) {
    if (index !== next) {
      close();
      first = index;
    }
    next = index + 1;
  }
  close();
  if (list.length > 0) lists.push(list);
  return lists;
}

/** Whether these are rising, separate runs within `0 … chunkCount - 1`. */
export function areRuns(runs: Runs, chunkCount: number): boolean {
  let end = -1; // of the run before; runs that touch would be one
  for (let i = 0; i < runs.length; i += 2) {
    const first = runs[i] ?? 0;
    const length = runs[i + 1] ?? 0;
    if (first <= end || length < 1 || first + length > chunkCount) return false;
    end = first + length;
  }
  return runs.length <= MAX_RUNS * 2;
}

/** The chunks in these runs. */
export function* chunksIn(runs: Runs): Generator<number> {
  for (let i = 0; i < runs.length; i += 2) {
    const first = runs[i] ?? 0;
    for (let chunk = first; chunk < first + (runs[i + 1] ?? 0); chunk++) yield chunk;
  }
}
