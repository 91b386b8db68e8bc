import { type ClientRequest, type IncomingMessage, request } from "node:http";
import type { z } from "zod";
import { type Clock, errorMessage, Fault, withDeadline } from "#core";
import { MAX_BODY_BYTES, WireFault } from "./messages.ts";
import type { CallerInputOf, EventOf, OutputOf, ProgressOf, Route } from "./route.ts";
import { type RouteName, ROUTES, type Routes } from "./routes.ts";
import { findSocket } from "./socket-path.ts";
import { EventParser, type ServerEvent } from "./sse.ts";
import { fromWireFault } from "./wire-fault.ts";

type NamesOf<S extends Route["shape"]> = {
  [N in RouteName]: Routes[N] extends { shape: S } ? N : never;
}[RouteName];
/** Routes that `call` takes. */
export type CallName = NamesOf<"call">;
/** Routes that `job` takes. */
export type JobName = NamesOf<"job">;
/** Routes that `watch` takes. */
export type WatchName = NamesOf<"watch">;

/** A call to the daemon answers from memory or its database; longer means that it hangs. Also until a stream's first byte. */
export const DEFAULT_CALL_MS = 30_000;
/** Largest answer to a call in bytes: a list of 10,000 documents at about 1 KiB, with room. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

/** What a caller gave, its type erased: which members go where is the route's to say. */
type Input = Readonly<Record<string, unknown>>;

/** `timeoutMs`: default 30 s. `signal`: default the client's. */
export type CallOptions = { signal?: AbortSignal; timeoutMs?: number };

/**
 * The control API of the daemon that owns a data directory, typed by the table of routes.
 *
 * Every method throws the Fault that the daemon threw, and besides: `api.daemon-down` (exit `offline`) when nobody
 * listens, `core.deadline` (exit `timeout`), `api.answer` when daemon and client do not understand each other.
 */
export class ControlClient {
  readonly #clock: Clock;
  readonly #dataDir: string;
  readonly #signal: AbortSignal | undefined;

  /** `signal` ends everything that this client waits for, by throwing its reason. */
  constructor(clock: Clock, dataDir: string, signal?: AbortSignal) {
    this.#clock = clock;
    this.#dataDir = dataDir;
    this.#signal = signal;
  }

  /** One question, one answer. */
  async call<N extends CallName>(
    name: N,
    input: CallerInputOf<Routes[N]>,
    options: CallOptions = {},
  ): Promise<OutputOf<Routes[N]>> {
    const timeoutMs = options.timeoutMs ?? DEFAULT_CALL_MS;
    const route = ROUTES[name];
    return await withDeadline(
      this.#clock,
      timeoutMs,
      `the daemon's answer to ${name}`,
      async (signal) => {
        const response = await this.#open(route, input as Input, signal);
        return understand(route.output, parseJsonText(await readText(response))) as OutputOf<Routes[N]>;
      },
      options.signal ?? this.#signal,
    );
  }

  /** Long work: calls back on progress, resolves with the result. Aborting the signal cancels the work in the daemon. */
  async job<N extends JobName>(
    name: N,
    input: CallerInputOf<Routes[N]>,
    onProgress: (progress: ProgressOf<Routes[N]>) => void,
    signal = this.#signal,
  ): Promise<OutputOf<Routes[N]>> {
    const route = ROUTES[name];
    for await (const { event, data } of this.#events(route, input, signal)) {
      if (event === "progress") onProgress(understand(route.progress, data) as ProgressOf<Routes[N]>);
      else if (event === "result") return understand(route.output, data) as OutputOf<Routes[N]>;
      else throw fromWireFault(understand(WireFault, data));
    }
    throw hungUp();
  }

  /** Changes as they happen, until the signal fires (which ends the iteration by throwing its reason) or the caller breaks. */
  async *watch<N extends WatchName>(
    name: N,
    input: CallerInputOf<Routes[N]>,
    signal = this.#signal,
  ): AsyncGenerator<EventOf<Routes[N]>, void, void> {
    const route = ROUTES[name];
    for await (const { event, data } of this.#events(route, input, signal)) {
      if (event !== "change") throw fromWireFault(understand(WireFault, data));
      yield understand(route.event, data) as EventOf<Routes[N]>;
    }
    throw hungUp();
  }

