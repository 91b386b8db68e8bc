import { asError, type Clock, Fault, HeadedStream, withDeadline } from "#core";
import type { NodeId } from "#identity";
import type { Instance } from "../service/service.ts";
import type { Choose, OpenStream } from "./ports.ts";
import {
  OPEN_MS,
  readTunnelAnswer,
  sendTunnelRequest,
  TUNNEL_LIMITS,
  TUNNEL_PROTOCOL,
  type TunnelRequest,
} from "./tunnel-wire.ts";

/** Instances tried for one connection: who waits for longer has given up. */
const MAX_TRIES = 3;
/** An instance to which no tunnel could be opened comes last for so long. */
const SKIP_MS = 2_000;

/** A tunnel that was asked for. */
export type Tunnel = {
  stream: HeadedStream;
  instance: Instance;
  /** Resolves when it is open; rejects when it was refused, and the stream has ended then. */
  opened: Promise<void>;
  /** To be called when it is used no more. */
  release: () => void;
};

export type TunnelOpenerDeps = { clock: Clock; open: OpenStream };

/** What is wanted of a service: which instances may be tried, by whose key, and what goes through the tunnel. */
export type Wanted = { choose: Choose; key: string; protocol: TunnelRequest["protocol"] };

/** Those to try, in order: those that failed lately come last. Pure. */
export function planTries(
  instances: readonly Instance[],
  failedMs: ReadonlyMap<string, number>,
  nowMs: number,
): Instance[] {
  const isSound = (instance: Instance): boolean => nowMs - (failedMs.get(keyOf(instance)) ?? -SKIP_MS) >= SKIP_MS;
  return [...instances.filter(isSound), ...instances.filter((instance) => !isSound(instance))].slice(0, MAX_TRIES);
}

/** Opens a node's tunnels to instances of services, and knows how many it has to each. */
export class TunnelOpener {
  readonly #deps: TunnelOpenerDeps;
  readonly #openByInstance = new Map<string, number>();
  readonly #failedMs = new Map<string, number>();

  constructor(deps: TunnelOpenerDeps) {
    this.#deps = deps;
  }

  /** Tunnels that are open to an instance, or being opened. */
  openOf(instance: { node: NodeId; name: string; tenant: string }): number {
    return this.#openByInstance.get(keyOf(instance)) ?? 0;
  }

  /**
   * Opens a tunnel to the first instance that takes it. Bytes may be sent at once to the last that there is to try: any other has said that it is
   * open, so that what went to one never goes to another, too.
   *
   * Throws Fault `routing.no-instance`, or what kept the last one from opening.
   */
  async open({ choose, key, protocol }: Wanted, signal: AbortSignal): Promise<Tunnel> {
    const tries = planTries(choose(key), this.#failedMs, this.#deps.clock.nowMs());
    let failure: unknown = new Fault("routing.no-instance", "the service runs nowhere just now", { exit: "offline" });
    for (const [index, instance] of tries.entries()) {
      try {
        const tunnel = await this.#ask(instance, protocol, signal);
        if (index < tries.length - 1) await tunnel.opened;
        return tunnel;
      } catch (error) {
        signal.throwIfAborted();
        failure = error;
      }
    }
    throw failure;
  }

  async #ask(instance: Instance, protocol: TunnelRequest["protocol"], signal: AbortSignal): Promise<Tunnel> {
    const { clock, open } = this.#deps;
    const { node, tenant, name } = instance;
    const what = `opening a tunnel to ${node}`;
    const untilMs = clock.nowMs() + OPEN_MS;
    const release = this.#count(instance);
    const failed = (error: unknown): never => {
      if (!signal.aborted) this.#failed(instance);
      release();
      throw error;
    };
    const stream = await withDeadline(
      clock,
      OPEN_MS,
      what,
      async (inner) => {
        const opened = new HeadedStream(await open(node, TUNNEL_PROTOCOL, inner), NO_EARLY);
        if (inner.aborted) opened.abort(asError(inner.reason));
        sendTunnelRequest(opened, { tenant, name, protocol });
        return opened;
      },
      signal,
    ).catch(failed);
    const answer = async (): Promise<void> => readTunnelAnswer(await stream.head);
    const opened = withDeadline(clock, untilMs - clock.nowMs(), what, answer, signal).then(
      () => void this.#failedMs.delete(keyOf(instance)),
      (error: unknown) => {
        stream.abort(asError(error));
        failed(error);
      },
    );
    opened.catch(() => undefined); // the stream says so, too
    return { stream, instance, opened, release };
  }

  #failed(instance: Instance): void {
    const nowMs = this.#deps.clock.nowMs();
    for (const [key, atMs] of this.#failedMs) if (nowMs - atMs >= SKIP_MS) this.#failedMs.delete(key);
    this.#failedMs.set(keyOf(instance), nowMs);
  }

  /** Counts a tunnel, once, until it is called back. */
  #count(instance: Instance): () => void {
    const key = keyOf(instance);
    this.#openByInstance.set(key, (this.#openByInstance.get(key) ?? 0) + 1);
    let counted = true;
    return () => {
      if (!counted) return;
      counted = false;
      const left = (this.#openByInstance.get(key) ?? 1) - 1;
      if (left > 0) this.#openByInstance.set(key, left);
      else this.#openByInstance.delete(key);
    };
  }
}

/** The host says nothing but its answer before somebody listens; a target that speaks first may be right behind it. */
const NO_EARLY = { ...TUNNEL_LIMITS, maxHeldBytes: Number.POSITIVE_INFINITY };

function keyOf({ node, tenant, name }: { node: NodeId; name: string; tenant: string }): string {
  return `${node}/${tenant}/${name}`;
}
