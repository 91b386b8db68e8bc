import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execFileSync } from "node:child_process";
import { Fault, SeededRandom, SystemRandom, verifyEd25519 } from "#core";
import { createKeyFile, openKeyFile } from "../../src/identity/key-file.ts";
import { loadNodeKey } from "../../src/identity/node-key.ts";
import { parsePublicKey, readPublicKeyFile } from "../../src/identity/public-key-file.ts";
import { sixWords } from "../../src/identity/words.ts";

const never = (): Promise<string> => Promise.reject(new Error("nobody should ask for a passphrase"));
const fault = (code: string, exit: string) => (error: unknown) =>
  error instanceof Fault && error.code === code && error.exit === exit;

describe("key files", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "ptl-keys-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));
  const make = (passphrase: string | undefined) => {
    const path = join(folder, "alice.key");
    return {
      path,
      made: createKeyFile(new SystemRandom(), {
        path,
        publicPath: join(folder, "alice.pub"),
        name: "alice",
        passphrase,
      }),
    };
  };

  it("seals a key that only its passphrase opens", async () => {
    const { path, made } = make("correct horse");
    assert.equal(statSync(path).mode & 0o777, 0o600);
    const opened = await openKeyFile(path, async () => "correct horse");
    assert.equal(opened.name, "alice");
    const message = Buffer.from("hello");
    assert.ok(verifyEd25519(made.key.publicKey, message, opened.key.sign(message)));
    await assert.rejects(
      openKeyFile(path, async () => "correct horses"),
      fault("identity.passphrase", "denied"),
    );
    assert.deepEqual(readdirSync(folder).toSorted(), ["alice.key", "alice.pub"]);
  });

  it("opens an unsealed key without asking", async () => {
    const { path, made } = make(undefined);
    assert.deepEqual((await openKeyFile(path, never)).key.publicKey, made.key.publicKey);
  });

  it("writes the public half as one line that reads back", () => {
    const { made } = make(undefined);
    const text = readFileSync(join(folder, "alice.pub"), "utf8");
    assert.match(text, /^portolan-public-key-v1 ed25519 [A-Za-z0-9+/]{43}= alice\n$/u);
    assert.deepEqual(readPublicKeyFile(join(folder, "alice.pub")), {
      name: "alice",
      publicKey: new Uint8Array(made.key.publicKey),
    });
    assert.equal(parsePublicKey(text.replace("\n", "\r\n")).name, "alice");
    for (const bad of [
      "",
      text.replace("v1", "v2"),
      text.replace("alice", "Al ice"),
      text.replace("=", ""),
      `${text}x`,
    ]) {
      assert.throws(() => parsePublicKey(bad), fault("identity.public-key", "invalid"));
    }
  });

  it("refuses a private key that others may read, and says chmod 600", async () => {
    const { path } = make(undefined);
    chmodSync(path, 0o640);
    await assert.rejects(
      openKeyFile(path, never),
      (error: Fault) =>
        fault("identity.key-permissions", "denied")(error) && (error.fix ?? "").includes(`chmod 600 ${path}`),
    );
  });

  it("never replaces a key, and names what is no key file", async () => {
    const { path } = make(undefined);
    assert.throws(() => make(undefined), fault("identity.key-exists", "conflict"));
    await assert.rejects(openKeyFile(join(folder, "bob.key"), never), fault("identity.key-file", "missing"));
    await assert.rejects(openKeyFile(folder, never), Fault);
    const poem = join(folder, "poem");
    writeFileSync(poem, "not a key", { mode: 0o600 });
    await assert.rejects(openKeyFile(poem, never), fault("identity.key-file", "invalid"));
    const nowhere = {
      path: join(folder, "no", "a.key"),
      publicPath: join(folder, "no", "a.pub"),
      name: "a",
      passphrase: undefined,
    };
    assert.throws(() => createKeyFile(new SystemRandom(), nowhere), fault("identity.key-write", "internal"));
    const pipe = join(folder, "pipe");
    execFileSync("mkfifo", ["-m", "600", pipe]);
    await assert.rejects(openKeyFile(pipe, never), fault("identity.key-file", "invalid"));
    const stranger = Buffer.alloc(32, 3).toString("base64");
    writeFileSync(path, readFileSync(path, "utf8").replace(/"publicKey": "[^"]*"/u, `"publicKey": "${stranger}"`));
    await assert.rejects(openKeyFile(path, never), fault("identity.key-file", "invalid"));
  });

  it("refuses an empty passphrase and leaves nothing behind", () => {
    assert.throws(() => make(""), fault("identity.passphrase", "invalid"));
    assert.deepEqual(readdirSync(folder), []);
  });

  it("makes the node's keys once and keeps them", () => {
    const path = join(folder, "node.key");
    const made = loadNodeKey(path, new SystemRandom());
    assert.equal(statSync(path).mode & 0o777, 0o600);
    const again = loadNodeKey(path, new SystemRandom());
    assert.equal(again.nodeId, made.nodeId);
    assert.deepEqual(again.sealingPublic, made.sealingPublic);
    assert.equal(made.sealingPublic.length, 32);
    writeFileSync(path, readFileSync(path).subarray(0, 60));
    assert.throws(() => loadNodeKey(path, new SystemRandom()), fault("identity.node-key", "invalid"));
    assert.ok(existsSync(path));
  });
});

describe("six words", () => {
  it("differ by fleet and by key, and stay the same for both", () => {
    const key = new SeededRandom(1).bytes(32);
    const fleet = "ab".repeat(32);
    const words = sixWords(fleet, key);
    assert.equal(words.length, 6);
    assert.deepEqual(sixWords(fleet, key), words);
    assert.notDeepEqual(sixWords("ac".repeat(32), key), words);
    assert.notDeepEqual(sixWords(fleet, new SeededRandom(2).bytes(32)), words);
  });

  it("match the vector in docs/spec/key-files.md", () => {
    assert.equal(
      sixWords("00".repeat(32), new Uint8Array(32)).join(" "),
      "educated clad uncross ankle whinny unlighted",
    );
  });
});
