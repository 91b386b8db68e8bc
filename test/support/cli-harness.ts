import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import type { CliDeps, Io } from "#cli";
import { runCli } from "#cli";
import { SeededRandom, SystemClock } from "#core";
import { createKeyFile } from "#identity";

export type Result = { code: number; out: string; err: string };

/** The command line in this process: its own home, text in memory, the daemon's code as given. */
export class CliHarness {
  readonly home = mkdtempSync(join(tmpdir(), "cli-"));
  readonly data = join(this.home, "data");
  readonly env: Record<string, string> = { XDG_CONFIG_HOME: join(this.home, "config"), PORTOLAN_DATA: this.data };
  deps: CliDeps = { version: "1.2.3", startDaemon: unexpected, startOffline: unexpected };
  /** Set to make stdout and stderr terminals of this width. */
  columns: number | undefined;
  /** The command that runs, or ran last. */
  current: Result = { code: -1, out: "", err: "" };
  readonly #random = new SeededRandom(7);

  /** Runs a command; `typed` is what the person at the terminal types, one entry for each question. */
  async run(
    argv: readonly string[],
    typed?: readonly string[],
    signal = new AbortController().signal,
  ): Promise<Result> {
    const result = { code: -1, out: "", err: "" };
    this.current = result;
    const terminal = this.columns === undefined ? {} : { isTTY: true, columns: this.columns };
    const stdin = typed === undefined ? Object.assign(new PassThrough(), { isTTY: false }) : keyboard(typed);
    const io: Io = {
      stdin,
      stdout: { write: (text) => (result.out += text), ...terminal },
      stderr: { write: (text) => (result.err += text), ...terminal },
      env: this.env,
      clock: new SystemClock(),
      random: this.#random,
      signal,
    };
    result.code = await runCli(argv, io, this.deps);
    return result;
  }

  /** Makes a key pair without a passphrase, because stretching one takes half a second; returns the options that sign with it. */
  key(name: string): string[] {
    const path = this.path(`${name}.key`);
    createKeyFile(this.#random, { path, publicPath: this.path(`${name}.pub`), name, passphrase: undefined });
    return ["--as", path];
  }

  path(name: string): string {
    return join(this.home, name);
  }

  dispose(): void {
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** Somebody who types the next entry when the program starts to read. */
function keyboard(typed: readonly string[]): Io["stdin"] & { raw: boolean[] } {
  const left = [...typed];
  const raw: boolean[] = [];
  return {
    isTTY: true,
    raw,
    setRawMode: (on) => raw.push(on),
    pause: () => undefined,
    iterator: async function* () {
      const next = left.shift();
      if (next !== undefined) for (const key of next) yield Buffer.from(key);
    },
  };
}

function unexpected(): Promise<never> {
  return Promise.reject(new Error("this command needs no daemon"));
}
