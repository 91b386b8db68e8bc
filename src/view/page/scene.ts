import { type Camera, type Size, toScreen } from "./camera.ts";
import { type Layout, NODE_GAP, type Point, type SiteDisc } from "./layout.ts";
import { drawMark, type Palette } from "./marks.ts";
import { type Bundle, cheapestOf, type PageNode, type Picture } from "./picture.ts";
import type { PairView } from "./fleet.ts";
import type { Emphasis } from "./selection.ts";
import { countText } from "./words.ts";

/** All that there is to draw. */
export type Scene = {
  picture: Picture;
  layout: Layout;
  camera: Camera;
  size: Size;
  emphasis: Emphasis;
  palette: Palette;
};

/** Nodes' radius, of the way to the next one. */
const NODE_SHARE = 0.27;
/** Links within sites, and names of nodes, are drawn where nodes are so many pixels apart. */
const LINKS_FROM_PX = 13;
const NAMES_FROM_PX = 46;
/** Up to so many bundles all are labelled; of more, those of the site that stands out. */
const MAX_LABELLED = 15;
/** Of more sites, names are small. */
const MAX_LARGE_NAMES = 12;
/** How far to the side of the middle something is to be called left or right, of the whole way. */
const ASIDE = 0.35;
/** A label needs a line of this length, in pixels. */
const LABEL_FROM_PX = 110;
/** Of more, each is a hair. */
const MANY_BUNDLES = 100;
/** Of the way from the first site to the second: not halfway, where those of many sites meet. */
const LABEL_AT = 0.36;

/** Draws everything. */
export function drawScene(to: CanvasRenderingContext2D, scene: Scene): void {
  to.clearRect(0, 0, scene.size.width, scene.size.height);
  to.lineCap = "round";
  drawBundles(to, scene);
  drawSites(to, scene);
  drawBundleLabels(to, scene);
  drawInner(to, scene);
  drawEmphasis(to, scene);
  drawNodes(to, scene);
  drawNames(to, scene);
}

/** In pixels from one node to the next. */
function gapPx({ camera }: Scene): number {
  return camera.scale * NODE_GAP;
}

function place({ camera, size }: Scene, point: Point): Point {
  return toScreen(camera, size, point);
}

function drawSites(to: CanvasRenderingContext2D, scene: Scene): void {
  const { layout, palette, emphasis, camera } = scene;
  for (const [name, disc] of layout.sites) {
    const { x, y } = place(scene, disc);
    to.beginPath();
    to.arc(x, y, disc.radius * camera.scale, 0, 2 * Math.PI);
    to.fillStyle = palette.paper; // hides lines that pass behind
    to.fill();
    to.fillStyle = palette.line;
    to.globalAlpha = 0.35;
    to.fill();
    to.globalAlpha = 1;
    to.lineWidth = name === emphasis.site ? 2.5 : 1;
    to.strokeStyle = name === emphasis.site ? palette.ink : palette.line;
    to.stroke();
  }
}

function drawBundles(to: CanvasRenderingContext2D, scene: Scene): void {
  const { picture, palette } = scene;
  const site = siteOf(scene);
  const isMany = picture.bundles.length > MANY_BUNDLES;
  const isQuiet = isCalm(scene) || site !== undefined;
  for (const bundle of picture.bundles) {
    const ends = edges(scene, bundle);
    if (ends === undefined) continue;
    const isOut = site !== undefined && bundle.sites.includes(site);
    to.strokeStyle = isOut ? palette.blue : palette.faint;
    to.globalAlpha = isOut ? 0.9 : (isQuiet ? 0.18 : 0.55) / (isMany ? 3 : 1);
    to.lineWidth = Math.min(isMany && !isOut ? 1.5 : 6, 1 + Math.log2(bundle.count) * 0.7);
    to.setLineDash(bundle.cheapest === undefined ? [2, 6] : []);
    stroke(to, ...ends);
  }
  to.globalAlpha = 1;
  to.setLineDash([]);
}

/** The site that stands out: it is selected, or the pointer is on one of its nodes. */
function siteOf({ picture, emphasis }: Scene): string | undefined {
  return emphasis.site ?? (emphasis.hovered === undefined ? undefined : picture.nodes.get(emphasis.hovered)?.site);
}

