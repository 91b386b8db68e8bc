import type { ArtifactDetail, LinkView, ServiceDetail } from "#api";
import { el } from "./dom.ts";
import type { Fleet, PairView } from "./fleet.ts";
import { inNaturalOrder } from "./layout.ts";
import { cheapestOf, NO_SITE, type PageNode, type Picture } from "./picture.ts";
import { factsList, legRow, pick, progressBar, section, termsText } from "./panel-parts.ts";
import type { Detail, Selection } from "./selection.ts";
import { bytesText, costText, countText, msText, shareText, STANDINGS } from "./words.ts";

/** What the panel is made of. */
export type PanelInput = {
  fleet: Fleet;
  picture: Picture;
  selection: Selection | undefined;
  detail: Detail;
  select: (to: Selection) => void;
};

/** The panel's content for what is selected; without a selection, the fleet as a whole. */
export function panelOf(input: PanelInput): HTMLElement[] {
  const { selection } = input;
  if (selection === undefined) return overview(input);
  const { kind, name } = selection;
  if (kind === "node") return nodePanel(input, name);
  if (kind === "site") return sitePanel(input, name);
  if (kind === "service") return servicePanel(input, name);
  if (kind === "artifact") return artifactPanel(input, name);
  return linkPanel(input, name);
}

function overview({ fleet, picture, select }: PanelInput): HTMLElement[] {
  const counts = new Map<string, number>();
  for (const { standing } of picture.nodes.values()) counts.set(standing, (counts.get(standing) ?? 0) + 1);
  const standings = Object.entries(STANDINGS).flatMap(([standing, { word }]) =>
    standing === "self" || !counts.has(standing) ? [] : `${counts.get(standing)} ${word}`,
  );
  return [
    el("h2", {}, "Fleet"),
    el(
      "p",
      {},
      `${countText(picture.nodes.size, "node")} in ${countText(picture.sites.size, "site")}, ${countText(fleet.pairs.size, "link")}. ${standings.join(", ")}.`,
    ),
    ...section(
      "Services",
      fleet.services
        .values()
        .map(({ name, healthy, count }) =>
          pick(select, { kind: "service", name }, name, `${healthy} of ${count} healthy`),
        ),
    ),
    ...section(
      "Artifacts",
      fleet.artifacts.values().map((artifact) => {
        const { name, copies, wanted, local, sizeBytes } = artifact;
        const here =
          local.state === "transferring"
            ? `${shareText(local.bytes, sizeBytes)} here`
            : local.state === "complete"
              ? "is here"
              : "";
        const shown = [
          bytesText(sizeBytes),
          wanted > 0
            ? `${countText(copies, "copy").replace("copys", "copies")}, wanted by ${wanted}`
            : `${copies} known to have it`,
          here,
        ];
        return pick(select, { kind: "artifact", name }, name, shown.filter(Boolean).join(", "));
      }),
    ),
    ...section(
      "Circuits of this node",
      fleet.circuits
        .values()
        .map(({ name, role, state, via = [], bytesIn, bytesOut }) =>
          el(
            "li",
            {},
            el("b", {}, name),
            ` ${role}, ${state}${via.length > 0 ? ` over ${via.join(", ")}` : ""}; ${bytesText(bytesIn)} in, ${bytesText(bytesOut)} out`,
          ),
        ),
    ),
  ];
}

function nodePanel({ fleet, picture, detail, select }: PanelInput, name: string): HTMLElement[] {
  const [view, node] = [fleet.nodes.get(name), picture.nodes.get(name)];
  if (view === undefined || node === undefined) return [el("h2", {}, name), el("p", {}, "is not there any more")];
  const { word, meaning } = STANDINGS[node.standing];
  const own = fleet.links.get(name);
  const pairs = picture.neighbours.get(name) ?? [];
  const services = fleet.services.values().filter(({ nodes }) => nodes.includes(name));
  const facts: [string, string | undefined][] = [
    ["State", `${word}: ${meaning}`],
    ["Site", view.site || NO_SITE],
    ["Role", view.roles.join(", ")],
    ["Tenant", view.tenant],
    ["Round trip", msText(own?.rttMs)],
    ["Address", view.address],
    ["Serial", view.serial],
    ["Reason", view.reason],
    ["Words", view.words?.join(" ")],
    ["Node id", view.nodeId],
  ];
  return [
    el("h2", {}, name),
    factsList(facts),
    ...wayPanel(node, detail),
    ...section(
      "Services",
      services.map(({ name: service, healthy, count }) =>
        pick(select, { kind: "service", name: service }, service, `${healthy} of ${count} healthy`),
      ),
    ),
    ...section(`Links (${pairs.length})`, linkRows(pairs, name, select)),
  ];
}

function wayPanel({ standing }: PageNode, { route }: Detail): HTMLElement[] {
  if (standing === "self") return [];
  if (route === undefined) return section("Way", [el("li", {}, "none is known")]);
  const { legs, cost, backup } = route;
  return [
    ...section(`Way, cost ${costText(cost)}`, legs.map(legRow), "way"),
    ...(backup === undefined
      ? section("If that fails", [el("li", {}, "there is no other way")])
      : section(`If that fails, cost ${costText(backup.cost)}`, backup.legs.map(legRow), "backup")),
  ];
}

