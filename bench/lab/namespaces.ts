import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "#core";
import { Child, type ChildOptions, run } from "./child.ts";

/** Setting up forty hosts takes under 3 s on two cores; a hung command should not hang the run. */
const SETUP_MS = 60_000;
const COMMAND_MS = 10_000;

/** Holds the mount namespace until its stdin ends, with this process at the latest. */
const HOLDER = "mkdir -p /run/netns; mount -t tmpfs lab /run/netns; echo ready; exec cat >&2";

/**
 * Network namespaces whose names live in a mount namespace that only a helper process holds: runs side by side do not see each other, and when
 * this process ends in whatever way, the kernel ends the helper and takes all of it down. Dispose of it to end what runs in them.
 *
 * Every method throws Fault `lab.command` when a step fails.
 */
export class Namespaces implements AsyncDisposable {
  readonly #clock: Clock;
  readonly #stack: AsyncDisposableStack;
  readonly #holder: Child;
  #wanemu: Promise<string> | undefined;

  private constructor(clock: Clock, stack: AsyncDisposableStack, holder: Child) {
    this.#clock = clock;
    this.#stack = stack;
    this.#holder = holder;
  }

  static async make(clock: Clock): Promise<Namespaces> {
    await using stack = new AsyncDisposableStack();
    const holder = stack.use(new Child(clock, ["unshare", "--mount", "--propagation", "private", "sh", "-ec", HOLDER]));
    await holder.line("the lab's mount namespace", COMMAND_MS, (line) => line === "ready");
    return new Namespaces(clock, stack.move(), holder);
  }

  /** Runs shell commands where all names are known; returns their stdout. */
  shell(lines: readonly string[]): Promise<string> {
    return run(this.#clock, SETUP_MS, ["sh", "-e"], { mountns: this.#mountns, input: lines.join("\n") });
  }

  /** Starts a command in a namespace; it ends with the lab. */
  start(netns: string, argv: readonly string[], options: ChildOptions = {}): Child {
    return this.#stack.use(new Child(this.#clock, argv, { ...options, netns: this.#netns(netns) }));
  }

  /** Runs a command in a namespace to its end; returns its stdout. */
  run(netns: string, argv: readonly string[], ms: number): Promise<string> {
    return run(this.#clock, ms, argv, { netns: this.#netns(netns) });
  }

  /** Starts an emulated link, `argv` as wanemu takes it; resolves once both its devices are there. */
  async link(argv: readonly string[]): Promise<Child> {
    this.#wanemu ??= this.#compile();
    const link = this.#stack.use(new Child(this.#clock, [await this.#wanemu, ...argv], { mountns: this.#mountns }));
    await link.line(`the link ${argv.slice(0, 4).join(" ")}`, COMMAND_MS, (line) => line === "ready");
    return link;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }

  get #mountns(): string {
    return `/proc/${this.#holder.pid}/ns/mnt`;
  }

  #netns(name: string): string {
    return `/proc/${this.#holder.pid}/root/run/netns/${name}`;
  }

  async #compile(): Promise<string> {
    const directory = await mkdtemp(join(tmpdir(), "wanemu-"));
    const binary = join(directory, "wanemu");
    this.#stack.defer(() => rm(directory, { recursive: true }));
    await run(this.#clock, SETUP_MS, ["gcc", "-O2", "-o", binary, join(import.meta.dirname, "wanemu.c")]);
    return binary;
  }
}
