import { asError, type Clock, Fault, withDeadline } from "#core";
import type { NodeId } from "#identity";
import type { Instance } from "../service/service.ts";
import type { Flow } from "./flow.ts";
import type { Choose, OpenStream } from "./ports.ts";
import type { Trunk } from "./trunk.ts";
import { Trunks } from "./trunks.ts";
import { encodeRequest, OPEN_MS, REACH_MS, type TunnelRequest } from "./tunnel-wire.ts";

/** Instances tried for one connection: who waits for longer has given up. */
const MAX_TRIES = 3;
/** An instance to which no tunnel could be opened comes last for so long. */
const SKIP_MS = 2_000;

/** A tunnel that was asked for. */
export type Tunnel = {
  stream: Flow;
  instance: Instance;
  /** Resolves when it is open; rejects when it was refused, and the stream has ended then. */
  opened: Promise<void>;
  /** To be called when it is used no more. */
  release: () => void;
};

export type TunnelOpenerDeps = { clock: Clock; open: OpenStream };

/** What is wanted of a service: which instances may be tried, by whose key, and what goes through the tunnel. */
export type Wanted = { choose: Choose; key: string; protocol: TunnelRequest["protocol"] };

/**
 * Those to try, in order: those that failed lately come last. Where the first ones are all of one service and there are others to go to instead, the last
 * try is one of those. Pure.
 */
export function planTries(
  instances: readonly Instance[],
  failedMs: ReadonlyMap<string, number>,
  nowMs: number,
): Instance[] {
  const isSound = (instance: Instance): boolean => nowMs - (failedMs.get(keyOf(instance)) ?? -SKIP_MS) >= SKIP_MS;
  const ordered = [...instances.filter(isSound), ...instances.filter((instance) => !isSound(instance))];
  const tries = ordered.slice(0, MAX_TRIES);
  const other = ordered.find(({ name }) => name !== tries[0]?.name);
  return other === undefined || tries.includes(other) ? tries : [...tries.slice(0, -1), other];
}

/** Opens a node's tunnels to instances of services, and knows how many it has to each. */
export class TunnelOpener {
  readonly #clock: Clock;
  readonly #trunks: Trunks;
  readonly #openByInstance = new Map<string, number>();
  readonly #failedMs = new Map<string, number>();

  constructor({ clock, open }: TunnelOpenerDeps) {
    this.#clock = clock;
    this.#trunks = new Trunks(clock, open);
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
    const tries = planTries(choose(key), this.#failedMs, this.#clock.nowMs());
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
    const { tenant, name } = instance;
    const release = this.#count(instance);
    const failed = (error: unknown): never => {
      if (!signal.aborted) this.#failed(instance);
      release();
      throw error;
    };
    const trunk = this.#trunks.live(instance.node) ?? (await this.#trunkTo(instance.node, signal).catch(failed));
    const stream = trunk.open(encodeRequest({ tenant, name, protocol }));
    const opened = this.#answer(instance, stream, signal).catch(failed);
    opened.catch(() => undefined); // the stream says so, too
    return { stream, instance, opened, release };
  }

  #trunkTo(node: NodeId, signal: AbortSignal): Promise<Trunk> {
    return withDeadline(this.#clock, REACH_MS, `opening a tunnel to ${node}`, () => this.#trunks.to(node), signal);
  }

  async #answer(instance: Instance, stream: Flow, signal: AbortSignal): Promise<void> {
    const what = `opening a tunnel to ${instance.node}`;
    try {
      await withDeadline(this.#clock, OPEN_MS, what, () => stream.accepted, signal);
      this.#failedMs.delete(keyOf(instance));
    } catch (error) {
      stream.abort(asError(error));
      throw error;
    }
  }

  #failed(instance: Instance): void {
    const nowMs = this.#clock.nowMs();
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

function keyOf({ node, tenant, name }: { node: NodeId; name: string; tenant: string }): string {
  return `${node}/${tenant}/${name}`;
}
