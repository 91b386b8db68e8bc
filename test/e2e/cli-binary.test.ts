import { fileURLToPath } from "node:url";
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ControlClient } from "#api";
import { SystemClock, withDeadline } from "#core";

const clock = new SystemClock();
const binary = fileURLToPath(new URL("../../bin/portolan", import.meta.url));

describe("bin/portolan", function () {
  this.timeout(120_000); // whole processes, on a machine that may be busy
  let home: string;
  let env: NodeJS.ProcessEnv;
  const children: ChildProcess[] = [];

  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), "bin-"));
    env = { ...process.env, XDG_CONFIG_HOME: join(home, "config"), PORTOLAN_DATA: join(home, "data") };
  });
  afterEach(() => {
    for (const child of children.splice(0)) child.kill("SIGKILL");
    rmSync(home, { recursive: true, force: true });
  });
  const run = (command: string, ...argv: string[]) => spawnSync(command, argv, { cwd: home, env, encoding: "utf8" });

  it("runs from any folder, through symbolic links to it and to its folder, without a warning", () => {
    symlinkSync(binary, join(home, "absolute"));
    mkdirSync(join(home, "a b"));
    symlinkSync("../absolute", join(home, "a b", "relative link"));
    for (const command of [binary, join(home, "absolute"), join(home, "a b", "relative link")]) {
      const { status, stdout, stderr } = run(command, "version");
      assert.deepEqual([status, stderr], [0, ""]);
      assert.match(stdout, /^portolan \d+\.\d+\.\d+ \(node v24\./u);
    }
  });

  it("says what to do where it is not installed", () => {
    cpSync(binary, join(home, "bin", "portolan"));
    const { status, stderr } = run(join(home, "bin", "portolan"), "version");
    assert.equal(status, 1);
    assert.match(stderr, /^error: Portolan's? .*not installed.*\ntry: cd .* && npm ci\n$/u);
  });

  it("loads neither the daemon nor the API for --help", () => {
    const { status, stdout, stderr } = spawnSync(binary, ["up", "--help"], {
      env: { ...env, NODE_DEBUG: "esm" },
      encoding: "utf8",
      maxBuffer: 64 * 1024 * 1024,
    });
    assert.equal(status, 0);
    assert.match(stdout, /Usage: portolan up/u);
    const loaded = [...stderr.matchAll(/Storing (file:\S+)/gu)].map(([, url]) => url as string);
    assert.ok(
      loaded.some((url) => url.includes("/cli/program.ts")),
      "the log must name what is loaded, or this sees nothing",
    );
    const heavy = /libp2p|\/zod\/|\/hono\/|\/yaml\/|src\/daemon|src\/api|src\/identity/u;
    assert.deepEqual(
      loaded.filter((url) => heavy.test(url)),
      [],
    );
  });

  it("completes in bash, words with colons included", () => {
    const line = (text: string): string =>
      `source <('${binary}' completion bash); COMP_LINE='${binary} ${text}'; COMP_POINT=\${#COMP_LINE}; _portolan; echo "\${COMPREPLY[*]}"`;
    assert.equal(run("bash", "-c", line("st")).stdout, "status stage\n");
    assert.equal(run("bash", "-c", line("get nodes -o j")).stdout, "json\n");
    assert.equal(run("bash", "-c", line("publish x:")).stdout, "\n");
  });

  it("is quiet when its reader goes away", () => {
    const { status, stderr } = run("sh", "-c", `'${binary}' --help | head -1`);
    assert.deepEqual([status, stderr], [0, ""]);
  });

  it("runs a daemon until SIGINT, refuses a second one on the same data, and stops at once", async () => {
    assert.equal(run(binary, "fleet", "create", "try", "--demo").status, 0);
    const up = spawn(binary, ["up", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0/tls"], { cwd: home, env });
    children.push(up);
    const ended = new Promise<number | null>((resolve) => up.once("exit", (code) => resolve(code)));
    const client = new ControlClient(clock, join(home, "data"));
    await withDeadline(clock, 30_000, "the daemon to come up", async (signal) => {
      while ((await client.call("status", {}, { signal }).catch(() => undefined))?.offline !== false) {
        await clock.sleep(50, signal);
      }
    });
    const second = run(binary, "up");
    assert.equal(second.status, 5);
    assert.match(second.stderr, /another portolan process/u);
    assert.match(run(binary, "token").stdout, /^ptl1\./u);
    up.kill("SIGINT");
    const code = await withDeadline(clock, 10_000, "the daemon to stop", () => ended);
    assert.equal(code, 0);
    assert.equal(run(binary, "fetch", "m").status, 10);
  });
});
