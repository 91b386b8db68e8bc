import { createHash } from "node:crypto";
import path from "node:path";
import { createInterface, type Interface } from "node:readline";
import { Readable } from "node:stream";
import { z } from "zod";
import { type Clock, Fault, withDeadline } from "#core";
import type { Child } from "./children.ts";
import { COMMAND_MS, type DemoNode, type Fleet } from "./fleet.ts";

const SERVICE = "session";
const MAIN = path.join(import.meta.dirname, "session-main.ts");
/** Between two looks at what came. */
const POLL_MS = 50;
/** Until the first byte is there, and until something comes again: a circuit has 30 s. */
const PATIENCE_MS = 30_000;

const Ready = z.strictObject({ port: z.int() });
const Sent = z.strictObject({ bytes: z.int(), sha256: z.string() });

/** What came of a session. `longestPauseMs`: without a byte, where one was due every 100 ms. */
export type SessionRecord = { program: string; bytes: number; equal: boolean; longestPauseMs: number };

/**
 * A download that goes on until it is stopped, by an ordinary program at one node's machine, from an ordinary server at another's: the
 * server is published as a service, and `portolan connect` opens the port that the program asks.
 */
export class Session implements AsyncDisposable {
  readonly #clock: Clock;
  readonly #fleet: Fleet;
  readonly #server: DemoNode;
  readonly #serving: Child;
  readonly #lines: AsyncIterator<string>;
  readonly #connected = new AbortController();
  readonly #hash = createHash("sha256");
  #program: { name: string; child: Child } | undefined;
  #bytes = 0;
  #lastMs = Number.POSITIVE_INFINITY;
  #longestPauseMs = 0;

  private constructor(clock: Clock, fleet: Fleet, server: DemoNode, serving: Child, lines: Interface) {
    this.#clock = clock;
    this.#fleet = fleet;
    this.#server = server;
    this.#serving = serving;
    this.#lines = lines[Symbol.asyncIterator]();
  }

  /** Starts the server beside one node and the program beside the other; resolves with the first bytes. */
  static async start(clock: Clock, fleet: Fleet, client: DemoNode, server: DemoNode): Promise<Session> {
    const argv = [process.execPath, MAIN, "serve"];
    const serving = await fleet.beside(server, "the session's server", argv, ["pipe", "pipe", "inherit"]);
    const lines = createInterface({ input: serving.process.stdout ?? Readable.from([]) });
    const session = new Session(clock, fleet, server, serving, lines);
    try {
      const { port } = Ready.parse(await session.#line());
      const to = `127.0.0.1:${port}`;
      await server.client.call("publishService", { name: SERVICE, to, protocol: "http", replace: true });
      await session.#download(client, await session.#connect(client));
      await session.untilMore("the session's first byte");
      return session;
    } catch (error) {
      await session[Symbol.asyncDispose]();
      throw error;
    }
  }

  get program(): string {
    return this.#program?.name ?? "";
  }

  /** Resolves when something has come that was not there when this was called. */
  async untilMore(what: string): Promise<void> {
    const before = this.#bytes;
    await withDeadline(this.#clock, PATIENCE_MS, what, async (signal) => {
      while (this.#bytes === before) await this.#clock.sleep(POLL_MS, signal);
    });
  }

  /** Lets the server end, and the program with it; compares what was sent and what came. */
  async finish(): Promise<SessionRecord> {
    this.#serving.process.stdin?.end();
    const sent = Sent.parse(await this.#line());
    const how = await withDeadline(
      this.#clock,
      PATIENCE_MS,
      "the session's end",
      async () => this.#program?.child.ended,
    );
    const equal = how === "exit code 0" && sent.bytes === this.#bytes && sent.sha256 === this.#hash.digest("hex");
    return { program: this.program, bytes: this.#bytes, equal, longestPauseMs: Math.round(this.#longestPauseMs) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#connected.abort(new Fault("demo.session-over", "the session is over"));
    this.#program?.child.process.kill("SIGKILL");
    this.#serving.process.kill("SIGKILL");
    await this.#server.client.call("unpublishService", { name: SERVICE }).catch(() => undefined); // not published yet
  }

  /** A port beside the client that leads to the server. */
  async #connect(client: DemoNode): Promise<number> {
    const wanted = { service: SERVICE, listen: { host: "127.0.0.1", port: 0 } };
    const listen = async (signal: AbortSignal): Promise<number> => {
      for (;;) {
        const opened = Promise.withResolvers<number>();
        const job = client.client.job("connect", wanted, ({ port }) => opened.resolve(port), this.#connected.signal);
        job.catch((error: unknown) => opened.reject(error));
        try {
          return await opened.promise;
        } catch (error) {
          if (!(error instanceof Fault && error.exit === "missing")) throw error;
          await this.#clock.sleep(POLL_MS, signal); // it has not heard of the service yet
        }
      }
    };
    return withDeadline(this.#clock, PATIENCE_MS, `${client.plan.serial} to know the service`, listen);
  }

  async #download(client: DemoNode, port: number): Promise<void> {
    const url = `http://127.0.0.1:${port}/`;
    const curl = await this.#fleet.programAt("curl");
    const argv = curl === undefined ? [process.execPath, MAIN, "get", url] : [curl, "-sSN", url];
    const child = await this.#fleet.beside(client, "the session", argv, ["ignore", "pipe", "inherit"]);
    this.#program = { name: curl === undefined ? "node" : "curl", child };
    child.process.stdout?.on("data", (piece: Buffer) => {
      const nowMs = this.#clock.nowMs();
      this.#longestPauseMs = Math.max(this.#longestPauseMs, nowMs - this.#lastMs);
      this.#lastMs = nowMs;
      this.#bytes += piece.length;
      this.#hash.update(piece);
    });
  }

  async #line(): Promise<unknown> {
    const next = withDeadline(this.#clock, COMMAND_MS, "the session's server", () => this.#lines.next());
    return JSON.parse(String((await next).value));
  }
}
