/** Numbers in the order of their keys, the smallest key first. A number may stand in it several times; the caller skips what is out of date. */
export class MinHeap {
  #keys: number[] = [];
  #values: number[] = [];

  get size(): number {
    return this.#keys.length;
  }

  /** The smallest key; `undefined` when it is empty. */
  get least(): number | undefined {
    return this.#keys[0];
  }

  push(key: number, value: number): void {
    let at = this.#keys.length;
    while (at > 0) {
      const up = (at - 1) >> 1;
      if ((this.#keys[up] ?? 0) <= key) break;
      this.#put(at, this.#keys[up] ?? 0, this.#values[up] ?? 0);
      at = up;
    }
    this.#put(at, key, value);
  }

  /** Takes the value with the smallest key out. */
  pop(): { key: number; value: number } | undefined {
    const [key, value] = [this.#keys[0], this.#values[0]];
    const [lastKey, lastValue] = [this.#keys.pop(), this.#values.pop()];
    if (key === undefined || value === undefined || lastKey === undefined || lastValue === undefined) return undefined;
    if (this.#keys.length > 0) this.#sink(lastKey, lastValue);
    return { key, value };
  }

  #sink(key: number, value: number): void {
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#keys.length) break;
      if ((this.#keys[child + 1] ?? Number.POSITIVE_INFINITY) < (this.#keys[child] ?? 0)) child += 1;
      if ((this.#keys[child] ?? 0) >= key) break;
      this.#put(at, this.#keys[child] ?? 0, this.#values[child] ?? 0);
      at = child;
    }
    this.#put(at, key, value);
  }

  #put(at: number, key: number, value: number): void {
    this.#keys[at] = key;
    this.#values[at] = value;
  }
}
