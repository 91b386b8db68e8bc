import type { Clock, Random } from "#core";

/** Where text goes. A `WriteStream` is one. */
export type TextSink = { write(text: string): unknown; readonly isTTY?: boolean; readonly columns?: number };

/** The keyboard, for prompts and `-f -`. A `ReadStream` is one. */
export type Keyboard = {
  readonly isTTY?: boolean;
  setRawMode?(raw: boolean): unknown;
  pause(): unknown;
  iterator(options: { destroyOnReturn: boolean }): AsyncIterable<Uint8Array | string>;
};

/** All that a command touches of the world outside files and the daemon. */
export type Io = {
  stdin: Keyboard;
  /** Results only, so that they can be piped. */
  stdout: TextSink;
  /** Progress, questions, warnings, errors. */
  stderr: TextSink;
  env: Readonly<Record<string, string | undefined>>;
  clock: Clock;
  random: Random;
  /** Fires on SIGINT and SIGTERM. */
  signal: AbortSignal;
};

/** What `portolan up` was asked for: options as typed, and the file that they are merged over. */
export type UpRequest = {
  options: {
    data?: string;
    token?: string;
    passFile?: string;
    site?: string;
    labels?: Record<string, string>;
    serial?: string;
    model?: string;
    listen?: string[];
    announce?: string[];
    lan?: string[];
    proxy?: string;
    mdns?: boolean;
    transit?: boolean;
    expose?: string[];
    names?: string;
    namesFor?: string[];
    logLevel?: "debug" | "info" | "warn" | "error";
    metrics?: string;
  };
  configFile?: string;
  /** A one-time pass that came through standard input. */
  pass?: string;
};

/** A daemon in this process. Disposing of it stops it in good order. */
export interface RunningDaemon extends AsyncDisposable {
  /** Its data directory, as configured in the end. */
  readonly data: string;
  /** Resolves when it was asked to stop through its API; rejects when it cannot go on. */
  readonly stopped: Promise<void>;
}

/** How the CLI reaches the daemon's code without importing it: most commands never need it. */
export type CliDeps = {
  startDaemon(request: UpRequest, signal: AbortSignal): Promise<RunningDaemon>;
  /** The control API of a data directory without a network, on its usual socket. */
  startOffline(dataDir: string): Promise<AsyncDisposable>;
  version: string;
};

/** Why the signal fired; commands end with exit code 130 by it. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
}
