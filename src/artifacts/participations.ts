import { type Clock, Fault } from "#core";
import type { BlobRef } from "./chunk-map.ts";
import { Participation, type ParticipationDeps } from "./participation.ts";
import { inTurn } from "./precedence.ts";
import type { BlobFile } from "./store/blob-file.ts";
import type { Store } from "./store/store.ts";

/** A blob that nobody wants is closed after so long. */
const IDLE_MS = 60_000;

/** The swarms that a node takes part in, by root. */
export class Participations {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #deps: ParticipationDeps;
  readonly #opened: (part: Participation) => void;
  readonly #parts = new Map<string, Participation>();
  readonly #opening = new Map<string, Promise<Participation | undefined>>();
  #stopped = false;
  #turn = 0;

  constructor(store: Store, clock: Clock, deps: ParticipationDeps, opened: (part: Participation) => void) {
    this.#store = store;
    this.#clock = clock;
    this.#deps = deps;
    this.#opened = opened;
  }

  get(root: string): Participation | undefined {
    return this.#parts.get(root);
  }

  all(): Participation[] {
    return [...this.#parts.values()];
  }

  /** In the order in which they may use what room there is just now. */
  nextInTurn(): Participation[] {
    return inTurn(this.all(), this.#turn++);
  }

  get size(): number {
    return this.#parts.size;
  }

  /** Takes part to get the blob. Rejects as `Store.create` does. */
  async want(ref: BlobRef): Promise<Participation> {
    const part = this.#parts.get(ref.root) ?? (await this.#open(ref.root, () => this.#store.create(ref)));
    if (part !== undefined) return part;
    throw new Fault("artifacts.stopped", "the swarm service was stopped");
  }

  /** Takes part to serve what the store has of the blob; `undefined` when that is not all. */
  async serve(root: string): Promise<Participation | undefined> {
    const state = this.#store.stateOf(root);
    const known = this.#parts.get(root) ?? this.#opening.get(root);
    if (known !== undefined || state === undefined || state === "partial") return known;
    return this.#open(root, () => this.#store.get(root));
  }

  #open(root: string, file: () => Promise<BlobFile | undefined>): Promise<Participation | undefined> {
    const known = this.#opening.get(root);
    if (known !== undefined) return known;
    const open = async (): Promise<Participation | undefined> => {
      const blob = await file();
      if (blob === undefined || this.#stopped) return undefined;
      const part = new Participation(blob, blob.state === "partial", this.#deps);
      this.#parts.set(root, part);
      this.#opened(part);
      return part;
    };
    const opening = open().finally(() => this.#opening.delete(root));
    this.#opening.set(root, opening);
    return opening;
  }

  drop(part: Participation): void {
    if (this.#parts.get(part.ref.root) === part) this.#parts.delete(part.ref.root);
    part.stop();
  }

  /** About every 100 ms. */
  tick(): void {
    for (const part of this.#parts.values()) {
      part.tick();
      if (!part.busy && this.#clock.nowMs() - part.usedAtMs > IDLE_MS) this.drop(part);
    }
  }

  stop(): void {
    this.#stopped = true;
    for (const part of this.#parts.values()) part.stop();
    this.#parts.clear();
  }
}
