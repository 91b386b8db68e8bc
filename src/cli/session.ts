import { readFileSync, statSync } from "node:fs";
import type { Command } from "commander";
import type { ControlClient } from "#api";
import { errorMessage, Fault, faultCode, withDeadline } from "#core";
import type { NamedKey } from "#identity";
import { chooseDataDir } from "./contexts.ts";
import type { CliDeps, Io } from "./io.ts";
import type { Format } from "./output.ts";
import { askHidden } from "./prompt.ts";

/** What every command runs with. */
export type Cli = { io: Io; deps: CliDeps; exitCode: number };

/** Options that every command takes, and those of commands that sign. */
export type CommonOptions = {
  data?: string;
  context?: string;
  output?: Format;
  as?: string;
  passphraseFile?: string;
};

/** A daemon that starts answers well within this; so does another command that holds the data directory. */
const BUSY_MS = 30_000;
const BUSY_RETRY_MS = 100;

/** One command at work: which node it is about, how to reach it, which key signs. */
export class Session<O extends CommonOptions = CommonOptions> {
  readonly cli: Cli;
  readonly options: O;
  readonly io: Io;
  /** The data directory that the command is about. */
  data: string;
  readonly #contextKey: string | undefined;
  #key: Promise<NamedKey> | undefined;

  constructor(cli: Cli, options: O) {
    this.cli = cli;
    this.options = options;
    this.io = cli.io;
    const chosen = chooseDataDir(cli.io.env, options);
    this.data = chosen.data;
    this.#contextKey = chosen.key;
  }

  /** Runs against the daemon. Throws Fault `api.daemon-down` (exit `offline`) when none runs. */
  async withDaemon<T>(work: (client: ControlClient) => Promise<T>): Promise<T> {
    return await work(await this.client());
  }

  /** As `withDaemon`; where none runs, opens the data directory in this process for as long as it takes. */
  async withNode<T>(work: (client: ControlClient) => Promise<T>): Promise<T> {
    const client = await this.client();
    await using offline = new AsyncDisposableStack();
    const { clock, signal } = this.io;
    await withDeadline(clock, BUSY_MS, `opening ${this.data}`, (until) => this.#reach(client, offline, until), signal);
    return await work(client);
  }

  /** Until a daemon answers or the data directory is ours. One that is just starting, or another command, may hold it for a moment. */
  async #reach(client: ControlClient, offline: AsyncDisposableStack, signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        const status = await client.call("status", {}, { signal });
        if (!status.offline) return;
      } catch (error) {
        if (faultCode(error) !== "api.daemon-down") throw error;
        try {
          offline.use(await this.cli.deps.startOffline(this.data));
          return;
        } catch (busy) {
          if (faultCode(busy) !== "daemon.data-in-use") throw busy;
        }
      }
      await this.io.clock.sleep(BUSY_RETRY_MS, signal);
    }
  }

  /** The control API of the data directory, loaded when first needed. */
  async client(): Promise<ControlClient> {
    const { ControlClient } = await import("#api");
    return new ControlClient(this.io.clock, this.data, this.io.signal);
  }

  /** The key that signs: `--as`, else the context's. Throws Fault `cli.no-key` (exit `invalid`) when there is neither. */
  signingKey(): Promise<NamedKey> {
    this.#key ??= this.#openKey();
    return this.#key;
  }

  async #openKey(): Promise<NamedKey> {
    const path = this.options.as ?? this.#contextKey;
    if (path === undefined) {
      throw new Fault("cli.no-key", "this must be signed, and no key was given", {
        exit: "invalid",
        fix: "Give one with --as KEYFILE, or set one: portolan context use NAME --key KEYFILE",
      });
    }
    const { openKeyFile } = await import("#identity");
    return await openKeyFile(path, () => this.passphrase(`Passphrase for ${path}: `));
  }

  /** From `--passphrase-file`, else asked for. Never from arguments or the environment, which others can read. */
  async passphrase(question: string): Promise<string> {
    const { passphraseFile } = this.options;
    if (passphraseFile === undefined) return await askHidden(this.io, question);
    return readText(passphraseFile).split(/\r?\n/u)[0] ?? "";
  }

  /** A result, for stdout. */
  print(text: string): void {
    this.io.stdout.write(text.endsWith("\n") ? text : `${text}\n`);
  }

  /** What goes on, for stderr. */
  say(text: string): void {
    this.io.stderr.write(`${text}\n`);
  }
}

/** Largest file that is read whole: a list of 10,000 claims with all their labels stays below. */
const MAX_FILE_BYTES = 64 * 1024 * 1024;

/** Reads a file that the user named. Throws Fault `cli.file` (exit `missing` or `invalid`). */
export function readBytes(path: string): Uint8Array {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) {
    throw new Fault("cli.file", `there is no file ${path}`, { exit: "missing", fix: "Check the path." });
  }
  if (!stat.isFile() || stat.size > MAX_FILE_BYTES) {
    throw new Fault("cli.file", `${path} is not a file of at most ${MAX_FILE_BYTES} bytes`, {
      exit: "invalid",
      fix: "Check the path.",
    });
  }
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new Fault("cli.file", `${path} cannot be read: ${errorMessage(cause)}`, {
      exit: "invalid",
      fix: "Check who may read it.",
      cause,
    });
  }
}

/** As `readBytes`, as text. */
export function readText(path: string): string {
  return Buffer.from(readBytes(path)).toString("utf8");
}

/** Makes a commander action of a function; what it returns is the exit code. */
export function action<O extends CommonOptions>(
  cli: Cli,
  run: (session: Session<O>, args: string[]) => Promise<number | void>,
): (...given: unknown[]) => Promise<void> {
  return async (...given) => {
    const command = given.at(-1) as Command;
    const session = new Session<O>(cli, command.optsWithGlobals<O>());
    cli.exitCode = (await run(session, command.args)) ?? 0;
  };
}
