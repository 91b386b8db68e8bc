import assert from "node:assert/strict";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Ed25519Key } from "#core";
import { bodyDigest, draftPayload, openEnvelope, payloadTypeOf } from "#identity";
import { checkDraft } from "../../src/cli/signing.ts";
import { verifiedSigners } from "../../src/identity/trusted-keys.ts";
import { CliHarness } from "../support/cli-harness.ts";

const NOW_MS = 1_800_000_000_000;

describe("keys and signatures on the command line", function () {
  this.timeout(60_000); // scrypt, 0.4 s each on an idle machine
  let cli: CliHarness;
  beforeEach(() => {
    cli = new CliHarness();
  });
  afterEach(() => cli.dispose());

  const passphraseFile = (): string => {
    writeFileSync(cli.path("pass"), "correct horse\nsecond line\n");
    return cli.path("pass");
  };

  it("makes a sealed key pair after asking twice, without showing the passphrase", async () => {
    const { code, out, err } = await cli.run(
      ["owner", "create", "alice", "--out", cli.home],
      ["sxe\u007F\u007Fecret\r", "secret\r"],
    );
    assert.equal(code, 0, err);
    assert.equal(out, `${cli.path("alice.pub")}\n`);
    assert.doesNotMatch(out + err, /secret/u);
    assert.equal(statSync(cli.path("alice.key")).mode & 0o777, 0o600);
    assert.match(readFileSync(cli.path("alice.key"), "utf8"), /"sealed"/u);
  });

  it("writes nothing when the passphrases differ, at Ctrl-C, or without a terminal", async () => {
    const create = ["owner", "create", "alice", "--out", cli.home];
    const differ = await cli.run(create, ["one\r", "two\r"]);
    assert.deepEqual([differ.code, /differ/u.test(differ.err)], [2, true]);
    assert.equal((await cli.run(create, ["on\u0003"])).code, 130);
    const blind = await cli.run(create);
    assert.deepEqual([blind.code, /--passphrase-file/u.test(blind.err)], [2, true]);
    assert.equal(statSync(cli.path("alice.key"), { throwIfNoEntry: false }), undefined);
  });

  it("refuses names that are none, and to replace a key", async () => {
    const create = (name: string) =>
      cli.run(["operator", "create", name, "--out", cli.home, "--passphrase-file", passphraseFile()]);
    for (const name of ["a/b", "../a", "a b", "Alice", "a".repeat(300), "-"]) {
      const { code, err } = await create(name);
      assert.equal(code, 2, name);
      assert.match(err, /cannot name a key|too many|unknown/u, name);
    }
    assert.equal((await create("bob")).code, 0);
    assert.equal((await create("bob")).code, 5);
  });

  it("signs a file without any daemon, beside the signatures that are there", async () => {
    const charter = join(cli.home, "charter.json");
    for (const name of ["a", "b"]) cli.key(name);
    const owners = ["a", "b"].map((name) => ({
      name,
      publicKey: readFileSync(cli.path(`${name}.pub`), "utf8").split(" ")[2] as string,
    }));
    const rules = { rules: {}, join: { evidence: [] }, rendezvous: [], memberHours: 24 };
    const spec = { owners, threshold: 2, ...rules };
    const payload = draftPayload({ kind: "Charter", name: "plant", fleet: "", version: 1, nowMs: NOW_MS, spec });
    const waiting = { payloadType: payloadTypeOf("Charter"), payload: Buffer.from(payload).toString("base64") };
    writeFileSync(charter, JSON.stringify({ name: "Charter/default/plant", ...waiting, signatures: [] }));

    const sign = (key: string, input: string, ...more: string[]) =>
      cli.run(["sign", "-f", input, "--as", cli.path(`${key}.key`), ...more]);
    const once = join(cli.home, "once.json");
    assert.equal((await sign("a", charter, "--out", once)).code, 0);
    const twice = await sign("b", once);
    const again = await sign("a", once);
    assert.equal(JSON.parse(again.out).signatures.length, 1, "one key signs once");

    const open = openEnvelope(Buffer.from(twice.out));
    assert.equal(bodyDigest(open.envelope.payload), bodyDigest(payload));
    const keys = new Map(
      owners.map(({ name, publicKey }, i) => {
        const keyid = open.envelope.signatures[i]?.keyid as string;
        return [keyid, { keyid, publicKey: Buffer.from(publicKey, "base64"), name, grants: [] }];
      }),
    );
    assert.equal(verifiedSigners(open, keys).length, 2);
  });

  it("says what is wrong with a key or a file to sign", async () => {
    const file = passphraseFile();
    await cli.run(["owner", "create", "a", "--out", cli.home, "--passphrase-file", file]);
    writeFileSync(cli.path("bad.json"), '{"payloadType": "x"}');
    writeFileSync(cli.path("junk.json"), "\u0000\u0001");
    writeFileSync(cli.path("wrong"), "another\n");
    const charter = JSON.stringify({ payloadType: payloadTypeOf("Charter"), payload: "e30=" });
    writeFileSync(cli.path("empty.json"), charter);
    const key = ["--as", cli.path("a.key"), "--passphrase-file", file];
    const cases: [string[], number, RegExp][] = [
      [["sign", "-f", cli.path("none.json"), ...key], 4, /there is no file/u],
      [["sign", "-f", cli.path("bad.json"), ...key], 2, /no document to sign/u],
      [["sign", "-f", cli.path("junk.json"), ...key], 2, /no document to sign/u],
      [["sign", "-f", cli.path("empty.json"), ...key], 2, /invalid Charter/u],
      [["sign", "-f", cli.path("empty.json")], 2, /no key was given/u],
      [["sign", "-f", cli.path("empty.json"), "--as", cli.path("none.key")], 4, /no key file/u],
      [
        ["sign", "-f", cli.path("empty.json"), "--as", cli.path("a.key"), "--passphrase-file", cli.path("wrong")],
        3,
        /does not open/u,
      ],
    ];
    for (const [argv, code, message] of cases) {
      const result = await cli.run(argv);
      assert.equal(result.code, code, `${argv.join(" ")}: ${result.err}`);
      assert.match(result.err, message);
    }
  });

  it("signs nothing but what was asked for", () => {
    const key = new Ed25519Key(new Uint8Array(32).fill(1));
    const publicKey = Buffer.from(key.publicKey).toString("base64");
    const spec = { publicKey, roles: ["publisher" as const], tenant: "*" };
    const fleet = "ab".repeat(32);
    const payload = draftPayload({ kind: "Operator", name: "bob", fleet, version: 1, nowMs: NOW_MS, spec });
    const type = payloadTypeOf("Operator");
    const asked = { kind: "Operator", name: "bob", spec };
    assert.equal(checkDraft(type, payload, asked).metadata.name, "bob");
    const others = [
      { ...asked, kind: "Registrar" },
      { ...asked, kind: "Nonsense" },
      { ...asked, name: "eve" },
      { ...asked, tenant: "other" },
      { ...asked, labels: { a: "b" } },
      { ...asked, spec: { ...spec, roles: ["security"] } },
      { ...asked, expires: "2027-01-01T00:00:00.000Z" },
    ];
    for (const other of others)
      assert.throws(() => checkDraft(type, payload, other), { code: "cli.draft", exit: "denied" });
    assert.throws(() => checkDraft(payloadTypeOf("Registrar"), payload, asked), { code: "cli.draft" });
  });

  it("keeps contexts, and finds the data directory and the key by them", async () => {
    delete cli.env["PORTOLAN_DATA"];
    const one = ["context", "use", "one", "--data", cli.path("d1"), "--key", cli.path("k1")];
    assert.equal((await cli.run(one)).code, 0);
    assert.equal((await cli.run(["context", "use", "two", "--data", cli.path("d2")])).code, 0);
    assert.match((await cli.run(["context", "list"])).out, /^CURRENT.*\n- +one.*d1.*k1\n\* +two.*d2/u);
    assert.match((await cli.run(["fetch", "m"])).err, new RegExp(cli.path("d2"), "u"));
    assert.match((await cli.run(["fetch", "m", "--context", "one"])).err, new RegExp(cli.path("d1"), "u"));
    cli.env["PORTOLAN_DATA"] = cli.path("d3");
    assert.match((await cli.run(["fetch", "m"])).err, new RegExp(cli.path("d3"), "u"));
    assert.match((await cli.run(["fetch", "m", "--data", cli.path("d4")])).err, new RegExp(cli.path("d4"), "u"));
    assert.equal((await cli.run(["context", "use", "three"])).code, 4);
    writeFileSync(join(cli.home, "config", "portolan", "contexts.json"), "[]");
    const broken = await cli.run(["context", "list"]);
    assert.deepEqual([broken.code, /not a list of contexts/u.test(broken.err)], [2, true]);
  });
});
