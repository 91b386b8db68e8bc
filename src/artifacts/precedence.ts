/** Whether somebody waits for it. Shared and live: a person may come to wait for what a placement began. */
export type Precedence = { foreground: boolean };

/** Whose turn it is to use what budgets there are: the foreground first, and within each of the two another one first each time. */
export function inTurn<T extends Precedence>(all: readonly T[], turn: number): T[] {
  const first = all.length === 0 ? 0 : turn % all.length;
  const round = [...all.slice(first), ...all.slice(0, first)];
  return [...round.filter(({ foreground }) => foreground), ...round.filter(({ foreground }) => !foreground)];
}
