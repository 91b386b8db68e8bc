import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ControlClient, SOCKET_NAME } from "#api";
import { SILENT_LOG, SystemClock, SystemRandom } from "#core";
import { startView } from "#view";
import { createMetrics } from "../../src/daemon/metrics.ts";
import { startControlServer } from "../../src/daemon/server.ts";
import { findChromium, startChromium } from "../support/browser.ts";
import { memoryHandlers, memoryResources } from "../support/memory-handlers.ts";
import { openPage } from "../support/open-page.ts";
import { thousandNodes } from "../support/thousand-nodes.ts";

const CHROMIUM = findChromium();
const clock = new SystemClock();

/** Turns the wheel for 60 frames of the screen; the longest and the median time between two, in milliseconds. */
const ZOOM_FOR_60_FRAMES = `new Promise((resolve) => {
  const canvas = document.getElementById("chart");
  const times = [];
  const step = (ms) => {
    times.push(ms);
    if (times.length > 60) {
      const gaps = times.slice(1).map((time, i) => time - times[i]).sort((a, b) => a - b);
      return resolve({ median: gaps[30], longest: gaps[59] });
    }
    canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: times.length < 30 ? -60 : 60, cancelable: true }));
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})`;

describe("the live page with 1,000 nodes", function () {
  this.timeout(120_000);

  it("shows all of them, finds one, and prints how long frames take", async function () {
    if (CHROMIUM === undefined) {
      console.log("      chromium is not installed: apt-get install chromium");
      return this.skip();
    }
    await using stack = new AsyncDisposableStack();
    const data = mkdtempSync(join(tmpdir(), "view-"));
    stack.defer(() => rmSync(data, { recursive: true, force: true }));
    const fleet = thousandNodes();
    const resources = memoryResources();
    resources.nodes.items = fleet.nodes;
    resources.links.items = fleet.links;
    const handlers = memoryHandlers(resources, { map: () => Promise.resolve(fleet.map) });
    Object.assign(resources.routes, { list: () => Promise.resolve(fleet.routes) });
    const deps = { handlers, metrics: createMetrics(), log: SILENT_LOG, clock };
    stack.use(await startControlServer(deps, { socketPath: join(data, SOCKET_NAME), version: "1" }));
    const view = stack.use(
      await startView({ client: new ControlClient(clock, data), clock, random: new SystemRandom() }, 0),
    );
    const browser = await startChromium(CHROMIUM);
    stack.defer(() => browser.close());
    const { page, errors, strays } = await openPage(browser, view.url);
    await page.getByText("1000 nodes, 30 sites").waitFor();
    await page.getByText(/100 away/u).waitFor();
    await page.getByText(/\b\d{4} links\./u).waitFor();
    const zoomed = await page.evaluate<{ median: number; longest: number }>(ZOOM_FOR_60_FRAMES);
    console.log(
      `      frames while zooming: ${zoomed.median.toFixed(1)} ms, the longest ${zoomed.longest.toFixed(1)} ms`,
    );
    await page.getByPlaceholder("Search").fill("node-512");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "node-512" }).waitFor();
    await page.emulateMedia({ colorScheme: "dark" });
    await page.getByRole("button", { name: "Table" }).click();
    await page.getByText("1000 nodes", { exact: true }).waitFor();
    assert.equal(await page.locator("tbody tr").count(), 1_000);
    assert.deepEqual([errors, strays], [[], []]);
  });
});
