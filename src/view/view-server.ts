import { timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type ControlClient, encodeEvent, STATUS_OF_EXIT, toWireFault } from "#api";
import { type Clock, Fault, type Random } from "#core";
import { FleetFeed } from "./fleet-feed.ts";
import { pageFiles } from "./page-files.ts";
import { emptyFleet, type Frame, takeChanges } from "./page/fleet.ts";

/** Pages that are open at once; each holds a stream. More than one person looks at on one machine. */
export const MAX_PAGES = 8;
/** Connections at once: a browser opens six for each page. */
const MAX_CONNECTIONS = 64;
/** A request that is not there by then is no browser's: it makes room for others. */
const REQUEST_MS = 3_000;
/** A browser on this machine sends well below 2 KiB. */
const MAX_HEADER_BYTES = 8 * 1024;
/** Longest request line that is looked at: the key, and a name of 256 characters, percent-encoded. */
const MAX_URL_CHARS = 1_024;
/** Shortest time between two frames: four a second. */
const FRAME_MS = 250;
/** Of the secret in the address: what nobody guesses. */
const KEY_BYTES = 24;

/** Kinds of which the page asks for the details of one. */
const DETAILS = ["routes", "services", "artifacts", "links"] as const;

/** No script, style, picture or connection but the page's own; nobody may frame it, nor learn its address. */
const HEADERS = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "cache-control": "no-store",
};

export type ViewDeps = { client: ControlClient; clock: Clock; random: Random };
/** A page that is served. Disposing of it closes its port and its streams. */
export interface RunningView extends AsyncDisposable {
  /** With the secret that opens it. */
  readonly url: string;
}

/**
 * Serves the live page of a daemon's fleet on 127.0.0.1, read-only, to whoever knows its address. Port 0 takes a free one.
 *
 * Throws Fault `view.port` (exit `conflict`) when the port cannot be had.
 */
export async function startView(deps: ViewDeps, port: number): Promise<RunningView> {
  const ending = new AbortController();
  const key = Buffer.from(deps.random.bytes(KEY_BYTES)).toString("base64url");
  const feed = new FleetFeed(deps.client, deps.clock);
  const site = new ViewSite(deps, feed, key, ending.signal);
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: REQUEST_MS,
      requestTimeout: REQUEST_MS,
      connectionsCheckingInterval: REQUEST_MS / 3,
    },
    (request, response) => site.answer(request, response),
  );
  server.maxConnections = MAX_CONNECTIONS;
  site.port = await listen(server, port);
  const following = feed.run(ending.signal);
  return {
    url: `http://127.0.0.1:${site.port}/${key}/`,
    [Symbol.asyncDispose]: async () => {
      ending.abort();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await Promise.all([closed, following]);
    },
  };
}

/** What is answered to whom. */
class ViewSite {
  port = 0;
  readonly #deps: ViewDeps;
  readonly #feed: FleetFeed;
  readonly #key: Buffer;
  readonly #ending: AbortSignal;
  readonly #files = pageFiles();
  #pages = 0;

  constructor(deps: ViewDeps, feed: FleetFeed, key: string, ending: AbortSignal) {
    this.#deps = deps;
    this.#feed = feed;
    this.#key = Buffer.from(key);
    this.#ending = ending;
  }

  answer(request: IncomingMessage, response: ServerResponse): void {
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    const refusal = this.#refusal(request);
    if (refusal !== undefined) return refuse(response, ...refusal);
    const path = (request.url ?? "").split("/").slice(2).join("/");
    const file = this.#files.get(path);
    if (file !== undefined) response.writeHead(200, { "content-type": file.type }).end(file.body);
    else if (path === "events") void this.#stream(response);
    else void this.#detail(path, response);
  }

  /** Another page of the browser may have a name of its own for this address: then Host says that one. */
  #refusal({ method, url = "", headers }: IncomingMessage): [status: number, text: string] | undefined {
    const hosts = [`127.0.0.1:${this.port}`, `localhost:${this.port}`];
    if (!hosts.includes(headers.host ?? "")) return [403, "this page has another name"];
    if (method !== "GET") return [405, "only GET"];
    if (url.length > MAX_URL_CHARS) return [414, "the address is too long"];
    const given = Buffer.from(url.split("/")[1] ?? "");
    if (given.length !== this.#key.length || !timingSafeEqual(given, this.#key)) {
      return [403, "use the address that portolan view printed"];
    }
    return undefined;
  }

  /** Frames, each with what has changed since the one before, as fast as the page takes them. */
  async #stream(response: ServerResponse): Promise<void> {
    if (this.#pages >= MAX_PAGES) return refuse(response, 503, `${MAX_PAGES} pages are open already`);
    this.#pages += 1;
    const gone = new AbortController();
    response.on("close", () => gone.abort());
    response.writeHead(200, { "content-type": "text/event-stream" });
    try {
      await this.#sendFrames(response, AbortSignal.any([gone.signal, this.#ending]));
    } catch {
      // the page is gone, or we are
    } finally {
      this.#pages -= 1;
      response.end();
    }
  }

  async #sendFrames(response: ServerResponse, signal: AbortSignal): Promise<void> {
    const sent = emptyFleet();
    while (!signal.aborted) {
      const { version, down } = this.#feed;
      const frame: Frame = { changes: takeChanges(sent, this.#feed.fleet), ...(down === undefined ? {} : { down }) };
      if (!response.write(encodeEvent({ event: "fleet", data: frame }))) await once(response, "drain", { signal });
      await this.#deps.clock.sleep(FRAME_MS, signal);
      await this.#feed.changed(version, signal);
    }
  }

  /** `detail/KIND/NAME`. */
  async #detail(path: string, response: ServerResponse): Promise<void> {
    const [first, kindName, encoded, ...more] = path.split("/");
    const kind = DETAILS.find((candidate) => candidate === kindName);
    const name = decoded(encoded ?? "");
    if (first !== "detail" || kind === undefined || !name || more.length > 0) {
      return refuse(response, 404, "there is no such page");
    }
    try {
      const detail = await this.#deps.client.call(`${kind}.get`, { name }, { signal: this.#ending });
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(detail));
    } catch (error) {
      const fault = toWireFault(error);
      if (fault.exit === "missing") return void response.writeHead(204).end(); // there may be one again: no failure
      refuse(response, STATUS_OF_EXIT[fault.exit], fault.message);
    }
  }
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function refuse(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8" }).end(`${text}\n`);
}

async function listen(server: Server, port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      const why = cause.code === "EADDRINUSE" ? "is in use" : `cannot be had: ${cause.message}`;
      const fix = "choose another --port, or leave it out";
      reject(new Fault("view.port", `127.0.0.1 port ${port} ${why}`, { exit: "conflict", fix, cause }));
    });
    server.listen(port, "127.0.0.1", resolve);
  });
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : port;
}
