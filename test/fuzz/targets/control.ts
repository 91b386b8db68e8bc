import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ControlClient, EventParser, encodeEvent, findSocket, matchesSelector, parseSelector, SOCKET_NAME } from "#api";
import { SILENT_LOG, SystemClock } from "#core";
import { applyFile } from "../../../src/cli/apply.ts";
import { findContext, readContexts } from "../../../src/cli/contexts.ts";
import { collectLabel, placementName } from "../../../src/cli/labels.ts";
import { parseFormat } from "../../../src/cli/output.ts";
import { parseSeconds } from "../../../src/cli/units.ts";
import { loadConfig } from "../../../src/daemon/config.ts";
import { createMetrics } from "../../../src/daemon/metrics.ts";
import { startControlServer } from "../../../src/daemon/server.ts";
import { memoryHandlers, memoryResources } from "../../support/memory-handlers.ts";
import { type FuzzTarget, mustHold } from "../target.ts";

const clock = new SystemClock();
const text = (...lines: string[]): Uint8Array => Buffer.from(lines.join("\n"));
const utf8 = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

/** A folder of the campaign's own; it goes with the thread. */
function ownFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "portolan-fuzz-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const config: FuzzTarget = {
  name: "config",
  covers: [
    "src/daemon/config.ts#loadConfig",
    "src/daemon/config-file.ts#readConfigFile",
    "src/yaml/index.ts#parseYaml",
    "src/api/rate.ts#parseRate",
    "src/policy/week-span.ts#parseWeekSpan",
  ],
  grammar: "text",
  maxBytes: 4 * 1024,
  seeds: () => [
    text("site: berlin", "labels: { camera: yes, rack: r1 }", "listen: [/ip4/0.0.0.0/tcp/4001/tls]", "mdns: false"),
    text("data: /var/lib/portolan", "limits:", "  uploadBps: 10M", "  wanBps: 800k", "metrics: 127.0.0.1:9464"),
    text(
      "limits:",
      "  timezone: Europe/Berlin",
      "  windows:",
      '    - { when: "Mon-Fri 08:00-18:00", wanBps: 100k }',
      "    - { when: Sat, wanUploadBps: unlimited }",
    ),
    text('{"lan": ["10.1.0.0/16"], "proxy": "http://10.1.0.1:3128", "announce": [], "serial": "SN-1"}'),
    text("a: &a [x, x]", "b: [*a, *a]"),
  ],
  refuses: ["daemon.config"],
  prepare: () => {
    const file = join(ownFolder(), "portolan.yaml");
    return (input) => {
      writeFileSync(file, input);
      return Object.keys(loadConfig({}, file).labels).length > 0 ? "labels" : "no labels";
    };
  },
};

const documentsFile: FuzzTarget = {
  name: "apply-file",
  covers: ["src/cli/apply.ts#applyFile"],
  grammar: "text",
  maxBytes: 2 * 1024, // the YAML library takes 10 µs for each byte of what is odd in every line
  seeds: () => [
    text("apiVersion: portolan.dev/v1", "kind: Batch", "metadata: { name: open }", "spec: { max: 3, cidrs: [] }"),
    text("---", "payloadType: a", 'payload: ""', "signatures: []", "---", "apiVersion: portolan.dev/v1"),
    text("a: &a [x, x, x, x]", "b: &b [*a, *a, *a, *a]", "c: [*b, *b, *b, *b]"),
  ],
  refuses: ["cli.apply"],
  prepare: () => async (input) => {
    let called = 0;
    const session = {
      io: {
        stdin: {
          iterator: async function* () {
            yield Buffer.from(input);
          },
        },
      },
      withNode: async () => void (called += 1),
    } as unknown as Parameters<typeof applyFile>[0];
    await applyFile(session, "-");
    return `${called}`;
  },
};

/** Short texts that a person types. */
const typed: FuzzTarget = {
  name: "typed",
  covers: [
    "src/api/selector.ts#parseSelector",
    "src/cli/units.ts#parseSeconds",
    "src/cli/labels.ts",
    "src/cli/output.ts#parseFormat",
  ],
  grammar: "text",
  seeds: () =>
    ["site=berlin,gpu,!spare,tier in (a,b),zone notin (x)", "a==b", "24h", "k=v", "json"].map((one) =>
      Buffer.from(one),
    ),
  refuses: ["api.selector", "cli.label", "cli.format", "cli.output"],
  prepare: () => (input) => {
    const said = utf8(input);
    const seconds = parseSeconds(said);
    mustHold(seconds === undefined || Number.isSafeInteger(seconds), "a length of time is no number");
    mustHold(placementName("a", said).length < 60, "a name is too long");
    if (/^\w+=/u.test(said) && !said.includes(",")) collectLabel(said, {});
    if (/^[a-z]{4,5}$/u.test(said)) parseFormat(said);
    const selector = parseSelector(said);
    matchesSelector(selector, { site: "berlin", gpu: "" });
    return `${Math.min(selector.length, 4)} conditions`;
  },
};

