import { randomBytes } from "node:crypto";

/** Chance as a dependency, so that a run can be replayed from its seed. */
export interface Random {
  /** `length` bytes. From `SystemRandom` they are fit for keys and nonces. */
  bytes(length: number): Uint8Array;
  /** A number in [0, 1). */
  unit(): number;
  /** An integer in [0, limit), for a limit of up to 2^32. */
  below(limit: number): number;
}

/** The operating system's generator. */
export class SystemRandom implements Random {
  bytes(length: number): Uint8Array {
    return randomBytes(length);
  }
  unit(): number {
    return randomBytes(6).readUIntBE(0, 6) / 2 ** 48;
  }
  below(limit: number): number {
    return Math.floor(this.unit() * limit);
  }
}

/** xoshiro128** (Blackman and Vigna) seeded by splitmix32: the same seed gives the same run. Never for keys. */
export class SeededRandom implements Random {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  constructor(seed: number) {
    let x = seed >>> 0;
    const mix = (): number => {
      x = (x + 0x9e3779b9) >>> 0;
      let z = x;
      z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
      z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
      return z ^ (z >>> 16);
    };
    this.#a = mix();
    this.#b = mix();
    this.#c = mix();
    this.#d = mix();
  }

  #next(): number {
    const m = Math.imul(this.#b, 5);
    const result = Math.imul((m << 7) | (m >>> 25), 9) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = (this.#d << 11) | (this.#d >>> 21);
    return result;
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.#next() & 0xff);
  }
  unit(): number {
    return this.#next() / 2 ** 32;
  }
  below(limit: number): number {
    return Math.floor(this.unit() * limit);
  }
}
