import { Chart } from "./chart.ts";
import { button, byId, el, replaceContent } from "./dom.ts";
import { applyChanges, emptyFleet, type Frame } from "./fleet.ts";
import { drawMark, readPalette } from "./marks.ts";
import { panelOf } from "./panel.ts";
import { pictureOf, type Standing } from "./picture.ts";
import { search } from "./search.ts";
import { type Detail, detailsOf, emphasisOf, isThere, type Selection } from "./selection.ts";
import { showTable, type Tab, TABS } from "./table.ts";
import { countText, STANDINGS } from "./words.ts";

const status = byId("status", HTMLElement);
const spoken = byId("spoken", HTMLElement);
const panel = byId("panel", HTMLElement);
const table = byId("table", HTMLElement);
const results = byId("results", HTMLElement);
const query = byId("query", HTMLInputElement);
const chartView = byId("chart-view", HTMLElement);
const tableView = byId("table-view", HTMLElement);
const switchView = byId("switch-view", HTMLButtonElement);

let fleet = emptyFleet();
let picture = pictureOf(fleet);
let selection: Selection | undefined;
let detail: Detail = {};
let tab: Tab = "nodes";
/** Details are asked for once at a time: the next time when something has changed since. */
let asking = false;
let askAgain = false;
/** What the legend shows. */
let shownMarks = "";

const chart = new Chart(byId("chart", HTMLCanvasElement), {
  onNode: (name) => select(name === undefined ? undefined : { kind: "node", name }),
  onSite: (name) => select({ kind: "site", name }),
});

function select(to: Selection | undefined): void {
  const isSame = to?.kind === selection?.kind && to?.name === selection?.name;
  selection = to;
  if (!isSame) detail = {};
  if (!isSame) panel.scrollTop = 0;
  byId("back", HTMLButtonElement).hidden = to === undefined;
  results.replaceChildren();
  if (tableView.hidden) query.value = ""; // what a table leaves out stays out
  spoken.textContent = spokenText();
  show();
  void askDetails();
}

/** What a screen reader says of what is selected. */
function spokenText(): string {
  if (selection === undefined) return "";
  const { kind, name } = selection;
  const node = kind === "node" ? picture.nodes.get(name) : undefined;
  return node === undefined ? `${kind} ${name}` : `${name}, site ${node.site}, ${STANDINGS[node.standing].word}`;
}

function show(): void {
  chart.show(picture);
  showLegend();
  chart.emphasise(emphasisOf(selection, detail));
  replaceContent(panel, ...panelOf({ fleet, picture, selection, detail, select }));
  if (!tableView.hidden) showTable(table, tab, fleet, picture, query.value.trim().toLowerCase(), select);
}

async function askDetails(): Promise<void> {
  askAgain = true;
  if (asking) return;
  asking = true;
  while (askAgain) {
    askAgain = false;
    const asked = selection;
    if (asked === undefined) break;
    const answers = await Promise.all(detailsOf(asked).map(async ([part, path]) => [part, await ask(path)]));
    if (asked !== selection) continue;
    detail = Object.fromEntries(answers.filter(([, answer]) => answer !== undefined)) as Detail;
    show();
  }
  asking = false;
}

/** `undefined`: there is no such thing, such as a way to a node that is away. */
async function ask(path: string): Promise<unknown> {
  try {
    const response = await fetch(path);
    return response.status === 200 ? await response.json() : undefined;
  } catch {
    return undefined;
  }
}

function takeFrame({ changes, down }: Frame): void {
  applyChanges(fleet, changes);
  picture = pictureOf(fleet);
  if (selection !== undefined && !isThere(selection, fleet)) selection = undefined;
  say(down === undefined ? "" : `Not live: ${down}. This is how it was.`);
  byId("counts", HTMLElement).textContent =
    `${countText(picture.nodes.size, "node")}, ${countText(picture.sites.size, "site")}`;
  show();
  void askDetails();
}

