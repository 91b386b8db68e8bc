import type { Layout, Point } from "./layout.ts";

/** What of the chart is seen: the point in the middle, and pixels for one unit of the chart. */
export type Camera = Point & { scale: number };
export type Size = { width: number; height: number };
/** The rectangle around everything. */
export type Box = { left: number; top: number; right: number; bottom: number };

/** Nearer, a node fills the screen; further, it is less than a pixel. */
const MAX_SCALE = 6;
const MIN_SCALE = 0.02;
/** A chart of one node is not blown up to fill the screen. */
const MAX_FIT = 2;
/** Kept free around the chart for the names of sites, in pixels: to the sides, above and below. */
const SIDE_EDGE = 100;
const EDGE = 34;

export function boxOf({ sites }: Layout): Box {
  const box = { left: 0, top: 0, right: 0, bottom: 0 };
  for (const { x, y, radius } of sites.values()) {
    box.left = Math.min(box.left, x - radius);
    box.right = Math.max(box.right, x + radius);
    box.top = Math.min(box.top, y - radius);
    box.bottom = Math.max(box.bottom, y + radius);
  }
  return box;
}

/** Shows all of it. */
export function fit({ left, top, right, bottom }: Box, { width, height }: Size): Camera {
  const across = Math.max(width - 2 * Math.min(SIDE_EDGE, width / 6), 1) / Math.max(right - left, 1);
  const down = Math.max(height - 2 * EDGE, 1) / Math.max(bottom - top, 1);
  return { x: (left + right) / 2, y: (top + bottom) / 2, scale: Math.min(across, down, MAX_FIT) };
}

/** Where a point of the chart is on the screen, in pixels. */
export function toScreen({ x, y, scale }: Camera, { width, height }: Size, point: Point): Point {
  return { x: (point.x - x) * scale + width / 2, y: (point.y - y) * scale + height / 2 };
}

/** Which point of the chart is there on the screen. */
export function toChart({ x, y, scale }: Camera, { width, height }: Size, point: Point): Point {
  return { x: (point.x - width / 2) / scale + x, y: (point.y - height / 2) / scale + y };
}

/** Comes closer by a factor; what is at `at` on the screen stays there. */
export function zoom(camera: Camera, size: Size, factor: number, at: Point): Camera {
  const scale = Math.min(MAX_SCALE, Math.max(MIN_SCALE, camera.scale * factor));
  const fixed = toChart(camera, size, at);
  return {
    x: fixed.x - (at.x - size.width / 2) / scale,
    y: fixed.y - (at.y - size.height / 2) / scale,
    scale,
  };
}

/** Moves what is seen along with a pointer that moved by so many pixels. */
export function pan(camera: Camera, by: Point): Camera {
  return { ...camera, x: camera.x - by.x / camera.scale, y: camera.y - by.y / camera.scale };
}

/** The node closest to a point of the chart, if one is within `reach`. */
export function nearest({ nodes }: Layout, point: Point, reach: number): string | undefined {
  let found: string | undefined;
  let least = reach;
  for (const [name, { x, y }] of nodes) {
    const far = Math.hypot(x - point.x, y - point.y);
    if (far <= least) [found, least] = [name, far];
  }
  return found;
}

/** The next node in a direction, as arrow keys mean it: what is off to the side counts as twice as far. */
export function nextTowards({ nodes }: Layout, from: string, direction: Point): string | undefined {
  const start = nodes.get(from);
  if (start === undefined) return undefined;
  let found: string | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const [name, { x, y }] of nodes) {
    const ahead = (x - start.x) * direction.x + (y - start.y) * direction.y;
    const aside = Math.abs((x - start.x) * direction.y - (y - start.y) * direction.x);
    if (name === from || ahead <= 0 || aside > 2 * ahead) continue;
    if (ahead + 2 * aside < least) [found, least] = [name, ahead + 2 * aside];
  }
  return found;
}
