import { type ChildProcess, spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { type Clock, errorMessage, Fault, withDeadline } from "#core";

/** Lines of output kept for a reader that is late; older ones are dropped. Far above what any peer prints. */
const MAX_KEPT_LINES = 10_000;
/** The end of stderr that a failure shows. */
const MAX_STDERR_CHARS = 4_000;
/** From the polite signal to SIGKILL: more than a daemon's own graceful stop may take. */
const STOP_MS = 15_000;
/** /proc counts CPU time in ticks of 1/100 s on every Linux architecture that Node runs on (proc(5), USER_HZ). */
const TICKS_PER_SECOND = 100;

export type ChildOptions = {
  cwd?: string;
  /** Added to this process's environment. */
  env?: Readonly<Record<string, string>>;
  /** Path of the network namespace to run in; needs root. */
  netns?: string;
  /** Path of the mount namespace to run in; needs root. */
  mountns?: string;
};

type Waiter = { match: (line: string) => boolean; found: (line: string) => void };

/**
 * A child process that does not outlive this one, not even after kill -9 (PR_SET_PDEATHSIG, by `setpriv`). Its output is
 * read by lines. Dispose of it to stop it. Linux only.
 */
export class Child implements AsyncDisposable {
  readonly argv: readonly string[];
  /** Resolves with how it ended: `exit 0`, `signal SIGTERM`, or why it could not be started. */
  readonly ended: Promise<string>;
  readonly #clock: Clock;
  readonly #process: ChildProcess;
  readonly #waiters = new Set<Waiter>();
  #lines: string[] = [];
  #stderr = "";
  #running = true;

  constructor(clock: Clock, argv: readonly string[], options: ChildOptions = {}) {
    this.argv = argv;
    this.#clock = clock;
    const environment = { ...process.env, ...options.env };
    this.#process = spawn("setpriv", setprivArguments(argv, options), { cwd: options.cwd, env: environment });
    this.ended = new Promise((resolve) => {
      const end = (how: string): void => {
        this.#running = false;
        resolve(how);
      };
      this.#process.once("error", (error) => end(errorMessage(error)));
      this.#process.once("close", (code, signal) => end(signal === null ? `exit ${code}` : `signal ${signal}`));
    });
    this.#process.stdin?.on("error", () => undefined); // it ended before it read: `ended` says so
    this.#process.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-MAX_STDERR_CHARS);
    });
    if (this.#process.stdout) createInterface(this.#process.stdout).on("line", (line) => this.#onLine(line));
  }

  /** The process id; namespaces are entered by exec, so it is that of the command itself. */
  get pid(): number {
    return this.#process.pid ?? 0;
  }

  /** The end of what it wrote to stderr. */
  get stderr(): string {
    return this.#stderr;
  }

  /** What it has printed and nobody has taken with `line`. */
  get output(): string {
    return this.#lines.join("\n");
  }

  /** Writes one line to its stdin. */
  send(line: string): void {
    this.#process.stdin?.write(`${line}\n`);
  }

  /** Ends its stdin, after `text` if given. */
  closeInput(text = ""): void {
    this.#process.stdin?.end(text);
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /** Takes the first line that matches, printed already or yet to come. Throws Fault `lab.child-ended`, `core.deadline`. */
  async line(what: string, ms: number, match: (line: string) => boolean): Promise<string> {
    const index = this.#lines.findIndex(match);
    const [kept] = index < 0 ? [] : this.#lines.splice(index, 1);
    if (kept !== undefined) return kept;
    const printed = new Promise<string>((found) => {
      this.#waiters.add({ match, found });
    });
    const died = this.ended.then((how) => {
      throw new Fault("lab.child-ended", `${this.argv.join(" ")}: ${how} before ${what}\n${this.#stderr.trim()}`);
    });
    return withDeadline(this.#clock, ms, `${what} (${this.argv.join(" ")})`, () => Promise.race([printed, died]));
  }

  /** CPU seconds of all its threads so far, user and system, from /proc; resolution 10 ms. 0 once it has ended. */
  async cpuSeconds(): Promise<number> {
    if (!this.#running) return 0;
    const stat = await readFile(`/proc/${this.pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" "); // from field 3 on: the name may hold spaces
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  }

  /** Asks it to end, waits, and kills it when it does not. Resolves with how it ended. */
  async stop(): Promise<string> {
    if (this.#running) this.signal("SIGTERM");
    try {
      return await withDeadline(this.#clock, STOP_MS, `stopping ${this.argv.join(" ")}`, () => this.ended);
    } catch {
      this.signal("SIGKILL");
      return await this.ended;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #onLine(line: string): void {
    for (const waiter of this.#waiters) {
      if (!waiter.match(line)) continue;
      this.#waiters.delete(waiter);
      waiter.found(line);
      return;
    }
    this.#lines.push(line);
    if (this.#lines.length > MAX_KEPT_LINES) this.#lines = this.#lines.slice(-MAX_KEPT_LINES / 2);
  }
}

/** Runs a command to its end and returns its stdout. Throws Fault `lab.command` with its stderr, or `core.deadline`. */
export async function run(
  clock: Clock,
  ms: number,
  argv: readonly string[],
  options: ChildOptions & { input?: string } = {},
): Promise<string> {
  await using child = new Child(clock, argv, options);
  child.closeInput(options.input);
  const how = await withDeadline(clock, ms, argv.join(" "), () => child.ended);
  if (how === "exit 0") return child.output;
  throw new Fault("lab.command", `${argv.join(" ")}: ${how}\n${child.stderr.trim()}`, { details: { how } });
}

function setprivArguments(argv: readonly string[], { netns, mountns }: ChildOptions): string[] {
  const enter = [...(netns ? [`--net=${netns}`] : []), ...(mountns ? [`--mount=${mountns}`] : [])];
  return ["--pdeathsig", "KILL", ...(enter.length > 0 ? ["nsenter", ...enter] : []), ...argv];
}
