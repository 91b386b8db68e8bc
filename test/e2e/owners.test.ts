import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { Yard, type YardNode } from "../support/yard.ts";

/** A fleet whose keys lie sealed with the people who own them: each signature costs 0.4 s of scrypt on an idle machine. */
describe("a fleet with three owners, of whom two must sign", function () {
  this.timeout(60_000);
  let yard: Yard;
  let hub: YardNode;
  /** Who signs: `--as NAME.key` and the passphrase. */
  const as = (name: string): string[] => [
    "--as",
    yard.path("keys", `${name}.key`),
    "--passphrase-file",
    yard.path(`${name}.pass`),
  ];
  const id = (kind: string, name: string): string => `${kind}/default/${name}`;

  before(async () => {
    yard = new Yard();
    for (const name of ["alice", "bob", "carol"]) await createKey("owner", name);
    hub = yard.node("hub");
  });
  after(() => yard[Symbol.asyncDispose]());

  async function createKey(who: "owner" | "operator", name: string): Promise<void> {
    const pass = yard.write(`${name}.pass`, `correct horse of ${name}\n`);
    await yard.ok(who, "create", name, "--out", yard.path("keys"), "--passphrase-file", pass);
  }

  it("counts once two have signed, one here and one on a machine of her own", async () => {
    const owners = ["alice", "bob", "carol"].flatMap((name) => ["--owner", yard.path("keys", `${name}.pub`)]);
    await hub.ok("fleet", "create", "plant", ...owners, "--threshold", "2", "--site", "hq");
    await hub.up();
    await hub.until("forming");
    assert.match((await hub.run("doctor")).out, /ERROR +fleet: .*lacks signatures\.\n +try: portolan get pending/u);
    await hub.fails(5, "token");

    await hub.ok("sign", "--all", ...as("alice"));
    assert.equal((await hub.status()).state, "forming", "one of two is not enough");
    assert.match(await hub.ok("get", "pending"), /Charter\/default\/plant/u);
    for (const { name } of (await hub.client.call("pending.list", {})).items) {
      const handed = yard.write("handed.json", await hub.ok("get", "pending", name, "-o", "json"));
      const signed = yard.write("signed.json", await yard.ok("sign", "-f", handed, ...as("bob"))); // no node, no data
      await hub.ok("apply", "-f", signed);
    }
    await hub.until("registrar");
    assert.match(await hub.ok("token"), /^ptl1\./u);
    const { signers } = await hub.client.call("documents.get", { name: id("Charter", "plant") });
    assert.deepEqual(signers.map(({ name }) => name).toSorted(), ["alice", "bob"]);
  });

  it("gives an operator power with two signatures, and takes it away with two", async () => {
    await createKey("operator", "pub");
    const file = yard.write("model", "weights");
    const publish = ["publish", file, "--name", "model:v1", ...as("pub")];
    await hub.fails(3, ...publish);
    await hub.ok(
      "operator",
      "add",
      "pub",
      "--key",
      yard.path("keys", "pub.pub"),
      "--role",
      "publisher",
      ...as("alice"),
    );
    await hub.fails(3, ...publish);
    await hub.ok("sign", id("Operator", "pub"), ...as("carol"));
    await hub.ok(...publish);
    assert.match(await hub.fails(3, "batch", "open", "--max", "1", "--until", "1h", ...as("pub")), /role admission/u);

    await hub.ok("operator", "remove", "pub", ...as("alice"));
    const [waiting] = (await hub.client.call("pending.list", {})).items;
    assert.ok(waiting !== undefined);
    await hub.ok("sign", waiting.name, ...as("bob"));
    await hub.fails(3, ...publish);
  });

  it("drops what an owner rejects, and says what is not there to be signed", async () => {
    await hub.ok("operator", "add", "eve", "--key", yard.path("keys", "pub.pub"), "--role", "security", ...as("alice"));
    await hub.ok("reject", id("Operator", "eve"));
    await hub.fails(4, "sign", id("Operator", "eve"), ...as("bob"));
    await hub.fails(4, "reject", id("Operator", "eve"));
    assert.deepEqual((await hub.client.call("pending.list", {})).items, []);
  });

  it("makes a member a second registrar, which admits when the first is gone", async () => {
    await createKey("operator", "gate");
    await hub.ok(
      "operator",
      "add",
      "gate",
      "--key",
      yard.path("keys", "gate.pub"),
      "--role",
      "admission",
      ...as("alice"),
    );
    await hub.ok("sign", id("Operator", "gate"), ...as("bob"));
    const claims = yard.write("claims.csv", "serial,model,key,tenant,labels,expires\nsecond,,,,,\nlate,,,,,\n");
    await hub.ok("admit", "-f", claims, ...as("gate"));
    const second = yard.node("second");
    await second.up("--token", await hub.ok("token"), "--serial", "second");
    await second.until("member");
    await hub.untilSees("second", "connected");
    await hub.ok("registrar", "add", "second", ...as("alice"));
    await hub.ok("sign", id("Registrar", "second"), ...as("carol"));
    await second.until("registrar");
    const token = await second.ok("token");
    const { name: hubName } = await hub.status();
    await hub.kill();

    const late = yard.node("late");
    await late.up("--token", token, "--serial", "late");
    await yard.until("late to wait for its home registrar", async () => {
      return (await late.status()).join?.code === "identity.home-unreachable";
    });
    await second.ok("registrar", "handover", hubName, ...as("gate"));
    await late.until("member");
    await second.untilSees("late", "connected");
    await hub.up();
    await hub.untilSees("late", "connected");
  });

  it("takes a registrar's power away: whom it admitted finds another, and it stays a member", async () => {
    const [second, late] = [yard.node("second"), yard.node("late")];
    const { name: hubName } = await hub.status();
    const { code, err } = await hub.run("registrar", "remove", "second", ...as("alice"));
    assert.equal(code, 0, err);
    assert.match(err, /stay members, and renew with another registrar: late/u);
    const [waiting] = (await hub.client.call("pending.list", {})).items;
    assert.ok(waiting !== undefined);
    await hub.ok("sign", waiting.name, ...as("bob"));
    await second.until("member");
    await yard.until("the hub to answer for it", async () => {
      const seen = await hub.look(() => hub.client.call("nodes.get", { name: "late" }));
      return seen?.state === "connected" && seen.registrar === hubName;
    });
    await late.until("member");
  });

  it("changes its owners: old ones and new ones sign, and one must stay to spare", async () => {
    await createKey("owner", "dora");
    const dora = ["--key", yard.path("keys", "dora.pub")];
    assert.match(await hub.fails(5, "owner", "remove", "carol", ...as("alice")), /once a single key is lost/u);
    assert.match(await hub.fails(4, "owner", "remove", "zoe", ...as("alice")), /alice, bob, carol/u);

    const said = await hub.run("owner", "replace", "carol", ...dora, ...as("alice"));
    assert.match(said.err, /alice, bob, dora; 2 must sign\n.*waits for 1 more of 2 owner signatures/su);
    await hub.ok("sign", id("Charter", "plant"), ...as("carol"));
    assert.equal((await hub.status()).charterVersion, 1, "carol is an owner of the old charter only");
    await hub.ok("sign", id("Charter", "plant"), ...as("dora"));
    assert.equal((await hub.status()).charterVersion, 2);
    const operator = ["operator", "add", "ned", "--key", yard.path("keys", "pub.pub"), "--role", "network"];
    await hub.fails(3, ...operator, ...as("carol"));
    await hub.ok(...operator, ...as("dora"));
    await hub.ok("sign", id("Operator", "ned"), ...as("bob"));
    await yard.until("the others to follow", async () => (await yard.node("late").status()).charterVersion === 2);
    assert.match(await hub.fails(5, "fleet", "reset-time", ...as("alice")), /less than a day ahead/u);
  });

  it("keeps keys sealed: a wrong passphrase signs nothing, and none is asked for where nobody is", async () => {
    const key = yard.path("keys", "alice.key");
    assert.equal(statSync(key).mode & 0o777, 0o600);
    assert.doesNotMatch(readFileSync(key, "utf8"), /"seed"/u);
    const wrong = yard.write("wrong.pass", "incorrect\n");
    const revoke = ["operator", "add", "eve", "--key", yard.path("keys", "pub.pub"), "--role", "security"];
    assert.match(await hub.fails(3, ...revoke, "--as", key, "--passphrase-file", wrong), /passphrase/u);
    assert.match(await hub.fails(2, ...revoke, "--as", key), /--passphrase-file/u);
    assert.match(await hub.fails(2, ...revoke), /--as KEYFILE/u);
    assert.deepEqual((await hub.client.call("pending.list", {})).items, []);
    assert.match(
      await yard.fails(5, "owner", "create", "alice", "--out", yard.path("keys"), "--passphrase-file", wrong),
      /alice/u,
    );
  });
});
