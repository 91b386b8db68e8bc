import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import path from "node:path";
import type { Readable } from "node:stream";
import { type Clock, Fault, withDeadline } from "#core";

/** A daemon writes what it must and closes its connections in well under a second. */
const DEFAULT_GRACE_MS = 5_000;
/** What of a failed process's output its fault shows. */
const MAX_TAIL_CHARS = 2_000;
/** Most that a command may print; a token is 200 bytes. */
const MAX_OUTPUT_CHARS = 1024 * 1024;

export type Child = {
  readonly name: string;
  readonly pid: number;
  readonly process: ChildProcess;
  /** Resolves with how it ended: `exit code 0`, `signal SIGKILL`. Never rejects. */
  readonly ended: Promise<string>;
};

/**
 * The demo's processes. Each is the leader of a group of its own, so that a terminal's Ctrl-C reaches the demo alone, which
 * then stops them in order; the keeper stops them should the demo be killed.
 */
export class Children implements AsyncDisposable {
  readonly #clock: Clock;
  readonly #running = new Set<Child>();
  readonly #keeper: ChildProcess;
  readonly #graceMs: number;

  /** `removeAtEnd`: a folder that goes when the last process has ended, however the demo ends. `graceMs`: from SIGTERM to SIGKILL. */
  constructor(clock: Clock, removeAtEnd: string | undefined, graceMs = DEFAULT_GRACE_MS) {
    this.#clock = clock;
    this.#graceMs = graceMs;
    const argv = [path.join(import.meta.dirname, "keeper.ts"), ...(removeAtEnd === undefined ? [] : [removeAtEnd])];
    this.#keeper = spawn(process.execPath, argv, { detached: true, stdio: ["pipe", "ignore", "inherit"] });
    this.#keeper.stdin?.on("error", () => undefined); // it was killed: then nobody keeps, and all else goes on
  }

  /** Starts a process. Throws Fault `demo.spawn` when the program cannot be started. */
  async start(name: string, argv: readonly string[], options: SpawnOptions = {}): Promise<Child> {
    const [program = "", ...args] = argv;
    const child = spawn(program, args, { ...options, detached: true });
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", (cause) =>
        reject(new Fault("demo.spawn", `cannot start ${name}: ${cause.message}`, { cause })),
      );
    });
    const ended = new Promise<string>((resolve) => {
      child.once("exit", (code, signal) => resolve(signal === null ? `exit code ${code}` : `signal ${signal}`));
    });
    const started: Child = { name, pid: child.pid ?? 0, process: child, ended };
    this.#running.add(started);
    this.#keeper.stdin?.write(`+${started.pid}\n`);
    void this.#forget(started);
    return started;
  }

  /** The same with both outputs in the file `log`. */
  async startLogged(name: string, argv: readonly string[], log: string, env: NodeJS.ProcessEnv): Promise<Child> {
    const file = openSync(log, "a", 0o600);
    try {
      return await this.start(name, argv, { stdio: ["ignore", file, file], env });
    } finally {
      closeSync(file);
    }
  }

  /**
   * Runs a command to its end and returns what it printed.
   *
   * Throws Fault `demo.command` with the end of its error output when its exit code is not 0, `core.deadline` when it takes longer than `ms`.
   */
  async run(argv: readonly string[], ms: number, signal: AbortSignal, env: NodeJS.ProcessEnv): Promise<string> {
    const name = argv.slice(0, 3).join(" ");
    const child = await this.start(name, argv, { stdio: ["ignore", "pipe", "pipe"], env });
    const [out, err] = [collect(child.process.stdout), collect(child.process.stderr)];
    try {
      const how = await withDeadline(this.#clock, ms, name, () => child.ended, signal);
      const [printed, complained] = await Promise.all([out, err]);
      if (how === "exit code 0") return printed;
      throw new Fault("demo.command", `${argv.join(" ")}: ${how}\n${complained.trim().slice(-MAX_TAIL_CHARS)}`);
    } finally {
      child.process.kill("SIGKILL");
    }
  }

  /** Asks a process to end, and kills it when it does not. */
  async stop(child: Child): Promise<void> {
    child.process.kill("SIGTERM");
    const gone = withDeadline(this.#clock, this.#graceMs, `stopping ${child.name}`, () => child.ended);
    await gone.catch(() => child.process.kill("SIGKILL"));
    await child.ended;
  }

  /** Stops all that still run, and the keeper last. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#running].map((child) => this.stop(child)));
    this.#keeper.stdin?.end();
    if (this.#keeper.exitCode === null && this.#keeper.signalCode === null) {
      await new Promise((resolve) => this.#keeper.once("exit", resolve));
    }
  }

  async #forget(child: Child): Promise<void> {
    await child.ended;
    this.#running.delete(child);
    this.#keeper.stdin?.write(`-${child.pid}\n`);
  }
}

/** The end of a log file, for people. */
export function tailOf(log: string): string {
  return readFileSync(log, "utf8").slice(-MAX_TAIL_CHARS).trim();
}

async function collect(stream: Readable | null): Promise<string> {
  let text = "";
  for await (const piece of stream ?? []) text = (text + String(piece)).slice(-MAX_OUTPUT_CHARS);
  return text;
}
