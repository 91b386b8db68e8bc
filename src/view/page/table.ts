import { el, button, replaceContent } from "./dom.ts";
import type { Fleet } from "./fleet.ts";
import { inNaturalOrder } from "./layout.ts";
import type { Picture } from "./picture.ts";
import type { Selection } from "./selection.ts";
import { bytesText, costText, msText, shareText, STANDINGS } from "./words.ts";

export const TABS = ["nodes", "links", "services", "artifacts", "circuits"] as const;
export type Tab = (typeof TABS)[number];
type Row = { to?: Selection; cells: readonly string[] };

const HEADS: Readonly<Record<Tab, readonly string[]>> = {
  nodes: ["Node", "Site", "State", "Roles", "Cost", "Hops", "Via", "Round trip"],
  links: ["From", "To", "Cost", "Cost back"],
  services: ["Service", "Protocol", "Healthy", "Instances", "Cost", "Nodes"],
  artifacts: ["Artifact", "Size", "This node", "Copies", "Wanted"],
  circuits: ["Circuit", "Role", "State", "Over", "In", "Out", "Round trip"],
};

/** Rows of a table; more are counted. A browser takes its time for tens of thousands of links. */
export const MAX_TABLE_ROWS = 2_000;

/** The same as the chart, as a table. `needle`: rows that have this in a cell. */
export function showTable(
  into: HTMLElement,
  tab: Tab,
  fleet: Fleet,
  picture: Picture,
  needle: string,
  select: (to: Selection) => void,
): void {
  const all = ROWS[tab](fleet, picture).filter(({ cells }) =>
    cells.some((cell) => cell.toLowerCase().includes(needle)),
  );
  const rows = all.toSorted((a, b) => inNaturalOrder(a.cells[0] ?? "", b.cells[0] ?? "")).slice(0, MAX_TABLE_ROWS);
  const left = all.length - rows.length;
  replaceContent(
    into,
    el(
      "table",
      {},
      el("caption", {}, `${all.length} ${tab}${left > 0 ? `, of which ${left} are not shown: search for them` : ""}`),
      el("thead", {}, el("tr", {}, ...HEADS[tab].map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, ...rows.map((row) => rowOf(row, select))),
    ),
  );
}

function rowOf({ to, cells }: Row, select: (to: Selection) => void): HTMLElement {
  const [first = "", ...others] = cells;
  const head =
    to === undefined ? first : button(first, { class: "pick", "data-key": `${to.kind} ${to.name}` }, () => select(to));
  return el("tr", {}, el("th", { scope: "row" }, head), ...others.map((cell) => el("td", {}, cell)));
}

const ROWS: Readonly<Record<Tab, (fleet: Fleet, picture: Picture) => Row[]>> = {
  nodes: ({ routes, links }, { nodes }) =>
    [...nodes.values()].map(({ name, site, standing, isRegistrar }) => {
      const route = routes.get(name);
      const way =
        route === undefined
          ? ["", "", ""]
          : [costText(route.cost), String(route.hops), route.hops > 1 ? route.via : ""];
      const cells = [
        name,
        site,
        STANDINGS[standing].word,
        isRegistrar ? "registrar" : "",
        ...way,
        msText(links.get(name)?.rttMs),
      ];
      return { to: { kind: "node", name }, cells };
    }),
  links: ({ pairs }) =>
    [...pairs.values()].map(({ name, ends, costs }) => ({
      to: { kind: "link", name },
      cells: [...ends, costText(costs[0]), costText(costs[1])],
    })),
  services: ({ services }) =>
    [...services.values()].map(({ name, protocols, healthy, count, cost, nodes }) => ({
      to: { kind: "service", name },
      cells: [
        name,
        protocols.join(", "),
        String(healthy),
        String(count),
        cost === undefined ? "" : costText(cost),
        nodes.join(", "),
      ],
    })),
  artifacts: ({ artifacts }) =>
    [...artifacts.values()].map(({ name, sizeBytes, local, copies, wanted }) => {
      const here = local.state === "transferring" ? shareText(local.bytes, sizeBytes) : local.state;
      return {
        to: { kind: "artifact", name },
        cells: [name, bytesText(sizeBytes), here, String(copies), String(wanted)],
      };
    }),
  circuits: ({ circuits }) =>
    [...circuits.values()].map(({ name, role, state, via = [], bytesIn, bytesOut, rttMs }) => ({
      cells: [name, role, state, via.join(", "), bytesText(bytesIn), bytesText(bytesOut), msText(rttMs)],
    })),
};
