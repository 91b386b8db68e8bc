import { connect, type Socket } from "node:net";
import { type Clock, errorMessage, Fault, faultCode, withDeadline } from "#core";
import { type MayExpose, resolveTarget } from "../service/expose.ts";
import type { Target } from "../service/target.ts";
import { NoTarget } from "./tunnel-wire.ts";

/** Finding a target's address and dialling it; what is dialled stands beside the host or on it. */
export const DIAL_MS = 5_000;
/** An idle connection whose other end is gone is found out after about 45 s (this, and nine probes of the kernel's). */
export const KEEP_ALIVE_MS = 30_000;
/** Addresses of one name that are tried. */
const MAX_ADDRESSES = 4;

/** The addresses of a target that this node's policy lets through, the resolver's first first. Throws NoTarget. */
export async function addressesOf(target: Target, mayExpose: MayExpose, signal: AbortSignal): Promise<string[]> {
  try {
    return (await resolveTarget(target, mayExpose, signal)).slice(0, MAX_ADDRESSES);
  } catch (error) {
    signal.throwIfAborted();
    if (faultCode(error) !== "routing.expose") throw new NoTarget("unreachable", errorMessage(error));
    throw new NoTarget("not-allowed", "the target's address may not be exposed"); // which address, is not the caller's business
  }
}

/** Connects to a target, each of its addresses in turn. The socket is paused, and allows half-open. Throws NoTarget. */
export async function dialTarget(
  clock: Clock,
  target: Target,
  mayExpose: MayExpose,
  signal: AbortSignal,
): Promise<Socket> {
  try {
    return await withDeadline(
      clock,
      DIAL_MS,
      "dialling the target",
      async (inner) => {
        const addresses = await addressesOf(target, mayExpose, inner);
        let failure: unknown;
        for (const ip of addresses) {
          try {
            return await dial(ip, target.port, inner);
          } catch (error) {
            failure = error;
          }
        }
        throw failure;
      },
      signal,
    );
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof NoTarget ? error : noTarget(error);
  }
}

function dial(host: string, port: number, signal: AbortSignal): Promise<Socket> {
  const { promise, resolve: connected, reject } = Promise.withResolvers<Socket>();
  signal.throwIfAborted();
  const options = { noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS, allowHalfOpen: true };
  const socket = connect({ host, port, ...options });
  const onAbort = (): void => void socket.destroy(new Fault("routing.dial", "it took too long"));
  signal.addEventListener("abort", onAbort, { once: true });
  socket.once("error", reject);
  socket.once("connect", () => {
    socket.pause();
    socket.off("error", reject);
    connected(socket);
  });
  return promise.finally(() => signal.removeEventListener("abort", onAbort));
}

function noTarget(error: unknown): NoTarget {
  if (faultCode(error) === "core.deadline") return new NoTarget("timeout", "the target does not answer");
  const code: unknown = error instanceof Error ? Reflect.get(error, "code") : undefined;
  if (code === "ECONNREFUSED") return new NoTarget("refused", "the target refused the connection");
  return new NoTarget("unreachable", typeof code === "string" ? code : errorMessage(error));
}
