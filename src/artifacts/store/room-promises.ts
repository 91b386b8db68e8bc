import type { BlobRef } from "../chunk-map.ts";

/** Room that was promised to blobs which are to come, so that two transfers do not both count on the same bytes. */
export class RoomPromises {
  readonly #promised = new Map<string, { sizeBytes: number; count: number }>();

  /** Bytes that these would take beyond what they were promised before. */
  lackOf(refs: readonly Pick<BlobRef, "root" | "sizeBytes">[]): number {
    const lacking = new Map(refs.map(({ root, sizeBytes }) => [root, sizeBytes]));
    for (const root of this.#promised.keys()) lacking.delete(root);
    return [...lacking.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  /** Root and size of each, also of those that have taken their room meanwhile. */
  all(): [root: string, sizeBytes: number][] {
    return [...this.#promised].map(([root, { sizeBytes }]) => [root, sizeBytes]);
  }

  /** Holds until it is disposed of. */
  make(refs: readonly Pick<BlobRef, "root" | "sizeBytes">[]): Disposable {
    const roots = new Map(refs.map(({ root, sizeBytes }) => [root, sizeBytes]));
    for (const [root, sizeBytes] of roots) {
      const promised = this.#promised.get(root) ?? { sizeBytes, count: 0 };
      promised.count += 1;
      this.#promised.set(root, promised);
    }
    const end = (): void => {
      for (const root of roots.keys()) {
        const promised = this.#promised.get(root);
        if (promised !== undefined && --promised.count === 0) this.#promised.delete(root);
      }
      roots.clear();
    };
    return { [Symbol.dispose]: end };
  }
}
