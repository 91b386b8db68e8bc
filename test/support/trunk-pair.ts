import { type ByteStream, memoryStreamPair, SystemClock } from "#core";
import type { Flow } from "../../src/routing/tunnel/flow.ts";
import { GrowthBudget } from "../../src/routing/tunnel/flow-window.ts";
import { Trunk } from "../../src/routing/tunnel/trunk.ts";

const clock = new SystemClock();

/** Two ends of a trunk over a stream in memory. */
export class TrunkPair {
  readonly client: Trunk;
  readonly host: Trunk;
  readonly streams: [ByteStream, ByteStream] = memoryStreamPair();
  readonly #taken: Flow[] = [];
  readonly #waiters: ((flow: Flow) => void)[] = [];

  /** `opened`: what the host does with a flow instead of keeping it for `flow`. */
  constructor(opened?: (flow: Flow) => void) {
    const [near, far] = this.streams;
    this.client = new Trunk({ clock, stream: near, growth: new GrowthBudget() });
    this.host = new Trunk({
      clock,
      stream: far,
      growth: new GrowthBudget(),
      opened: opened ?? ((flow) => this.#opened(flow)),
    });
  }

  /** Both ends of a new flow, the client's first; the host has taken it in. */
  async flow(): Promise<[Flow, Flow]> {
    const near = this.client.open(Buffer.from("tcp default cam"));
    const far = await this.taken();
    this.host.accept(far);
    await near.accepted;
    return [near, far];
  }

  /** The next flow that the client opened, not yet taken in. */
  taken(): Promise<Flow> {
    const flow = this.#taken.shift();
    return flow === undefined ? new Promise((resolve) => this.#waiters.push(resolve)) : Promise.resolve(flow);
  }

  #opened(flow: Flow): void {
    const waiter = this.#waiters.shift();
    if (waiter === undefined) this.#taken.push(flow);
    else waiter(flow);
  }
}
