import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ownTimezone } from "#policy";
import { DEFAULT_EXPOSE } from "#routing";
import { defaultDataDir, loadConfig } from "../../src/daemon/config.ts";

describe("configuration", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "config-"));
  });
  afterEach(() => rmSync(dir, { recursive: true }));
  const file = (text: string): string => {
    const path = join(dir, "portolan.yaml");
    writeFileSync(path, text);
    return path;
  };

  it("has a default for everything but the node's own name and place", () => {
    const config = loadConfig({ data: "/d" });
    assert.deepEqual(config, {
      data: "/d",
      labels: {},
      listen: ["/ip4/0.0.0.0/tcp/0/tls"],
      announce: [],
      lan: [],
      mdns: true,
      transit: true,
      expose: [...DEFAULT_EXPOSE],
      namesFor: [],
      logLevel: "info",
      limits: { base: {}, windows: [], timezone: ownTimezone() },
      store: {},
    });
  });

  it("takes a block of private addresses for names, and containers' networks only with one", () => {
    const { names, namesFor } = loadConfig({ names: "10.77.0.1:53", namesFor: ["172.17.0.0/16"] });
    assert.deepEqual([names, namesFor], [{ host: "10.77.0.1", port: 53 }, ["172.17.0.0/16"]]);
    for (const wrong of ["192.168.7.1:53", "169.254.1.1:53", "8.8.8.8:53", "0.0.0.0:53", "10.77.0.256:53", "10.77.0.1"])
      assert.throws(() => loadConfig({ names: wrong }), /--names: off, or an address and a port like/u, wrong);
    assert.throws(() => loadConfig({ namesFor: ["172.17.0.0/16"] }), /containers reach no address of loopback/u);
    assert.throws(() => loadConfig({ names: "off", namesFor: ["172.17.0.0/16"] }), /containers reach/u);
    assert.throws(() => loadConfig({ names: "10.77.0.1:53", namesFor: ["docker0"] }), /--names-for: a range like/u);
  });

  it("reads sizes with a unit", () => {
    const { store } = loadConfig({}, file("store: {quotaBytes: 200G, reserveBytes: 1.5G}\n"));
    assert.deepEqual(store, { quotaBytes: 200e9, reserveBytes: 1.5e9 });
    assert.throws(
      () => loadConfig({}, file("store: {quotaBytes: 80%}\n")),
      /store\.quotaBytes: a size in bytes, like/u,
    );
  });

  it("reads YAML and JSON alike, and lets flags win, labels key by key", () => {
    const yaml = file("site: berlin\nlabels: {gpu: true, rack: r1}\nlimits: {uploadBps: 10M, wanBps: 125000}\n");
    const config = loadConfig({ site: "paris", labels: { rack: "r2" }, metrics: "9464" }, yaml);
    assert.equal(config.site, "paris");
    assert.deepEqual(config.labels, { gpu: "true", rack: "r2" });
    assert.deepEqual(config.limits.base, { uploadBps: 10_000_000, wanUploadBps: 125_000, wanDownloadBps: 125_000 });
    assert.deepEqual(config.metrics, { host: "127.0.0.1", port: 9464 });
    assert.equal(loadConfig({}, file('{"site": "berlin", "mdns": false}')).mdns, false);
    assert.equal(loadConfig({}, file("# nothing yet\n")).mdns, true);
  });

  it("reads limits with windows", () => {
    const text = ["limits:", "  wanBps: 1M", "  wanUploadBps: 200k", "  timezone: Asia/Kathmandu", "  windows:"];
    const { limits } = loadConfig(
      {},
      file([...text, '    - { when: "Sat,Sun 22:00-02:00", wanBps: unlimited, uploadBps: 5k }', ""].join("\n")),
    );
    const span = { days: [5, 6], fromMinute: 22 * 60, lengthMinutes: 4 * 60 };
    const change = { uploadBps: 5_000, wanUploadBps: null, wanDownloadBps: null };
    assert.deepEqual(limits, {
      base: { wanUploadBps: 200_000, wanDownloadBps: 1_000_000 },
      timezone: "Asia/Kathmandu",
      windows: [{ when: "Sat,Sun 22:00-02:00", span, change }],
    });
  });

  it("names file, line and option, and suggests the option that was meant", () => {
    const cases: [string, RegExp, RegExp?][] = [
      ["site: berlin\nlistem: []\n", /portolan\.yaml:2: there is no option "listem"/u, /Did you mean "listen"/u],
      [
        "site: berlin\nlisten:\n  - /ip4/0.0.0.0/tcp/4001/tls\n  - nonsense\n",
        /portolan\.yaml:4: listen\.1: an address/u,
      ],
      ["site: Berlin Mitte\n", /portolan\.yaml:1: site: lower-case/u],
      ["mdns: maybe\n", /portolan\.yaml:1: mdns:/u],
      [`labels: ${"[".repeat(30)}\n`, /portolan\.yaml: it is nested too deep/u],
      ["site: a\nsite: b\n", /portolan\.yaml:2: .*unique/u],
      ["- a\n", /portolan\.yaml:1: the file is not a list of options/u],
      ["site: [\n", /portolan\.yaml:\d: /u],
      ["limits: {uploadBps: fast}\n", /portolan\.yaml:1: limits\.uploadBps: a rate/u],
      ["limits: {wanBps: unlimited}\n", /:1: limits\.wanBps: a rate/u],
      ["limits: {timezone: Mars/Base}\n", /:1: limits\.timezone: the name of a time zone/u],
      ["limits:\n  windows:\n    - {when: Mon, wanBps: 1}\n", /:3: limits\.windows\.0\.wanBps: a rate .* "unlimited"/u],
      ["limits:\n  windows:\n    - {when: always, wanBps: 1k}\n", /:3: limits\.windows\.0\.when: days, times or both/u],
      ["limits:\n  windows:\n    - {when: Mon}\n", /:3: limits\.windows\.0: a window says at least one rate/u],
      ["limits:\n  windows:\n    - {when: Mon, wanbps: 1k}\n", /:3: limits\.windows\.0: .*wanbps/u],
      ["lan: [10.0.0.0/8]\n", /lan: is given without proxy/u],
      ["proxy: ftp://x\n", /proxy: a proxy like/u],
      ["metrics: 0.0.0.0:9464\n", /metrics: a port, or a loopback/u],
    ];
    for (const [text, message, fix] of cases) {
      const expected = { code: "daemon.config", exit: "invalid", message, ...(fix === undefined ? {} : { fix }) };
      assert.throws(() => loadConfig({}, file(text)), expected, text);
    }
  });

  it("blames the flag, not the file, for a bad flag", () => {
    const path = file("site: berlin\n");
    assert.throws(() => loadConfig({ site: "a/b" }, path), { message: /^--site: lower-case/u });
  });

  it("says when the file is not there, is a folder, or refers to itself", () => {
    assert.throws(() => loadConfig({}, join(dir, "none.yaml")), { code: "daemon.config-file", exit: "missing" });
    assert.throws(() => loadConfig({}, dir), { code: "daemon.config", message: /is not a file/u });
    assert.throws(() => loadConfig({}, file("labels: &a {x: *a}\n")), { code: "daemon.config" });
  });

  it("finds the data directory in the environment", () => {
    assert.equal(defaultDataDir({ PORTOLAN_DATA: "/x" }), "/x");
    assert.equal(defaultDataDir({ XDG_DATA_HOME: "/share" }), "/share/portolan");
    assert.match(defaultDataDir({}), /\.local\/share\/portolan$/u);
  });
});
