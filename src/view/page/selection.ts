import type { ArtifactDetail, LinkView, RouteDetail, ServiceDetail } from "#api";
import type { Fleet } from "./fleet.ts";

/** What somebody looks at. A link is called FROM/TO. */
export type Selection = { kind: "node" | "site" | "service" | "artifact" | "link"; name: string };

/** What is asked for only of what is selected. `there` and `back`: a link, as each of its ends tells of it. */
export type Detail = {
  route?: RouteDetail;
  service?: ServiceDetail;
  artifact?: ArtifactDetail;
  there?: LinkView;
  back?: LinkView;
};

/** What stands out. `halos`: nodes that offer a service or want an artifact, and how much of it they have, 0 to 1. */
export type Emphasis = {
  node?: string | undefined;
  site?: string | undefined;
  pair?: readonly [string, string] | undefined;
  hovered?: string | undefined;
  halos: ReadonlyMap<string, { share: number; isGood: boolean }>;
  /** Links of the way to the node, and of the way to take when that fails. */
  way: readonly (readonly [string, string])[];
  backup: readonly (readonly [string, string])[];
};

export const NO_EMPHASIS: Emphasis = { halos: new Map(), way: [], backup: [] };

/** The details that a selection needs: where each goes, and its address below that of the page. */
export function detailsOf({ kind, name }: Selection): [keyof Detail, string][] {
  const at = (plural: string, of = name): string => `detail/${plural}/${encodeURIComponent(of)}`;
  if (kind === "node") return [["route", at("routes")]];
  if (kind === "service") return [["service", at("services")]];
  if (kind === "artifact") return [["artifact", at("artifacts")]];
  if (kind === "site") return [];
  return [
    ["there", at("links")],
    ["back", at("links", name.split("/").toReversed().join("/"))],
  ];
}

/** Whether what was selected is still there. */
export function isThere({ kind, name }: Selection, fleet: Fleet): boolean {
  if (kind === "node") return fleet.nodes.has(name);
  if (kind === "service") return fleet.services.has(name);
  if (kind === "artifact") return fleet.artifacts.has(name);
  return true;
}

/** What stands out on the chart because of it. */
export function emphasisOf(selection: Selection | undefined, detail: Detail): Emphasis {
  if (selection === undefined) return NO_EMPHASIS;
  const { kind, name } = selection;
  if (kind === "site") return { ...NO_EMPHASIS, site: name };
  if (kind === "link") {
    const [from = "", to = ""] = name.split("/");
    return { ...NO_EMPHASIS, pair: [from, to] };
  }
  if (kind === "node") {
    const { legs = [], backup } = detail.route ?? {};
    const links = (of: typeof legs) => of.map(({ from, to }) => [from, to] as const);
    return { ...NO_EMPHASIS, node: name, way: links(legs), backup: links(backup?.legs ?? []) };
  }
  return { ...NO_EMPHASIS, halos: halosOf(detail) };
}

function halosOf({ service, artifact }: Detail): Emphasis["halos"] {
  const halos = new Map<string, { share: number; isGood: boolean }>();
  for (const { node, state } of service?.instances ?? []) halos.set(node, { share: 1, isGood: state === "healthy" });
  for (const { node, state, bytes, wanted } of artifact?.nodes ?? []) {
    if (state === "unknown" && !wanted) continue;
    const share = state === "complete" ? 1 : bytes / Math.max(artifact?.sizeBytes ?? 0, 1);
    halos.set(node, { share, isGood: state !== "failed" });
  }
  return halos;
}
