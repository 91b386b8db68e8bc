import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { Ed25519Key, errorMessage, Fault, faultCode, SeededRandom } from "#core";
import { createPrivateFile } from "../../src/identity/durable-file.ts";
import { checkPass, createPass, passKey, readPassFile } from "../../src/identity/pass.ts";

/** docs/spec/pass.md */
const PASS = "ptp1.AAECAwQFBgcICQoLDA0OD9dvVvs";
const SEED = "7547a20ed74d590c1c2c6768089d70f8c3815e222ed8b3e45f2b01a49bd853b1";
const FLEET = "00".repeat(32);

describe("passes", () => {
  it("stand for the key of the vector, and for another one in another fleet", () => {
    const expected = new Ed25519Key(new Uint8Array(Buffer.from(SEED, "hex"))).publicKey;
    assert.deepEqual(passKey(PASS, FLEET).publicKey, expected);
    assert.deepEqual(passKey(` ${PASS}\n`, FLEET).publicKey, expected);
    assert.notDeepEqual(passKey(PASS, "11".repeat(32)).publicKey, expected);
  });

  it("are new each time, and read back", () => {
    const random = new SeededRandom(1);
    const passes = Array.from({ length: 50 }, () => createPass(random));
    assert.equal(new Set(passes).size, 50);
    for (const pass of passes) assert.equal(checkPass(`${pass}\n`), pass);
  });

  it("are refused when cut, changed by one character or of another form, without a word of the secret", () => {
    const changed = Array.from(PASS, (old, at) => PASS.slice(0, at) + (old === "A" ? "B" : "A") + PASS.slice(at + 1));
    const cut = Array.from(PASS, (_, at) => PASS.slice(0, at));
    for (const text of [...changed, ...cut, `${PASS}A`, `${PASS}=`, `${PASS} x`, "x".repeat(10_000)]) {
      assert.throws(
        () => checkPass(text),
        (error) => {
          assert.equal(faultCode(error), "identity.pass", text);
          assert.ok(!errorMessage(error).includes("AAECAwQ"), "no secret in an error");
          return true;
        },
      );
    }
  });

  it("answer any text with a pass or a Fault", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.base64String().map((tail) => `ptp1.${tail}`),
        ),
        (text) => {
          try {
            assert.equal(checkPass(text), text.trim());
          } catch (error) {
            assert.ok(error instanceof Fault, String(error));
          }
        },
      ),
    );
  });

  it("come out of a file that only its owner may read", () => {
    const folder = mkdtempSync(join(tmpdir(), "ptl-pass-"));
    try {
      const path = join(folder, "a.pass");
      createPrivateFile(path, Buffer.from(`${PASS}\n`));
      assert.equal(statSync(path).mode & 0o777, 0o600);
      assert.equal(readPassFile(path), PASS);
      assert.throws(() => createPrivateFile(path, Buffer.from("x")), { code: "EEXIST" });
      assert.equal(readFileSync(path, "utf8"), `${PASS}\n`);
      chmodSync(path, 0o640);
      assert.throws(() => readPassFile(path), { code: "identity.key-permissions" });
      writeFileSync(path, "nonsense");
      chmodSync(path, 0o600);
      assert.throws(() => readPassFile(path), { code: "identity.pass" });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
