import type { NodeId } from "#identity";

/** Where other nodes are reached, as far as this one knows. */
export class Whereabouts {
  readonly #sources: ((peer: NodeId) => readonly string[])[] = [];

  /** Asks this source too, after those before it. */
  learnFrom(source: (peer: NodeId) => readonly string[]): void {
    this.#sources.push(source);
  }

  /** The likeliest address first; none before anything runs that could know. */
  of(peer: NodeId): string[] {
    return [...new Set(this.#sources.flatMap((source) => source(peer)))];
  }
}
