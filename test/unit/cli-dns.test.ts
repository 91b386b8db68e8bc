import assert from "node:assert/strict";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { CliHarness } from "../support/cli-harness.ts";

describe("portolan dns", () => {
  let cli: CliHarness;
  let root: string;
  const at = (path: string): string => join(root, path);
  const write = (path: string, text = ""): void => {
    mkdirSync(dirname(at(path)), { recursive: true });
    writeFileSync(at(path), text);
  };
  const read = (path: string): string => readFileSync(at(path), "utf8");
  const files = (): string[] =>
    readdirSync(root, { recursive: true, withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
      .toSorted();
  const install = (server = "127.77.0.1:53") => cli.run(["dns", "install", "--root", root, "--server", server]);
  const uninstall = () => cli.run(["dns", "uninstall", "--root", root]);

  beforeEach(() => {
    cli = new CliHarness();
    root = cli.path("root");
    mkdirSync(root);
  });
  afterEach(() => cli.dispose());

  const BEFORE = "search example.org\nnameserver 10.0.0.1\nnameserver 10.0.0.2\noptions edns0\n";
  const ways: readonly [string, () => void, string, RegExp][] = [
    [
      "systemd-resolved",
      () => write("usr/lib/systemd/systemd-resolved"),
      "etc/systemd/resolved.conf.d/portolan.conf",
      /^#.*\n\[Resolve\]\nDNS=127\.77\.0\.1:53\nDomains=~mesh\n$/u,
    ],
    [
      "dnsmasq",
      () => {
        write("usr/sbin/dnsmasq");
        write("etc/dnsmasq.d/README");
      },
      "etc/dnsmasq.d/portolan.conf",
      /^#.*\nserver=\/mesh\/127\.77\.0\.1#53\nrebind-domain-ok=\/mesh\/\n$/u,
    ],
    [
      "resolv.conf",
      () => {},
      "etc/resolv.conf",
      /^#.*\nnameserver 127\.77\.0\.1\nsearch example\.org\nnameserver 10\.0\.0\.1\n/u,
    ],
  ];
  for (const [kind, prepare, file, wanted] of ways) {
    it(`tells ${kind}, once, tells it another server, and undoes it to the byte`, async () => {
      write("etc/resolv.conf", BEFORE);
      prepare();
      const before = files();
      const first = await install();
      assert.deepEqual([first.code, first.out], [0, ""]);
      assert.match(
        first.err,
        new RegExp(`^${kind} asks 127\\.77\\.0\\.1:53 for names that end in \\.mesh: .*${file}\n$`, "u"),
      );
      assert.match(read(file), wanted);
      const { ino } = statSync(at(file));
      assert.match((await install()).err, /already\n$/u);
      assert.equal(statSync(at(file)).ino, ino, "it was not written again");
      assert.match((await install("127.78.0.1:53")).err, /127\.78\.0\.1/u);
      assert.match(read(file), /127\.78\.0\.1/u);
      const status = await cli.run(["dns", "status", "--root", root, "-o", "json"]);
      const { way, asks } = JSON.parse(status.out) as Record<string, string>;
      assert.deepEqual([status.code, way, asks], [6, kind, "127.78.0.1:53"]);
      assert.equal((await uninstall()).code, 0);
      assert.deepEqual(files(), before);
      assert.equal(read("etc/resolv.conf"), BEFORE);
      assert.match((await uninstall()).err, /nothing to undo/u);
    });
  }

  it("leaves a file of somebody else as it is: 5", async () => {
    write("usr/lib/systemd/systemd-resolved");
    write("etc/systemd/resolved.conf.d/portolan.conf", "[Resolve]\nDNS=10.0.0.1\n");
    for (const run of [install, uninstall]) {
      const { code, err } = await run();
      assert.equal(code, 5);
      assert.match(err, /written by somebody else/u);
    }
    assert.equal(read("etc/systemd/resolved.conf.d/portolan.conf"), "[Resolve]\nDNS=10.0.0.1\n");
  });

  it("puts a symbolic link back as one", async () => {
    write("run/nm/resolv.conf", BEFORE);
    mkdirSync(at("etc"));
    symlinkSync("../run/nm/resolv.conf", at("etc/resolv.conf"));
    assert.equal((await install()).code, 0);
    assert.ok(lstatSync(at("etc/resolv.conf")).isFile());
    assert.equal(read("run/nm/resolv.conf"), BEFORE);
    assert.equal((await uninstall()).code, 0);
    assert.equal(readlinkSync(at("etc/resolv.conf")), "../run/nm/resolv.conf");
  });

  it("does not undo what somebody changed meanwhile, and says so: 5", async () => {
    write("etc/resolv.conf", BEFORE);
    await install();
    const changed = `${read("etc/resolv.conf")}nameserver 9.9.9.9\n`;
    write("etc/resolv.conf", changed);
    for (const run of [uninstall, () => install("127.78.0.1:53")]) {
      const { code, err } = await run();
      assert.equal(code, 5);
      assert.match(err, /somebody has changed .*\ntry: .*resolv\.conf\.before-portolan/u);
    }
    assert.equal(read("etc/resolv.conf"), changed);
    assert.equal(read("etc/resolv.conf.before-portolan"), BEFORE);
  });

  it("takes the file that somebody put in its place for the one from before", async () => {
    write("etc/resolv.conf", BEFORE);
    await install();
    write("etc/resolv.conf", "nameserver 9.9.9.9\n");
    assert.equal((await install()).code, 0);
    assert.match(read("etc/resolv.conf"), /^#.*\nnameserver 127\.77\.0\.1\nnameserver 9\.9\.9\.9\n$/u);
    assert.equal((await uninstall()).code, 0);
    assert.equal(read("etc/resolv.conf"), "nameserver 9.9.9.9\n");
    assert.equal(existsSync(at("etc/resolv.conf.before-portolan")), false);
  });

  it("goes on where it was cut short, and undoes that as well", async () => {
    for (const next of [install, uninstall]) {
      write("etc/resolv.conf", BEFORE);
      await install();
      // what a crash between keeping the old file and writing the new one leaves
      writeFileSync(at("etc/resolv.conf"), BEFORE);
      writeFileSync(at("etc/resolv.conf.new"), "# half");
      assert.equal((await next()).code, 0);
      if (next === install) assert.equal((await uninstall()).code, 0);
      assert.equal(read("etc/resolv.conf"), BEFORE);
      assert.deepEqual(files(), ["etc/resolv.conf"]);
    }
  });

  it("says what is missing: port 53 for resolv.conf 5, a resolver 4, a daemon 10, an address 2", async () => {
    assert.equal((await install()).code, 4);
    write("etc/resolv.conf", BEFORE);
    const { code, err } = await install("127.77.0.1:7353");
    assert.deepEqual([code, read("etc/resolv.conf"), files()], [5, BEFORE, ["etc/resolv.conf"]]);
    assert.match(err, /try: .*CAP_NET_BIND_SERVICE/u);
    assert.equal((await cli.run(["dns", "install", "--root", root])).code, 10);
    assert.equal((await install("somewhere")).code, 2);
  });

  it("changes this machine for root only: 3", async function () {
    const { geteuid } = process;
    if (geteuid === undefined) {
      console.log("      this platform has no root");
      return this.skip();
    }
    process.geteuid = () => 1_000;
    try {
      for (const what of ["install", "uninstall"]) {
        const { code, err } = await cli.run(["dns", what]);
        assert.equal(code, 3);
        assert.match(err, /try: .*sudo/u);
      }
    } finally {
      process.geteuid = geteuid;
    }
  });
});
