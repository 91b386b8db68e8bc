import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { SystemRandom } from "#core";
import { startView, type RunningView } from "#view";
import { findChromium, startChromium } from "../support/browser.ts";
import { openPage } from "../support/open-page.ts";
import { Yard, type YardNode } from "../support/yard.ts";

const CHROMIUM = findChromium();
const MIB = 1024 * 1024;
/** Where the README's picture goes; only with VIEW_SCREENSHOT=1, since every run has other names. */
const SCREENSHOT = join(import.meta.dirname, "..", "..", "docs", "images", "view.png");

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

  it("shows the nodes of each site, a service, and how an artifact comes", async () => {
    await hub.publish("model:v1", new SystemRandom().bytes(24 * MIB));
    await pump.untilArtifact("model:v1");
    for (const node of [cam, pump]) await node.ok("limits", "set", "--download", "1500k", "--for", "1h");
    await using opened = await open();
    const { page, errors, strays } = opened;
    await page.getByText("9 nodes, 3 sites").waitFor();
    await page.getByRole("button", { name: "level" }).waitFor();
    await hub.ok("stage", "model:v1", "--all");
    await page.getByRole("button", { name: "model:v1" }).click();
    await page.getByRole("progressbar").first().waitFor();
    if (process.env["VIEW_SCREENSHOT"] !== undefined) await page.screenshot({ path: "/tmp/view-artifact.png" });
    await cam.untilComplete("model:v1");
    await page.getByText("9 known, 9 wanted").waitFor();
    assert.deepEqual([errors, strays], [[], []]);
  });

  async function open(options: Parameters<typeof openPage>[2] = {}) {
    const opened = await openPage(browser, view.url, options);
    return { ...opened, [Symbol.asyncDispose]: () => opened.page.context().close() };
  }

  it("shoots", async () => {
    for (const colorScheme of ["light", "dark"] as const) {
      await using opened = await open({ colorScheme });
      await opened.page.screenshot({ path: `/tmp/view-all-${colorScheme}.png` });
      await opened.page.getByPlaceholder("Search").fill("pump-1");
      await opened.page.keyboard.press("Enter");
      await opened.page.getByText("If that fails").waitFor();
      await opened.page.screenshot({ path: `/tmp/view-${colorScheme}.png` });
    }
    await using narrow = await open({ viewport: { width: 400, height: 800 } });
    await narrow.page.screenshot({ path: "/tmp/view-narrow.png" });
    await narrow.page.keyboard.press("t");
    await narrow.page.screenshot({ path: "/tmp/view-narrow-table.png" });
  });
});
