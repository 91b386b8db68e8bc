import { createServer, type Server } from "node:http";
import { getRequestListener } from "@hono/node-server";
import { type Context, Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import type { Registry } from "prom-client";
import type { z } from "zod";
import {
  encodeEvent,
  type Handlers,
  MAX_BODY_BYTES,
  MAX_LIST,
  openApiDocument,
  RESOURCE_NAMES,
  type ResourceName,
  type Route,
  ROUTES,
  type ServerEvent,
  STATUS_OF_EXIT,
  toWireFault,
} from "#api";
import { type Clock, Fault, type Log } from "#core";
import { jobEvents, noSuch, selectFrom, watchEvents } from "./control-events.ts";
import { type BoundSocket, listenUnix } from "./unix-socket.ts";

/** Watches and jobs at once; each holds a connection. Dashboards and scripts of one machine stay far below. */
export const MAX_STREAMS = 64;
/** Connections at once: the streams and as many calls again, with room. */
const MAX_CONNECTIONS = 256;
/** What is being answered may finish for this long after a stop. */
const GRACE_MS = 2_000;

/** What answers, what `GET /metrics` shows, where failures are logged. */
export type ControlServerDeps = { handlers: Handlers; metrics: Registry; log: Log; clock: Clock };
/** Where the API is. */
export type ControlServerOptions = {
  /** Where to listen; see `listenUnix` for paths that are too long. */
  socketPath: string;
  /** Of this program, for the OpenAPI document. */
  version: string;
};

/** The control API on a unix socket. Stops in good order: jobs and watches are told, calls may finish for 2 s. */
export async function startControlServer(
  deps: ControlServerDeps,
  options: ControlServerOptions,
): Promise<AsyncDisposable> {
  const stopping = new AbortController();
  const app = new ControlApp(deps, options.version, stopping.signal).hono;
  const listener = getRequestListener(app.fetch, { overrideGlobalObjects: false });
  const server = createServer((request, response) => void listener(request, response));
  server.maxConnections = MAX_CONNECTIONS;
  const bound = await listenUnix(server, options.socketPath);
  return { [Symbol.asyncDispose]: () => stop(server, bound, stopping, deps.clock) };
}

async function stop(server: Server, bound: BoundSocket, stopping: AbortController, clock: Clock): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  stopping.abort(new Fault("daemon.stopping", "the daemon is stopping", { exit: "offline" }));
  server.closeIdleConnections();
  const inTime = new AbortController();
  clock.sleep(GRACE_MS, inTime.signal).then(
    () => server.closeAllConnections(),
    () => undefined, // all were done before
  );
  await closed;
  inTime.abort();
  bound.remove();
}

type Input = Record<string, unknown>;

/** Mounts the table of routes on the handlers. */
class ControlApp {
  readonly hono = new Hono();
  readonly #deps: ControlServerDeps;
  readonly #stopping: AbortSignal;
  #streams = 0;

