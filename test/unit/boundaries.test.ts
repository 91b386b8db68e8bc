import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { checkBoundaries, MAY_IMPORT } from "../../scripts/boundaries.ts";
import { checkHouseRules } from "../../scripts/house-rules.ts";
import type { Violation } from "../../scripts/source-tree.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const FOLDERS = ["core", "identity", "policy", "mesh", "artifacts", "routing", "api", "daemon", "cli", "view"];

/** What a check says about a tree that holds just these files. */
function inTree<T>(files: Record<string, string>, check: (root: string) => T): T {
  const root = mkdtempSync(join(tmpdir(), "portolan-rules-"));
  try {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
    }
    return check(root);
  } finally {
    rmSync(root, { recursive: true });
  }
}

/** The rules without this tree's own exceptions. */
const checkStrictly = (root: string): Violation[] => checkHouseRules(root, []);
const places = (violations: Violation[]): string[] => violations.map(({ file, line }) => `${file}:${line}`);

describe("import boundaries", () => {
  it("hold in this tree", () => {
    assert.deepEqual(checkBoundaries(ROOT), []);
  });

  for (const area of Object.keys(MAY_IMPORT)) {
    for (const name of FOLDERS) {
      const allowed = MAY_IMPORT[area]?.includes(name) === true;
      it(`${allowed ? "let" : "do not let"} ${area} import #${name}`, () => {
        const file = area.endsWith(".ts") ? area : `${area}/planted.ts`;
        const found = inTree({ [file]: `await import("#${name}");\n` }, checkBoundaries);
        assert.deepEqual(places(found), allowed ? [] : [`${file}:1`]);
      });
    }
  }

  const planted: [rule: string, text: string][] = [
    ["a static import", 'import { x } from "#daemon";'],
    ["an import for its side effect", 'import "#daemon";'],
    ["an import of types", 'import type { X } from "#daemon";'],
    ["a type named through import()", 'export type X = import("#daemon").X;'],
    ["export from", 'export { x } from "#daemon";'],
    ["export star", 'export * from "#daemon";'],
    ["a lazy import", 'const x = () => import("#daemon");'],
    ["a lazy import by template", "const x = () => import(`#daemon`);"],
    ["a lazy import of a computed name", "const x = (name: string) => import(name);"],
    ["another folder's index by path", 'import { x } from "../core/index.ts";'],
    ["another folder's inner file", 'import { x } from "../core/clock.ts";'],
    ["another folder's inner file by name", 'import { x } from "#core/clock.ts";'],
    ["a test", 'import { x } from "../../test/planted.ts";'],
    ["an absolute path", 'import { x } from "/tmp/planted.ts";'],
    ["a file of another folder by URL", 'const x = new Worker(new URL("../core/clock.ts", import.meta.url));'],
  ];
  for (const [rule, text] of planted) {
    it(`find ${rule}`, () => {
      const found = inTree({ "src/mesh/planted.ts": `// first line\n${text}\n` }, checkBoundaries);
      assert.deepEqual(places(found), ["src/mesh/planted.ts:2"]);
    });
  }

  it("find a static import of what is loaded lazily only", () => {
    const found = inTree({ "src/main.ts": 'import { x } from "#daemon";\n' }, checkBoundaries);
    assert.deepEqual(places(found), ["src/main.ts:1"]);
  });

  it("find a folder that the table does not know", () => {
    assert.deepEqual(places(inTree({ "src/helpers/x.ts": "" }, checkBoundaries)), ["src/helpers/x.ts:1"]);
  });

  it("read code, not comments and strings", () => {
    const text = `// import { x } from "#daemon";\nconst text = 'import "#daemon"';\nimport "node:fs";\nimport "zod";\n`;
    assert.deepEqual(inTree({ "src/core/planted.ts": text }, checkBoundaries), []);
  });

  it("let a test look inside any folder", () => {
    const files = { "test/unit/x.test.ts": 'import { x } from "../../src/core/clock.ts";\nimport "#daemon";\n' };
    assert.deepEqual(inTree(files, checkBoundaries), []);
  });
});

describe("house rules", () => {
  it("hold in this tree", () => {
    assert.deepEqual(checkHouseRules(ROOT), []);
  });

  const planted: [rule: string, text: string][] = [
    ["Date.now", "const now = Date.now();"],
    ["the Date of now", "const now = new Date();"],
    ["performance.now", "const now = performance.now();"],
    ["process.hrtime", "const now = process.hrtime.bigint();"],
    ["setTimeout", "setTimeout(() => 0, 1);"],
    ["setTimeout, handed on", "const later = [setTimeout];"],
    ["setInterval through globalThis", 'globalThis["setInterval"](() => 0, 1);'],
    ["AbortSignal.timeout", "const signal = AbortSignal.timeout(1);"],
    ["node:timers/promises", 'import { setTimeout as sleep } from "node:timers/promises";'],
    ["Math.random", "const x = Math.random();"],
    ["randomBytes", 'import { randomBytes } from "node:crypto";'],
    ["verify of node:crypto", 'import { verify as judge } from "node:crypto";'],
    ["verify of a whole crypto module", "const ok = crypto.verify(null, a, b, c);"],
    ["node:crypto as a whole", 'import * as c from "node:crypto";'],
    ["node:crypto by default", 'import c from "node:crypto";'],
    ["node:crypto by import()", 'const { verify } = await import("node:crypto");'],
    ["verify of tweetnacl under another name", "const ok = sign.detached.verify(a, b, c);"],
    ["verify of tweetnacl", "const ok = nacl.sign.detached.verify(a, b, c);"],
    ["verify of WebCrypto", 'const ok = await crypto.subtle.verify("Ed25519", a, b, c);'],
    ["noble's verifier", 'import { ed25519 } from "@noble/curves/ed25519.js";'],
    ["a path of a developer's machine", `const path = "/${["ro", "ot"].join("")}/x";`],
    ["a registry's address", `const url = "https://${["registry", "npmjs", "org"].join(".")}/x";`],
  ];
  for (const [rule, text] of planted) {
    it(`find ${rule}`, () => {
      const found = inTree({ "src/mesh/planted.ts": `// first line\n${text}\n` }, checkStrictly);
      assert.deepEqual([...new Set(places(found))], ["src/mesh/planted.ts:2"]);
    });
  }

  it("find a resolved URL in the lock file", () => {
    const found = inTree(
      { "package-lock.json": `{\n${['"resolved"', '"https://example.org/x.tgz"'].join(": ")}\n}` },
      checkStrictly,
    );
    assert.deepEqual(places(found), ["package-lock.json:2"]);
  });

  it("let core hold the clock, and anybody format and parse a given time", () => {
    const files = {
      "src/core/clock.ts": "export const now = () => Date.now();",
      "src/mesh/x.ts":
        "const text = new Date(1).toISOString(); Date.parse(text); const setTimeout_ = { setTimeout: 1 };",
    };
    assert.deepEqual(inTree(files, checkStrictly), []);
  });

  it("take an exception with a reason, and find one that is no longer needed", () => {
    const allowed = [{ file: "src/mesh/x.ts", rule: "time" as const, reason: "planted" }];
    const check = (root: string): Violation[] => checkHouseRules(root, allowed);
    assert.deepEqual(inTree({ "src/mesh/x.ts": "Date.now();" }, check), []);
    assert.deepEqual(places(inTree({ "src/mesh/x.ts": "" }, check)), ["src/mesh/x.ts:1"]);
  });
});
