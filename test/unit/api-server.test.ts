import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ControlClient, findSocket, type Handlers, SOCKET_NAME } from "#api";
import { Fault, SILENT_LOG, SystemClock, withDeadline } from "#core";
import { createMetrics } from "../../src/daemon/metrics.ts";
import { MAX_STREAMS, startControlServer } from "../../src/daemon/server.ts";
import { memoryHandlers, type MemoryResources, memoryResources, nodeView } from "../support/memory-handlers.ts";

const clock = new SystemClock();

describe("control API", () => {
  let data: string;
  let resources: MemoryResources;
  let client: ControlClient;
  let server: AsyncDisposable | undefined;

  const start = async (given: Partial<Handlers> = {}): Promise<void> => {
    const deps = { handlers: memoryHandlers(resources, given), metrics: createMetrics(), log: SILENT_LOG, clock };
    server = await startControlServer(deps, { socketPath: join(data, SOCKET_NAME), version: "1" });
  };
  const raw = (method: string, path: string, body = ""): Promise<{ status: number; text: string }> =>
    new Promise((resolve, reject) => {
      const sent = request({ socketPath: findSocket(data), method, path, agent: false }, (response) => {
        let text = "";
        response.on("data", (piece: Buffer) => (text += piece.toString()));
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
      });
      sent.on("error", reject);
      sent.end(body);
    });

  beforeEach(() => {
    data = mkdtempSync(join(tmpdir(), "api-"));
    resources = memoryResources();
    client = new ControlClient(clock, data);
  });
  afterEach(async () => {
    await server?.[Symbol.asyncDispose]();
    server = undefined;
    rmSync(data, { recursive: true, force: true });
  });

  it("answers a call, on a socket that only its user can open", async () => {
    await start();
    assert.equal((await client.call("status", {})).name, "n1");
    assert.equal(statSync(join(data, SOCKET_NAME)).mode & 0o777, 0o600);
  });

  it("says that no daemon runs, with exit code 10 and what to do", async () => {
    await assert.rejects(client.call("status", {}), { code: "api.daemon-down", exit: "offline", fix: /portolan up/u });
    writeFileSync(join(data, SOCKET_NAME), "");
    await assert.rejects(client.call("status", {}), { code: "api.daemon-down" });
  });

  it("replaces a socket that nobody answers, and refuses to take one that somebody does", async () => {
    await start();
    await assert.rejects(start(), { code: "daemon.running", exit: "conflict" });
    assert.equal((await client.call("status", {})).name, "n1", "the refused one must not have touched the socket");
    await server?.[Symbol.asyncDispose]();
    const dying = "require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))";
    spawnSync(process.execPath, ["-e", dying, join(data, SOCKET_NAME)]);
    assert.ok(existsSync(join(data, SOCKET_NAME)));
    await start();
    assert.equal((await client.call("status", {})).name, "n1");
  });

  it("finds the socket of a data directory whose path is too long for one, and leaves nothing behind", async () => {
    data = join(data, "x".repeat(120));
    mkdirSync(data);
    client = new ControlClient(clock, data);
    await start();
    const short = findSocket(data);
    assert.ok(short !== undefined && short.length < 100);
    assert.equal((await client.call("status", {})).name, "n1");
    await server?.[Symbol.asyncDispose]();
    server = undefined;
    assert.ok(!existsSync(short));
    await assert.rejects(client.call("status", {}), { code: "api.daemon-down" });
  });

  it("hands a handler's Fault over whole", async () => {
    await start({
      token: () =>
        Promise.reject(new Fault("identity.no-fleet", "no fleet yet", { exit: "conflict", fix: "create one" })),
    });
    await assert.rejects(client.call("token", {}), {
      name: "Fault",
      code: "identity.no-fleet",
      exit: "conflict",
      message: "no fleet yet",
      fix: "create one",
    });
  });

  it("takes calls without a body, by every method", async () => {
    const rejected: string[] = [];
    await start({
      reject: async ({ name }) => {
        rejected.push(name);
        return { done: true };
      },
    });
    await client.call("reject", { name: "Operator/default/bob" });
    assert.deepEqual(rejected, ["Operator/default/bob"]);
  });

  it("refuses unknown members, wrong types, no JSON, and too much, naming what", async () => {
    await start();
    const bad = { name: "plant a", owners: [], threshold: 1 };
    await assert.rejects(client.call("createFleet", bad), { code: "api.request", exit: "invalid", message: /^name: / });
    const unknown = await raw("POST", "/v1/drafts", JSON.stringify({ kind: "x", name: "y", spec: {}, sepc: 1 }));
    assert.equal(unknown.status, 400);
    assert.match(unknown.text, /sepc/u);
    assert.equal((await raw("POST", "/v1/drafts", "{")).status, 400);
    assert.equal((await raw("GET", "/v1/nodes?selektor=x")).status, 400);
    assert.equal((await raw("GET", "/v2/nodes")).status, 404);
    const huge = await raw("POST", "/v1/drafts", "x".repeat(9 * 1024 * 1024)).catch((error: Error) => error);
    if (!(huge instanceof Error)) assert.equal(huge.status, 400);
    assert.equal((await client.call("status", {})).name, "n1", "it goes on serving");
  });

  it("lists what the selector matches, by labels and by plain fields, and names what is missing", async () => {
    await start();
    resources.nodes.items = [nodeView("a", "berlin", { gpu: "yes" }), nodeView("b", "paris"), nodeView("c")];
    const names = async (selector: string): Promise<string[]> =>
      (await client.call("nodes.list", { selector })).items.map((item) => item.name);
    assert.deepEqual(await names(""), ["a", "b", "c"]);
    assert.deepEqual(await names("site=berlin"), ["a", "c"]);
    assert.deepEqual(await names("site=berlin,!gpu"), ["c"]);
    await assert.rejects(client.call("nodes.list", { selector: "=x" }), { code: "api.selector", exit: "invalid" });
    assert.equal((await client.call("nodes.get", { name: "b" })).site, "paris");
    await assert.rejects(client.call("nodes.get", { name: "z" }), { code: "api.no-such", exit: "missing" });
  });

  it("carries names with slashes, colons and spaces in a path", async () => {
    await start();
    resources.nodes.items = [nodeView("Kind/default/a:1 %2F ü")];
    assert.equal((await client.call("nodes.get", { name: "Kind/default/a:1 %2F ü" })).name, "Kind/default/a:1 %2F ü");
  });

  it("follows a list: what there is, synced, then each change once", async () => {
    await start();
    resources.nodes.items = [nodeView("a")];
    const seen: string[] = [];
    for await (const event of client.watch("nodes.watch", {})) {
      seen.push("object" in event ? `${event.type} ${event.object.name}` : event.type);
      if (event.type === "synced") resources.nodes.set([nodeView("a"), nodeView("b")]);
      if (seen.at(-1) === "added b") resources.nodes.set([nodeView("b", "paris")]);
      if (event.type === "deleted") break;
    }
    assert.deepEqual(seen, ["added a", "synced", "added b", "modified b", "deleted"]);
    await waitFor(() => resources.nodes.listeners.size === 0); // hanging up ends it in the daemon
  });

  it("tells the progress of a job, then its result", async () => {
    const draft = { id: "i", payloadType: "t", payload: "", needs: { role: "publisher", count: 1, signers: [] } };
    await start({
      publish: async (input, { progress }) => {
        progress({ phase: "reading", bytes: 1, sizeBytes: 2 });
        await clock.sleep(1);
        return { draft, root: input.path, sizeBytes: 2, files: 1 };
      },
    });
    const seen: number[] = [];
    const result = await client.job("publish", { path: "/f", name: "m:1" }, ({ bytes }) => seen.push(bytes));
    assert.deepEqual(seen, [1]);
    assert.equal(result.root, "/f");
  });

  it("ends a job with its fault", async () => {
    await start({
      publish: () => Promise.reject(new Fault("artifacts.no-file", "there is no /f", { exit: "missing" })),
    });
    const job = client.job("publish", { path: "/f", name: "m" }, () => undefined);
    await assert.rejects(job, { code: "artifacts.no-file", exit: "missing" });
  });

  it("cancels a job in the daemon when the caller aborts", async () => {
    let cancelled = false;
    const started = new AbortController();
    await start({
      publish: (_, { signal }) =>
        new Promise((_resolve, reject) => {
          started.abort();
          signal.addEventListener("abort", () => {
            cancelled = true;
            reject(new Error("cancelled"));
          });
        }),
    });
    const caller = new AbortController();
    const job = client.job("publish", { path: "/f", name: "m" }, () => undefined, caller.signal);
    job.catch(() => undefined);
    await waitFor(() => started.signal.aborted);
    caller.abort(new Error("enough"));
    await assert.rejects(job, /enough/u);
    await waitFor(() => cancelled);
  });

  it("gives up on a call that hangs, at its deadline", async () => {
    let cancelled = false;
    await start({
      leave: (_, { signal }) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener("abort", () => {
            cancelled = true;
            reject(new Error("cancelled"));
          });
        }),
    });
    await assert.rejects(client.call("leave", {}, { timeoutMs: 100 }), { code: "core.deadline", exit: "timeout" });
    await waitFor(() => cancelled);
  });

  it("bounds its streams, and stops in good order with some open", async () => {
    await start();
    const watches = Array.from({ length: MAX_STREAMS }, () => client.watch("nodes.watch", {}));
    for (const watch of watches) assert.equal((await watch.next()).value?.type, "synced");
    await assert.rejects(client.watch("nodes.watch", {}).next(), { code: "api.busy", exit: "conflict" });
    await watches.pop()?.return();
    await waitFor(() => resources.nodes.listeners.size === MAX_STREAMS - 1);
    const one = client.watch("nodes.watch", {});
    await one.next();
    await server?.[Symbol.asyncDispose]();
    server = undefined;
    await assert.rejects(one.next(), { code: "api.hung-up", exit: "offline" });
    assert.equal(resources.nodes.listeners.size, 0);
    assert.ok(!existsSync(join(data, SOCKET_NAME)));
  });

  it("describes itself and its metrics", async () => {
    await start();
    const document = JSON.parse((await raw("GET", "/openapi.json")).text) as { paths: Record<string, unknown> };
    assert.ok("/v1/nodes/{name}" in document.paths && "/v1/publish" in document.paths);
    assert.match((await raw("GET", "/metrics")).text, /portolan_process_cpu_seconds_total/u);
  });
});

async function waitFor(condition: () => boolean): Promise<void> {
  await withDeadline(clock, 5_000, "the state that the test waits for", async (signal) => {
    while (!condition()) await clock.sleep(5, signal);
  });
}