  async *#events(route: Route, input: Input, signal?: AbortSignal): AsyncGenerator<ServerEvent, void, void> {
    const cancel = new AbortController();
    const onAbort = (): void => cancel.abort(signal?.reason);
    signal?.throwIfAborted();
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      const response = await withDeadline(
        this.#clock,
        DEFAULT_CALL_MS,
        "the daemon's first answer",
        (opening) => this.#open(route, input, opening, cancel.signal),
        cancel.signal,
      );
      const parser = new EventParser();
      for await (const bytes of response) yield* parser.push(bytes as Uint8Array);
    } catch (error) {
      signal?.throwIfAborted();
      throw error instanceof Fault ? error : hungUp(error);
    } finally {
      signal?.removeEventListener("abort", onAbort);
      cancel.abort(); // whoever stops listening stops the work
    }
  }

  /** Sends the request; resolves with a response of status 200, throws the fault of any other. */
  async #open(route: Route, input: Input, signal: AbortSignal, whole = signal): Promise<IncomingMessage> {
    const { path, body } = place(route, input);
    const socketPath = findSocket(this.#dataDir);
    if (socketPath === undefined) throw this.#down();
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const headers = body === undefined ? {} : { "content-type": "application/json", "content-length": body.length };
      const sent: ClientRequest = request({
        socketPath,
        method: route.method,
        path,
        headers,
        signal: whole,
        agent: false,
      });
      signal.addEventListener("abort", () => sent.destroy(), { once: true });
      sent.on("response", resolve);
      sent.on("error", (error: NodeJS.ErrnoException) => reject(this.#unreachable(error)));
      sent.end(body);
    });
    if (response.statusCode === 200) return response;
    throw fromWireFault(understand(WireFault, parseJsonText(await readText(response))));
  }

  #unreachable(error: NodeJS.ErrnoException): Error {
    if (error.code === "EACCES" || error.code === "EPERM") {
      return new Fault("api.daemon-denied", `you may not talk to the daemon of ${this.#dataDir}`, {
        exit: "denied",
        fix: "run this as the user that runs the daemon",
        cause: error,
      });
    }
    if (error.code !== "ENOENT" && error.code !== "ECONNREFUSED" && error.code !== "ENOTSOCK") return hungUp(error);
    return this.#down(error);
  }

  #down(cause?: Error): Fault {
    return new Fault("api.daemon-down", `no daemon runs on ${this.#dataDir}`, {
      exit: "offline",
      fix: "start it: portolan up",
      cause,
    });
  }
}

/** Splits flat input into path, query and body as the route says. */
function place(route: Route, input: Input): { path: string; body: Buffer | undefined } {
  const query = new URLSearchParams();
  for (const key of Object.keys(route.input.query?.shape ?? {})) {
    if (input[key] !== undefined) query.set(key, scalar(input[key]));
  }
  const path = route.path.replaceAll(/\{(\w+)\}/gu, (_, key: string) => encodeURIComponent(scalar(input[key])));
  const shape = route.input.body?.shape;
  if (shape === undefined) return { path: query.size === 0 ? path : `${path}?${query.toString()}`, body: undefined };
  const members = Object.fromEntries(Object.keys(shape).map((key) => [key, input[key]]));
  const body = Buffer.from(JSON.stringify(members));
  if (body.length > MAX_BODY_BYTES) {
    throw new Fault("api.too-large", `the request has ${body.length} bytes; at most ${MAX_BODY_BYTES} are taken`, {
      exit: "invalid",
    });
  }
  return { path, body };
}

function scalar(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

async function readText(response: IncomingMessage): Promise<string> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const piece of response) {
      size += (piece as Uint8Array).length;
      if (size > MAX_ANSWER_BYTES)
        throw new Fault("api.answer", `the daemon's answer is over ${MAX_ANSWER_BYTES} bytes`);
      pieces.push(piece as Uint8Array);
    }
  } catch (error) {
    throw error instanceof Fault ? error : hungUp(error);
  }
  return Buffer.concat(pieces).toString("utf8");
}

function parseJsonText(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw misunderstood("it is not JSON", cause);
  }
}

function understand<S extends z.ZodType>(schema: S, data: unknown): z.output<S> {
  const parsed = schema.safeParse(data);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw misunderstood(`${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`, parsed.error);
}

function misunderstood(why: string, cause: unknown): Fault {
  return new Fault("api.answer", `the daemon's answer cannot be read: ${why}`, {
    fix: "daemon and command are perhaps of different versions: restart the daemon",
    cause,
  });
}

function hungUp(cause?: unknown): Fault {
  const why = cause === undefined ? "" : ` (${errorMessage(cause)})`;
  return new Fault("api.hung-up", `the daemon closed the connection before it had answered${why}`, {
    exit: "offline",
    fix: "look at the daemon's log, and start it again: portolan up",
    cause,
  });
}
