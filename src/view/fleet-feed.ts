import { isDeepStrictEqual } from "node:util";
import type { ControlClient, FleetMap } from "#api";
import { type Clock, errorMessage } from "#core";
import { emptyFleet, type Fleet, type Kind, type PairView } from "./page/fleet.ts";

/** Kinds that the control API tells of as they change. */
const FOLLOWED = ["nodes", "routes", "services", "circuits", "artifacts"] as const;
/** How often is asked for what changes without a word: round trips of this node's links, and everybody's links. */
const LOOK_MS = 2_000;
/** How long to wait for a daemon that went away before the next try. */
const RETRY_MS = 1_000;

/** What the daemon tells of its fleet, as of now. While the daemon is away it stays as it was, and `down` says why. */
export class FleetFeed {
  readonly fleet: Fleet = emptyFleet();
  readonly #client: ControlClient;
  readonly #clock: Clock;
  readonly #faults = new Map<string, string>();
  readonly #waiting = new Set<() => void>();
  #version = 0;

  constructor(client: ControlClient, clock: Clock) {
    this.#client = client;
    this.#clock = clock;
  }

  /** Grows with each change. */
  get version(): number {
    return this.#version;
  }

  /** Why the daemon does not answer; `undefined` while it does. */
  get down(): string | undefined {
    return this.#faults.values().next().value;
  }

  /** Follows the daemon until the signal fires. */
  async run(signal: AbortSignal): Promise<void> {
    const parts = FOLLOWED.map((kind) => this.#keep(kind, signal, () => this.#follow(kind, signal)));
    await Promise.all([...parts, this.#keep("links", signal, () => this.#look(signal))]);
  }

  /** Resolves once the version is above this one, or the signal fires. */
  async changed(version: number, signal: AbortSignal): Promise<void> {
    if (this.#version > version || signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const wake = (): void => resolve();
    this.#waiting.add(wake);
    signal.addEventListener("abort", wake, { once: true });
    await promise;
    this.#waiting.delete(wake);
    signal.removeEventListener("abort", wake);
  }

  /** Does it again whenever it fails. */
  async #keep(part: string, signal: AbortSignal, work: () => Promise<void>): Promise<void> {
    while (!signal.aborted) {
      try {
        await work();
      } catch (error) {
        if (signal.aborted) return;
        this.#faults.set(part, errorMessage(error));
        this.#changed();
      }
      await this.#clock.sleep(RETRY_MS, signal).catch(() => undefined);
    }
  }

  async #follow(kind: (typeof FOLLOWED)[number], signal: AbortSignal): Promise<void> {
    const views = this.fleet[kind] as Map<string, { name: string }>;
    const told = new Set<string>();
    for await (const change of this.#client.watch(`${kind}.watch`, {}, signal)) {
      if (change.type === "synced") {
        for (const name of views.keys()) if (!told.has(name)) views.delete(name); // gone while nobody looked
        this.#faults.delete(kind);
      } else if (change.type === "deleted") views.delete(change.name);
      else {
        told.add(change.object.name);
        views.set(change.object.name, change.object);
      }
      this.#changed();
    }
  }

  async #look(signal: AbortSignal): Promise<void> {
    for (;;) {
      const { items } = await this.#client.call("links.list", {}, { signal });
      const map = await this.#client.call("map", {}, { signal });
      const news = [this.#faults.delete("links"), this.#replace("links", items), this.#replace("pairs", pairsOf(map))];
      if (news.includes(true)) this.#changed();
      await this.#clock.sleep(LOOK_MS, signal);
    }
  }

  /** Whether anything is different now. What is the same stays the same object. */
  #replace(kind: Kind, now: readonly { name: string }[]): boolean {
    const views = this.fleet[kind] as Map<string, { name: string }>;
    const names = new Set(now.map(({ name }) => name));
    const gone = [...views.keys()].filter((name) => !names.has(name));
    for (const name of gone) views.delete(name);
    const changed = now.filter((view) => !isDeepStrictEqual(views.get(view.name), view));
    for (const view of changed) views.set(view.name, view);
    return gone.length + changed.length > 0;
  }

  #changed(): void {
    this.#version += 1;
    for (const wake of this.#waiting) wake();
  }
}

function pairsOf({ nodes, links }: FleetMap): PairView[] {
  return links.flatMap(([a, b, there, back]) => {
    const [first, second] = [nodes[a], nodes[b]];
    if (first === undefined || second === undefined) return [];
    return { name: `${first}/${second}`, ends: [first, second], costs: [there, back] };
  });
}
