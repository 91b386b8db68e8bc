import type { LegView } from "#api";
import { button, el } from "./dom.ts";
import type { Selection } from "./selection.ts";
import { costText, shareText } from "./words.ts";

/** Rows of a list in the panel; the table has all. */
const MAX_ROWS = 60;

/** One link of a way, with what its cost is the sum of, or a way inside a site. */
export function legRow({ from, to, cost, inside, ...terms }: LegView): HTMLElement {
  const why = inside === undefined ? `${costText(cost)}: ${termsText(terms)}` : `${costText(cost)}, inside ${inside}`;
  return el("li", {}, `${from} → ${to} `, el("span", { class: "quiet" }, why));
}

/** `hop 1 + leaving the site 420`: what a cost is the sum of. */
export function termsText(terms: Omit<LegView, "from" | "to" | "cost" | "inside">): string {
  const names = {
    latency: "latency",
    loss: "loss",
    load: "load",
    money: "leaving the site",
    penalty: "came up lately",
    admin: "topology",
  };
  const parts = Object.entries(names).flatMap(([term, word]) => {
    const value = terms[term as keyof typeof terms] ?? 0;
    return value === 0 ? [] : `${word} ${Math.round(value)}`;
  });
  return ["hop 1", ...parts].join(" + ");
}

/** How much of an artifact a node has. */
export function progressBar(bytes: number, sizeBytes: number, node: string): HTMLElement {
  return el("progress", {
    max: String(sizeBytes),
    value: String(bytes),
    "aria-label": `${node} has ${shareText(bytes, sizeBytes)}`,
  });
}

/** A row that selects something. */
export function pick(select: (to: Selection) => void, to: Selection, text: string, more: string): HTMLElement {
  const chosen = button(text, { class: "pick", "data-key": `${to.kind} ${to.name}` }, () => select(to));
  return el("li", {}, chosen, " ", el("span", { class: "quiet" }, more));
}

/** A list under a heading; nothing where there is nothing to list. `kind`: how its line is drawn on the chart. */
export function section(title: string, rows: Iterable<HTMLElement>, kind = ""): HTMLElement[] {
  const all = [...rows];
  if (all.length === 0) return [];
  const more =
    all.length > MAX_ROWS ? [el("li", { class: "quiet" }, `and ${all.length - MAX_ROWS} more: see the table`)] : [];
  return [el("h3", { class: kind }, title), el("ul", {}, ...all.slice(0, MAX_ROWS), ...more)];
}

/** Terms and what they are, without those of which nothing is known. */
export function factsList(facts: readonly [string, string | undefined][]): HTMLElement {
  return el("dl", {}, ...facts.flatMap(([term, text]) => (text ? [el("dt", {}, term), el("dd", {}, text)] : [])));
}
