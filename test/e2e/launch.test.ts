import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { isInstalled } from "../../scripts/installed.mjs";

const LAUNCHER = path.join(import.meta.dirname, "..", "..", "scripts", "launch.mjs");

/** Runs the launcher from a folder that has nothing to do with the project. */
function launch(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const cwd = mkdtempSync(path.join(tmpdir(), "a folder "));
  const env = { ...process.env, INIT_CWD: undefined };
  return spawnSync(process.execPath, [LAUNCHER, ...args], { cwd, env, encoding: "utf8" });
}

describe("launcher", () => {
  it("names the commands there are when asked for another, with exit code 2", () => {
    const { status, stdout, stderr } = launch("sail");
    assert.equal(status, 2);
    assert.equal(stdout, "");
    assert.match(stderr, /no such command: "sail"; there are start, test/u);
  });

  it("passes arguments on, leaves standard output to the command and keeps its exit code", () => {
    const help = launch("start", "--help");
    assert.equal(help.status, 0);
    assert.match(help.stdout, /^Usage: npm start/u);
    const wrong = launch("start", "--nodes", "none");
    assert.equal(wrong.status, 2);
    assert.equal(wrong.stdout, "");
    assert.match(wrong.stderr, /--nodes takes a number from 2 to 60, not "none"/u);
  });

  it("reads paths from where the command was typed", () => {
    const { status, stderr } = launch("start", "--file", "no-such-file");
    assert.equal(status, 2);
    assert.match(stderr, /a folder \w+\/no-such-file is not a file/u);
  });
});

describe("installed packages", () => {
  const wanted = {
    "": {},
    "node_modules/a": { version: "1.0.0" },
    "node_modules/b": { version: "2.0.0", optional: true },
  };
  const table: [string, Parameters<typeof isInstalled>[1], boolean][] = [
    ["all there", { "node_modules/a": { version: "1.0.0" }, "node_modules/b": { version: "2.0.0" } }, true],
    ["an optional one is for another machine", { "node_modules/a": { version: "1.0.0" } }, true],
    ["one more than wanted", { "node_modules/a": { version: "1.0.0" }, "node_modules/c": { version: "1.0.0" } }, true],
    ["nothing installed", undefined, false],
    ["one missing", { "node_modules/b": { version: "2.0.0" } }, false],
    ["one in another version", { "node_modules/a": { version: "1.0.1" } }, false],
    [
      "an optional one in another version",
      { "node_modules/a": { version: "1.0.0" }, "node_modules/b": { version: "1.0.0" } },
      false,
    ],
  ];
  for (const [what, installed, expected] of table) {
    it(`${expected ? "are complete" : "need installing"}: ${what}`, () =>
      assert.equal(isInstalled(wanted, installed), expected));
  }
});
