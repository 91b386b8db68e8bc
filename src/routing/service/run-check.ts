import { spawn } from "node:child_process";
import { request } from "node:http";
import { connect } from "node:net";
import { type Clock, Fault, faultCode, withDeadline } from "#core";
import { argvOf, type Check } from "./check.ts";
import { type MayExpose, resolveTarget } from "./expose.ts";
import type { CheckResult } from "./health.ts";
import { MAX_REASON_CHARS } from "./instance-record.ts";
import { formatTarget, type Target } from "./target.ts";

/** A service that does not answer within this does not work. */
const CHECK_TIMEOUT_MS = 2_000;
/** Kept of what a command prints: its last words. */
const MAX_OUTPUT_BYTES = 1_024;
/** Headers of an answer; Node's own default, said here because a target is not trusted. */
const MAX_HEADER_BYTES = 16 * 1024;
/** What a command printed is waited for so long after it ended: somebody it started may keep the pipe open. */
const OUTPUT_MS = 100;

export type RunCheckDeps = { clock: Clock; mayExpose: MayExpose };

/**
 * Checks a service once, 2 s at most. A failure is a result; its reason names no address, because others hear it. Rejects only when `signal`
 * fires. Whatever it began is over when it settles: sockets are closed, a command is killed with all its process group.
 */
export async function runCheck(
  check: Check,
  target: Target,
  deps: RunCheckDeps,
  signal: AbortSignal,
): Promise<CheckResult> {
  const output = new OutputTail();
  const result = await withDeadline(
    deps.clock,
    CHECK_TIMEOUT_MS,
    "the check",
    (inner) =>
      check.kind === "exec" ? runCommand(check.command, output, deps.clock, inner) : dial(check, target, deps, inner),
    signal,
  ).catch((error: unknown): CheckResult => {
    signal.throwIfAborted();
    return { ok: false, reason: reasonOf(error) };
  });
  return check.kind === "exec" ? { ...result, output: output.text } : result;
}

/** Address after address, as `localhost` may mean two of which one is listened on. */
async function dial(
  check: Exclude<Check, { kind: "exec" }>,
  target: Target,
  { mayExpose }: RunCheckDeps,
  signal: AbortSignal,
): Promise<CheckResult> {
  let failure: unknown;
  for (const address of await resolveTarget(target, mayExpose, signal)) {
    try {
      if (check.kind === "http") return judgeStatus(await get(check.path, address, target, signal));
      await reach(address, target.port, signal);
      return { ok: true };
    } catch (error) {
      signal.throwIfAborted();
      failure = error;
    }
  }
  throw failure;
}

function reach(host: string, port: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    const stop = (): void => void socket.destroy();
    signal.addEventListener("abort", stop, { once: true });
    socket.once("connect", stop);
    socket.once("connect", resolve);
    socket.once("error", reject);
    socket.once("close", () => {
      signal.removeEventListener("abort", stop);
      reject(signal.reason);
    });
  });
}

/** The status of the answer to a GET; its body is not read, and redirects are not followed. */
function get(path: string, host: string, target: Target, signal: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers = { host: formatTarget(target), "user-agent": "portolan-check", connection: "close" };
    const options = { host, port: target.port, path, headers, agent: false, maxHeaderSize: MAX_HEADER_BYTES, signal };
    const sent = request(options, (response) => {
      resolve(response.statusCode ?? 0);
      sent.destroy();
    });
    sent.on("error", reject); // also what comes after the answer, which nobody waits for any more
    sent.end();
  });
}

function judgeStatus(status: number): CheckResult {
  return status >= 200 && status < 400 ? { ok: true } : { ok: false, reason: `HTTP status ${status}` };
}

/** In a process group of its own, which is killed when the command has ended, or is to. */
function runCommand(command: string, output: OutputTail, clock: Clock, signal: AbortSignal): Promise<CheckResult> {
  const [file = "", ...args] = argvOf(command);
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { detached: true, stdio: ["ignore", "pipe", "pipe"] });
    const kill = (): void => (child.pid === undefined ? undefined : killGroup(child.pid));
    const forget = (): void => signal.removeEventListener("abort", kill);
    signal.addEventListener("abort", kill, { once: true });
    child.stdout.on("data", (bytes: Buffer) => output.push(bytes));
    child.stderr.on("data", (bytes: Buffer) => output.push(bytes));
    child.once("error", (error) => {
      forget();
      reject(new Fault("routing.check-command", `cannot run ${codeOf(error)}`, { cause: error }));
    });
    child.once("exit", (code, killedBy) => {
      forget();
      kill();
      const result: CheckResult = code === 0 ? { ok: true } : { ok: false, reason: `exit ${code ?? killedBy}` };
      child.once("close", () => resolve(result));
      void clock.sleep(OUTPUT_MS).then(() => {
        child.stdout.destroy();
        child.stderr.destroy();
        resolve(result);
      });
    });
  });
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // nobody is left in it
  }
}

/** The last of what a command printed. */
class OutputTail {
  #bytes = Buffer.alloc(0);

  push(bytes: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, bytes]).subarray(-MAX_OUTPUT_BYTES);
  }

  get text(): string {
    return this.#bytes.toString("utf8").trim();
  }
}

const REASONS: Readonly<Record<string, string>> = {
  "core.deadline": `no answer within ${CHECK_TIMEOUT_MS / 1_000} s`,
  "routing.expose": "its address may not be exposed",
  "routing.target-unknown": "no such host",
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset",
  EHOSTUNREACH: "unreachable",
  ENETUNREACH: "unreachable",
};

function reasonOf(error: unknown): string {
  if (faultCode(error) === "routing.check-command" && error instanceof Error)
    return error.message.slice(0, MAX_REASON_CHARS);
  const code = faultCode(error) ?? codeOf(error);
  return REASONS[code] ?? `failed ${code}`.slice(0, MAX_REASON_CHARS);
}

/** The system's code for an error, such as ENOENT. */
function codeOf(error: unknown): string {
  const code: unknown = error instanceof Error ? Reflect.get(error, "code") : undefined;
  return typeof code === "string" ? code : "for another reason";
}