const contexts: FuzzTarget = {
  name: "contexts",
  covers: ["src/cli/contexts.ts#readContexts"],
  grammar: "json",
  seeds: () => [text('{"current":"a","contexts":{"a":{"data":"/x","key":"/k"},"b":{"data":"/y"}}}')],
  refuses: ["cli.contexts", "cli.no-context"],
  prepare: () => {
    const folder = ownFolder();
    const env = { XDG_CONFIG_HOME: folder };
    const path = join(folder, "portolan");
    mkdirSync(path);
    return (input) => {
      writeFileSync(join(path, "contexts.json"), input);
      const all = readContexts(env);
      const current = findContext(all, undefined);
      mustHold(current === undefined || typeof current.data === "string", "a context without a folder");
      return `${Object.keys(all.contexts).length > 0} ${current !== undefined}`;
    };
  },
};

/** What a daemon says to the CLI, in any pieces. */
const events: FuzzTarget = {
  name: "event-stream",
  covers: ["src/api/sse.ts#EventParser"],
  grammar: "text",
  seeds: () => [
    Buffer.concat([encodeEvent({ event: "change", data: { a: [1, "é"] } }), Buffer.from(": comment\n\n")]),
    encodeEvent({ event: "result", data: null }),
  ],
  refuses: ["api.stream"],
  prepare: () => (input) => {
    const whole = new EventParser().push(input);
    const parser = new EventParser();
    const bytes = input.length > 4_096 ? [input] : Array.from(input, (byte) => Uint8Array.of(byte));
    const pieces = bytes.flatMap((piece) => parser.push(piece));
    mustHold(JSON.stringify(whole) === JSON.stringify(pieces), "events depend on the pieces in which they come");
    return `${Math.min(whole.length, 3)} events`;
  },
};

/** A request on the control socket: method and path in the first line, the body after it. */
const controlRequests: FuzzTarget = {
  name: "control-requests",
  covers: ["src/daemon/server.ts", "src/daemon/control-events.ts", "src/api/client.ts"],
  grammar: "text",
  maxBytes: 16 * 1024,
  seeds: () => [
    text("GET /v1/status", ""),
    text("GET /v1/nodes?selector=site%3Dberlin", ""),
    text("GET /v1/nodes/n%2F1", ""),
    text("POST /v1/drafts", '{"kind":"Batch","name":"open","labels":{"a":"b"},"spec":{"max":3}}'),
    text("POST /v1/documents", '{"envelope":"{}"}'),
    text("POST /v1/fleet", '{"name":"plant","owners":[{"name":"a","publicKey":""}],"threshold":1}'),
    text("POST /v1/artifacts/a:v1/fetch", '{"output":"/x"}'),
    text("DELETE /v1/pending/x", ""),
  ],
  refuses: ["api.bad-answer"],
  prepare: async () => {
    const data = ownFolder();
    process.umask = () => 0o077; // a thread may not set it
    const deps = { handlers: memoryHandlers(memoryResources()), metrics: createMetrics(), log: SILENT_LOG, clock };
    await startControlServer(deps, { socketPath: join(data, SOCKET_NAME), version: "1" });
    const client = new ControlClient(clock, data);
    return async (input) => {
      const said = utf8(input);
      const [line = "", ...rest] = said.split("\n");
      const [method = "", path = ""] = line.split(" ");
      const fits =
        /^(?:GET|POST|PUT|PATCH|DELETE|OPTIONS)$/u.test(method) &&
        /^\/[!-~]{0,2000}$/u.test(path) &&
        !path.includes("/watch");
      if (!fits) return "no request";
      const { status, body } = await ask(findSocket(data) ?? "", method, path, rest.join("\n"));
      const bare = status === 400 && body === ""; // the HTTP adapter: that is no request
      mustHold(
        status < 400 || bare || /^\{"code":"(?!api\.internal)/u.test(body),
        `status ${status} ${body.slice(0, 200)}`,
      );
      mustHold((await client.call("status", {})).name === "n1", "the server answers no more");
      return `${status}`;
    };
  },
};

function ask(
  socketPath: string,
  method: string,
  path: string,
  body: string,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, method, path, agent: false }, (response) => {
      let answer = "";
      response.on("data", (piece: Buffer) => (answer += piece.toString()));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body: answer }));
      response.on("error", reject);
    });
    sent.on("error", reject);
    sent.end(method.startsWith("P") ? body : ""); // Node gives no length to the body of another method
  });
}

export const CONTROL_TARGETS: readonly FuzzTarget[] = [config, documentsFile, typed, contexts, events, controlRequests];
