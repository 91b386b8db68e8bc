import { strict as assert } from "node:assert";
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SystemClock, SystemRandom } from "#core";
import { type Coast, PLACES, startCoast } from "./coast.ts";
import { skipWithoutLab } from "./skip-without.ts";

const clock = new SystemClock();
/** A test that runs at each change has a minute; more shows more. */
const SECONDS = Number(process.env["PORTOLAN_BAD_LINKS_SECONDS"] ?? 60);
const DOWNLOAD_MS = 120_000;
const FILE_BYTES = 256 * 1024;
/** Of each site's access link, each way: 300 ms and 3.6 % between two sites one way, so 600 ms and 7 % there and back. */
const BAD = { rateBps: 20e6, delayMs: 150, lossRatio: 0.018 };

/** What a downloading user sees. */
type Download = { ms: number; equal: boolean };

/** The links of a satellite, and users who download over them all the time. */
describe("links with 600 ms and 7 % loss", function () {
  this.timeout(SECONDS * 1_000 + 400_000);
  let stack: AsyncDisposableStack;
  let coast: Coast;

  before(async function () {
    await skipWithoutLab(this, "curl", "python3", "sha256sum");
    stack = new AsyncDisposableStack();
    coast = await startCoast(clock, stack, BAD);
  });
  after(() => stack?.disposeAsync());

  it("stay up, carry what is asked of them, and need nobody to restart anything", async () => {
    const { lab, fleet, folder } = coast;
    const stop = new AbortController();
    stack.defer(() => stop.abort());
    const web = join(folder, "web");
    mkdirSync(web);
    const content = new SystemRandom().bytes(FILE_BYTES);
    const digest = createHash("sha256").update(content).digest("hex");
    writeFileSync(join(web, "film"), content);
    lab.start(PLACES.pump.netns, ["python3", "-m", "http.server", "8000", "--bind", "127.0.0.1", "--directory", web]);
    await fleet.cli("pump", "service", "publish", "web", "--to", "127.0.0.1:8000", "--check", "tcp");
    const port = await fleet.connect("cam", "web", stop.signal);
    const download = async (): Promise<Download> => {
      const startMs = clock.nowMs();
      const get = `curl -sS --max-time ${DOWNLOAD_MS / 1_000} http://127.0.0.1:${port}/film | sha256sum`;
      const printed = await lab.run(PLACES.cam.netns, ["sh", "-c", get], DOWNLOAD_MS).catch(String);
      return { ms: clock.nowMs() - startMs, equal: printed.startsWith(digest) };
    };
    const downloads: Download[] = [];
    const untilMs = clock.nowMs() + SECONDS * 1_000;
    while (clock.nowMs() < untilMs) downloads.push(await download());
    const ms = downloads.map((one) => one.ms).toSorted((a, b) => a - b);
    const wrong = downloads.filter(({ equal }) => !equal).length;
    const { items } = await fleet.client("cam").call("links.list", {});
    const links = items.map(({ rttMs, lossRatio }) => `${rttMs} ms ${((lossRatio ?? 0) * 100).toFixed(1)} %`);
    console.log(
      `      ${downloads.length} downloads, ${wrong} of them wrong, ${Math.round(ms[ms.length >> 1] ?? 0)} ms in the median, ${Math.round(ms.at(-1) ?? 0)} at most; links ${links.join(", ")}`,
    );
    assert.equal(wrong, 0);
    assert.ok(downloads.length >= 2);
    assert.deepEqual(
      items.map(({ state }) => state).filter((state) => state === "up").length,
      2,
      JSON.stringify(items),
    );
  });
});
