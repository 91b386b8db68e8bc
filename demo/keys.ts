import type { ReadStream } from "node:tty";
import type { DemoNode } from "./fleet.ts";
import type { Plug } from "./plug.ts";
import type { View } from "./view.ts";

/** What names a node when one is to be picked. */
const LETTERS = "123456789abcdefghijklmnopqrstuvwxyz";
const CTRL_C = "\u0003";

/** The viewer's keys while the file flows: `k`, and then which node is killed. */
export class Keys implements Disposable {
  readonly #input: ReadStream;
  readonly #view: View;
  readonly #plug: Plug;
  #choice: readonly DemoNode[] = [];
  readonly #onData = (keys: Buffer): void => {
    for (const key of keys.toString()) this.#press(key);
  };

  constructor(input: ReadStream, view: View, plug: Plug) {
    this.#input = input;
    this.#view = view;
    this.#plug = plug;
    input.setRawMode(true);
    input.on("data", this.#onData);
    input.resume();
    view.step("press k to kill a node");
  }

  [Symbol.dispose](): void {
    this.#input.off("data", this.#onData);
    this.#input.setRawMode(false);
    this.#input.pause();
  }

  #press(key: string): void {
    if (key === CTRL_C) process.kill(process.pid, "SIGINT");
    const choice = this.#choice;
    this.#choice = [];
    if (key === "k") return this.#ask();
    const node = choice[LETTERS.indexOf(key)];
    if (node === undefined || !this.#plug.victims().includes(node)) return;
    this.#view.step(`kill -9: ${node.plan.serial}, which you picked`);
    void this.#plug.kill(node, "was picked by the viewer");
  }

  #ask(): void {
    this.#choice = this.#plug.victims().slice(0, LETTERS.length);
    const names = this.#choice.map(({ plan }, i) => `${LETTERS[i]} ${plan.serial}`);
    this.#view.step(`kill which? ${names.join("   ")}   (any other key: none)`);
  }
}
