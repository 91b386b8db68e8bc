import type { Clock } from "#core";
import type { NodeId } from "#identity";
import type { Gossip } from "#mesh";
import { type Changes, HeardLinks } from "./heard-links.ts";
import type { LinkTerms } from "./link-cost.ts";
import type { KnownLinks } from "./link-map.ts";
import type { LinkSource } from "./link-source.ts";
import { type Advertisement, LINKS_TOPIC, NO_LINKS, readAdvertisement, writeAdvertisement } from "./link-state.ts";

/** All links of the fleet, of which everybody tells everybody. */
export class FleetLinks implements LinkSource {
  readonly #gossip: Pick<Gossip, "publish">;
  readonly #heard: HeardLinks<Advertisement>;
  readonly #unlisten: () => void;
  #hasTold = false;

  constructor(gossip: Pick<Gossip, "publish" | "on" | "latest">, deps: { clock: Clock; self: NodeId }) {
    this.#gossip = gossip;
    this.#heard = new HeardLinks(deps, (value) => readAdvertisement(value) ?? NO_LINKS);
    for (const { origin, value } of gossip.latest(LINKS_TOPIC)) this.#heard.hear(origin, value);
    this.#unlisten = gossip.on(LINKS_TOPIC, ({ origin, value }) => this.#heard.hear(origin, value));
  }

  [Symbol.dispose](): void {
    this.#unlisten();
  }

  workIn(own: Advertisement, changes: Changes): Set<NodeId> {
    this.#heard.set(own);
    return this.#heard.workIn(changes);
  }

  known(node: NodeId): KnownLinks {
    return { transit: this.#heard.get(node)?.transit ?? false, links: this.#heard.linksOf(node) };
  }

  origins(): Set<NodeId> {
    return this.#heard.origins();
  }

  termsOf(from: NodeId, to: NodeId): LinkTerms | undefined {
    return this.#heard.termsOf(from, to);
  }

  bordersOf(): NodeId[] {
    return [];
  }

  behindBorders(): NodeId[] {
    return [];
  }

  insideTo(): undefined {
    return undefined;
  }

  tell(advertisement: Advertisement): void {
    this.#hasTold = true;
    this.#gossip.publish(LINKS_TOPIC, writeAdvertisement(advertisement));
  }

  withdraw(): void {
    if (this.#hasTold) this.tell(NO_LINKS);
  }
}
