import { boxOf, type Camera, fit, nearest, nextTowards, pan, toChart, type Size, zoom } from "./camera.ts";
import { type Layout, layOut, NODE_GAP, type Point } from "./layout.ts";
import { type Palette, readPalette } from "./marks.ts";
import type { Picture } from "./picture.ts";
import { drawScene } from "./scene.ts";
import { type Emphasis, NO_EMPHASIS } from "./selection.ts";

/** How far a pointer may move and still have clicked, in pixels. */
const CLICK_PX = 4;
/** How much nearer a key brings, and a turn of the wheel for each of its pixels. */
const KEY_ZOOM = 1.3;
const WHEEL_ZOOM = 1.0015;
const ARROWS: Readonly<Record<string, Point>> = {
  ArrowLeft: { x: -1, y: 0 },
  ArrowRight: { x: 1, y: 0 },
  ArrowUp: { x: 0, y: -1 },
  ArrowDown: { x: 0, y: 1 },
};

/** What the chart tells of what somebody does on it. */
export type ChartEvents = { onNode: (name: string | undefined) => void; onSite: (name: string) => void };

/** The picture on its canvas: drawn when something has changed, moved and zoomed with pointer and keys. */
export class Chart {
  readonly #canvas: HTMLCanvasElement;
  readonly #events: ChartEvents;
  #picture: Picture = { nodes: new Map(), sites: new Map(), bundles: [], inner: [], neighbours: new Map() };
  #layout: Layout = { sites: new Map(), nodes: new Map() };
  #layoutKey = "";
  #emphasis = NO_EMPHASIS;
  #palette: Palette = readPalette();
  #camera: Camera | undefined;
  #hovered: string | undefined;
  #isDrawn = true;
  /** Where pointers that are down are. */
  readonly #pointers = new Map<number, Point>();
  #movedPx = 0;

  constructor(canvas: HTMLCanvasElement, events: ChartEvents) {
    this.#canvas = canvas;
    this.#events = events;
    new ResizeObserver(() => this.#draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.#palette = readPalette();
      this.#draw();
    });
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#release(event, true));
    canvas.addEventListener("pointercancel", (event) => this.#release(event, false));
    canvas.addEventListener("pointerleave", () => this.#hover(undefined));
    canvas.addEventListener("wheel", (event) => this.#turn(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.#type(event));
  }

  /** Shows this picture from now on. Nodes are laid out anew only when there are others than before. */
  show(picture: Picture): void {
    this.#picture = picture;
    const key = JSON.stringify([...picture.sites].map(([site, nodes]) => [site, nodes.toSorted()]).toSorted());
    if (key !== this.#layoutKey) this.#layout = layOut(picture.sites);
    this.#layoutKey = key;
    this.#draw();
  }

  /** What stands out from now on. */
  emphasise(emphasis: Emphasis): void {
    this.#emphasis = emphasis;
    this.#draw();
  }

  /** Shows everything, also when more comes. */
  fit(): void {
    this.#camera = undefined;
    this.#draw();
  }

  zoomBy(factor: number, at?: Point): void {
    const size = this.#size();
    this.#camera = zoom(this.#see(size), size, factor, at ?? { x: size.width / 2, y: size.height / 2 });
    this.#draw();
  }

  #size(): Size {
    return { width: this.#canvas.clientWidth, height: this.#canvas.clientHeight };
  }

  #see(size: Size): Camera {
    return this.#camera ?? fit(boxOf(this.#layout), size);
  }

  #draw(): void {
    if (!this.#isDrawn) return; // it will be, with the next frame of the screen
    this.#isDrawn = false;
    requestAnimationFrame(() => {
      this.#isDrawn = true;
      const size = this.#size();
      const [width, height] = [size.width * devicePixelRatio, size.height * devicePixelRatio].map(Math.round);
      if (width === undefined || height === undefined) return;
      if (this.#canvas.width !== width) this.#canvas.width = width;
      if (this.#canvas.height !== height) this.#canvas.height = height;
      const to = this.#canvas.getContext("2d");
      if (to === null) return;
      to.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
      drawScene(to, {
        picture: this.#picture,
        layout: this.#layout,
        camera: this.#see(size),
        size,
        emphasis: { ...this.#emphasis, hovered: this.#hovered },
        palette: this.#palette,
      });
    });
  }

  #press(event: PointerEvent): void {
    this.#canvas.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    if (this.#pointers.size === 1) this.#movedPx = 0;
  }

  #move(event: PointerEvent): void {
    const now = { x: event.offsetX, y: event.offsetY };
    const before = this.#pointers.get(event.pointerId);
    if (before === undefined) return this.#hover(this.#nodeAt(now));
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.#movedPx += Math.hypot(now.x - before.x, now.y - before.y);
    this.#pointers.set(event.pointerId, now);
    if (other !== undefined) return this.zoomBy(apart(now, other) / Math.max(apart(before, other), 1), other);
    this.#camera = pan(this.#see(this.#size()), { x: now.x - before.x, y: now.y - before.y });
    this.#draw();
  }

  #release(event: PointerEvent, isUp: boolean): void {
    this.#pointers.delete(event.pointerId);
    if (!isUp || this.#movedPx > CLICK_PX || this.#pointers.size > 0) return;
    const at = { x: event.offsetX, y: event.offsetY };
    const node = this.#nodeAt(at);
    const site = node === undefined ? this.#siteAt(at) : undefined;
    if (site === undefined) this.#events.onNode(node);
    else this.#events.onSite(site);
  }

  #turn(event: WheelEvent): void {
    event.preventDefault();
    this.zoomBy(WHEEL_ZOOM ** -event.deltaY, { x: event.offsetX, y: event.offsetY });
  }

  #type(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = ARROWS[event.key];
    if (arrow !== undefined) this.#events.onNode(this.#next(arrow));
    else if (event.key === "+" || event.key === "=") this.zoomBy(KEY_ZOOM);
    else if (event.key === "-") this.zoomBy(1 / KEY_ZOOM);
    else if (event.key === "0") this.fit();
    else return;
    event.preventDefault();
  }

  /** The node that an arrow leads to; the first time, the node that is looked through. */
  #next(arrow: Point): string | undefined {
    const from = this.#emphasis.node;
    if (from !== undefined && this.#layout.nodes.has(from)) return nextTowards(this.#layout, from, arrow) ?? from;
    return [...this.#picture.nodes.values()].find(({ standing }) => standing === "self")?.name;
  }

  #hover(name: string | undefined): void {
    if (name === this.#hovered) return;
    this.#hovered = name;
    this.#canvas.style.cursor = name === undefined ? "" : "pointer";
    this.#draw();
  }

  #nodeAt(at: Point): string | undefined {
    const size = this.#size();
    const camera = this.#see(size);
    return nearest(this.#layout, toChart(camera, size, at), Math.max(NODE_GAP / 2, 8 / camera.scale));
  }

  #siteAt(at: Point): string | undefined {
    const size = this.#size();
    const point = toChart(this.#see(size), size, at);
    return [...this.#layout.sites].find(([, disc]) => apart(disc, point) <= disc.radius)?.[0];
  }
}

function apart(a: Point, b: Point): number {
  return Math.hypot(a.x - b.x, a.y - b.y);
}
