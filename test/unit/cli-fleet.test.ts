import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CliHarness, type Result } from "../support/cli-harness.ts";
import { startOffline } from "#daemon";

/** The whole of a fleet's paperwork by real commands, with the real document store, before any daemon runs. */
describe("a fleet's documents on the command line", function () {
  this.timeout(60_000); // dozens of commands, each opening the data directory
  let cli: CliHarness;

  beforeEach(() => {
    cli = new CliHarness();
    cli.deps = { ...cli.deps, startOffline };
  });
  afterEach(() => cli.dispose());

  const ok = async (...argv: string[]): Promise<Result> => {
    const result = await cli.run(argv);
    assert.equal(result.code, 0, `${argv.join(" ")}: ${result.err}`);
    return result;
  };
  const as = (name: string): string[] => ["--as", cli.path(`${name}.key`)];
  const json = async <T>(...argv: string[]): Promise<T> => JSON.parse((await ok(...argv, "-o", "json")).out) as T;

  it("two of three owners sign a charter, here and on a machine of their own", async () => {
    for (const name of ["a", "b", "c"]) cli.key(name);
    const owners = ["a", "b", "c"].flatMap((name) => ["--owner", cli.path(`${name}.pub`)]);
    const created = await ok("fleet", "create", "plant", ...owners, "--threshold", "2", "--site", "hq");
    assert.match(created.out, /^[0-9a-f]{64}\n$/u);
    assert.equal((await cli.run(["token"])).code, 5, "no token before the charter counts");

    assert.match((await ok("sign", "--all", ...as("a"))).err, /Charter\/default\/plant: version 1 waits for 1 more/u);
    const waiting = (await ok("get", "pending", "Charter/default/plant", "-o", "json")).out;
    writeFileSync(cli.path("charter.json"), waiting);
    const signed = await ok("sign", "-f", cli.path("charter.json"), ...as("b"));
    writeFileSync(cli.path("signed.json"), signed.out);
    assert.match(
      (await ok("apply", "-f", cli.path("signed.json"))).err,
      /Charter\/default\/plant: version 1 accepted/u,
    );
    await ok("sign", "--all", ...as("b"));
    assert.equal((await ok("get", "pending")).err, "no pending\n");
    const kinds = (await ok("get", "documents", "-o", "name")).out;
    assert.match(kinds, /Charter\/default\/plant/u);
    assert.match(kinds, /Registrar\//u);
    assert.match((await ok("token")).out, /^ptl1\.[\w-]+\n$/u);

    const outsider = await cli.run(["sign", "Charter/default/plant", ...as("c")]);
    assert.equal(outsider.code, 4, outsider.err);
  });

  it("a demo fleet has one key for everything, and says so", async () => {
    const created = await ok("fleet", "create", "try", "--demo");
    assert.match(created.err, /warning: .*demo\.key may do everything/u);
    assert.ok(existsSync(join(cli.data, "demo-keys", "demo.key")));
    assert.match((await ok("context", "list")).out, /\* +try .*demo\.key/u);
    const doctor = await cli.run(["doctor", "-o", "json"]);
    assert.equal(doctor.code, 1, "no daemon runs");
    const { findings } = JSON.parse(doctor.out) as { findings: { level: string; cause: string }[] };
    assert.ok(
      findings.some(({ level, cause }) => level === "warn" && /demo|one place|try-out/u.test(cause)),
      JSON.stringify(findings),
    );
    assert.equal((await cli.run(["fleet", "create", "again", "--demo"])).code, 5);
  });

  it("operators come and go, claims and batches open and close", async () => {
    await ok("fleet", "create", "try", "--demo");
    cli.key("bob");
    const add = ["operator", "add", "bob", "--key", cli.path("bob.pub")];
    assert.equal((await cli.run([...add, "--role", "king"])).code, 2);
    assert.equal((await cli.run(add)).code, 2);
    await ok(...add, "--role", "admission");

    writeFileSync(
      cli.path("claims.csv"),
      "\uFEFFserial,model,key,tenant,labels,expires\r\nS-1,cam,,,rack=r1,\r\nS-2,,,,,\r\n",
    );
    assert.match((await ok("admit", "-f", cli.path("claims.csv"), ...as("bob"))).err, /2 devices in list claims/u);
    writeFileSync(cli.path("bad.csv"), "serial,model,key,tenant,labels,expires\nS-1,,,,,\nS-1,,,,,\n");
    const twice = await cli.run(["admit", "-f", cli.path("bad.csv"), ...as("bob")]);
    assert.equal(twice.code, 2);
    assert.match(twice.err, /line 3, column serial: serial S-1 stands in line 2 already/u);

    await ok("batch", "open", "--max", "20", "--until", "24h", "--cidr", "10.0.0.0/8", "--rate", "5/min", ...as("bob"));
    const open = await json<{ opens: { document: string; left: number }[] }>("token");
    assert.deepEqual(
      open.opens.map(({ document, left }) => [document.split("/")[0], left]),
      [
        ["ClaimList", 2],
        ["Batch", 20],
      ],
    );
    await ok("batch", "close", ...as("bob"));
    await ok("delete", "claims", "claims", ...as("bob"));
    assert.deepEqual((await json<{ opens: unknown[] }>("token")).opens, []);

    const placement = join(cli.home, "p.yaml");
    const body = { artifact: "m:1", selector: "site=hq" };
    const document = { apiVersion: "portolan.dev/v1", kind: "Placement", metadata: { name: "m:1" }, spec: body };
    writeFileSync(placement, JSON.stringify(document));
    const denied = await cli.run(["apply", "-f", placement, ...as("bob")]);
    assert.equal(denied.code, 3, denied.err);
    await ok("apply", "-f", placement);
    assert.match((await ok("get", "placements", "-o", "name")).out, /m:1/u);

    await ok("operator", "remove", "bob");
    const gone = await cli.run(["batch", "open", "--max", "1", "--until", "1h", ...as("bob")]);
    assert.equal(gone.code, 3, gone.err);
  });

  it("refuses files that are no documents, naming what is wrong", async () => {
    await ok("fleet", "create", "try", "--demo");
    const head = "apiVersion: portolan.dev/v1\nkind: Placement\n";
    const cases: [string, RegExp][] = [
      ["", /holds no document/u],
      ["- 1\n", /no document/u],
      ["a: [\n", /x\.yaml: /u],
      [`${head}spec: {? {a: b} : c}\n`, /a key that is no text/u],
      ["kind: Placement\n", /apiVersion/u],
      [`${head}spec: {}\n`, /metadata\.name/u],
      [`${head}metadata: {name: m}\n`, /spec is missing/u],
      [`${head}metadata: {name: m, label: {}}\nspec: {}\n`, /no member "metadata\.label"/u],
      [`${head}metadata: {name: m}\nspec: {artifact: m, selektor: a}\n`, /invalid Placement: spec/u],
      [`${head}metadata: {name: "a/b"}\nspec: {artifact: m, selector: a}\n`, /name/u],
      [`${head}metadata: {name: "a b"}\nspec: {artifact: m, selector: a}\n`, /name/u],
      [`${head}metadata: {name: "${"a".repeat(300)}"}\nspec: {artifact: m, selector: a}\n`, /name/u],
      ["apiVersion: portolan.dev/v1\nkind: Crown\nmetadata: {name: m}\nspec: {}\n", /Crown/u],
    ];
    for (const [text, message] of cases) {
      writeFileSync(cli.path("x.yaml"), text);
      const { code, err } = await cli.run(["apply", "-f", cli.path("x.yaml")]);
      assert.equal(code, 2, `${text}: ${err}`);
      assert.match(err, message, text);
    }
  });

  it("does not leave its socket or its lock behind, nor write keys where others read", async () => {
    await ok("fleet", "create", "try", "--demo");
    assert.ok(!existsSync(join(cli.data, "daemon.sock")));
    await ok("id");
    assert.doesNotMatch(
      readFileSync(join(cli.env["XDG_CONFIG_HOME"] as string, "portolan", "contexts.json"), "utf8"),
      /seed/u,
    );
    const left = await cli.run(["leave"], ["n\r"]);
    assert.match(left.err, /nothing was done/u);
    await ok("leave", "--yes");
    assert.equal((await cli.run(["token"])).code, 5);
  });
});
