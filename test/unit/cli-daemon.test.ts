import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { type ArtifactDetail, type CopyView, type Handlers, SOCKET_NAME } from "#api";
import { Fault, SILENT_LOG, SystemClock, withDeadline } from "#core";
import { payloadTypeOf } from "#identity";
import { createMetrics } from "../../src/daemon/metrics.ts";
import { startControlServer } from "../../src/daemon/server.ts";
import { Session } from "../../src/cli/session.ts";
import { waitForCopies } from "../../src/cli/staging.ts";
import { CliHarness } from "../support/cli-harness.ts";
import { base64, TestFleet } from "../support/fleet.ts";
import { memoryHandlers, type MemoryResources, memoryResources, nodeView } from "../support/memory-handlers.ts";

const clock = new SystemClock();

describe("command line against a control server", () => {
  let cli: CliHarness;
  let resources: MemoryResources;
  let server: AsyncDisposable | undefined;

  const start = async (given: Partial<Handlers> = {}): Promise<AsyncDisposable> => {
    mkdirSync(cli.data, { recursive: true });
    const deps = { handlers: memoryHandlers(resources, given), metrics: createMetrics(), log: SILENT_LOG, clock };
    server = await startControlServer(deps, { socketPath: join(cli.data, SOCKET_NAME), version: "1" });
    return server;
  };

  beforeEach(() => {
    cli = new CliHarness();
    resources = memoryResources();
  });
  afterEach(async () => {
    await server?.[Symbol.asyncDispose]();
    server = undefined;
    cli.dispose();
  });

  it("ends with exit code 10 and the next command where a daemon is needed and none runs", async () => {
    const { code, out, err } = await cli.run(["fetch", "model"]);
    assert.equal(code, 10);
    assert.equal(out, "");
    assert.match(err, /^error: no daemon runs on .*\ntry: .*portolan up\n$/u);
  });

  it("opens the data directory itself where no daemon is needed, and closes it again", async () => {
    cli.deps = { ...cli.deps, startOffline: () => start() };
    const { code, out } = await cli.run(["status", "-o", "json"]);
    assert.equal(code, 0);
    assert.equal((JSON.parse(out) as { name: string }).name, "n1");
    assert.equal((await cli.run(["fetch", "model"])).code, 10);
  });

  it("shows fifty of the ways that a topology would change, and how many more there are", async () => {
    const fleet = new TestFleet();
    const payload = base64(fleet.payload("Topology", "main", {}));
    const needs = { role: "network", count: 1, signers: [] };
    const changes = Array.from({ length: 60 }, (_, i) => ({
      from: `n${i}`,
      to: "hub",
      before: { cost: i, via: [] },
      after: { cost: 9, via: ["x", "y"] },
    }));
    await start({
      draft: async () => ({ id: "Topology/default/main", payloadType: payloadTypeOf("Topology"), payload, needs }),
      previewTopology: async () => ({ changes, total: 20_000, cut: [], warnings: ["mind the gap"] }),
    });
    const file = cli.path("topology.json");
    const head = { apiVersion: "portolan.dev/v1", kind: "Topology", metadata: { name: "main" } };
    writeFileSync(file, JSON.stringify({ ...head, spec: {} }));
    const { code, out, err } = await cli.run(["apply", "-f", file, "--dry-run"]);
    assert.equal(code, 0);
    const lines = out.trimEnd().split("\n");
    assert.equal(lines.length, 52);
    assert.match(lines[50] ?? "", /^n49 +hub +49 direct +9 via x,y$/u);
    assert.equal(lines[51], "… and 19950 more");
    assert.match(err, /warning: mind the gap\nwould sign Topology\/default\/main version 1/u);
    writeFileSync(file, JSON.stringify({ ...head, spec: { links: [] } }));
    assert.match((await cli.run(["apply", "-f", file, "--dry-run"])).err, /drafted something else than was asked/u);
  });

  it("turns each kind of fault into its exit code", async () => {
    let fault = new Fault("x", "y");
    await start({ token: () => Promise.reject(fault) });
    const codes = { internal: 1, invalid: 2, denied: 3, missing: 4, conflict: 5, timeout: 6, offline: 10 } as const;
    for (const [exit, code] of Object.entries(codes)) {
      fault = new Fault("test.x", "what happened", { exit: exit as keyof typeof codes, fix: "Do this." });
      const result = await cli.run(["token"]);
      assert.equal(result.code, code, exit);
      assert.equal(result.err, "error: what happened\ntry: Do this.\n");
    }
  });

  it("lists as a table, wide, as JSON, YAML and names, and selects", async () => {
    await start();
    resources.nodes.items = [nodeView("cam-1", "berlin", { gpu: "yes" }), nodeView("cam-2", "paris")];
    assert.match((await cli.run(["get", "nodes"])).out, /^NAME +SITE +STATE.*\ncam-1 +berlin +known.*\ncam-2 +paris/u);
    assert.match((await cli.run(["get", "no", "-o", "wide"])).out, /gpu=yes/u);
    assert.equal((await cli.run(["get", "nodes", "-o", "name", "-l", "site=paris"])).out, "node/cam-2\n");
    const json = JSON.parse((await cli.run(["get", "nodes", "-o", "json"])).out) as { items: unknown[] };
    assert.equal(json.items.length, 2);
    assert.match((await cli.run(["get", "node", "cam-1", "-o", "yaml"])).out, /^name: cam-1\n/u);
    assert.match((await cli.run(["describe", "node", "cam-1"])).out, /Site: +berlin\n/u);
    const none = await cli.run(["get", "links"]);
    assert.deepEqual([none.code, none.out, none.err], [0, "", "no links\n"]);
  });

  it("names what is missing or mistyped", async () => {
    await start();
    const cases: [string[], number, RegExp][] = [
      [["get", "node", "zz"], 4, /there is no node "zz"/u],
      [["get", "nodez"], 2, /there is no kind "nodez"/u],
      [["get", "nodes", "-o", "xml"], 2, /there is no output format "xml"/u],
      [["get", "nodes", "-l", "=a"], 2, /selector/u],
      [["delete", "links", "a"], 2, /links cannot be deleted/u],
      [["gte"], 2, /unknown command 'gte'.*Did you mean get/u],
      [["get"], 2, /missing required argument 'kind'/u],
      [["fleet"], 2, /which command/u],
      [["status", "--context", "nope"], 4, /no context "nope"/u],
      [["stage", "m"], 2, /which nodes/u],
      [["stage", "m", "-l", "=gpu"], 2, /not a condition/u],
      [["approve"], 2, /name one node/u],
      [["sign"], 2, /name one document/u],
      [["batch", "open", "--max", "x", "--until", "1h"], 2, /--max x is not a whole number/u],
      [["batch", "open", "--max", "1", "--until", "yesterday"], 2, /not a time ahead/u],
      [["batch", "open", "--max", "1", "--until", "1h", "--rate", "fast"], 2, /not a rate/u],
      [["admit", "-f", "/none/claims.csv"], 4, /there is no file/u],
    ];
    for (const [argv, code, message] of cases) {
      const result = await cli.run(argv);
      assert.equal(result.code, code, `${argv.join(" ")}: ${result.err}`);
      assert.match(result.err, message, argv.join(" "));
      assert.match(result.err, /^error: [^\n]+\ntry: [^\n]+\n$/u, argv.join(" "));
    }
  });

  it("follows changes until Ctrl-C, which is exit code 130", async () => {
    await start();
    resources.nodes.items = [nodeView("a")];
    const interrupt = new AbortController();
    const following = cli.run(["get", "nodes", "-w", "-o", "json"], undefined, interrupt.signal);
    await waitFor(() => resources.nodes.listeners.size > 0);
    resources.nodes.set([nodeView("a"), nodeView("b")]);
    await waitFor(() => cli.current.out.split("\n").length > 3);
    interrupt.abort(new Error("interrupted"));
    const { code, out } = await following;
    assert.equal(code, 130);
    const types = out
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { type: string }).type);
    assert.deepEqual(types, ["added", "synced", "added"]);
  });

  it("has an example in the help of every command, and the options of the whole", async () => {
    const groups = ["owner", "operator", "registrar", "fleet", "batch", "pass", "context", "machine", "service"];
    const top = await cli.run(["--help"]);
    assert.equal(top.code, 0);
    const verbs = [...top.out.matchAll(/^ {2}([a-z]+) /gmu)].map(([, verb]) => verb as string);
    assert.ok(verbs.length > 20, verbs.join());
    for (const verb of verbs) {
      const { out } = await cli.run([verb, "--help"]);
      const subs = groups.includes(verb)
        ? [...out.matchAll(/^ {2}([a-z][a-z-]*) (?:\[|<)/gmu)].map(([, s]) => s as string)
        : [];
      for (const argv of subs.length > 0 ? subs.map((sub) => [verb, sub]) : [[verb]]) {
        const help = await cli.run([...argv, "--help"]);
        assert.equal(help.code, 0);
        assert.match(help.out, /\nExamples?:\n {2}\$ /u, argv.join(" "));
        assert.match(help.out, /--data <dir>/u, argv.join(" "));
      }
    }
  });

  it("completes verbs, options, kinds and the names that the daemon knows", async () => {
    await start();
    resources.nodes.items = [nodeView("cam-1"), nodeView("cam-2"), nodeView("door")];
    const complete = async (...words: string[]): Promise<string[]> => {
      const { out, code } = await cli.run(["__complete", ...words]);
      assert.equal(code, 0);
      return out.split("\n").filter((line) => line !== "");
    };
    assert.deepEqual(await complete("st"), ["status", "stage"]);
    assert.deepEqual(await complete("fleet", ""), ["create", "reset-time"]);
    assert.deepEqual(await complete("get", "no"), ["nodes"]);
    assert.deepEqual(await complete("get", "nodes", "cam"), ["cam-1", "cam-2"]);
    assert.deepEqual(await complete("approve", "--yes", "d"), ["door"]);
    assert.deepEqual(await complete("service", ""), ["publish", "unpublish"]);
    assert.deepEqual(await complete("service", "publish", "cam", "--protocol", "h"), ["http"]);
    assert.deepEqual(await complete("get", "nodes", "-o", "j"), ["json"]);
    assert.deepEqual(await complete("publish", "--in"), ["--in-place"]);
    assert.deepEqual(await complete("completion", "f"), ["fish"]);
    assert.deepEqual(await complete("publish", ""), [], "the shell offers files");
    assert.deepEqual(await complete("get", "nonsense", ""), []);
    for (const shell of ["bash", "zsh", "fish"])
      assert.match((await cli.run(["completion", shell])).out, /__complete/u);
    assert.equal((await cli.run(["completion", "csh"])).code, 2);
  });

  it("looks at the path before it bothers the daemon or the key", async () => {
    await start();
    const socket = cli.path("socket");
    const listener = createServer().listen(socket);
    await new Promise((resolve) => listener.once("listening", resolve));
    const missing = await cli.run(["publish", cli.path("none"), "--name", "m"]);
    assert.deepEqual([missing.code, /there is no/u.test(missing.err)], [4, true]);
    const bad = await cli.run(["publish", socket, "--name", "m"]);
    assert.deepEqual([bad.code, /is a socket/u.test(bad.err)], [2, true], bad.err);
    await new Promise((resolve) => listener.close(resolve));
  });

  it("waits for every copy that is wanted, and says who is late when time is up", async () => {
    const copy = (node: string, state: CopyView["state"]): CopyView => ({
      node,
      site: "s",
      state,
      wanted: true,
      bytes: state === "complete" ? 10 : 4,
      bytesFromSite: 4,
      bytesFromWan: 0,
    });
    const detail = (...nodes: CopyView[]): ArtifactDetail => ({
      ...ARTIFACT,
      nodes,
    });
    resources.artifacts.items = [detail(copy("a", "complete"), copy("b", "transferring"))];
    await start();
    const io = {
      env: cli.env,
      clock,
      signal: new AbortController().signal,
      stdout: { write: () => true },
      stderr: { write: () => true },
    };
    const session = new Session({ io: io as never, deps: cli.deps, exitCode: 0 }, {});
    const client = await session.client();
    await assert.rejects(waitForCopies(session, client, "m:1", 300), {
      code: "cli.not-staged",
      exit: "timeout",
      message: /not yet on b \(transferring\)/u,
    });
    const waiting = waitForCopies(session, client, "m:1", 5_000);
    resources.artifacts.set([detail(copy("a", "complete"), copy("b", "complete"))]);
    assert.equal((await waiting).nodes.length, 2);
  });
});

const ARTIFACT: ArtifactDetail = {
  name: "m:1",
  labels: {},
  tenant: "default",
  mediaType: "application/octet-stream",
  sizeBytes: 10,
  files: 1,
  root: "00",
  local: { node: "a", site: "s", state: "complete", wanted: true, bytes: 10, bytesFromSite: 0, bytesFromWan: 0 },
  pinned: false,
  copies: 1,
  wanted: 2,
  createdAt: "2026-01-01T00:00:00.000Z",
  expires: "2027-01-01T00:00:00.000Z",
  chunkBytes: 262_144,
  publisher: { keyid: "00", name: "p" },
  placements: [],
  nodes: [],
  sources: [],
};

async function waitFor(condition: () => boolean): Promise<void> {
  await withDeadline(clock, 5_000, "the state that the test waits for", async (signal) => {
    while (!condition()) await clock.sleep(5, signal);
  });
}