  constructor(deps: ControlServerDeps, version: string, stopping: AbortSignal) {
    this.#deps = deps;
    this.#stopping = stopping;
    const app = this.hono;
    app.onError((error, context) => this.#answerFault(error, context));
    app.notFound((context) => this.#answerFault(noRoute(context), context));
    app.get("/openapi.json", (context) => context.json(openApiDocument(version)));
    app.get("/metrics", async (context) =>
      context.text(await deps.metrics.metrics(), 200, { "content-type": deps.metrics.contentType }),
    );
    const limit = bodyLimit({ maxSize: MAX_BODY_BYTES, onError: (context) => this.#answerFault(tooLarge(), context) });
    for (const [name, route] of Object.entries<Route>(ROUTES)) {
      const path = route.path.replaceAll(/\{(\w+)\}/gu, ":$1");
      if (route.input.body !== undefined) app.on(route.method, path, limit); // elsewhere a body is never looked at
      app.on(route.method, path, async (context) => this.#answer(name, route, context));
    }
  }

  async #answer(name: string, route: Route, context: Context): Promise<Response> {
    this.#stopping.throwIfAborted();
    const input = await readInput(route, context);
    if (route.shape === "call") return context.json(await this.#call(name, input, context.req.raw.signal));
    if (this.#streams >= MAX_STREAMS) throw busy();
    return this.#stream((signal) => this.#events(name, route, input, signal));
  }

  #call(name: string, input: Input, signal: AbortSignal): Promise<unknown> {
    const [resource, verb] = name.split(".");
    if (isResource(resource)) return this.#ask(resource, verb, input);
    return operation(this.#deps.handlers, name)(input, { signal });
  }

  async #ask(resource: ResourceName, verb: string | undefined, input: Input): Promise<unknown> {
    const handler = this.#deps.handlers.resources[resource];
    if (verb === "list") {
      const items = await selectFrom(handler, String(input["selector"]));
      return { items: items.slice(0, MAX_LIST), truncated: items.length > MAX_LIST };
    }
    const name = String(input["name"]);
    const detail = await handler.get(name);
    if (detail === undefined) throw noSuch(resource, name);
    return detail;
  }

  #events(name: string, route: Route, input: Input, signal: AbortSignal): AsyncGenerator<ServerEvent, void, void> {
    const { clock, handlers } = this.#deps;
    const [resource] = name.split(".");
    if (route.shape === "watch" && isResource(resource)) {
      const query = input as { selector: string; name?: string };
      return watchEvents(clock, handlers.resources[resource], query, signal);
    }
    return jobEvents(clock, (progress) => operation(handlers, name)(input, { signal, progress }));
  }

  /** The events as a response that is pulled; a caller that hangs up, or a stop, aborts the signal. */
  #stream(start: (signal: AbortSignal) => AsyncGenerator<ServerEvent, void, void>): Response {
    const cancel = new AbortController();
    const onStop = (): void => cancel.abort(this.#stopping.reason);
    const events = start(cancel.signal);
    const end = (): void => {
      this.#stopping.removeEventListener("abort", onStop);
      this.#streams -= 1;
    };
    this.#streams += 1;
    this.#stopping.addEventListener("abort", onStop, { once: true });
    const body = new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          const next = await events.next();
          if (next.done !== true) return controller.enqueue(encodeEvent(next.value));
          end();
          controller.close();
        },
        cancel: (reason) => {
          end();
          cancel.abort(reason);
          void events.return(); // runs its clean-up, at once or when what it waits for has noticed the signal
        },
      },
      { highWaterMark: 0 },
    );
    return new Response(body, { headers: { "content-type": "text/event-stream", "cache-control": "no-store" } });
  }

  #answerFault(error: unknown, context: Context): Response {
    const fault = toWireFault(error);
    if (fault.exit === "internal") {
      const stack = error instanceof Error ? error.stack : undefined;
      this.#deps.log.error("request failed", { path: context.req.path, code: fault.code, error: stack });
    }
    return context.json(fault, STATUS_OF_EXIT[fault.exit]);
  }
}

/** Path, query and body as one flat object. Throws Fault `api.request` (exit `invalid`) naming the member that is wrong. */
async function readInput(route: Route, context: Context): Promise<Input> {
  const { params, query, body } = route.input;
  return {
    ...check(params, context.req.param()),
    ...check(query, context.req.query()),
    ...(body === undefined ? {} : check(body, await readBody(context))),
  };
}

async function readBody(context: Context): Promise<unknown> {
  try {
    return await context.req.json();
  } catch (cause) {
    throw new Fault("api.request", "the body of the request is not JSON", { exit: "invalid", cause });
  }
}

function check(schema: z.ZodObject | undefined, value: unknown): Input {
  const parsed = schema?.safeParse(value);
  if (parsed === undefined) return {};
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const where = issue === undefined || issue.path.length === 0 ? "" : `${issue.path.join(".")}: `;
  throw new Fault("api.request", `${where}${issue?.message ?? "invalid"}`, { exit: "invalid" });
}

type AnyOperation = (
  input: Input,
  context: { signal: AbortSignal; progress?: (event: unknown) => void },
) => Promise<unknown>;

/** The handler of a route; the table's types guarantee that it takes what the route's schemas gave. */
function operation(handlers: Handlers, name: string): AnyOperation {
  return (handlers as unknown as Record<string, AnyOperation>)[name] as AnyOperation;
}

function isResource(text: string | undefined): text is ResourceName {
  return RESOURCE_NAMES.some((name) => name === text);
}

function noRoute(context: Context): Fault {
  return new Fault("api.no-route", `there is no ${context.req.method} ${context.req.path}`, {
    exit: "missing",
    fix: "GET /openapi.json lists what there is",
  });
}

function tooLarge(): Fault {
  return new Fault("api.too-large", `the request is over ${MAX_BODY_BYTES} bytes`, { exit: "invalid" });
}

function busy(): Fault {
  return new Fault("api.busy", `${MAX_STREAMS} watches and transfers are open already`, {
    exit: "conflict",
    fix: "end one of them",
  });
}
