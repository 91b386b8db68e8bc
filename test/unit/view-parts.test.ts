import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { SystemClock } from "#core";
import { type LinkPolicy, NO_POLICY } from "#routing";
import { openInBrowser } from "#view";
import { mapView } from "../../src/daemon/control/map.ts";

const clock = new SystemClock();
const terms = (latency: number) => ({ latency, loss: 0, load: 0, money: 0, penalty: 0 });
const told = (links: Record<string, number>) => ({
  transit: true,
  links: new Map(Object.entries(links).map(([to, latency]) => [to, terms(latency)])),
});

describe("the map of everybody's links", () => {
  const map = new Map([
    ["A", told({ B: 4, C: 9 })],
    ["B", told({ A: 6 })],
    ["C", told({})],
  ]);
  const view = (policy: LinkPolicy) => mapView({ map: () => map, policy }, (node) => node.toLowerCase());

  it("has each link once, with the cost of each direction, and none where only one end tells of it", () => {
    assert.deepEqual(view(NO_POLICY), {
      nodes: ["a", "b", "c"],
      links: [
        [0, 1, 5, 7],
        [0, 2, null, null],
      ],
    });
  });

  it("shows what a topology adds and forbids", () => {
    const admin: LinkPolicy["admin"] = (from) => (from === "A" ? 10 : Number.POSITIVE_INFINITY);
    assert.deepEqual(view({ ...NO_POLICY, admin }).links[0], [0, 1, null, null]);
    assert.deepEqual(view({ ...NO_POLICY, admin: () => 10 }).links[0], [0, 1, 15, 17]);
  });
});

describe("opening the page in a browser", () => {
  it("keeps the address out of the arguments that everybody sees: they name a file of this user", async () => {
    const folder = mkdtempSync(join(tmpdir(), "opener-"));
    const seen = join(folder, "seen");
    writeFileSync(join(folder, "xdg-open"), `#!/bin/sh\necho "$@" > ${seen}.tmp && mv ${seen}.tmp ${seen}\n`, {
      mode: 0o700,
    });
    const { PATH = "" } = process.env;
    process.env["PATH"] = `${folder}${delimiter}${PATH}`;
    let file: string;
    try {
      using opened = openInBrowser("http://127.0.0.1:1/secret/", "linux");
      assert.ok(opened);
      while (!existsSync(seen)) await clock.sleep(5);
      const argument = readFileSync(seen, "utf8").trim();
      assert.doesNotMatch(argument, /secret/u);
      file = new URL(argument).pathname;
      assert.match(readFileSync(file, "utf8"), /url=http:\/\/127\.0\.0\.1:1\/secret\//u);
      assert.equal(statSync(file).mode & 0o077, 0);
    } finally {
      process.env["PATH"] = PATH;
    }
    assert.ok(!existsSync(file));
  });

  it("does without where there is nothing to open it with", () => {
    openInBrowser("http://127.0.0.1:1/", "aix")[Symbol.dispose]();
  });
});
