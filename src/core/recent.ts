/** Values that are costly to work out, kept for the keys that were new last. */
export class Recent<K, V> {
  readonly #values = new Map<K, V>();
  readonly #size: number;

  constructor(size: number) {
    this.#size = size;
  }

  /** What `make` gave for this key, unless it threw. */
  get(key: K, make: () => V): V {
    const known = this.#values.get(key);
    if (known !== undefined) return known;
    const made = make();
    const oldest = this.#values.keys().next();
    if (this.#values.size >= this.#size && !oldest.done) this.#values.delete(oldest.value);
    this.#values.set(key, made);
    return made;
  }
}
