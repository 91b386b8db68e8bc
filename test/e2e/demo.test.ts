import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import { SystemClock, SystemRandom, withDeadline } from "#core";
import type { DemoResult } from "../../demo/result.ts";

const MAIN = path.join(import.meta.dirname, "..", "..", "demo", "main.ts");
const FILE_BYTES = 6_000_000;
const clock = new SystemClock();

describe("demo", function () {
  this.timeout(90_000); // six daemons start on what may be two busy cores
  let folder: string;

  beforeEach(async function () {
    if (process.platform !== "linux") this.skip();
    folder = await mkdtemp(path.join(tmpdir(), "demo-"));
  });

  afterEach(() => rm(folder, { recursive: true, force: true }));

  function start(...flags: string[]) {
    const child = spawn(process.execPath, [MAIN, ...flags], { env: { ...process.env, TMPDIR: folder } });
    const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
    return { child, ended, out: text(child.stdout), err: text(child.stderr) };
  }

  for (const mode of ["--namespaces", "--no-namespaces"]) {
    it(`brings a file to every node over the links and prints one line of JSON (${mode})`, async () => {
      const bytes = new SystemRandom().bytes(FILE_BYTES);
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      const file = path.join(folder, "file");
      await writeFile(file, bytes);
      const keep = path.join(folder, "kept");
      const run = start("--exit", "--json", "--nodes", "4", "--sites", "2", "--file", file, "--keep", keep, mode);
      const [status, out, err] = await Promise.all([run.ended, run.out, run.err]);
      assert.equal(status, 0, err);
      const result = JSON.parse(out) as DemoResult;
      assert.equal(out, `${JSON.stringify(result)}\n`);
      assert.deepEqual([result.ok, result.nodes, result.sites], [true, 4, 2]);
      assert.deepEqual(result.file, { bytes: FILE_BYTES, sha256 });
      assert.equal(new Set(result.copies.map(({ pid }) => pid)).size, 3);
      for (const copy of result.copies) {
        assert.equal(
          createHash("sha256")
            .update(await readFile(copy.path))
            .digest("hex"),
          sha256,
        );
        assert.ok(copy.bytesFromSite + copy.bytesFromWan >= FILE_BYTES, `${copy.node} had sources`);
        assert.ok(!existsSync(`/proc/${copy.pid}`), `the daemon of ${copy.node} has ended`);
      }
      assert.deepEqual(
        result.refused.map(({ node, code }) => [node, code]),
        [["pisa-stranger", "identity.unclaimed"]],
      );
      assert.ok((result.links[1]?.bytesIn ?? 0) >= FILE_BYTES);
      assert.deepEqual((await readdir(keep)).toSorted(), ["claims.csv", "config", "copies", "logs", "nodes"]);
      assert.deepEqual((await readdir(folder)).toSorted(), ["file", "kept"]);
    });
  }

  it("stops everything when interrupted, with exit code 130", async () => {
    const run = start("--nodes", "2", "--sites", "2");
    await withDeadline(clock, 60_000, "the fleet to start", async (signal) => {
      while (!(await readdir(folder, { recursive: true })).some((name) => name.endsWith("genoa-1.log"))) {
        await clock.sleep(20, signal);
      }
    });
    run.child.kill("SIGINT");
    assert.equal(await run.ended, 130, await run.err);
    assert.deepEqual(await readdir(folder), []);
  });

  const refused: [string, string[], number, RegExp][] = [
    ["a bad flag", ["--speed", "9"], 2, /Unknown option '--speed'[\s\S]*--help/u],
    ["a folder as file", ["--file", "/"], 2, /\/ is not a file/u],
    ["a folder to keep things in that has something in it", ["--keep", "/usr"], 5, /\/usr is not empty/u],
  ];
  for (const [what, flags, status, message] of refused) {
    it(`refuses ${what} before it starts anything`, async () => {
      const run = start(...flags);
      assert.equal(await run.ended, status);
      assert.match(await run.err, message);
      assert.equal(await run.out, "");
      assert.deepEqual(await readdir(folder), []);
    });
  }
});
