import { renameSync } from "node:fs";
import type { Yard, YardNode } from "./yard.ts";

const SET_CLOCK = import.meta.resolve("./set-clock.mjs");

/** A machine whose clock and uptime the test moves while its daemon runs. */
export class ClockedNode {
  readonly node: YardNode;
  readonly #yard: Yard;
  readonly #file: string;

  constructor(yard: Yard, name: string) {
    this.#yard = yard;
    this.node = yard.node(name);
    this.#file = this.set({ wallOffMs: 0, uptimeOffMs: 0 });
  }

  /** Milliseconds by which clock and uptime are off the real ones. */
  set(off: { wallOffMs: number; uptimeOffMs: number }): string {
    const written = this.#yard.write(`${this.node.name}.clock.new`, JSON.stringify(off));
    const file = this.#yard.path(`${this.node.name}.clock`);
    renameSync(written, file);
    return file;
  }

  up(...flags: string[]): Promise<void> {
    return this.node.upWith({ env: { NODE_OPTIONS: `--import ${SET_CLOCK}`, CLOCK_FILE: this.#file } }, ...flags);
  }

  /** The time that the node goes by, in Unix milliseconds. */
  async timeMs(): Promise<number> {
    return Date.parse((await this.node.status()).time.now);
  }
}
