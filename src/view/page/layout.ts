/** A point of the chart, in its own units; y grows downwards. */
export type Point = { x: number; y: number };
/** A disc in which the nodes of a site are. */
export type SiteDisc = Point & { radius: number };
export type Layout = { sites: ReadonlyMap<string, SiteDisc>; nodes: ReadonlyMap<string, Point> };

/** From one node to the next. */
export const NODE_GAP = 28;
/** Around a site's nodes. */
const SITE_MARGIN = 16;
/** Between two sites; and what they all together get besides: lines between few sites are long enough for words. */
const SITE_GAP = 30;
const FREE_GAP = 300;
/** How much wider than high the ring of sites is: as screens are. */
const ASPECT = 1.45;
/** Nodes in the middle and in the first turn around it. */
const FIRST_TURN = 7;
/** Pieces into which the ring is cut to measure along it. */
const RING_STEPS = 720;

/**
 * Where everything goes: sites along a ring, so that no line between two of them crosses a third, in order of their names; a site's nodes in a
 * spiral of hexagons, in order of their names. A node more moves those behind it in its site by one place and, of
 * few, all by half a place; nothing else moves until a spiral needs another turn. `sites` has the names of each site's nodes.
 */
export function layOut(sites: ReadonlyMap<string, readonly string[]>): Layout {
  const names = [...sites.keys()].toSorted(inNaturalOrder);
  const radii = names.map((name) => radiusFor(sites.get(name)?.length ?? 0));
  const centres = ringOf(radii);
  const nodes = new Map<string, Point>();
  const discs = new Map<string, SiteDisc>();
  for (const [i, name] of names.entries()) {
    const centre = centres[i] ?? { x: 0, y: 0 };
    discs.set(name, { ...centre, radius: radii[i] ?? 0 });
    const members = [...(sites.get(name) ?? [])].toSorted(inNaturalOrder);
    const middle = middleOf(members.length);
    for (const [place, node] of members.entries()) {
      const { x, y } = hexagonAt(place);
      nodes.set(node, { x: centre.x + (x - middle.x) * NODE_GAP, y: centre.y + (y - middle.y) * NODE_GAP });
    }
  }
  return { sites: discs, nodes };
}

/** cam-2 before cam-10. The same everywhere, whatever language the browser speaks. */
export function inNaturalOrder(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true }) || (a < b ? -1 : 1);
}

/** Turns of the spiral that hold so many: a turn more holds six more than the one before. */
function turnsFor(count: number): number {
  return Math.max(0, Math.ceil((Math.sqrt(12 * Math.max(count, 1) - 3) - 3) / 6));
}

/** The middle of the first places: a turn that has just begun is off to one side. */
function middleOf(count: number): Point {
  if (count === 0 || count > FIRST_TURN) return { x: 0, y: 0 }; // the turns within outweigh it
  const places = Array.from({ length: count }, (_, place) => hexagonAt(place));
  const sum = (of: "x" | "y"): number => places.reduce((total, place) => total + place[of], 0);
  return { x: sum("x") / count, y: sum("y") / count };
}

function radiusFor(count: number): number {
  return turnsFor(count) * NODE_GAP + NODE_GAP / 2 + SITE_MARGIN;
}

/** Steps along the six sides of a turn, in axial coordinates (redblobgames.com/grids/hexagons, "Rings"). */
const SIDES = [
  [0, 1],
  [-1, 1],
  [-1, 0],
  [0, -1],
  [1, -1],
  [1, 0],
] as const;

/** The place of that number on a spiral of hexagons; those that follow each other are neighbours, 1 apart. */
export function hexagonAt(place: number): Point {
  if (place === 0) return { x: 0, y: 0 };
  const turn = turnsFor(place + 1);
  const steps = place - (3 * turn * (turn - 1) + 1);
  let [q, r] = [turn, 1 - turn]; // beside the last place of the turn before
  for (let step = 1; step <= steps; step += 1) {
    const [dq, dr] = SIDES[Math.floor(step / turn)] ?? [0, 0];
    q += dq;
    r += dr;
  }
  return { x: q + r / 2, y: (r * Math.sqrt(3)) / 2 };
}

/** Centres of discs of these radii along an ellipse, in order, each with its share of the way round. */
function ringOf(radii: readonly number[]): Point[] {
  if (radii.length < 2) return radii.map(() => ({ x: 0, y: 0 }));
  const gap = SITE_GAP + FREE_GAP / radii.length;
  const shares = radii.map((radius) => 2 * radius + gap);
  const around = shares.reduce((sum, share) => sum + share, 0);
  const unit = unitRing();
  const size = around / unit.length;
  const centres = alongRing(unit, shares, around);
  let scale = size;
  for (const [i, a] of centres.entries()) {
    for (const [j, b] of centres.entries()) {
      if (j <= i) continue;
      const need = (radii[i] ?? 0) + (radii[j] ?? 0) + gap; // a bend brings discs closer than the way round is
      scale = Math.max(scale, need / Math.hypot(a.x - b.x, a.y - b.y));
    }
  }
  return centres.map(({ x, y }) => ({ x: x * scale, y: y * scale }));
}

type Ring = { points: Point[]; length: number };

/** An ellipse as high as 2, from its top clockwise. */
function unitRing(): Ring {
  const points = Array.from({ length: RING_STEPS + 1 }, (_, step) => {
    const angle = (2 * Math.PI * step) / RING_STEPS - Math.PI / 2;
    return { x: ASPECT * Math.cos(angle), y: Math.sin(angle) };
  });
  const length = points.slice(1).reduce((sum, point, i) => sum + distance(points[i] ?? point, point), 0);
  return { points, length };
}

/** The middles of the shares. */
function alongRing({ points, length }: Ring, shares: readonly number[], around: number): Point[] {
  const first = shares[0] ?? 0;
  let before = 0;
  let walked = 0;
  let at = 0;
  return shares.map((share) => {
    const goal = ((before + share / 2 - first / 2) / around) * length; // the first one on top
    before += share;
    for (;;) {
      const [a, b] = [points[at], points[at + 1]];
      if (a === undefined || b === undefined) return points[0] ?? { x: 0, y: 0 };
      const step = distance(a, b);
      if (walked + step >= goal) {
        const part = (goal - walked) / step;
        return { x: a.x + (b.x - a.x) * part, y: a.y + (b.y - a.y) * part };
      }
      walked += step;
      at += 1;
    }
  });
}

function distance(a: Point, b: Point): number {
  return Math.hypot(a.x - b.x, a.y - b.y);
}