/** Whether a node or a link stands out, and all others step back. */
function isCalm({ emphasis }: Scene): boolean {
  return emphasis.node !== undefined || emphasis.pair !== undefined;
}

function drawBundleLabels(to: CanvasRenderingContext2D, scene: Scene): void {
  const { bundles } = scene.picture;
  const site = siteOf(scene);
  for (const bundle of bundles) {
    const isOut = site !== undefined && bundle.sites.includes(site);
    if (isOut || (bundles.length <= MAX_LABELLED && !isCalm(scene))) drawBundleLabel(to, scene, bundle);
  }
}

/** From rim to rim. */
function edges(scene: Scene, { sites }: Bundle): [Point, Point] | undefined {
  const [a, b] = [scene.layout.sites.get(sites[0]), scene.layout.sites.get(sites[1])];
  if (a === undefined || b === undefined) return undefined;
  const far = Math.hypot(b.x - a.x, b.y - a.y);
  const rim = (disc: SiteDisc, other: SiteDisc): Point => ({
    x: disc.x + ((other.x - disc.x) * disc.radius) / far,
    y: disc.y + ((other.y - disc.y) * disc.radius) / far,
  });
  return [place(scene, rim(a, b)), place(scene, rim(b, a))];
}

function drawBundleLabel(to: CanvasRenderingContext2D, scene: Scene, bundle: Bundle): void {
  const ends = edges(scene, bundle);
  if (ends === undefined || Math.hypot(ends[1].x - ends[0].x, ends[1].y - ends[0].y) < LABEL_FROM_PX) return;
  const [a, b] = ends;
  const cost = bundle.cheapest === undefined ? "not used" : `from ${Math.round(bundle.cheapest)}`;
  to.font = "12px system-ui, sans-serif";
  to.textAlign = "center";
  to.textBaseline = "middle";
  const text = `${countText(bundle.count, "link")}, ${cost}`;
  haloed(to, text, a.x + (b.x - a.x) * LABEL_AT, a.y + (b.y - a.y) * LABEL_AT, scene.palette);
}

/** Links within sites: those over which ways may lead, and, dotted, the others. */
function drawInner(to: CanvasRenderingContext2D, scene: Scene): void {
  if (gapPx(scene) < LINKS_FROM_PX) return;
  const { picture, palette } = scene;
  to.strokeStyle = palette.faint;
  to.lineWidth = 1;
  to.globalAlpha = isCalm(scene) || picture.inner.length > 500 ? 0.2 : 0.6;
  for (const isUsed of [true, false]) {
    to.setLineDash(isUsed ? [] : [2, 5]);
    to.beginPath();
    for (const pair of picture.inner) if ((cheapestOf(pair) !== undefined) === isUsed) trace(to, scene, pair.ends);
    to.stroke();
  }
  to.globalAlpha = 1;
  to.setLineDash([]);
}

function drawEmphasis(to: CanvasRenderingContext2D, scene: Scene): void {
  const { picture, palette, emphasis } = scene;
  const pairs: readonly PairView[] = emphasis.node === undefined ? [] : (picture.neighbours.get(emphasis.node) ?? []);
  const draw = (ends: readonly (readonly [string, string])[], colour: string, width: number, dash: number[]): void => {
    to.strokeStyle = colour;
    to.lineWidth = width;
    to.setLineDash(dash);
    to.beginPath();
    for (const pair of ends) trace(to, scene, pair);
    to.stroke();
    to.setLineDash([]);
  };
  const endsOf = (isUsed: boolean) =>
    pairs.filter((pair) => (cheapestOf(pair) !== undefined) === isUsed).map((pair) => pair.ends);
  draw(endsOf(true), palette.sky, 1.5, []);
  draw(endsOf(false), palette.sky, 1.5, [2, 5]);
  draw(emphasis.backup, palette.purple, 3.5, [9, 7]);
  draw(emphasis.way, palette.green, 4.5, []);
  if (emphasis.pair !== undefined) draw([emphasis.pair], palette.blue, 4, []);
}

function trace(to: CanvasRenderingContext2D, scene: Scene, [from, into]: readonly [string, string]): void {
  const [a, b] = [scene.layout.nodes.get(from), scene.layout.nodes.get(into)];
  if (a === undefined || b === undefined) return;
  const [start, end] = [place(scene, a), place(scene, b)];
  to.moveTo(start.x, start.y);
  to.lineTo(end.x, end.y);
}

