/**
 * How a failure ends for a script: the exit code of the command and the status of the API both follow from it.
 * `internal` 1 · `invalid` 2 · `denied` 3 · `missing` 4 · `conflict` 5 · `timeout` 6 · `offline` 10.
 */
export type FaultExit = "internal" | "invalid" | "denied" | "missing" | "conflict" | "timeout" | "offline";

export const EXIT_CODES: Readonly<Record<FaultExit, number>> = {
  internal: 1,
  invalid: 2,
  denied: 3,
  missing: 4,
  conflict: 5,
  timeout: 6,
  offline: 10,
};

export type FaultOptions = {
  /** Default `internal`. */
  exit?: FaultExit;
  /** What the reader can do next; one sentence. */
  fix?: string;
  /** Named values for logs and for code that branches on more than the code. */
  details?: Readonly<Record<string, unknown>>;
  cause?: unknown;
};

/**
 * A failure with a stable code `folder.reason`. Branch on `code`, never on `message`. The message says what happened and
 * to what; `fix` says what to do next.
 */
export class Fault extends Error {
  readonly code: string;
  readonly exit: FaultExit;
  readonly fix: string | undefined;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: string, message: string, options: FaultOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "Fault";
    this.code = code;
    this.exit = options.exit ?? "internal";
    this.fix = options.fix;
    this.details = options.details ?? {};
  }
}

/** The code of a Fault; `undefined` for anything else that was thrown. */
export function faultCode(error: unknown): string | undefined {
  return error instanceof Fault ? error.code : undefined;
}

/** The message of whatever was thrown. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What was thrown, as an Error; anything may be thrown. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown), { cause: thrown });
}