function linkRows(pairs: readonly PairView[], of: string, select: PanelInput["select"]): HTMLElement[] {
  const dear = (pair: PairView): number => cheapestOf(pair) ?? Number.POSITIVE_INFINITY;
  const rows = pairs.toSorted((a, b) => dear(a) - dear(b) || inNaturalOrder(a.name, b.name));
  return rows.map(({ ends, costs }) => {
    const isFirst = ends[0] === of;
    const other = isFirst ? ends[1] : ends[0];
    const [there, back] = isFirst ? costs : [costs[1], costs[0]];
    return pick(
      select,
      { kind: "link", name: `${of}/${other}` },
      other,
      there === back ? `cost ${costText(there)}` : `cost ${costText(there)}, back ${costText(back)}`,
    );
  });
}

function sitePanel({ picture, select }: PanelInput, name: string): HTMLElement[] {
  const nodes = [...(picture.sites.get(name) ?? [])].toSorted(inNaturalOrder);
  const bundles = picture.bundles.filter(({ sites }) => sites.includes(name));
  return [
    el("h2", {}, `Site ${name}`),
    ...section(
      "Links to other sites",
      bundles.map(({ sites, count, cheapest }) => {
        const other = sites[0] === name ? sites[1] : sites[0];
        return pick(
          select,
          { kind: "site", name: other },
          other,
          `${countText(count, "link")}, ${cheapest === undefined ? "not used" : `from ${costText(cheapest)}`}`,
        );
      }),
    ),
    ...section(
      `Nodes (${nodes.length})`,
      nodes.map((node) => {
        const { standing } = picture.nodes.get(node) ?? { standing: "away" as const };
        return pick(select, { kind: "node", name: node }, node, STANDINGS[standing].word);
      }),
    ),
  ];
}

function servicePanel({ fleet, detail, select }: PanelInput, name: string): HTMLElement[] {
  const view = fleet.services.get(name);
  if (view === undefined) return [el("h2", {}, name), el("p", {}, "is not there any more")];
  const instances: ServiceDetail["instances"] = detail.service?.instances ?? [];
  return [
    el("h2", {}, `Service ${name}`),
    factsList([
      ["Protocol", view.protocols.join(", ")],
      ["Tenant", view.tenant],
      ["Healthy", `${view.healthy} of ${view.count}`],
    ]),
    ...section(
      "Instances",
      instances.map(({ node, site, state, reason, cost, path }) =>
        pick(
          select,
          { kind: "node", name: node },
          node,
          [site, state, reason, path === "local" ? "here" : `${path}, cost ${costText(cost)}`]
            .filter(Boolean)
            .join(", "),
        ),
      ),
    ),
  ];
}

function artifactPanel({ fleet, detail, select }: PanelInput, name: string): HTMLElement[] {
  const view = fleet.artifacts.get(name);
  if (view === undefined) return [el("h2", {}, name), el("p", {}, "is not there any more")];
  const copies: ArtifactDetail["nodes"] = detail.artifact?.nodes ?? [];
  return [
    el("h2", {}, `Artifact ${name}`),
    factsList([
      ["Size", bytesText(view.sizeBytes)],
      ["Copies", `${view.copies} known, ${view.wanted} wanted`],
      ["This node", view.local.state],
      ["Placements", detail.artifact?.placements.map((placement) => placement.selector || "all nodes").join("; ")],
    ]),
    ...section(
      "Nodes",
      copies.map(({ node, state, bytes, bytesFromWan, reason }) => {
        const row = pick(
          select,
          { kind: "node", name: node },
          node,
          [
            state,
            state === "transferring" ? shareText(bytes, view.sizeBytes) : "",
            bytesFromWan > 0 ? `${bytesText(bytesFromWan)} from other sites` : "",
            reason,
          ]
            .filter(Boolean)
            .join(", "),
        );
        if (state === "transferring") row.append(progressBar(bytes, view.sizeBytes, node));
        return row;
      }),
    ),
    ...section(
      "This node's copy came from",
      (detail.artifact?.sources ?? []).map(({ node, bytes }) =>
        el("li", {}, `${node} `, el("span", { class: "quiet" }, bytesText(bytes))),
      ),
    ),
  ];
}

function linkPanel({ detail, select }: PanelInput, name: string): HTMLElement[] {
  const [from = "", to = ""] = name.split("/");
  const side = (a: string, b: string, view: LinkView | undefined): HTMLElement[] =>
    section(`${a} → ${b}`, [
      el(
        "li",
        {},
        view === undefined
          ? `${a} tells of no such link`
          : `${view.state}${view.cost === undefined ? "" : `, cost ${costText(view.cost)}`}`,
      ),
      ...(view?.terms === undefined ? [] : [el("li", { class: "quiet" }, termsText(view.terms))]),
    ]);
  return [
    el("h2", {}, `Link ${from} – ${to}`),
    ...side(from, to, detail.there),
    ...side(to, from, detail.back),
    ...section(
      "Ends",
      [from, to].map((node) => pick(select, { kind: "node", name: node }, node, "")),
    ),
  ];
}