function drawNodes(to: CanvasRenderingContext2D, scene: Scene): void {
  const { layout, picture, palette, emphasis, size } = scene;
  const radius = Math.max(2, gapPx(scene) * NODE_SHARE);
  for (const [name, point] of layout.nodes) {
    const node = picture.nodes.get(name);
    const { x, y } = place(scene, point);
    if (node === undefined || x < -40 || y < -40 || x > size.width + 40 || y > size.height + 40) continue;
    drawMark(to, node, x, y, radius, palette);
    const halo = emphasis.halos.get(name);
    if (halo !== undefined) {
      to.lineWidth = Math.max(3, radius / 2.5);
      arc(to, x, y, radius * 1.75, 1, palette.line);
      arc(to, x, y, radius * 1.75, halo.share, halo.isGood ? palette.green : palette.red);
    }
    if (name === emphasis.node || name === emphasis.hovered) {
      to.lineWidth = name === emphasis.node ? 3 : 1.5;
      arc(to, x, y, radius * 1.85, 1, palette.ink);
    }
  }
}

/** From the top clockwise, a share of the way round. */
function arc(to: CanvasRenderingContext2D, x: number, y: number, radius: number, share: number, colour: string): void {
  to.strokeStyle = colour;
  to.beginPath();
  to.arc(x, y, radius, -Math.PI / 2, -Math.PI / 2 + 2 * Math.PI * share);
  to.stroke();
}

function drawNames(to: CanvasRenderingContext2D, scene: Scene): void {
  const { picture, emphasis } = scene;
  drawSiteNames(to, scene);
  to.textAlign = "center";
  to.textBaseline = "top";
  to.font = "12px system-ui, sans-serif";
  const isNear = gapPx(scene) >= NAMES_FROM_PX;
  for (const node of picture.nodes.values()) {
    const isOut = node.name === emphasis.node || node.name === emphasis.hovered;
    if (isNear || isOut) drawName(to, scene, node, isOut);
  }
}

/** Each outside of the ring, next to its site. */
function drawSiteNames(to: CanvasRenderingContext2D, scene: Scene): void {
  const { layout, picture, palette, camera } = scene;
  to.font = `600 ${layout.sites.size > MAX_LARGE_NAMES ? 11 : 13}px system-ui, sans-serif`;
  for (const [name, disc] of layout.sites) {
    const far = Math.hypot(disc.x, disc.y);
    const [right, down] = far === 0 ? [0, -1] : [disc.x / far, disc.y / far];
    const { x, y } = place(scene, disc);
    const reach = disc.radius * camera.scale + 5;
    to.textAlign = right > ASIDE ? "left" : right < -ASIDE ? "right" : "center";
    to.textBaseline = Math.abs(right) > 1 - ASIDE ? "middle" : down > 0 ? "top" : "bottom";
    haloed(to, `${name} · ${picture.sites.get(name)?.length ?? 0}`, x + right * reach, y + down * reach, palette);
  }
}

function drawName(to: CanvasRenderingContext2D, scene: Scene, { name }: PageNode, isWhole: boolean): void {
  const point = scene.layout.nodes.get(name);
  if (point === undefined) return;
  const { x, y } = place(scene, point);
  const room = Math.floor(gapPx(scene) / 7); // letters are about 7 pixels wide
  const text = isWhole || name.length <= room ? name : `${name.slice(0, Math.max(room - 1, 1))}…`;
  haloed(to, text, x, y + Math.max(8, gapPx(scene) * NODE_SHARE * 1.5), scene.palette);
}

/** Text that can be read whatever is below it. */
function haloed(to: CanvasRenderingContext2D, text: string, x: number, y: number, { paper, ink }: Palette): void {
  to.lineJoin = "round";
  to.lineWidth = 4;
  to.strokeStyle = paper;
  to.strokeText(text, x, y);
  to.fillStyle = ink;
  to.fillText(text, x, y);
}

function stroke(to: CanvasRenderingContext2D, a: Point, b: Point): void {
  to.beginPath();
  to.moveTo(a.x, a.y);
  to.lineTo(b.x, b.y);
  to.stroke();
}
