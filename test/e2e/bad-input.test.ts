import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { decodeToken, encodeToken } from "#identity";
import { PORTOLAN, Yard, type YardNode } from "../support/yard.ts";

const HEADER = "serial,model,key,tenant,labels,expires";

describe("bad input", function () {
  this.timeout(60_000);
  let yard: Yard;
  let hub: YardNode;
  let token: string;

  before(async () => {
    ({ yard, hub, token } = await Yard.withFleet());
  });
  after(() => yard[Symbol.asyncDispose]());

  const up = (code: number, ...flags: string[]): Promise<string> =>
    yard.fails(code, "up", "--data", yard.path("fresh"), "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0/tls", ...flags);

  const tokens: [string, () => string, RegExp][] = [
    [
      "expired",
      () =>
        encodeToken({ ...decodeToken(token, { nowMs: yard.clock.wallMs() }), expiresMs: yard.clock.wallMs() - 60_000 }),
      /expired at .*\ntry: .*portolan token/u,
    ],
    ["cut", () => token.slice(0, -5), /cut or mistyped.*\ntry: Copy it again/u],
    [
      "with a typing error",
      () => `${token.slice(0, 30)}${token[30] === "A" ? "B" : "A"}${token.slice(31)}`,
      /cut or mistyped/u,
    ],
    ["not base64", () => `${token.slice(0, 20)}!${token.slice(21)}`, /character 21 is not base64url/u],
    ["something else", () => "hello", /does not start with ptl1\./u],
  ];
  for (const [what, text, said] of tokens) {
    it(`a token that is ${what}`, async () => assert.match(await up(2, "--token", text()), said));
  }

  it("a token of another fleet, on a node that has one", async () => {
    const other = yard.node("other");
    await other.ok("fleet", "create", "elsewhere", "--demo");
    const said = await other.fails(2, "up", "--no-mdns", "--token", token);
    assert.match(said, /the token is for fleet .*, this node belongs to fleet .*\ntry: .*portolan leave/u);
  });

  const claims: [string, string, RegExp][] = [
    ["a serial twice", `${HEADER}\nA,,,,,\nB,,,,,\nA,,,,,\n`, /serial A stands in line 2 already/u],
    ["a column too few", "serial,model,key,tenant,labels\nA,,,,\n", /column expires is missing/u],
    ["a column that nobody knows", `${HEADER},colour\nA,,,,,,red\n`, /no column "colour"/u],
    ["a key that is none", `${HEADER}\nA,,abc,,,\n`, /key: .*\ntry: `portolan id`/u],
    ["no device", `${HEADER}\n`, /no row/u],
    ["nothing", "", /no row/u],
    ["bytes that are no text", "\u0000\u0001\u0002", /claims|column|row/u],
  ];
  for (const [what, text, said] of claims) {
    it(`claims with ${what}`, async () =>
      assert.match(await hub.fails(2, "admit", "-f", yard.write("bad.csv", text)), said));
  }

  it("claims with Windows line ends and a byte order mark are none", async () => {
    const file = yard.write(
      "windows.csv",
      `\uFEFF${HEADER.toUpperCase()}\r\nW-1,Eye 3,,,rack=r1,2099-12-31\r\nW-2,,,,,\r\n`,
    );
    await hub.ok("admit", "-f", file);
    const { body } = await hub.client.call("documents.get", { name: "ClaimList/windows" });
    const { rows } = body["spec"] as { rows: { serial: string; expires?: string }[] };
    assert.deepEqual(
      rows.map(({ serial }) => serial),
      ["W-1", "W-2"],
    );
    assert.equal(rows[0]?.expires, "2099-12-31T00:00:00.000Z");
  });

  const paths: [string, number, () => string[], RegExp][] = [
    ["claims that do not exist", 4, () => ["admit", "-f", yard.path("none.csv")], /no file .*none\.csv/u],
    ["claims that are a folder", 2, () => ["admit", "-f", yard.folder], /is not a file/u],
    ["claims that are a socket", 2, () => ["admit", "-f", yard.path("hub", "daemon.sock")], /is not a file/u],
    ["a document that does not exist", 4, () => ["apply", "-f", yard.path("none.yaml")], /no file/u],
    ["a document that is none", 2, () => ["apply", "-f", yard.write("x.yaml", "- 1\n")], /no document/u],
    [
      "a key that does not exist",
      4,
      () => ["batch", "open", "--max", "1", "--until", "1h", "--as", yard.path("none.key")],
      /none\.key/u,
    ],
    [
      "a key that is none",
      2,
      () => ["batch", "open", "--max", "1", "--until", "1h", "--as", yard.write("x.key", "{}")],
      /x\.key/u,
    ],
    [
      "a key that others may read",
      3,
      () => ["batch", "open", "--max", "1", "--until", "1h", "--as", openKey()],
      /chmod|others/u,
    ],
    ["a batch without an end", 2, () => ["batch", "open", "--max", "1", "--until", "yesterday"], /--until 24h/u],
    [
      "a batch of nobody's range",
      2,
      () => ["batch", "open", "--max", "1", "--until", "1h", "--cidr", "10.0.0.0/99"],
      /cidr|range/u,
    ],
    ["a kind that is none", 2, () => ["get", "dragons"], /dragons/u],
    ["a selector that is none", 2, () => ["get", "nodes", "-l", "a=="], /selector/u],
    ["a name that nobody has", 4, () => ["describe", "artifact", "none:v1"], /none:v1/u],
    ["a node that nobody knows", 4, () => ["revoke", "nobody"], /nobody/u],
    ["a command that is none", 2, () => ["fly"], /fly/u],
    ["an option that is none", 2, () => ["status", "--fast"], /--fast/u],
  ];
  for (const [what, code, args, said] of paths) {
    it(what, async () => assert.match(await hub.fails(code, ...args()), said));
  }

  function openKey(): string {
    return yard.write("open.key", readFileSync(yard.path("hub", "demo-keys", "demo.key")), 0o644);
  }

  const names: [string, string][] = [
    ["a slash", "a/b"],
    ["a space", "a b"],
    ["300 characters", "a".repeat(300)],
    ["nothing in it", ""],
  ];
  for (const [what, name] of names) {
    it(`a name with ${what}, of an artifact, a fleet, a site and a key`, async () => {
      const file = yard.write("file", "x");
      await hub.fails(2, "publish", file, "--name", name);
      await yard.fails(2, "fleet", "create", name, "--demo", "--data", yard.path("named"));
      await up(2, "--site", name);
      const pass = yard.write("pass", "word\n");
      await yard.fails(2, "owner", "create", name, "--out", yard.path("k"), "--passphrase-file", pass);
      assert.ok(!existsSync(yard.path("k", "a")));
    });
  }

  it("a port that is in use is named", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = taken.address() as AddressInfo;
    const said = await yard.fails(
      5,
      "up",
      "--data",
      yard.path("fresh"),
      "--no-mdns",
      "--listen",
      `/ip4/127.0.0.1/tcp/${port}/tls`,
    );
    assert.match(said, new RegExp(`127\\.0\\.0\\.1.* port ${port}: it is in use\ntry: `, "u"));
    taken.close();
  });

  it("a data directory of a newer version is left alone", async () => {
    mkdirSync(yard.path("newer"));
    yard.write("newer/format", "99\n");
    for (const command of [["up", "--no-mdns"], ["status"], ["fleet", "create", "x", "--demo"]]) {
      const said = await yard.fails(2, ...command, "--data", yard.path("newer"));
      assert.match(said, /newer version \(format 99; .*\ntry: Upgrade/u);
    }
    assert.equal(readFileSync(yard.path("newer", "format"), "utf8"), "99\n");
  });

  it("a data directory that is a file, or cannot be made", async () => {
    assert.match(
      await yard.fails(2, "up", "--data", yard.write("plain", "x")),
      /cannot use .*plain as data directory/u,
    );
    assert.match(await yard.fails(2, "up", "--data", yard.path("plain", "under")), /cannot use .*under/u);
  });

  it("a configuration with an unknown key is refused with file, line and the nearest known one", async () => {
    const file = yard.write("config.yaml", "site: berlin\nlabel: { a: b }\n");
    assert.match(await up(2, "--config", file), /config\.yaml:2: .*"label"\ntry: .*"labels"/u);
    assert.match(await up(4, "--config", yard.path("none.yaml")), /no configuration file .*none\.yaml/u);
    assert.match(await up(2, "--listen", "everywhere"), /listen.*\/ip4\/0\.0\.0\.0\/tcp\/4001\/tls/u);
  });

  it("a command whose daemon is down says so with exit code 10, and works from any folder through a link", async () => {
    const link = yard.path("link");
    symlinkSync(PORTOLAN, link);
    const { code, out } = await yard.exec(["sh", "-c", `cd / && "${link}" version -o json`]);
    assert.equal(code, 0);
    assert.match(out, /"portolan"/u);
    const off = yard.node("off");
    await off.ok("fleet", "create", "off", "--demo");
    assert.match(await off.fails(10, "fetch", "x:v1"), /no daemon runs on .*off\ntry: .*portolan up/u);
    const bare = await yard.run("doctor", "--data", off.data);
    assert.equal(bare.code, 1);
    assert.match(bare.out, /ERROR +daemon: .*\n +try: portolan up/u);
  });
});
