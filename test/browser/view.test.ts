import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { SystemRandom } from "#core";
import { startView, type RunningView } from "#view";
import { boxOf, fit, toScreen } from "../../src/view/page/camera.ts";
import { layOut, type Point } from "../../src/view/page/layout.ts";
import { findChromium, startChromium } from "../support/browser.ts";
import { openPage } from "../support/open-page.ts";
import { Yard, type YardNode } from "../support/yard.ts";

const CHROMIUM = findChromium();
const MIB = 1024 * 1024;
/** Where to put pictures: for the README, and to look at. */
const PICTURES = process.env["VIEW_PICTURES"];

describe("the live page in a browser", function () {
  this.timeout(120_000);
  let yard: Yard;
  let hub: YardNode;
  let cam: YardNode;
  let pump: YardNode;
  let gauge: YardNode;
  let browser: Browser;
  let view: RunningView;
  let target: Server;

  before(async function () {
    if (CHROMIUM === undefined) {
      console.log("      chromium is not installed: apt-get install chromium");
      this.skip();
    }
    yard = new Yard();
    hub = yard.node("hub");
    await hub.ok("fleet", "create", "coast", "--demo", "--site", "hamburg");
    await hub.up();
    for (const [serial, site] of [
      ["crane-1", "hamburg"],
      ["crane-2", "hamburg"],
      ["gpu-1", "berlin"],
      ["gpu-2", "berlin"],
      ["gauge-1", "munich"],
      ["gauge-2", "munich"],
    ] as const) {
      const node = await yard.member(hub, serial, site);
      if (serial === "gauge-1") gauge = node;
    }
    ({ "cam-1": cam } = await yard.membersBehind(hub, { "cam-1": "" }, { site: "berlin" }));
    ({ "pump-1": pump } = await yard.membersBehind(hub, { "pump-1": "" }, { site: "munich" }));
    target = createServer((_, response) => response.end("here")).listen(0, "127.0.0.1");
    await yard.until("the target to listen", async () => target.listening);
    const { port } = target.address() as AddressInfo;
    await gauge.ok("service", "publish", "level", "--to", `127.0.0.1:${port}`, "--check", "tcp");
    view = await startView({ client: cam.client, clock: yard.clock, random: new SystemRandom() }, 0);
    browser = await startChromium(CHROMIUM);
  });
  after(async () => {
    await browser?.close();
    await view?.[Symbol.asyncDispose]();
    target?.close();
    await yard?.[Symbol.asyncDispose]();
  });

  /** A page that is closed with its block. Nothing may have gone wrong on it, and nothing gone elsewhere. */
  async function open(options: Parameters<typeof openPage>[2] = {}) {
    const { page, errors, strays } = await openPage(browser, view.url, options);
    return {
      page,
      picture: async (name: string) => {
        if (PICTURES !== undefined) await page.screenshot({ path: join(PICTURES, `${name}.png`) });
      },
      [Symbol.asyncDispose]: async () => {
        await page.context().close();
        assert.deepEqual([errors, strays], [[], []]);
      },
    };
  }
  const heading = (page: Page, name: string): Promise<void> => page.getByRole("heading", { name }).waitFor();

  it("shows the nodes of each site, links, a service, and how an artifact comes", async () => {
    await hub.publish("model:v1", new SystemRandom().bytes(12 * MIB));
    await pump.untilArtifact("model:v1");
    await cam.untilArtifact("model:v1");
    for (const node of [cam, pump]) await node.ok("limits", "set", "--download", "1500k", "--for", "1h");
    await using opened = await open();
    const { page, picture } = opened;
    await page.getByText("9 nodes, 3 sites").waitFor();
    await page.getByText(/9 nodes in 3 sites, 3\d links\. 7 linked, 1 over others\./u).waitFor();
    await page.getByRole("button", { name: "level" }).click();
    await page.getByText("1 of 1").waitFor();
    await page.getByRole("button", { name: "gauge-1" }).waitFor();
    await page.keyboard.press("Escape");
    await hub.ok("stage", "model:v1", "--all");
    await page.getByRole("button", { name: "model:v1" }).click();
    await page.getByRole("progressbar", { name: /^cam-1 has [1-9]\d? %$/u }).waitFor();
    await picture("artifact");
    await page.getByText("9 known, 9 wanted").waitFor();
  });

  it("is used with the keyboard alone: the table, a node, its way, and back", async () => {
    await using opened = await open();
    const { page } = opened;
    await page.keyboard.press("t");
    await page.getByRole("button", { name: "pump-1" }).focus();
    await page.keyboard.press("Enter");
    await heading(page, "pump-1");
    await page.keyboard.press("t");
    await page.keyboard.press("Escape");
    await heading(page, "Fleet");
    await page.locator("#chart").focus();
    await page.keyboard.press("ArrowRight");
    await heading(page, "cam-1");
    assert.match((await page.locator("#spoken").textContent()) ?? "", /^cam-1, site berlin, this node$/u);
    await page.keyboard.press("ArrowRight");
    await heading(page, "gpu-1");
    await page.keyboard.press("/");
    await page.keyboard.type("pump");
    await page.keyboard.press("Enter");
    await heading(page, "pump-1");
    await page.getByText("If that fails").waitFor();
    await page
      .getByText(/^cam-1 → /u)
      .first()
      .waitFor();
  });

  it("selects the node, or the site, that is clicked on", async () => {
    await using opened = await open();
    const { page } = opened;
    const sites = Map.groupBy((await cam.client.call("nodes.list", {})).items, ({ site }) => site);
    const layout = layOut(new Map([...sites].map(([site, nodes]) => [site, nodes.map(({ name }) => name)])));
    const chart = page.locator("#chart");
    const size = (await chart.boundingBox()) ?? assert.fail();
    const click = (point: Point | undefined): Promise<void> =>
      chart.click({ position: toScreen(fit(boxOf(layout), size), size, point ?? assert.fail()) });
    await click(layout.nodes.get("crane-2"));
    await heading(page, "crane-2");
    const munich = layout.sites.get("munich") ?? assert.fail();
    await click({ x: munich.x, y: munich.y - munich.radius + 4 });
    await heading(page, "Site munich");
    await click({ x: 0, y: 0 });
    await heading(page, "Fleet");
  });

  it("shows a link as each of its ends tells of it", async () => {
    await using opened = await open();
    const { page } = opened;
    await page.keyboard.press("t");
    await page.getByRole("button", { name: "links" }).click();
    await page.getByText(/^3\d links$/u).waitFor();
    await page
      .getByRole("row", { name: /gauge-1 gauge-2|gauge-2 gauge-1/u })
      .getByRole("button")
      .click();
    await heading(page, "Link gauge");
    await page
      .getByText(/^up, cost \d+$/u)
      .nth(1)
      .waitFor();
  });

  it("has colours for light and for dark, and a place for everything on a narrow screen", async () => {
    const papers: unknown[] = [];
    for (const colorScheme of ["light", "dark"] as const) {
      await using opened = await open({ colorScheme });
      const { page, picture } = opened;
      papers.push(await page.evaluate("getComputedStyle(document.body).backgroundColor"));
      await page.getByText("7 linked").waitFor();
      await picture(`all-${colorScheme}`);
      await page.getByPlaceholder("Search").fill("pump-1");
      await page.keyboard.press("Enter");
      await page.getByText("If that fails").waitFor();
      await page.evaluate("document.activeElement.blur()");
      await picture(`node-${colorScheme}`);
    }
    assert.deepEqual(papers, ["rgb(255, 255, 255)", "rgb(17, 23, 29)"]);
    await using narrow = await open({ viewport: { width: 400, height: 800 } });
    const tooWide = "document.documentElement.scrollWidth > document.documentElement.clientWidth";
    assert.equal(await narrow.page.evaluate(tooWide), false);
    await narrow.picture("narrow");
    await narrow.page.getByRole("button", { name: "Table" }).click();
    await narrow.page.getByRole("button", { name: "pump-1" }).waitFor();
    assert.equal(await narrow.page.evaluate(tooWide), false);
    await narrow.picture("narrow-table");
  });

  it("shows within seconds that a node was killed, and that the daemon is gone", async () => {
    await using opened = await open();
    const { page, picture } = opened;
    await page.getByText("7 linked, 1 over others.").waitFor();
    await gauge.kill();
    await page.getByText("1 away").waitFor({ timeout: 20_000 });
    await picture("away");
    await cam.kill();
    await page.getByText("Not live: ").waitFor({ timeout: 10_000 });
    await page.getByText("9 nodes, 3 sites").waitFor();
    await picture("stale");
  });
});
