import type { Fleet } from "./fleet.ts";
import { inNaturalOrder } from "./layout.ts";
import type { Picture } from "./picture.ts";
import type { Selection } from "./selection.ts";

/** What is shown of what a search found. */
const MAX_FOUND = 12;

/** Nodes, sites, services and artifacts whose names have the text in them; nodes also by serial number and by the beginning of their id. */
export function search(fleet: Fleet, picture: Picture, text: string): Selection[] {
  const needle = text.trim().toLowerCase();
  if (needle === "") return [];
  const nodes = [...fleet.nodes.values()].filter(
    ({ name, serial = "", nodeId }) =>
      name.toLowerCase().includes(needle) ||
      serial.toLowerCase().includes(needle) ||
      nodeId.toLowerCase().startsWith(needle),
  );
  const named = (kind: Selection["kind"], names: Iterable<string>): Selection[] =>
    [...names].filter((name) => name.toLowerCase().includes(needle)).map((name) => ({ kind, name }));
  const found: Selection[] = [
    ...nodes.map(({ name }): Selection => ({ kind: "node", name })),
    ...named("site", picture.sites.keys()),
    ...named("service", fleet.services.keys()),
    ...named("artifact", fleet.artifacts.keys()),
  ];
  const rank = ({ name }: Selection): number =>
    name.toLowerCase() === needle ? 0 : name.toLowerCase().startsWith(needle) ? 1 : 2;
  return found.toSorted((a, b) => rank(a) - rank(b) || inNaturalOrder(a.name, b.name)).slice(0, MAX_FOUND);
}
