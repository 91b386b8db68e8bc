import { HASH_BYTES } from "#core";
import type { NodeId } from "#identity";
import type { Link } from "./link.ts";
import { MapFetch, type MapRequest } from "./map-fetch.ts";
import type { BlobFile } from "./store/blob-file.ts";

type Deps = {
  /** The peers that can be asked. */
  links: ReadonlyMap<NodeId, Link>;
  /** The map is here, where it was not before. */
  fetched: () => void;
  /** A peer sent what cannot be part of the map. */
  fouled: (peer: NodeId) => void;
};

/** The chunk map of one blob on its links: asked for until it is here, and told to those who ask. */
export class MapExchange {
  readonly #blob: BlobFile;
  readonly #deps: Deps;
  #fetch: MapFetch | undefined;

  constructor(blob: BlobFile, deps: Deps) {
    this.#blob = blob;
    this.#deps = deps;
    if (blob.map === undefined) this.#fetch = new MapFetch(blob.ref);
  }

  /** About every 100 ms. */
  ask(nowMs: number): void {
    const request = this.#fetch?.ask(this.#deps.links.keys(), nowMs);
    if (request !== undefined) this.#send(request);
  }

  #send({ peer, first, count }: MapRequest): void {
    const link = this.#deps.links.get(peer);
    const ref = link?.refOf(this.#blob.ref.root);
    if (ref !== undefined) link?.say({ type: "map-want", ref, first, count });
  }

  /** Answers who asked for hashes `first` to `first + count - 1`; without any, if the map is not here. */
  tell(link: Link, first: number, count: number): void {
    const ref = link.refOf(this.#blob.ref.root);
    if (ref === undefined) return;
    const bytes = this.#blob.map?.bytes.subarray(first * HASH_BYTES, (first + count) * HASH_BYTES);
    link.say({ type: "map", ref, first }, bytes === undefined ? [] : [bytes]);
  }

  /** Takes an answer, which may be anything: see `MapFetch.take`. */
  receive({ peer }: Link, first: number, payload: readonly Uint8Array[], nowMs: number): void {
    const answer = this.#fetch?.take(peer, first, payload, nowMs);
    if (answer === undefined) return;
    if ("request" in answer) this.#send(answer.request);
    else if ("wrong" in answer) this.#deps.fouled(peer);
    else {
      this.#fetch = undefined;
      this.#blob.setMap(answer.map);
      this.#deps.fetched();
    }
  }
}
