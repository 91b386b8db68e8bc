import { type ByteStream, type Clock, memoryStreamPair, SystemClock } from "#core";
import type { Flow } from "../../src/routing/tunnel/flow.ts";
import { GrowthBudget } from "../../src/routing/tunnel/flow-window.ts";
import { Trunk } from "../../src/routing/tunnel/trunk.ts";

/** Two ends of a trunk in this process, over a stream in memory unless another is given; the host takes in every flow. */
export class TrunkPair {
  readonly client: Trunk;
  readonly host: Trunk;
  readonly streams: [ByteStream, ByteStream];
  readonly #taken: Flow[] = [];
  readonly #waiters: ((flow: Flow) => void)[] = [];

  constructor({ streams = memoryStreamPair(), clock = new SystemClock() as Clock } = {}) {
    this.streams = streams;
    const [near, far] = streams;
    this.client = new Trunk({ clock, stream: near, growth: new GrowthBudget() });
    this.host = new Trunk({ clock, stream: far, growth: new GrowthBudget(), opened: (flow) => this.#opened(flow) });
  }

  /** Both ends of a new flow, the client's first. */
  async flow(): Promise<[Flow, Flow]> {
    const near = this.client.open(Buffer.from("tcp default cam"));
    const far = await new Promise<Flow>((resolve) => {
      const taken = this.#taken.shift();
      if (taken === undefined) this.#waiters.push(resolve);
      else resolve(taken);
    });
    this.host.accept(far);
    await near.accepted;
    return [near, far];
  }

  #opened(flow: Flow): void {
    const waiter = this.#waiters.shift();
    if (waiter === undefined) this.#taken.push(flow);
    else waiter(flow);
  }
}