/** Says that what is shown is not how it is now; nothing: it is. */
function say(why: string): void {
  if (status.textContent !== why) status.textContent = why;
  status.hidden = why === "";
  document.body.classList.toggle("stale", why !== "");
}

function connect(): void {
  const stream = new EventSource("events"); // comes back by itself when the connection is cut
  let isNew = true;
  stream.addEventListener("open", () => (isNew = true));
  stream.addEventListener("fleet", (event: MessageEvent<string>) => {
    if (isNew) fleet = emptyFleet(); // the first frame of a stream has everything
    isNew = false;
    takeFrame(JSON.parse(event.data) as Frame);
  });
  stream.addEventListener("error", () =>
    say("Not live: portolan view does not answer. Start it again, and open the address that it prints."),
  );
}

function showResults(): void {
  const found = search(fleet, picture, query.value);
  const rows = found.map((to) =>
    el(
      "li",
      {},
      button(to.name, { class: "pick" }, () => select(to)),
      " ",
      el("span", { class: "quiet" }, to.kind),
    ),
  );
  const none =
    query.value.trim() !== "" && rows.length === 0
      ? [el("li", { class: "quiet" }, "nothing has that in its name")]
      : [];
  results.replaceChildren(...rows, ...none);
  if (!tableView.hidden) show();
}

function toggleTable(): void {
  tableView.hidden = !tableView.hidden;
  chartView.hidden = !tableView.hidden;
  switchView.textContent = tableView.hidden ? "Table" : "Chart";
  show();
}

function showTabs(): void {
  const tabs = TABS.map((name) =>
    button(name, { "aria-pressed": String(name === tab), "data-key": name }, () => {
      tab = name;
      showTabs();
      show();
    }),
  );
  replaceContent(byId("tabs", HTMLElement), ...tabs);
}

/** The marks that are on the chart. */
function showLegend(): void {
  const nodes = [...picture.nodes.values()];
  const used = new Set(nodes.map(({ standing }) => standing));
  const hasRegistrar = nodes.some(({ isRegistrar }) => isRegistrar);
  const shown = [...used, hasRegistrar].toSorted().join();
  if (shown === shownMarks) return;
  shownMarks = shown;
  const palette = readPalette();
  const item = (standing: Standing, text: string, isRegistrar = false): HTMLElement => {
    const mark = el("canvas", { width: "44", height: "44", "aria-hidden": "true" });
    const to = mark.getContext("2d");
    if (to !== null) drawMark(to, { standing, isRegistrar }, 22, 22, 12, palette);
    return el("li", {}, mark, text);
  };
  const standings = (Object.keys(STANDINGS) as Standing[]).filter((standing) => used.has(standing));
  const marks = standings.map((standing) =>
    item(standing, `${STANDINGS[standing].word}: ${STANDINGS[standing].meaning}`),
  );
  const ringed = hasRegistrar ? [item("linked", "with a circle around it: a registrar", true)] : [];
  byId("legend", HTMLElement).replaceChildren(...marks, ...ringed);
}

function type(event: KeyboardEvent): void {
  const isTyping = event.target instanceof HTMLInputElement;
  if (event.key === "Escape") {
    if (isTyping) query.value = "";
    showResults();
    select(undefined);
  } else if (event.key === "/" && !isTyping) {
    event.preventDefault();
    query.focus();
  } else if (event.key === "t" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) toggleTable();
}

query.addEventListener("input", showResults);
byId("search", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  results.querySelector("button")?.click();
});
byId("back", HTMLButtonElement).addEventListener("click", () => select(undefined));
byId("zoom-in", HTMLButtonElement).addEventListener("click", () => chart.zoomBy(1.3));
byId("zoom-out", HTMLButtonElement).addEventListener("click", () => chart.zoomBy(1 / 1.3));
byId("fit", HTMLButtonElement).addEventListener("click", () => chart.fit());
switchView.addEventListener("click", toggleTable);
document.addEventListener("keydown", type);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  shownMarks = "";
  showLegend();
});
showTabs();
connect();
