import type { PageNode, Standing } from "./picture.ts";

/** Colours of the page, as its style sheet has them for light and for dark. */
export type Palette = { [name in (typeof COLOURS)[number]]: string };
const COLOURS = ["paper", "ink", "faint", "line", "blue", "sky", "green", "orange", "red", "purple"] as const;

export function readPalette(): Palette {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()])) as Palette;
}

type Shape = "disc" | "ring" | "dashed" | "struck" | "diamond" | "square" | "triangle" | "cross";

/** Each standing has a shape of its own: the colours only help. */
const MARKS: Readonly<Record<Standing, { shape: Shape; colour: keyof Palette }>> = {
  self: { shape: "diamond", colour: "orange" },
  linked: { shape: "disc", colour: "blue" },
  reached: { shape: "ring", colour: "sky" },
  suspect: { shape: "dashed", colour: "orange" },
  away: { shape: "struck", colour: "red" },
  autonomous: { shape: "square", colour: "green" },
  pending: { shape: "triangle", colour: "orange" },
  refused: { shape: "cross", colour: "red" },
  quarantine: { shape: "square", colour: "purple" },
  revoked: { shape: "cross", colour: "faint" },
};

type Mark = Pick<PageNode, "standing" | "isRegistrar">;

/** Draws a node of that radius in pixels. A registrar has a circle around it. */
export function drawMark(
  to: CanvasRenderingContext2D,
  { standing, isRegistrar }: Mark,
  x: number,
  y: number,
  radius: number,
  palette: Palette,
): void {
  const { shape, colour } = MARKS[standing];
  to.fillStyle = palette.paper;
  to.strokeStyle = palette[colour];
  to.lineWidth = Math.max(1, radius / 4);
  to.setLineDash([]);
  SHAPES[shape](to, x, y, radius, palette[colour]);
  to.setLineDash([]);
  if (!isRegistrar) return;
  to.lineWidth = Math.max(1, radius / 6);
  to.strokeStyle = palette.ink;
  circle(to, x, y, radius * 1.45);
  to.stroke();
}

type Draw = (to: CanvasRenderingContext2D, x: number, y: number, r: number, colour: string) => void;

const SHAPES: Readonly<Record<Shape, Draw>> = {
  disc: (to, x, y, r, colour) => {
    circle(to, x, y, r);
    fillWith(to, colour);
  },
  ring: (to, x, y, r, colour) => {
    circle(to, x, y, r * 0.85);
    to.fill();
    to.stroke();
    circle(to, x, y, r * 0.35);
    fillWith(to, colour);
  },
  dashed: (to, x, y, r) => {
    circle(to, x, y, r * 0.85);
    to.fill();
    to.setLineDash([r * 0.5, r * 0.4]);
    to.stroke();
  },
  struck: (to, x, y, r) => {
    circle(to, x, y, r * 0.85);
    to.fill();
    to.moveTo(x - r * 0.6, y + r * 0.6);
    to.lineTo(x + r * 0.6, y - r * 0.6);
    to.stroke();
  },
  diamond: (to, x, y, r, colour) => {
    polygon(to, x, y, r * 1.2, 4, 0);
    fillWith(to, colour);
  },
  square: (to, x, y, r, colour) => {
    polygon(to, x, y, r * 1.15, 4, Math.PI / 4);
    fillWith(to, colour);
  },
  triangle: (to, x, y, r) => {
    polygon(to, x, y, r, 3, 0);
    to.fill();
    to.stroke();
  },
  cross: (to, x, y, r) => {
    to.beginPath();
    to.moveTo(x - r * 0.7, y - r * 0.7);
    to.lineTo(x + r * 0.7, y + r * 0.7);
    to.moveTo(x + r * 0.7, y - r * 0.7);
    to.lineTo(x - r * 0.7, y + r * 0.7);
    to.stroke();
  },
};

function fillWith(to: CanvasRenderingContext2D, colour: string): void {
  to.fillStyle = colour;
  to.fill();
}

function circle(to: CanvasRenderingContext2D, x: number, y: number, radius: number): void {
  to.beginPath();
  to.arc(x, y, radius, 0, 2 * Math.PI);
}

/** Corners on a circle, the first one on top, turned by so much. */
function polygon(
  to: CanvasRenderingContext2D,
  x: number,
  y: number,
  radius: number,
  corners: number,
  turn: number,
): void {
  to.beginPath();
  for (let corner = 0; corner < corners; corner += 1) {
    const angle = turn + (2 * Math.PI * corner) / corners - Math.PI / 2;
    to.lineTo(x + radius * Math.cos(angle), y + radius * Math.sin(angle));
  }
  to.closePath();
}
